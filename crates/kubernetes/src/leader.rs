//! Leader election: which of several replicas leads, by a Lease that is written by compare-and-swap on resourceVersion.
//!
//! A replica that loses the Lease stops its watch and starts no attempt; it still serves admission. Safety does not depend
//! on the Lease, because an attempt is written to its Checkpoint before it is made. A Lease of `coordination.k8s.io/v1`, see
//! <https://kubernetes.io/docs/concepts/architecture/leases/>.

mod lease_rules;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use snapwatcher_daemon::admin::CheckHandle;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;

use crate::cluster::{CallError, call};

use lease_rules::{LeaseAction, next_action};

pub use lease_rules::LeaseTimes;

/// Takes part in the election until the process ends.
pub struct LeaderElector {
    pub client: Client,
    pub namespace: String,
    pub name: String,
    /// `<instance>/<boot id>`, so that a restarted process does not take the Lease of its predecessor for its own.
    pub identity: String,
    pub times: LeaseTimes,
    pub leads: watch::Sender<bool>,
    /// The holder of the Lease as last seen.
    pub holder: watch::Sender<Option<String>>,
    pub check: CheckHandle,
}

/// The Lease as last seen, and since when this process has seen it unchanged.
#[derive(Default)]
struct Observed {
    lease: Option<Lease>,
    since: Option<Instant>,
}

impl LeaderElector {
    /// Runs until the stop, and then until the running attempts have finished. The Lease is released after that.
    pub async fn run(
        self,
        stop: CancellationToken,
        work_is_done: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let mut observed = Observed::default();
        let mut renewed: Option<Instant> = None;
        while !stop.is_cancelled() || (renewed.is_some() && !work_is_done.is_cancelled()) {
            let before = renewed;
            renewed = self.step(&mut observed, before, stop.is_cancelled()).await;
            self.publish(renewed.is_some());
            let was_renewed_now = renewed.is_some() && renewed != before;
            tokio::select! {
                () = sleep(self.times.next_wait(renewed.map(|at| at.elapsed()), was_renewed_now)) => {}
                () = work_is_done.cancelled(), if stop.is_cancelled() => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
        self.publish(false);
        if renewed.is_some() {
            self.release(&observed).await;
        }
        Ok(())
    }

    /// Makes one request for the Lease. Returns when this replica last renewed it, or `None` if this replica does not lead.
    async fn step(&self, observed: &mut Observed, renewed: Option<Instant>, is_stopping: bool) -> Option<Instant> {
        // Taken before the request is sent, because the server may count the Lease from any moment after it.
        let requested = Instant::now();
        let limit = self.times.request_limit(renewed.map(|at| at.elapsed()));
        let renewed = match timeout(limit, self.acquire_or_renew(observed, is_stopping)).await {
            Ok(Ok(leads)) => {
                self.check.pass();
                leads.then_some(requested)
            }
            Ok(Err(error)) => {
                self.fail_check(&error_chain(&error));
                renewed
            }
            Err(_) => {
                self.fail_check("the API server did not answer");
                renewed
            }
        };
        renewed.filter(|at| !self.times.has_expired(at.elapsed()))
    }

    /// Reads the Lease and writes it if it can be acquired or renewed. Returns whether this replica holds it now. A replica
    /// that is stopping renews, but does not acquire.
    async fn acquire_or_renew(&self, observed: &mut Observed, is_stopping: bool) -> Result<bool, CallError> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = call(format!("read Lease `{}/{}`", self.namespace, self.name), api.get_opt(&self.name)).await?;
        let version = |lease: &Option<Lease>| lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if observed.since.is_none() || version(&observed.lease) != version(&found) {
            *observed = Observed { lease: found, since: Some(Instant::now()) };
        }
        let unchanged_for = observed.since.map(|since| since.elapsed()).unwrap_or_default();
        let spec = observed.lease.as_ref().and_then(|lease| lease.spec.as_ref());
        self.holder
            .send_replace(spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()));
        let lease = match next_action(spec, unchanged_for, &self.identity) {
            LeaseAction::Wait => return Ok(false),
            LeaseAction::Acquire if is_stopping => return Ok(false),
            LeaseAction::Acquire => self.held_lease(observed, true),
            LeaseAction::Renew => self.held_lease(observed, false),
        };
        let what = format!("write Lease `{}/{}`", self.namespace, self.name);
        let written = match &observed.lease {
            None => call(what, api.create(&PostParams::default(), &lease)).await,
            Some(_) => call(what, api.replace(&self.name, &PostParams::default(), &lease)).await,
        };
        match written {
            Ok(lease) => {
                *observed = Observed { lease: Some(lease), since: Some(Instant::now()) };
                self.holder.send_replace(Some(self.identity.clone()));
                Ok(true)
            }
            // Another replica was first. The next read shows which.
            Err(error) if error.is_conflict() || error.already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The Lease as this replica holds it from now on.
    fn held_lease(&self, observed: &Observed, is_new: bool) -> Lease {
        let mut lease = observed.lease.clone().unwrap_or_default();
        lease.metadata.name = Some(self.name.clone());
        let before = lease.spec.take().unwrap_or_default();
        let now = Some(MicroTime(clock::now()));
        let transitions = before.lease_transitions.unwrap_or_default() + i32::from(is_new && observed.lease.is_some());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.times.lease_duration.as_secs().max(1)).ok(),
            acquire_time: if is_new { now.clone() } else { before.acquire_time },
            renew_time: now,
            lease_transitions: Some(transitions),
            ..before
        });
        lease
    }

    /// Releases the Lease, so that the next leader need not wait. If this fails, the Lease expires by itself.
    async fn release(&self, observed: &Observed) {
        let Some(mut lease) = observed.lease.clone() else { return };
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let released = call("release the Lease", api.replace(&self.name, &PostParams::default(), &lease)).await;
        match released {
            Ok(_) => tracing::info!("Released Lease `{}/{}`", self.namespace, self.name),
            Err(error) => tracing::info!("{}", error_chain(&error)),
        }
    }

    fn publish(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|now| std::mem::replace(now, leads) != leads);
        if changed {
            let words = if leads { "Became the leader" } else { "Stopped leading" };
            tracing::info!(lease = self.name, "{words}: Lease `{}/{}`", self.namespace, self.name);
        }
    }

    fn fail_check(&self, words: &str) {
        self.check.fail(format!("Lease `{}/{}`: {words}", self.namespace, self.name));
    }
}
