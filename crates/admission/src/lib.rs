//! The admission webhook: it labels opted-in pods at their creation, and warns about settings that prevent a checkpoint.
//!
//! This crate holds the decoding of AdmissionReviews, the two decisions (mutate and validate), the responses, and the
//! HTTP routes with their limits on request bodies. It makes no call to the API server or to a back-end, and it does not
//! listen or terminate TLS: the caller serves [`router`], each connection by its [`ClientRouter`]. Each response is a function
//! of its request alone, so admission keeps working while the API server or the back-end is unreachable.

mod body_reader;
mod handler;
mod large_bodies;
mod metadata;
mod metrics;
mod mutate;
mod pod_spec;
mod request_error;
mod respond;
mod response;
mod review;
mod router;
mod text;
mod unknown_keys;
mod unsupported_features;
mod validate;

pub use body_reader::REVIEW_LIMIT;
pub use handler::AdmissionHandler;
pub use metrics::AdmissionMetrics;
pub use respond::{mutate_response, validate_response};
pub use router::{ClientRouter, HEALTH, MUTATE, VALIDATE, router};
pub use validate::ValidationMode;
