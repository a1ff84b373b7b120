//! The webhook: labels a pod at its creation and tells what stands against its checkpoint.
//!
//! Every answer is a pure function of the request: no API call, no look-up, no lock held over an await. So admission
//! goes on when the API server or the back-end is away.

mod answer;
mod body;
mod criu;
mod json;
mod keys;
mod metrics;
mod mutate;
mod once;
mod refusal;
mod review;
mod room;
mod server;
mod validate;

pub use body::{answer_to_mutate, answer_to_validate};
pub use metrics::AdmissionMetrics;
pub use room::REVIEW_LIMIT;
pub use server::{Admission, HEALTH, MUTATE, VALIDATE, Webhook};
pub use validate::ValidationMode;
