//! Checkpoint objects: claims, attempts, outcomes and retention.
//!
//! [`claim`] creates a Checkpoint. [`controller`] decides what each one needs, [`attempt_scheduler`] schedules the attempts,
//! and [`attempt_runner`] runs one. [`preconditions`] and [`transitions`] hold the rules.

mod api_outage;
pub(crate) mod attempt_observations;
pub(crate) mod attempt_preparation;
mod attempt_queue;
pub(crate) mod attempt_runner;
pub(crate) mod attempt_scheduler;
mod candidates;
pub(crate) mod checkpoint_index;
mod circuit_breaker;
pub(crate) mod claim;
pub(crate) mod concurrency_limiter;
pub(crate) mod controller;
pub(crate) mod endpoint_breakers;
mod fields;
pub(crate) mod known_pods;
pub(crate) mod metrics;
mod preconditions;
pub(crate) mod retention;
mod retry_wait;
mod status_writer;
pub(crate) mod transitions;
