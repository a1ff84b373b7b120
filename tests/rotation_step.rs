//! Killed (SIGKILL) at each write of a rotation, with the write lost or its answer: the next start goes on from there, and
//! in the end the API server comes through by a later CA.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use lab::proxy::{Proxy, Stop, Verb, When};
use lab::storm::Size;
use lab::{Caller, Namespace, SnapwatcherOptions, in_namespace};
use snapwatcher::certificates::CaCertificate;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

const SECRET: &str = "snapwatcher-webhook-ca";
/// A CA is followed every 8 s.
const LIVES: [&str; 4] = ["--ca-life=12s", "--leaf-life=3s", "--publish-wait=1s", "--level-check=1s"];

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
    /// Holds the next such write.
    async fn stop(self, ns: &Namespace, proxy: &Proxy, fate: Fate) -> Stop {
        let secret = || When::call(Verb::Update, "secrets");
        let when = match self {
            Self::Create => When::call(Verb::Create, "secrets"),
            Self::Publish => secret().holding(r#""next.crt""#),
            Self::Bundle => When::call(Verb::Patch, "mutatingwebhookconfigurations"),
            Self::Note => secret().holding(r#""next.published""#),
            Self::Switch => secret().holding(r#""previous.crt""#),
            Self::Retire => {
                until_key(ns, "previous.crt").await;
                secret()
            }
        };
        match fate {
            Fate::Lost => proxy.stop_before(when),
            Fate::Arrived => proxy.stop_after(when),
        }
    }
}

async fn until_key(ns: &Namespace, key: &str) {
    lab::until(&format!("the Secret holds `{key}`"), async || {
        let data = ns.api::<Secret>().get_opt(SECRET).await.ok().flatten().and_then(|secret| secret.data);
        data.is_some_and(|data| data.contains_key(key))
    })
    .await;
}

/// The generation of the CA that signs.
async fn generation(secrets: &Api<Secret>) -> u64 {
    let data = secrets.get_opt(SECRET).await.unwrap().and_then(|secret| secret.data).unwrap_or_default();
    let pem = data.get("current.crt").map(|pem| String::from_utf8(pem.0.clone()).unwrap());
    pem.map_or(0, |pem| CaCertificate::parse(&pem).unwrap().generation())
}

async fn killed_at(ns: &Namespace, write: Write, fate: Fate) {
    let proxy = Proxy::start(ns.access()).await;
    let stop = if matches!(write, Write::Create) { Some(write.stop(ns, &proxy, fate).await) } else { None };
    let (binary, kubeconfig) = (SNAPWATCHER.into(), proxy.kubeconfig());
    let args = LIVES.map(str::to_owned).to_vec();
    let options = SnapwatcherOptions { binary, kubeconfig, args, ..SnapwatcherOptions::default() };
    let watcher = ns.launch_snapwatcher(options).await;
    ns.install_webhooks(&watcher).await;
    let stop = if let Some(stop) = stop {
        stop
    } else {
        watcher.ready().await.unwrap();
        write.stop(ns, &proxy, fate).await
    };
    stop.reached().await;
    watcher.kill().await.unwrap();
    match fate {
        Fate::Lost => stop.lose(),
        Fate::Arrived => stop.deliver(),
    }
    let secrets: Api<Secret> = ns.api();
    let before = generation(&secrets).await;
    watcher.start_again().await.unwrap();
    ns.admission_works().await;
    lab::until("a later CA signs", async || {
        let now = generation(&secrets).await;
        if now > before { Ok(()) } else { Err(format!("{write:?}, {fate:?}: CA {now}")) }
    })
    .await;
    ns.admission_works().await;
    // A new connection, verified by the bundle that stands there now.
    let caller = Caller::of(ns, &watcher).await.unwrap();
    caller.slowest_of(1, ns.name(), &["/mutate"]).await.unwrap();
    watcher.kill().await.unwrap();
}

async fn killed(name: &str, write: Write) {
    for fate in Size::chosen().of(&[Fate::Arrived][..], &[Fate::Lost, Fate::Arrived]) {
        in_namespace(&format!("{name}_{fate:?}").to_lowercase(), move |ns| async move {
            killed_at(&ns, write, *fate).await;
        })
        .await;
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
