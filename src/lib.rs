//! SnapWatcher turns a pod label into a checkpoint.
//!
//! The modules follow the way of a pod: `admission` labels it, `watch` sees it become Ready, `checkpoint` claims it and
//! asks, a `backend` answers; `state` knows how far each pod has come. `run` wires them all.

pub mod admin;
pub mod admission;
pub mod backend;
pub mod certificates;
pub mod checkpoint;
pub mod clock;
pub mod duration;
pub mod pod;
pub mod services;
pub mod state;
pub mod telemetry;
