//! The binary and its wiring: command line, settings, `run`, `agent`, and the checks of `check`.
//!
//! Each part of SnapWatcher is a crate of its own, see docs/architecture.md. This crate connects the parts and decides nothing
//! about pods or checkpoints. No other crate of the product depends on it, only programs for tests.

pub mod agent;
pub mod certs;
pub mod check;
pub mod cli;
pub mod config;
pub mod program;
pub mod run;
