//! Clients that are slow, silent or rude take no time from a polite one, hold no more descriptors than connections, and
//! are disconnected. The polite client opens a connection for each call, so that it notices if no connection is free.
//!
//! The long form has more clients of each kind than the port takes connections, and a thousand of slowhttptest.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::objects::pod;
use lab::storm::Size;
use lab::terminal::print_result;
use lab::{
    Launch, Namespace, Process, Snapwatcher, SnapwatcherOptions, WebhookClient, in_namespace, review_of_creation,
    try_until,
};
use snapwatcher_admission::{HEALTH, MUTATE};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// How long the API server waits for a webhook here.
const CALL_LIMIT: Duration = Duration::from_secs(3);

/// The p99 of the polite client must not be twice that at another process of the same machine, unless it stays below this limit, a
/// three-hundredth of [`CALL_LIMIT`]. A thousand handshakes and requests take time too, in a debug build.
const UNNOTICED: Duration = Duration::from_millis(10);

/// Between two pieces that a slow client sends.
const PACE: Duration = Duration::from_secs(1);

/// Descriptors of the process besides those of rude clients: for the API server, probes and the polite client.
const OWN_DESCRIPTORS: usize = 40;

/// How many connections the port takes.
const MOST_CONNECTIONS: u16 = 1024;

/// More clients than the port takes connections.
const CROWD: u32 = 1_100;

/// Clients of each kind of slowhttptest, which starts no more.
const SLOW_CROWD: u32 = 1_000;

/// The duration of an attack in the long form.
const ATTACK: Duration = Duration::from_secs(40);

/// Longer than any timeout of the port.
const REAPED_WITHIN: Duration = Duration::from_secs(150);

#[derive(Debug, Clone, Copy)]
enum Rude {
    ConnectOnly,
    HalfHandshake,
    SlowHead,
    SlowBody,
    ReadsNothing,
}

const ALL: [Rude; 5] = [Rude::ConnectOnly, Rude::HalfHandshake, Rude::SlowHead, Rude::SlowBody, Rude::ReadsNothing];

impl Rude {
    /// Between two clients. All have to be connected before the first one is disconnected, 10 s later. A handshake takes
    /// longer than a connection.
    fn pace(self) -> Duration {
        Duration::from_millis(match self {
            Self::ConnectOnly | Self::HalfHandshake => 3,
            Self::SlowHead | Self::SlowBody | Self::ReadsNothing => 8,
        })
    }

    /// Misbehaves until the server closes the connection, or forever.
    async fn behave(self, webhook_client: WebhookClient) -> io::Result<()> {
        match self {
            Self::ConnectOnly | Self::HalfHandshake => {
                let mut tcp = TcpStream::connect(webhook_client.address()).await?;
                if matches!(self, Self::HalfHandshake) {
                    // Only the head of a record and of a ClientHello.
                    tcp.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await?;
                }
                std::future::pending().await
            }
            Self::SlowHead | Self::SlowBody | Self::ReadsNothing => {
                let mut stream = webhook_client.connect(webhook_client.tls(&["http/1.1"])).await?;
                if matches!(self, Self::ReadsNothing) {
                    stream.write_all(format!("GET {HEALTH} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(10).as_bytes()).await?;
                    return std::future::pending().await;
                }
                let (head, piece) = if matches!(self, Self::SlowHead) {
                    (format!("POST {MUTATE} HTTP/1.1\r\nhost: x\r\n"), "x-more: y\r\n")
                } else {
                    let typed = "content-type: application/json\r\ncontent-length: 50000";
                    (format!("POST {MUTATE} HTTP/1.1\r\nhost: x\r\n{typed}\r\n\r\n{{"), " ")
                };
                stream.write_all(head.as_bytes()).await?;
                loop {
                    sleep(PACE).await;
                    stream.write_all(piece.as_bytes()).await?;
                    stream.flush().await?;
                }
            }
        }
    }
}

/// A SnapWatcher under attack and one that is not, each with a polite client.
struct Scene {
    watcher: Arc<Snapwatcher>,
    webhook_client: WebhookClient,
    other_client: WebhookClient,
}

/// How long polite calls took, sorted.
struct Times {
    attacked: Vec<Duration>,
    other: Vec<Duration>,
}

impl Scene {
    async fn set(ns: &Namespace, args: &[&str]) -> Self {
        let watcher = ns.start_snapwatcher(SNAPWATCHER, args).await;
        let args = args.iter().map(|argument| (*argument).to_owned()).collect();
        let options = SnapwatcherOptions { binary: SNAPWATCHER.into(), args, ..SnapwatcherOptions::default() };
        let other = ns.launch_snapwatcher(options).await;
        other.ready().await.unwrap();
        let client = async |of: &Snapwatcher| WebhookClient::of(ns, of).await.unwrap().without_keep_alive().unwrap();
        let (webhook_client, other_client) = (client(&watcher).await, client(&other).await);
        Self { watcher, webhook_client, other_client }
    }

    /// Calls both politely, one after the other, until `done`: other work of the machine delays both.
    async fn polite(&self, mut done: impl AsyncFnMut() -> bool) -> Times {
        let review = review_of_creation("uid-1", "shop", &pod("web").labelled().build());
        let call = async |client: &WebhookClient| {
            let started = Instant::now();
            let reply = client.review(MUTATE, &review).await.unwrap();
            assert_eq!(reply.status, 200, "{}", reply.body);
            started.elapsed()
        };
        let mut times = Times { attacked: Vec::new(), other: Vec::new() };
        while !done().await {
            times.attacked.push(call(&self.webhook_client).await);
            times.other.push(call(&self.other_client).await);
        }
        times.attacked.sort();
        times.other.sort();
        times
    }

    async fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.watcher.pid().await)).unwrap().count()
    }

    async fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.watcher.pid().await)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    async fn connections(&self) -> f64 {
        self.watcher.metric("snapwatcher_https_open_connections").await.unwrap().unwrap()
    }

    /// Waits until only the connections of polite clients are open.
    async fn reaped(&self) {
        try_until("the slow clients are disconnected", REAPED_WITHIN, async || {
            let open = self.connections().await;
            if open <= 4.0 { Ok(()) } else { Err(format!("{open} connections")) }
        })
        .await
        .unwrap();
    }

    /// Asserts that the polite client was answered as at the other process, and prints the figures.
    async fn assert_unharmed(&self, case: &str, connections: f64, times: &Times) {
        let descriptors = self.descriptors().await;
        let (attacked, other) = (percentile(&times.attacked, 99), percentile(&times.other, 99));
        let slowest = percentile(&times.attacked, 100);
        print_result(&format!(
            "rude_clients: {case}: {connections} connections, {} polite calls, p99 {attacked:.1?} (another process: {other:.1?}), \
             slowest {slowest:.1?}; {descriptors} descriptors, {} MiB",
            times.attacked.len(),
            self.resident_kib().await / 1024,
        ));
        assert!(slowest < CALL_LIMIT, "{case}: {slowest:?}");
        assert!(descriptors <= usize::from(MOST_CONNECTIONS) + OWN_DESCRIPTORS, "{case}: {descriptors}");
        if Size::chosen() == Size::Long {
            assert!(times.attacked.len() >= 500, "{case}: too few answers to judge");
            assert!(attacked < (other * 2).max(UNNOTICED), "{case}: {attacked:?}, another process {other:?}");
        }
    }
}

