//! The services of the process: named tasks whose end is always noticed.
//!
//! When a detached task ends, the process looks alive and does half of its work. When a service of this module ends before
//! the stop, all services stop, and the error names the one that ended. No other module starts tasks that live as long as
//! the process.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::telemetry::{error_chain, join_error_message};

/// How long services may take to stop, unless [`Services::with_grace`] sets another time: Kubernetes' default for
/// `terminationGracePeriodSeconds`, less some seconds for the last log lines.
const GRACE: Duration = Duration::from_secs(25);

/// How long the services with [`StopOrder::Last`] may take after all others have ended. They have nothing to wait for.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// Services that run until the stop. All of them stop when one ends early.
pub struct Services {
    stop: CancellationToken,
    /// The stop of the services with [`StopOrder::Last`].
    end: CancellationToken,
    grace: Duration,
    tasks: JoinSet<Result<(), BoxError>>,
    /// In the order of start.
    running: Vec<RunningService>,
}

struct RunningService {
    id: Id,
    name: &'static str,
    order: StopOrder,
}

/// When a service stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopOrder {
    /// At the stop.
    First,
    /// When all services with `First` have ended.
    Last,
}

/// Which service stopped the process, and how.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("service `{name}` exited unexpectedly")]
    Ended { name: &'static str },
    #[error("service `{name}` failed")]
    Failed { name: &'static str, source: BoxError },
    #[error("service `{name}` panicked: {message}")]
    Panicked { name: &'static str, message: String },
    #[error("services {names} were still running {grace:?} after the stop and were aborted")]
    Unfinished { names: ServiceNames, grace: Duration },
}

/// The error of a service.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Which task ended, and how.
type EndedTask = Result<(Id, Result<(), BoxError>), JoinError>;

/// Names of services, displayed as `` `a`, `b` ``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceNames(Vec<&'static str>);

impl Services {
    /// Services that stop when `stop` is cancelled.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        let end = CancellationToken::new();
        Self { stop, end, grace: GRACE, tasks: JoinSet::new(), running: Vec::new() }
    }

    /// Sets how long services may take to stop.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts a service. The service has to return `Ok` soon after its token is cancelled, and never before.
    pub fn start<E, F>(&mut self, name: &'static str, service: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let service = service(self.stop.clone());
        self.spawn(name, service, StopOrder::First);
    }

    /// Starts a service that runs during the stop, such as the admin port, which shows the stop. Its token is cancelled
    /// when all other services have ended. The service has to return `Ok` soon after, and never before.
    pub fn start_to_end_last<E, F>(&mut self, name: &'static str, service: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let service = service(self.end.clone());
        self.spawn(name, service, StopOrder::Last);
    }

    fn spawn<E, F>(&mut self, name: &'static str, service: F, order: StopOrder)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        // Boxed: what is spawned is moved several times on the stack, and a service is large.
        let task = self.tasks.spawn(Box::pin(async move { service.await.map_err(BoxError::from) }));
        self.running.push(RunningService { id: task.id(), name, order });
    }

    /// Waits for the stop and then for the end of all services.
    ///
    /// The error is the first one: a service ended before the stop, or failed or panicked after it, or did not end in time.
    /// Later errors are logged.
    pub async fn finish(mut self) -> Result<(), ServiceError> {
        let early = self.until_stop().await;
        if let Err(error) = &early {
            // Logged now, because the drain takes some seconds until `main` logs the error.
            tracing::error!("Stopping the process: {}", error_chain(error));
        }
        self.stop.cancel();
        self.until_all_ended(early).await
    }

    /// Waits for the stop, or for the early end of a service.
    async fn until_stop(&mut self) -> Result<(), ServiceError> {
        // `cancelled` and `join_next_with_id` are cancellation-safe.
        tokio::select! {
            // First, so that an end caused by the stop does not count as early.
            biased;
            () = self.stop.cancelled() => Ok(()),
            Some(joined) = self.tasks.join_next_with_id() => {
                let (name, end) = self.remove(joined);
                let stopped = self.stop.is_cancelled();
                end.and_then(|()| if stopped { Ok(()) } else { Err(ServiceError::Ended { name }) })
            }
        }
    }

    /// Waits for the end of all services, and aborts those that do not end in time. Returns `outcome` if it is an error.
    async fn until_all_ended(&mut self, mut outcome: Result<(), ServiceError>) -> Result<(), ServiceError> {
        let mut grace = self.grace;
        let mut deadline = Instant::now() + grace;
        while !self.running.is_empty() {
            if !self.end.is_cancelled() && self.running.iter().all(|service| service.order == StopOrder::Last) {
                self.end.cancel();
                grace = LAST_GRACE;
                deadline = Instant::now() + grace;
            }
            let end = match timeout_at(deadline, self.tasks.join_next_with_id()).await {
                Ok(Some(joined)) => self.remove(joined).1,
                Ok(None) => break,
                Err(_) => {
                    self.tasks.abort_all();
                    let is_end = self.end.is_cancelled();
                    let late = self.running.drain(..).filter(|service| is_end || service.order == StopOrder::First);
                    Err(ServiceError::Unfinished {
                        names: ServiceNames(late.map(|service| service.name).collect()),
                        grace,
                    })
                }
            };
            if let (Err(_), Err(second)) = (&outcome, &end) {
                tracing::error!("A further error during the stop: {}", error_chain(second));
            }
            outcome = outcome.and(end);
        }
        outcome
    }

    /// Removes an ended task from the list of running services. Returns its name and how it ended.
    fn remove(&mut self, ended: EndedTask) -> (&'static str, Result<(), ServiceError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let position = self.running.iter().position(|service| service.id == id);
        // Each task is in the list, so `unknown` never shows.
        let name = position.map_or("unknown", |position| self.running.remove(position).name);
        let end = match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(ServiceError::Failed { name, source }),
            Err(error) => Err(ServiceError::Panicked { name, message: join_error_message(error) }),
        };
        tracing::debug!(service = name, "Service `{name}` ended");
        (name, end)
    }
}

