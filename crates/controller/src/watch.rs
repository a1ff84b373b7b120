//! The watch of labeled pods, from the first event of a pod to the claim of each chosen container.
//!
//! [`eligibility`] decides about one pod, [`pod_table`] turns events into actions, and [`PodWatch`] executes them.

mod eligibility;
mod log_block;
pub(crate) mod metrics;
mod missed_mutation;
mod missed_mutation_report;
mod pod_table;
mod pod_watch;
mod recheck_queue;

pub(crate) use missed_mutation_report::MissedMutations;
pub(crate) use pod_watch::PodWatch;
