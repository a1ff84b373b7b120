//! SnapWatcher turns a pod label into a checkpoint.
//!
//! The modules follow the way of a pod: `admission` labels it, `watch` sees it become Ready, `checkpoint` claims it and
//! asks, a `backend` answers; `state` knows how far each pod has come. `run` wires them all.

pub mod admin;
pub mod admission;
pub mod backend;
pub mod certificates;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod descriptors;
pub mod duration;
pub mod leader;
pub mod listen;
pub mod owner;
pub mod pod;
pub mod program;
pub mod run;
pub mod serve;
pub mod services;
pub mod signals;
pub mod state;
pub mod telemetry;
pub mod term;
pub mod watch;
