//! Who takes checkpoints, and how to speak to them.
//!
//! The trait they implement is [`Backend`](crate::checkpoint::ask::Backend): back-ends depend on checkpoints, never the
//! other way round. Whatever text comes from one goes through [`redact`] before anyone else sees it.

pub mod log;
pub mod redact;
pub mod snaphook;
