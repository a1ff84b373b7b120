//! The tasks that make attempts: one a record at a time, owned by a service and not by the controller, whose reconciles
//! are dropped when leadership or the watch goes.

use std::collections::HashMap;
use std::sync::Arc;

use kube::ResourceExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::telemetry::panic_words;

use super::attempt::Attempt;
use super::progress::{Step, plan};
use super::resource::Checkpoint;

/// Starts attempts of the records sent to it.
pub struct Attempts {
    attempt: Arc<Attempt>,
    wanted: mpsc::UnboundedReceiver<Arc<Checkpoint>>,
    tasks: JoinSet<String>,
    /// Records that are being attempted, by UID, each with what was wanted of it meanwhile.
    running: HashMap<String, Option<Arc<Checkpoint>>>,
}

#[derive(Debug, thiserror::Error)]
pub enum AttemptsError {
    #[error("an attempt panicked: {0}")]
    Panicked(String),
}

impl Attempts {
    pub fn new(attempt: Attempt, wanted: mpsc::UnboundedReceiver<Arc<Checkpoint>>) -> Self {
        Self { attempt: Arc::new(attempt), wanted, tasks: JoinSet::new(), running: HashMap::new() }
    }

    /// Runs until the stop; attempts that were begun are then finished and their outcomes written.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AttemptsError> {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(record) = self.wanted.recv() => self.start(record, &stop),
                Some(joined) = self.tasks.join_next() => {
                    let uid = joined.map_err(panicked)?;
                    // What was wanted meanwhile may have been overtaken; the attempt finds out by compare-and-swap.
                    if let Some(Some(record)) = self.running.remove(&uid)
                        && plan(&record, clock::now()) == Step::Attempt
                    {
                        self.start(record, &stop);
                    }
                }
            }
        }
        while let Some(joined) = self.tasks.join_next().await {
            joined.map_err(panicked)?;
        }
        Ok(())
    }

    fn start(&mut self, record: Arc<Checkpoint>, stop: &CancellationToken) {
        let uid = record.uid().unwrap_or_default();
        if let Some(wanted) = self.running.get_mut(&uid) {
            *wanted = Some(record);
            return;
        }
        self.running.insert(uid.clone(), None);
        let (attempt, stop) = (self.attempt.clone(), stop.clone());
        self.tasks.spawn(async move {
            attempt.make(record, stop).await;
            uid
        });
    }
}

fn panicked(error: tokio::task::JoinError) -> AttemptsError {
    let words = if error.is_panic() { panic_words(&*error.into_panic()).to_owned() } else { "cancelled".to_owned() };
    AttemptsError::Panicked(words)
}
