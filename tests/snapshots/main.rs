//! The leader's part of saving: a Checkpoint with an archive becomes a Snapshot once, a Snapshot is judged by what its node reports
//! and by the registry, and what is not needed is deleted. The tests make up the archives and do the part of the agents.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod creation;
mod judgement;
mod keys;
mod removal;
mod world;