impl fmt::Display for ServiceNames {
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

    /// A service that stops.
    async fn compliant(stop: CancellationToken) -> Result<(), Infallible> {
        stop.cancelled().await;
        Ok(())
    }

    /// A service that ignores the stop.
    async fn hanging(_stop: CancellationToken) -> Result<(), Infallible> {
        std::future::pending().await
    }

    fn services() -> (Services, CancellationToken) {
        let stop = CancellationToken::new();
        (Services::new(stop.clone()).with_grace(Duration::from_millis(50)), stop)
    }

    #[tokio::test]
    async fn a_requested_stop_ends_all_without_an_error() {
        let (mut services, stop) = services();
        services.start("admission", compliant);
        services.start("watch", compliant);
        stop.cancel();
        services.finish().await.unwrap();
    }

    #[tokio::test]
    async fn a_service_that_ends_early_stops_all_and_is_named() {
        let (mut services, stop) = services();
        services.start("admission", compliant);
        services.start("watch", |_| async { Ok::<(), Infallible>(()) });
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `watch` exited unexpectedly");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_service_that_fails_stops_all_and_is_named_with_its_cause() {
        let (mut services, stop) = services();
        services.start("admission", compliant);
        services.start("watch", |_| async { Err(io::Error::other("no route")) });
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `watch` failed: no route");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_service_that_panics_stops_all_and_is_named_with_its_message() {
        let (mut services, stop) = services();
        services.start("admission", compliant);
        services.start("watch", |_| async { if true { panic!("index {} lost", 7) } else { Ok::<(), Infallible>(()) } });
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `watch` panicked: index 7 lost");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn services_that_ignore_the_stop_are_aborted_and_named() {
        let (mut services, stop) = services();
        services.start("admission", compliant);
        services.start("watch", hanging);
        services.start("checkpoint", hanging);
        stop.cancel();
        let error = services.finish().await.unwrap_err();
        assert_eq!(
            error_chain(&error),
            "services `watch`, `checkpoint` were still running 50ms after the stop and were aborted"
        );
    }

    #[tokio::test]
    async fn a_last_service_runs_until_all_others_have_ended() {
        let (mut services, stop) = services();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        services.start("admission", |stop| async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = sender.send(());
            Ok::<(), Infallible>(())
        });
        services.start_to_end_last("admin", |end| async move {
            end.cancelled().await;
            receiver.await.map_err(|_| io::Error::other("the other service had not ended"))
        });
        stop.cancel();
        services.finish().await.unwrap();
    }

    #[tokio::test]
    async fn a_last_service_is_not_named_for_others_that_do_not_end() {
        let (mut services, stop) = services();
        services.start("watch", hanging);
        services.start_to_end_last("admin", compliant);
        stop.cancel();
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "services `watch` were still running 50ms after the stop and were aborted");
    }

    #[tokio::test]
    async fn a_last_service_that_ends_early_stops_all_and_is_named() {
        let (mut services, _stop) = services();
        services.start("admission", compliant);
        services.start_to_end_last("admin", |_| async { Ok::<(), Infallible>(()) });
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `admin` exited unexpectedly");
    }

    #[tokio::test]
    async fn a_failure_during_the_stop_is_an_error_too() {
        let (mut services, stop) = services();
        services.start("admission", compliant);
        services.start("checkpoint", |stop| async move {
            stop.cancelled().await;
            Err(io::Error::other("outcome not written"))
        });
        stop.cancel();
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `checkpoint` failed: outcome not written");
    }

    #[tokio::test]
    async fn the_first_error_is_returned() {
        let (mut services, _stop) = services();
        services.start("watch", |_| async { Err(io::Error::other("no route")) });
        services.start("checkpoint", hanging);
        let error = services.finish().await.unwrap_err();
        assert_eq!(error_chain(&error), "service `watch` failed: no route");
    }
}
