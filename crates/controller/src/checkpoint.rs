//! Claims, attempts and outcomes: the durable half of the shared state, kept in `Checkpoint` objects.
//!
//! [`claim`] creates a record, [`controller`] decides what it needs, [`attempts`] has it made by [`attempt`], and
//! [`progress`] says how its status changes. All decisions are pure: [`consent`], [`progress`], [`name`], [`ledger`].

pub mod attempt_observations;
pub mod attempt_queue;
pub mod attempt_runner;
pub mod attempt_scheduler;
pub mod candidates;
pub mod checkpoint_index;
pub mod circuit_breaker;
pub mod claim;
pub mod concurrency_limiter;
pub mod controller;
pub mod endpoint_breakers;
pub mod known_pods;
pub mod metrics;
pub mod preconditions;
pub mod retention;
pub mod status_writer;
pub mod transitions;
