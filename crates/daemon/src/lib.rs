//! What every long-running program of this workspace needs: named services, signals, the log, metrics, health checks, the
//! admin port, the wall clock, the wait that a server requests and the limit on open files.
//!
//! This crate knows nothing of pods, Checkpoints, webhooks or certificates, and sends no request to any server. It may
//! depend on `snapwatcher-https` only, for the admin port.

pub mod admin;
pub mod clock;
pub mod descriptors;
pub mod listen;
pub mod retry_after;
pub mod services;
pub mod signals;
pub mod telemetry;
