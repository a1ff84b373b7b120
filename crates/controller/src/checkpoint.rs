//! Claims, attempts and outcomes: the durable half of the shared state, kept in `Checkpoint` objects.
//!
//! [`claim`] creates a record, [`controller`] decides what it needs, [`attempts`] has it made by [`attempt`], and
//! [`progress`] says how its status changes. All decisions are pure: [`consent`], [`progress`], [`name`], [`ledger`].

pub mod alive;
pub mod attempt;
pub mod attempts;
pub mod breaker;
pub mod breakers;
pub mod budget;
pub mod candidate;
pub mod claim;
pub mod consent;
pub mod controller;
pub mod ledger;
pub mod metrics;
pub mod progress;
pub mod queue;
pub mod retention;
pub mod sightings;
pub mod writes;
