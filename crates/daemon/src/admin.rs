//! The admin port: health, metrics and journeys over plain HTTP, for the kubelet, Prometheus and people.
//!
//! It only shows what the process knows. Nothing here changes anything, and nothing here asks the network.

mod health;
mod probe;
mod router;
mod server;

pub use health::{CheckHandle, Gate, Health};
pub use router::{AdminState, HEALTHZ, LIVEZ, METRICS, Page, READYZ, router};
pub use server::{AdminError, serve};
