//! The admin port: health checks, metrics and pages over plain HTTP, for the kubelet, Prometheus and people.
//!
//! The port only shows the state of the process. It changes nothing and sends no request.

mod health;
mod probe_response;
mod router;
mod server;

pub use health::{CheckHandle, Gate, Health};
pub use router::{AdminState, HEALTHZ, LIVEZ, METRICS, Page, READYZ, router};
pub use server::{AdminError, serve};
