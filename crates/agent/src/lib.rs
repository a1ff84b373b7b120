//! The agent of a node: it saves the archives that the kubelet has written there.
//!
//! It works on the Snapshots whose origin is its node, one at a time. An archive is read once: checked, unpacked into the node store,
//! compressed, encrypted and pushed. It is removed from the node only when the registry has returned its manifest. A journal on the
//! disk of the node lets each step be repeated after a kill.
//!
//! Decisions are pure functions (`task`, `make_room`, `archive_rules`, `outcome`); the files around them do the I/O. The agent
//! writes one thing to the API server: the entry of its node in the status of a Snapshot.

mod access;
mod archive_pass;
mod archive_rules;
mod disk;
mod encoder;
mod inventory;
mod journal;
mod known;
mod machine;
mod make_room;
mod metrics;
mod outcome;
mod pieces;
mod push;
mod queue;
mod save;
mod save_error;
mod service;
mod settings;
mod shared;
mod state_folder;
mod store;
mod task;
mod upkeep;

pub use metrics::AgentMetrics;
pub use service::{AgentChecks, AgentError, AgentService};
pub use settings::{AgentSettings, AgentTimes};
