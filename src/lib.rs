//! The program: its command line, its settings, the wiring of `run`, and the checks of `check`.
//!
//! The parts are crates of their own, see docs/architecture.md; nothing imports this one.

pub mod cli;
pub mod config;
pub mod preflight;
pub mod program;
pub mod run;
