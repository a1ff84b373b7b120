//! Claims, attempts and outcomes: the durable half of the shared state, kept in `Checkpoint` objects.

pub mod ask;
pub mod outcome;
