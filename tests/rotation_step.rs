//! SnapWatcher is killed (SIGKILL) at each write of a rotation, and the write or its response is lost. The next start
//! continues the rotation, and every new connection trusts the replica meanwhile. After a change of the caBundle, the
//! publish wait starts again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use lab::proxy::{HeldCall, Proxy, Verb, When};
use lab::storm::Size;
use lab::{
    CA_SECRET as SECRET, Namespace, Snapwatcher, SnapwatcherCa, SnapwatcherOptions, fresh_api_server, in_namespace,
};
use serde_json::json;
use snapwatcher_certificates::{CaCertificate, rotate};
use snapwatcher_kubernetes::cluster::{Cluster, WATCH_TIMEOUT};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// A CA lives much longer than the test, so that its expiry does not hide a rotation that was not continued.
const CA_LIFE: Duration = Duration::from_secs(600);
const LIVES: [&str; 4] = ["--ca-life=600s", "--serving-certificate-life=3s", "--publish-wait=1s", "--level-check=1s"];

/// A write of a rotation.
#[derive(Clone, Copy, Debug)]
enum Write {
    Fill,
    Publish,
    Bundle,
    MarkPublished,
    Switch,
    Retire,
}

/// What happened to the write at which the process was killed.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    Arrived,
}

impl Write {
    /// Selects its request.
    fn request(self) -> When {
        let secret = || When::call(Verb::Update, "secrets");
        match self {
            Self::Publish => secret().holding(r#""next.crt""#),
            Self::Bundle => When::call(Verb::Patch, "mutatingwebhookconfigurations"),
            Self::MarkPublished => secret().holding(r#""next.published""#),
            Self::Switch => secret().holding(r#""previous.crt""#),
            // The first write of all, and the first one after the switch.
            Self::Fill | Self::Retire => secret(),
        }
    }
}

/// The Secret with the CAs.
struct CaSecret(Api<Secret>);

impl CaSecret {
    async fn data(&self) -> BTreeMap<String, ByteString> {
        self.0.get_opt(SECRET).await.unwrap().and_then(|secret| secret.data).unwrap_or_default()
    }

    /// Fills it with a CA that is due for renewal and valid for ten more minutes.
    async fn seed(&self) {
        let (hours, minutes) = (SignedDuration::from_hours, SignedDuration::from_mins);
        let now = snapwatcher_daemon::clock::now();
        // Made 30 minutes ago, so that two thirds of its life have passed.
        let pair = SnapwatcherCa::new(1, now, hours(-1) - minutes(30), minutes(10)).unwrap();
        let data = [("current.crt", pair.certificate), ("current.key", pair.key)];
        let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
        let mut secret = self.0.get(SECRET).await.unwrap();
        secret.data = Some(data.into());
        self.0.replace(SECRET, &PostParams::default(), &secret).await.unwrap();
    }

    async fn until_key(&self, key: &str) {
        lab::until(&format!("the Secret holds `{key}`"), async || self.data().await.contains_key(key)).await;
    }

    /// Waits until the second CA signs and the first one is retired.
    async fn until_rotated(&self, how: &str) {
        lab::until("the second CA signs alone", async || {
            let data = self.data().await;
            let pem = data.get("current.crt").map(|pem| String::from_utf8(pem.0.clone()).unwrap()).unwrap_or_default();
            let generation = CaCertificate::parse(&pem).map(|authority| authority.generation());
            let keys: Vec<&str> = data.keys().map(String::as_str).collect();
            if generation == Ok(2) && keys == ["current.crt", "current.key"] {
                Ok(())
            } else {
                Err(format!("{how}: {keys:?} of CA {generation:?}"))
            }
        })
        .await;
    }
}

/// Starts SnapWatcher, kills it at this write, and starts it again.
async fn killed_at(ns: &Namespace, proxy: &Proxy, secret: &CaSecret, write: Write, fate: Fate) -> Arc<Snapwatcher> {
    let hold = || -> HeldCall {
        match fate {
            Fate::Lost => proxy.hold_request(write.request()),
            Fate::Arrived => proxy.hold_response(write.request()),
        }
    };
    let early = (!matches!(write, Write::Retire)).then(hold);
    let (binary, kubeconfig) = (SNAPWATCHER.into(), proxy.kubeconfig());
    let args = LIVES.map(str::to_owned).to_vec();
    let options = SnapwatcherOptions { binary, kubeconfig, args, ..SnapwatcherOptions::default() };
    let watcher = ns.launch_snapwatcher(options).await;
    if !matches!(write, Write::Fill | Write::Publish) {
        // So the first bundle that is written contains both CAs.
        secret.until_key("next.crt").await;
        ns.install_webhooks(&watcher).await;
    }
    let call = if let Some(call) = early {
        call
    } else {
        secret.until_key("previous.crt").await;
        hold()
    };
    call.received().await;
    watcher.kill().await.unwrap();
    match fate {
        Fate::Lost => call.lose(),
        Fate::Arrived => call.deliver(),
    }
    if matches!(write, Write::Fill | Write::Publish) {
        ns.install_webhooks(&watcher).await;
    }
    watcher.start_again().await.unwrap();
    ns.admission_works().await;
    watcher
}

async fn recovers(ns: &Namespace, write: Write, fate: Fate) {
    let secret = CaSecret(ns.api());
    if !matches!(write, Write::Fill) {
        secret.seed().await;
    }
    let proxy = Proxy::start(ns.access()).await;
    let watcher = killed_at(ns, &proxy, &secret, write, fate).await;
    let continued = async {
        if matches!(write, Write::Fill) {
            // No rotation has started yet.
            let (client, watch_timeout) = (ns.client(), WATCH_TIMEOUT);
            let cluster =
                Cluster { calls: client.clone(), watches: client, watch_timeout, ca_certificates: None, proxy: None };
            assert_eq!(rotate(&cluster, ns.name(), SECRET, CA_LIFE).await.unwrap(), 2);
        }
        secret.until_rotated(&format!("{write:?}, {fate:?}")).await;
    };
    let replicas = [Arc::clone(&watcher)];
    tokio::select! {
        () = continued => {}
        refused = fresh_api_server::first_refusal(ns, &replicas, Duration::ZERO) => panic!("a fresh API server does not trust a replica: {refused}"),
    }
    ns.admission_works().await;
    let restarts = watcher.metric(r#"snapwatcher_certificate_rotation_steps_total{step="restart"}"#).await;
    assert_eq!(restarts.unwrap(), Some(0.0));
    assert!(!watcher.log().contains("without an overlap"), "{}", watcher.log());
    watcher.kill().await.unwrap();
}

async fn killed(name: &str, write: Write) {
    for _ in 0..Size::chosen().of(1, 3) {
        for fate in [Fate::Lost, Fate::Arrived] {
            in_namespace(&format!("{name}_{fate:?}").to_lowercase(), move |ns| async move {
                recovers(&ns, write, fate).await;
            })
            .await;
        }
    }
}

#[tokio::test]
async fn killed_while_the_secret_is_filled() {
    killed("killed_while_filling", Write::Fill).await;
}

#[tokio::test]
async fn killed_while_the_next_ca_is_published() {
    killed("killed_while_publishing", Write::Publish).await;
}

#[tokio::test]
async fn killed_while_the_bundle_is_written_into_the_configuration() {
    killed("killed_while_patching", Write::Bundle).await;
}

#[tokio::test]
async fn killed_while_the_publication_is_recorded() {
    killed("killed_while_recording", Write::MarkPublished).await;
}

#[tokio::test]
async fn killed_while_switching() {
    killed("killed_while_switching", Write::Switch).await;
}

#[tokio::test]
async fn killed_while_the_previous_ca_is_retired() {
    killed("killed_while_retiring", Write::Retire).await;
}

/// Whether the process runs when its bundle is removed from the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    Killed,
    Running,
}

const WAIT: Duration = Duration::from_secs(6);

/// Removes the bundle before the switch. The switch then has to wait for `WAIT` after the bundle is there again.
async fn the_wait_starts_again(name: &str, process: Process) {
    in_namespace(name, |ns| async move {
        let secret = CaSecret(ns.api());
        secret.seed().await;
        let proxy = Proxy::start(ns.access()).await;
        let args = ["--ca-life=600s", "--serving-certificate-life=60s", "--publish-wait=6s", "--level-check=1s"];
        let (args, kubeconfig) = (args.map(str::to_owned).to_vec(), proxy.kubeconfig());
        let binary = SNAPWATCHER.into();
        let options = SnapwatcherOptions { binary, args, kubeconfig, ..SnapwatcherOptions::default() };
        // Without the response to this write the process does not switch, however slow the machine is.
        let recorded = proxy.hold_response(Write::MarkPublished.request());
        let watcher = ns.launch_snapwatcher(options).await;
        ns.install_webhooks(&watcher).await;
        recorded.received().await;
        if process == Process::Killed {
            watcher.kill().await.unwrap();
            recorded.deliver();
        }
        let data = secret.data().await;
        assert!(data.contains_key("next.published") && !data.contains_key("previous.crt"), "before the switch");
        // From here on, a wait that did not start again would end before `WAIT` has passed since the removal.
        tokio::time::sleep(if process == Process::Killed { WAIT } else { WAIT / 2 }).await;
        let removed = Instant::now();
        let removal = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
        let removal = Patch::Json::<()>(serde_json::from_value(removal).unwrap());
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(ns.client());
        mutating.patch(ns.name(), &PatchParams::default(), &removal).await.unwrap();
        if process == Process::Killed {
            watcher.start_again().await.unwrap();
        }
        ns.until("the configuration has a caBundle again", async || lab::ca_bundle(&ns).await).await;
        if process == Process::Running {
            recorded.deliver();
        }
        secret.until_key("previous.crt").await;
        assert!(removed.elapsed() >= WAIT, "switched {:?} after the bundle was removed", removed.elapsed());
        watcher.kill().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_wait_starts_again_if_the_bundle_was_removed_while_the_process_was_down() {
    the_wait_starts_again("the_wait_starts_again_after_a_kill", Process::Killed).await;
}

#[tokio::test]
async fn the_wait_starts_again_if_the_bundle_was_written_again() {
    the_wait_starts_again("the_wait_starts_again_while_running", Process::Running).await;
}
