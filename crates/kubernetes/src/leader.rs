//! Which of several replicas leads: a Lease in the release's namespace, taken by compare-and-swap on resourceVersion.
//!
//! Losing it stops the watch and new attempts, not admission. Safety does not rest on it: an attempt is written before it
//! is made. A Lease of `coordination.k8s.io/v1`, see <https://kubernetes.io/docs/concepts/architecture/leases/>.

mod decision;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cluster::{CallError, call};
use snapwatcher_daemon::admin::CheckHandle;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;

use decision::{Turn, evaluate};

/// The times of an election. `duration` > `give_up` > `renew` > `poll`.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// How long a Lease that is not renewed is respected.
    pub duration: Duration,
    /// Between two renewals.
    pub renew: Duration,
    /// Between two looks at somebody else's Lease.
    pub poll: Duration,
    /// After so long without a renewal that is known to have succeeded we no longer lead.
    pub give_up: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            poll: Duration::from_secs(2),
            give_up: Duration::from_secs(10),
        }
    }
}

/// Stands for election until the process ends.
pub struct Leader {
    pub client: Client,
    pub namespace: String,
    pub name: String,
    /// Who we are: `<instance>/<boot id>`, so that a restarted process does not take its predecessor's Lease for its own.
    pub identity: String,
    pub times: Times,
    pub leads: watch::Sender<bool>,
    /// The holder of the Lease as last seen.
    pub holder: watch::Sender<Option<String>>,
    pub check: CheckHandle,
}

/// What was last seen of the Lease, and since when by our own clock.
#[derive(Default)]
struct Observed {
    lease: Option<Lease>,
    since: Option<Instant>,
}

impl Leader {
    /// Until the stop, and then for as long as work is being finished; the Lease is released after it.
    pub async fn run(
        self,
        stop: CancellationToken,
        work_is_done: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let mut observed = Observed::default();
        let mut renewed: Option<Instant> = None;
        loop {
            let is_over = stop.is_cancelled() && (work_is_done.is_cancelled() || renewed.is_none());
            if is_over {
                break;
            }
            // Before the request is sent: the Lease counts from no later than this.
            let asked = Instant::now();
            let left = renewed.map_or(self.times.renew, |at| self.times.give_up.saturating_sub(at.elapsed()));
            let turn = self.turn(&mut observed, stop.is_cancelled());
            match timeout(self.times.renew.min(left), turn).await {
                Ok(Ok(leads)) => {
                    renewed = leads.then_some(asked);
                    self.check.pass();
                }
                Ok(Err(error)) => self.tell(&error_chain(&error)),
                Err(_) => self.tell("the API server does not answer"),
            }
            if renewed.is_some_and(|at| at.elapsed() >= self.times.give_up) {
                renewed = None;
            }
            self.set(renewed.is_some());
            let wait = if renewed.is_some_and(|at| at == asked) { self.times.renew } else { self.times.poll };
            // Never past the moment at which we would have to give up.
            let left = renewed.map_or(wait, |at| self.times.give_up.saturating_sub(at.elapsed()));
            tokio::select! {
                () = sleep(wait.min(left)) => {}
                () = work_is_done.cancelled(), if stop.is_cancelled() => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
        self.set(false);
        if renewed.is_some() {
            self.release(&observed).await;
        }
        Ok(())
    }

    /// Looks at the Lease and does what its state asks for; whether it is ours now. A process that stops keeps what it
    /// has and takes nothing.
    async fn turn(&self, observed: &mut Observed, is_stopping: bool) -> Result<bool, CallError> {
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
        let written = match evaluate(spec, unchanged_for, &self.identity) {
            Turn::Wait => return Ok(false),
            Turn::Acquire if is_stopping => return Ok(false),
            Turn::Acquire => self.written(observed, true),
            Turn::Renew => self.written(observed, false),
        };
        let what = format!("write Lease `{}/{}`", self.namespace, self.name);
        let answer = match &observed.lease {
            None => call(what, api.create(&PostParams::default(), &written)).await,
            Some(_) => call(what, api.replace(&self.name, &PostParams::default(), &written)).await,
        };
        match answer {
            Ok(lease) => {
                *observed = Observed { lease: Some(lease), since: Some(Instant::now()) };
                self.holder.send_replace(Some(self.identity.clone()));
                Ok(true)
            }
            // Somebody was first: the next look shows who.
            Err(error) if error.is_conflict() || error.already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn written(&self, observed: &Observed, is_new: bool) -> Lease {
        let mut lease = observed.lease.clone().unwrap_or_default();
        lease.metadata.name = Some(self.name.clone());
        let before = lease.spec.take().unwrap_or_default();
        let now = Some(MicroTime(clock::now()));
        let transitions = before.lease_transitions.unwrap_or_default() + i32::from(is_new && observed.lease.is_some());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.times.duration.as_secs().max(1)).ok(),
            acquire_time: if is_new { now.clone() } else { before.acquire_time },
            renew_time: now,
            lease_transitions: Some(transitions),
            ..before
        });
        lease
    }

    /// Gives the Lease up, so that the next leader need not wait. Best effort: it runs out by itself.
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

    fn set(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|now| std::mem::replace(now, leads) != leads);
        if changed {
            let words = if leads { "Leading now" } else { "No longer leading" };
            tracing::info!(lease = self.name, "{words}: Lease `{}/{}`", self.namespace, self.name);
        }
    }

    fn tell(&self, words: &str) {
        self.check.fail(format!("Lease `{}/{}`: {words}", self.namespace, self.name));
    }
}
