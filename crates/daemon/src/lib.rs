//! What a long-running program needs whatever it does: named services, signals, the log, metrics, health checks, the admin
//! port, and limits of the process.
//!
//! Nothing here knows of pods, checkpoints or the API server.

pub mod admin;
pub mod clock;
pub mod descriptors;
pub mod listen;
pub mod services;
pub mod signals;
pub mod telemetry;
