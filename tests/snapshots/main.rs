//! The leader's part of saving: a Checkpoint with an archive becomes a Snapshot once, a Snapshot is judged by what its node reports
//! and by the registry, and what is not needed is deleted. Most tests make up the archives and do the part of the agents; those in
//! `agent_*` run an agent on archives that they write.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent_failures;
mod agent_node;
mod agent_removal;
mod agent_save;
mod agent_storm;
mod check;
mod creation;
mod judgement;
mod keys;
mod removal;
mod world;