/// How many rude clients there should be, and how many there were at the most.
#[derive(Debug)]
struct RudeClients {
    expected: f64,
    most: f64,
    started: Instant,
    looked: Instant,
}

impl RudeClients {
    fn of(expected: f64) -> Self {
        let now = Instant::now();
        Self { expected, most: 0.0, started: now, looked: now }
    }

    /// Whether all clients were there and the time has passed. Reads the metric only now and then, because that takes time.
    async fn has_been(&mut self, time: Duration, scene: &Scene) -> bool {
        if self.looked.elapsed() > Duration::from_millis(250) {
            self.most = self.most.max(scene.connections().await);
            self.looked = Instant::now();
        }
        self.started.elapsed() > time && (self.is_complete() || self.started.elapsed() > time * 4)
    }

    fn is_complete(&self) -> bool {
        self.most > self.expected.min(f64::from(MOST_CONNECTIONS)) * 0.9
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Starts rude clients a few at a time, so that all of them are accepted.
fn attack(webhook_client: &WebhookClient, kinds: &[Rude], of_each: u32) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..of_each {
        for &kind in kinds {
            let webhook_client = webhook_client.clone();
            clients.spawn(async move {
                sleep(kind.pace() * number).await;
                // The server may close the connection in any way.
                drop(kind.behave(webhook_client).await);
            });
        }
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rude_clients_delay_no_other_client_and_are_disconnected() {
    in_namespace("rude_clients_delay_no_other_client_and_are_disconnected", |ns| async move {
        let size = Size::chosen();
        let shortened = ["--idle-timeout=8s", "--body-timeout=8s"];
        let scene = Scene::set(&ns, size.of(&shortened[..], &[])).await;
        // Short: all kinds at once, then more of the cheapest kind than the port takes. Long: that many of each kind.
        let crowds = ALL.chunks(1).map(|kind| (kind, CROWD));
        let waves = size.of(vec![(&ALL[..], 60), (&ALL[..1], CROWD)], crowds.collect());
        for (kinds, of_each) in waves {
            let attackers = attack(&scene.webhook_client, kinds, of_each);
            let mut clients = RudeClients::of(f64::from(of_each) * f64::from(u32::try_from(kinds.len()).unwrap()));
            let attack = size.of(Duration::from_secs(4), ATTACK);
            let times = scene.polite(async || clients.has_been(attack, &scene).await).await;
            assert!(clients.is_complete(), "{kinds:?}: {clients:?}");
            scene.assert_unharmed(&format!("{kinds:?}"), clients.most, &times).await;
            scene.reaped().await;
            drop(attackers);
        }
        if size == Size::Long {
            attack_with_slowhttptest(&scene).await;
        }
        assert!(scene.descriptors().await <= OWN_DESCRIPTORS);
    })
    .await;
}

/// A thousand connections of each of slowhttptest's three kinds.
async fn attack_with_slowhttptest(scene: &Scene) {
    for (case, path, args) in [
        ("slow heads", MUTATE, "-H"),
        ("slow bodies", MUTATE, "-B -f application/json"),
        ("slow reading", HEALTH, "-X -k 10 -w 1 -y 64 -n 5"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("https://{}{path}", scene.webhook_client.address());
        let common = format!("-c {SLOW_CROWD} -r 200 -i 5 -l {} -p 3 -u {url}", ATTACK.as_secs());
        let args = args.split(' ').chain(common.split(' '));
        let launch = Launch::new("slowhttptest", Path::new("slowhttptest"), &folder.path().join("log")).args(args);
        let mut attacker = Process::start(launch).await.unwrap();
        let mut clients = RudeClients::of(f64::from(SLOW_CROWD));
        let times =
            scene.polite(async || clients.has_been(ATTACK, scene).await || attacker.ended().unwrap().is_some()).await;
        let log = attacker.last_lines(20);
        assert!(clients.is_complete(), "{clients:?}; is Debian's package `slowhttptest` installed?\n{log}");
        scene.assert_unharmed(case, clients.most, &times).await;
        attacker.kill().await.unwrap();
        scene.reaped().await;
    }
}
