//! The rules of one Checkpoint object: what it needs next, and how its status changes. Pure functions over plain values.

pub(crate) mod fields;
pub(crate) mod first_attempt;
pub(crate) mod plan;
pub(crate) mod retry_wait;
pub(crate) mod taken;
pub(crate) mod transitions;
