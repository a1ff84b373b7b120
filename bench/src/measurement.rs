//! The measurements of one run: requests per CPU second, latency at a fixed rate, and memory, of each server.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use crate::load::quantile;
use crate::results::{Measurements, PerServer, Results};
use crate::servers::{RunningServers, Server};

/// An API server keeps some connections open to a webhook.
const CONNECTIONS: [usize; 3] = [1, 25, 50];
/// Rounds at each number of connections. In each round every server is measured once.
const ROUNDS: usize = 60;
/// For one server in one round. Other load on a machine usually lasts longer than a round, and so affects all servers.
const ROUND: Duration = Duration::from_millis(200);
/// Requests a second in the measurement of latency.
const RATE: u32 = 500;
/// Rounds of the measurement of latency; the median counts.
const LATENCY_ROUNDS: usize = 3;
const LATENCY_ROUND: Duration = Duration::from_secs(10);
const LATENCY_CONNECTIONS: usize = 25;
/// From the start until memory counts as that of an idle process.
const IDLE_AFTER: Duration = Duration::from_secs(10);

pub(crate) async fn measure(snapwatcher: &Path, controller_runtime: &Path) -> Result<Results, Box<dyn Error>> {
    let running = RunningServers::start(snapwatcher, controller_runtime).await?;
    let servers = running.each.as_array();
    let mut measured: PerServer<Measurements> = PerServer::default();
    tokio::time::sleep(IDLE_AFTER).await;
    for (server, measurements) in servers.into_iter().zip(measured.as_mut_array()) {
        measurements.memory[0] = server.usage.memory()?.now;
    }
    for connections in CONNECTIONS {
        let rounds = per_cpu_second(servers, connections).await?;
        for (values, measurements) in rounds.into_iter().zip(measured.as_mut_array()) {
            measurements.per_cpu_second.push(values);
        }
    }
    let latencies = latencies(servers).await?;
    for ((server, latency), measurements) in servers.into_iter().zip(latencies).zip(measured.as_mut_array()) {
        measurements.latency = latency;
        measurements.memory[1] = server.usage.memory()?.now;
    }
    Ok(Results { connections: CONNECTIONS.to_vec(), rate: RATE, servers: measured })
}

/// Requests per second of each server's CPU time, one value for each round.
async fn per_cpu_second(servers: [&Server; 3], connections: usize) -> Result<[Vec<f64>; 3], Box<dyn Error>> {
    let mut clients = Vec::new();
    for server in servers {
        clients.push(server.target.connect(connections).await?);
    }
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for ((server, clients), values) in servers.into_iter().zip(&clients).zip(&mut rounds) {
            let before = server.usage.cpu_time()?;
            let responses = server.target.saturate(clients, ROUND).await?;
            let used = server.usage.cpu_time()?.saturating_sub(before);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            values.push(responses as f64 / used.as_secs_f64());
        }
    }
    Ok(rounds)
}

/// p50, p99 and p99.9 of each server: of each the median of all rounds.
async fn latencies(servers: [&Server; 3]) -> Result<[[Duration; 3]; 3], Box<dyn Error>> {
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..LATENCY_ROUNDS {
        for (server, values) in servers.into_iter().zip(&mut rounds) {
            let latencies = server.target.latencies_at_rate(RATE, LATENCY_CONNECTIONS, LATENCY_ROUND).await?;
            values.push([0.5, 0.99, 0.999].map(|part| quantile(&latencies, part)));
        }
    }
    Ok(rounds.map(|rounds| [0, 1, 2].map(|part| median(rounds.iter().map(|round| round[part])))))
}

fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = values.collect();
    sorted.sort();
    quantile(&sorted, 0.5)
}
