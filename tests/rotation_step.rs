//! Killed (SIGKILL) at each write of a rotation, with the write lost or its answer: the next start goes on from there, long
//! before a CA expires, and whoever connects anew comes through all the time. What it finds changed is waited for anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use lab::proxy::{Proxy, Stop, Verb, When};
use lab::storm::Size;
use lab::{AuthorityPair, Namespace, Snapwatcher, SnapwatcherOptions, in_namespace, newcomer};
use serde_json::json;
use snapwatcher_certificates::{CaCertificate, rotate};
use snapwatcher_kubernetes::cluster::{Cluster, WATCH_TIMEOUT};

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const SECRET: &str = "snapwatcher-webhook-ca";
/// A CA outlives the test by far: what is not resumed is not made up for by its end.
const CA_LIFE: Duration = Duration::from_secs(600);
const LIVES: [&str; 4] = ["--ca-life=600s", "--serving-certificate-life=3s", "--publish-wait=1s", "--level-check=1s"];

/// A write of a rotation.
#[derive(Clone, Copy, Debug)]
enum Write {
    Create,
    Publish,
    Bundle,
    Note,
    Switch,
    Retire,
}

/// What became of the write at which the process was killed.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    Arrived,
}

impl Write {
    /// Which request it is.
    fn request(self) -> When {
        let secret = || When::call(Verb::Update, "secrets");
        match self {
            Self::Create => When::call(Verb::Create, "secrets"),
            Self::Publish => secret().holding(r#""next.crt""#),
            Self::Bundle => When::call(Verb::Patch, "mutatingwebhookconfigurations"),
            Self::Note => secret().holding(r#""next.published""#),
            Self::Switch => secret().holding(r#""previous.crt""#),
            // Whatever is written after the switch.
            Self::Retire => secret(),
        }
    }
}

/// The Secret with the CAs.
struct CaSecret(Api<Secret>);

impl CaSecret {
    async fn data(&self) -> BTreeMap<String, ByteString> {
        self.0.get_opt(SECRET).await.unwrap().and_then(|secret| secret.data).unwrap_or_default()
    }

    /// Puts a CA into it that is to be followed now, and is valid for minutes.
    async fn seed(&self) {
        let (hours, minutes) = (SignedDuration::from_hours, SignedDuration::from_mins);
        let now = snapwatcher_daemon::clock::now();
        // From an hour before it was made, 30 minutes ago; so two thirds of its life are over.
        let pair = AuthorityPair::new(1, now, hours(-1) - minutes(30), minutes(10)).unwrap();
        let data = [("current.crt", pair.certificate), ("current.key", pair.key)];
        let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
        let metadata = ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() };
        let secret = Secret { metadata, data: Some(data.into()), ..Secret::default() };
        self.0.create(&PostParams::default(), &secret).await.unwrap();
    }

    async fn until_key(&self, key: &str) {
        lab::until(&format!("the Secret holds `{key}`"), async || self.data().await.contains_key(key)).await;
    }

    /// Waits until the second CA signs and nothing is left of the first.
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
    let stopping = || -> Stop {
        match fate {
            Fate::Lost => proxy.stop_before(write.request()),
            Fate::Arrived => proxy.stop_after(write.request()),
        }
    };
    let early = (!matches!(write, Write::Retire)).then(stopping);
    let (binary, kubeconfig) = (SNAPWATCHER.into(), proxy.kubeconfig());
    let args = LIVES.map(str::to_owned).to_vec();
    let options = SnapwatcherOptions { binary, kubeconfig, args, ..SnapwatcherOptions::default() };
    let watcher = ns.launch_snapwatcher(options).await;
    if !matches!(write, Write::Create | Write::Publish) {
        // So the first bundle that is put in is that of both CAs.
        secret.until_key("next.crt").await;
        ns.install_webhooks(&watcher).await;
    }
    let stop = if let Some(stop) = early {
        stop
    } else {
        secret.until_key("previous.crt").await;
        stopping()
    };
    stop.reached().await;
    watcher.kill().await.unwrap();
    match fate {
        Fate::Lost => stop.lose(),
        Fate::Arrived => stop.deliver(),
    }
    if matches!(write, Write::Create | Write::Publish) {
        ns.install_webhooks(&watcher).await;
    }
    watcher.start_again().await.unwrap();
    ns.admission_works().await;
    watcher
}

async fn recovers(ns: &Namespace, write: Write, fate: Fate) {
    let secret = CaSecret(ns.api());
    if !matches!(write, Write::Create) {
        secret.seed().await;
    }
    let proxy = Proxy::start(ns.access()).await;
    let watcher = killed_at(ns, &proxy, &secret, write, fate).await;
    let goes_on = async {
        if matches!(write, Write::Create) {
            // Nothing was under way yet.
            let (client, watch_timeout) = (ns.client(), WATCH_TIMEOUT);
            let cluster = Cluster { calls: client.clone(), watches: client, watch_timeout, trusted: None };
            assert_eq!(rotate(&cluster, ns.name(), SECRET, CA_LIFE).await.unwrap(), 2);
        }
        secret.until_rotated(&format!("{write:?}, {fate:?}")).await;
    };
    let replicas = [Arc::clone(&watcher)];
    tokio::select! {
        () = goes_on => {}
        refused = newcomer::refused(ns, &replicas, Duration::ZERO) => panic!("a newcomer was refused: {refused}"),
    }
    ns.admission_works().await;
    let started_over = watcher.metric(r#"snapwatcher_certificate_rotation_steps_total{step="start-over"}"#).await;
    assert_eq!(started_over.unwrap(), Some(0.0));
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
async fn killed_while_the_secret_is_created() {
    killed("killed_while_creating", Write::Create).await;
}

#[tokio::test]
async fn killed_while_the_next_authority_is_published() {
    killed("killed_while_publishing", Write::Publish).await;
}

#[tokio::test]
async fn killed_while_the_bundle_is_put_into_the_configuration() {
    killed("killed_while_patching", Write::Bundle).await;
}

#[tokio::test]
async fn killed_while_the_bundle_is_noted_as_read_back() {
    killed("killed_while_noting", Write::Note).await;
}

#[tokio::test]
async fn killed_while_switching() {
    killed("killed_while_switching", Write::Switch).await;
}

#[tokio::test]
async fn killed_while_the_previous_authority_is_retired() {
    killed("killed_while_retiring", Write::Retire).await;
}

/// Where the process is while its bundle is not in the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Process {
    Away,
    There,
}

/// Takes the bundle out before a switch is due: the wait for it begins anew when it stands there again.
async fn waited_for_anew(name: &str, process: Process) {
    in_namespace(name, |ns| async move {
        let wait = Duration::from_secs(6);
        let secret = CaSecret(ns.api());
        secret.seed().await;
        let args = ["--ca-life=600s", "--serving-certificate-life=60s", "--publish-wait=6s", "--level-check=1s"];
        let args = args.map(str::to_owned).to_vec();
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
        let watcher = ns.launch_snapwatcher(options).await;
        ns.install_webhooks(&watcher).await;
        secret.until_key("next.published").await;
        let noted = Instant::now();
        if process == Process::Away {
            watcher.kill().await.unwrap();
        }
        let now = secret.data().await;
        assert!(now.contains_key("next.published") && !now.contains_key("previous.crt"), "before the switch");
        // While the process is away its time may run out, and would be over at its return.
        tokio::time::sleep(if process == Process::Away { wait } else { wait / 2 }).await;
        let removal = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
        let removal = Patch::Json::<()>(serde_json::from_value(removal).unwrap());
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(ns.client());
        mutating.patch(ns.name(), &PatchParams::default(), &removal).await.unwrap();
        if process == Process::Away {
            watcher.start_again().await.unwrap();
        } else {
            assert!(noted.elapsed() < wait, "the machine is too slow to tell");
        }
        ns.until("a bundle stands there again", async || lab::ca_bundle(&ns).await).await;
        let stands = Instant::now();
        secret.until_key("previous.crt").await;
        // Looked at each quarter of a second, and noted by whole seconds.
        assert!(stands.elapsed() + Duration::from_secs(1) > wait, "switched after {:?}", stands.elapsed());
        watcher.kill().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_bundle_that_was_without_the_next_authority_meanwhile_is_waited_for_anew() {
    waited_for_anew("a_bundle_without_the_next_authority", Process::Away).await;
}

#[tokio::test]
async fn a_bundle_that_was_put_back_is_waited_for_anew() {
    waited_for_anew("a_bundle_that_was_put_back", Process::There).await;
}
