//! The tasks of the process, each with a name and an owner who notices its end.
//!
//! A detached task that ends leaves a process that looks alive and does half of its work. Here the end of any service
//! before the requested stop ends all of them, and the error says which one it was. This is the only place that starts
//! tasks which live as long as the process.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::telemetry::{error_chain, join_error_message};

/// How long services may take to end after the stop, unless [`Services::with_grace`] says otherwise: what Kubernetes
/// gives a pod by default (`terminationGracePeriodSeconds`) less a little to write the last words.
const GRACE: Duration = Duration::from_secs(25);

/// How long those that end last may take once the others have ended: they have nothing left to wait for.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// Services that run until one stop, and stop together when any of them ends early.
pub struct Services {
    stop: CancellationToken,
    /// The stop of those that end last.
    end: CancellationToken,
    grace: Duration,
    tasks: JoinSet<Result<(), Cause>>,
    /// In the order of start.
    running: Vec<Running>,
}

struct Running {
    id: Id,
    name: &'static str,
    ends_last: bool,
}

/// Which service ended the process, and how.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("service `{name}` ended although nobody stopped it")]
    Ended { name: &'static str },
    #[error("service `{name}` failed")]
    Failed { name: &'static str, source: Cause },
    #[error("service `{name}` panicked: {message}")]
    Panicked { name: &'static str, message: String },
    #[error("{names} did not end within {grace:?} of the stop")]
    Unfinished { names: Names, grace: Duration },
}

/// Why a service failed.
pub type Cause = Box<dyn Error + Send + Sync>;

/// How a task ended, and which.
type Joined = Result<(Id, Result<(), Cause>), JoinError>;

/// Names of services; written `` `a`, `b` ``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<&'static str>);

impl Services {
    /// Services that end when `stop` is cancelled.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        let end = CancellationToken::new();
        Self { stop, end, grace: GRACE, tasks: JoinSet::new(), running: Vec::new() }
    }

    /// Sets how long services may take to end after the stop.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts a service. It gets the stop and is to return `Ok` soon after it, and never before.
    pub fn start<E, F>(&mut self, name: &'static str, service: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let service = service(self.stop.clone());
        self.spawn(name, service, false);
    }

    /// Starts a service that goes on during the stop, for those who want to see it happen. It gets a token that is
    /// cancelled when all others have ended, and is to return `Ok` soon after that, and never before.
    pub fn start_to_end_last<E, F>(&mut self, name: &'static str, service: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let service = service(self.end.clone());
        self.spawn(name, service, true);
    }

    fn spawn<E, F>(&mut self, name: &'static str, service: F, ends_last: bool)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let task = self.tasks.spawn(async move { service.await.map_err(Cause::from) });
        self.running.push(Running { id: task.id(), name, ends_last });
    }

    /// Waits for the stop and the end of all services.
    ///
    /// An error is the first thing that went wrong: a service that ended before the stop, or failed or panicked after
    /// it, or did not end in time. What goes wrong after that is logged.
    pub async fn finish(mut self) -> Result<(), ServiceError> {
        let early = self.until_stop().await;
        if let Err(error) = &early {
            // The end may take as long as a drain.
            tracing::error!("Stopping: {}", error_chain(error));
        }
        self.stop.cancel();
        self.until_all_ended(early).await
    }

    /// Watches over the services while they are supposed to run.
    async fn until_stop(&mut self) -> Result<(), ServiceError> {
        // Both branches may be dropped at any await: `cancelled` and `join_next_with_id` are cancellation-safe.
        tokio::select! {
            // An end that the stop has caused must not be taken for an early one.
            biased;
            () = self.stop.cancelled() => Ok(()),
            Some(joined) = self.tasks.join_next_with_id() => {
                let (name, end) = self.strike(joined);
                let stopped = self.stop.is_cancelled();
                end.and_then(|()| if stopped { Ok(()) } else { Err(ServiceError::Ended { name }) })
            }
        }
    }

    /// Waits for what still runs and aborts what has not ended in time; adds to what went wrong before.
    async fn until_all_ended(&mut self, mut outcome: Result<(), ServiceError>) -> Result<(), ServiceError> {
        let mut grace = self.grace;
        let mut deadline = Instant::now() + grace;
        while !self.running.is_empty() {
            if !self.end.is_cancelled() && self.running.iter().all(|running| running.ends_last) {
                self.end.cancel();
                grace = LAST_GRACE;
                deadline = Instant::now() + grace;
            }
            let end = match timeout_at(deadline, self.tasks.join_next_with_id()).await {
                Ok(Some(joined)) => self.strike(joined).1,
                Ok(None) => break,
                Err(_) => {
                    self.tasks.abort_all();
                    let is_end = self.end.is_cancelled();
                    let late = self.running.drain(..).filter(|running| is_end || !running.ends_last);
                    Err(ServiceError::Unfinished { names: Names(late.map(|running| running.name).collect()), grace })
                }
            };
            if let (Err(_), Err(second)) = (&outcome, &end) {
                tracing::error!("{}", error_chain(second));
            }
            outcome = outcome.and(end);
        }
        outcome
    }

    /// Strikes an ended task off the list and says who it was and how it ended.
    fn strike(&mut self, joined: Joined) -> (&'static str, Result<(), ServiceError>) {
        let (id, result) = match joined {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let place = self.running.iter().position(|running| running.id == id);
        // Every task is listed as it starts; the other name is for a compiler that can't know.
        let name = place.map_or("unknown", |place| self.running.remove(place).name);
        let end = match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(ServiceError::Failed { name, source }),
            Err(error) => Err(ServiceError::Panicked { name, message: join_error_message(error) }),
        };
        tracing::debug!(service = name, "service ended");
        (name, end)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, name) in self.0.iter().enumerate() {
            write!(f, "{}`{name}`", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use super::*;

    /// A service as it should be: it runs until the stop.
    async fn obedient(stop: CancellationToken) -> Result<(), Infallible> {
        stop.cancelled().await;
        Ok(())
    }

    /// A service that does not hear the stop.
    async fn deaf(_stop: CancellationToken) -> Result<(), Infallible> {
        std::future::pending().await
    }

    fn services() -> (Services, CancellationToken) {
        let stop = CancellationToken::new();
        (Services::new(stop.clone()).with_grace(Duration::from_millis(50)), stop)
    }

    #[tokio::test]
    async fn a_requested_stop_ends_all_without_an_error() {
        let (mut services, stop) = services();
        services.start("admission", obedient);
        services.start("watch", obedient);
        stop.cancel();
        services.finish().await.unwrap();
    }

    #[tokio::test]
    async fn a_service_that_ends_early_stops_all_and_is_named() {
        let (mut services, stop) = services();
        services.start("admission", obedient);
        services.start("watch", |_| async { Ok::<(), Infallible>(()) });
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `watch` ended although nobody stopped it");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_service_that_fails_stops_all_and_is_named_with_its_cause() {
        let (mut services, stop) = services();
        services.start("admission", obedient);
        services.start("watch", |_| async { Err(io::Error::other("no route")) });
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `watch` failed: no route");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_service_that_panics_stops_all_and_is_named_with_its_words() {
        let (mut services, stop) = services();
        services.start("admission", obedient);
        services.start("watch", |_| async { if true { panic!("index {} lost", 7) } else { Ok::<(), Infallible>(()) } });
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `watch` panicked: index 7 lost");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn services_that_do_not_hear_the_stop_are_aborted_and_named() {
        let (mut services, stop) = services();
        services.start("admission", obedient);
        services.start("watch", deaf);
        services.start("checkpoint", deaf);
        stop.cancel();
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "`watch`, `checkpoint` did not end within 50ms of the stop");
    }

    #[tokio::test]
    async fn who_ends_last_goes_on_until_all_others_have_ended() {
        let (mut services, stop) = services();
        let (ended, told) = tokio::sync::oneshot::channel();
        services.start("admission", |stop| async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = ended.send(());
            Ok::<(), Infallible>(())
        });
        services.start_to_end_last("admin", |end| async move {
            end.cancelled().await;
            told.await.map_err(|_| io::Error::other("the other one had not ended"))
        });
        stop.cancel();
        services.finish().await.unwrap();
    }

    #[tokio::test]
    async fn who_ends_last_is_not_blamed_for_others_that_do_not_end() {
        let (mut services, stop) = services();
        services.start("watch", deaf);
        services.start_to_end_last("admin", obedient);
        stop.cancel();
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "`watch` did not end within 50ms of the stop");
    }

    #[tokio::test]
    async fn who_should_end_last_and_ends_early_stops_all_and_is_named() {
        let (mut services, _stop) = services();
        services.start("admission", obedient);
        services.start_to_end_last("admin", |_| async { Ok::<(), Infallible>(()) });
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `admin` ended although nobody stopped it");
    }

    #[tokio::test]
    async fn a_failure_during_the_stop_is_an_error_too() {
        let (mut services, stop) = services();
        services.start("admission", obedient);
        services.start("checkpoint", |stop| async move {
            stop.cancelled().await;
            Err(io::Error::other("outcome not written"))
        });
        stop.cancel();
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `checkpoint` failed: outcome not written");
    }

    #[tokio::test]
    async fn the_first_fault_is_the_one_returned() {
        let (mut services, _stop) = services();
        services.start("watch", |_| async { Err(io::Error::other("no route")) });
        services.start("checkpoint", deaf);
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `watch` failed: no route");
    }
}
