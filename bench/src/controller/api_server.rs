//! What the API server does for a measurement: its CPU time and the calls that it answers.

use std::error::Error;
use std::time::{Duration, Instant};

use kube::Client;

use crate::process_usage::ProcessUsage;

const CALLS: &str = "apiserver_request_total{";

/// Calls that do not belong to the pods of a measurement: heartbeats of fake nodes, and watches, which are counted when they
/// end.
const IGNORED: [&str; 4] = [r#",resource="nodes""#, r#",resource="""#, r#",verb="WATCH""#, r#",verb="CONNECT""#];

#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) client: Client,
    pub(crate) usage: ProcessUsage,
    /// CPU time a second without any measurement, for heartbeats and the like.
    pub(crate) idle: f64,
}

/// The state of the API server's counters at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    at: Instant,
    cpu: Duration,
    calls: f64,
}

/// What the API server did between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) cpu_seconds: f64,
    pub(crate) calls: f64,
}

impl ApiServer {
    /// Measures the CPU time of an idle control plane for `time`.
    pub(crate) async fn idle_for(client: Client, pid: u32, time: Duration) -> Result<Self, Box<dyn Error>> {
        let usage = ProcessUsage { pid };
        let before = usage.cpu_time()?;
        tokio::time::sleep(time).await;
        let used = usage.cpu_time()?.saturating_sub(before);
        Ok(Self { client, usage, idle: used.as_secs_f64() / time.as_secs_f64() })
    }

    pub(crate) async fn read(&self) -> Result<Reading, Box<dyn Error>> {
        let request = axum::http::Request::get("/metrics").body(Vec::new())?;
        let calls = calls_in(&self.client.request_text(request).await?);
        Ok(Reading { at: Instant::now(), cpu: self.usage.cpu_time()?, calls })
    }

    /// The work since `before`, without that of an idle control plane.
    pub(crate) async fn work_since(&self, before: Reading) -> Result<Work, Box<dyn Error>> {
        Ok(work(before, self.read().await?, self.idle))
    }
}

fn work(before: Reading, after: Reading, idle: f64) -> Work {
    let elapsed = after.at.duration_since(before.at).as_secs_f64();
    let used = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    Work { cpu_seconds: (used - idle * elapsed).max(0.0), calls: after.calls - before.calls }
}

/// The number of calls in the text of `/metrics`.
fn calls_in(metrics: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(CALLS));
    let counted = lines.filter(|line| !IGNORED.iter().any(|label| line.contains(label)));
    counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_watches_and_reads_of_metrics_do_not_count() {
        let metrics = concat!(
            "# TYPE apiserver_request_total counter\n",
            "apiserver_request_total{code=\"201\",resource=\"pods\",subresource=\"\",verb=\"POST\"} 500\n",
            "apiserver_request_total{code=\"200\",resource=\"pods\",subresource=\"status\",verb=\"PATCH\"} 1.5e+03\n",
            "apiserver_request_total{code=\"200\",resource=\"nodes\",subresource=\"status\",verb=\"PATCH\"} 7\n",
            "apiserver_request_total{code=\"200\",resource=\"pods\",subresource=\"\",verb=\"WATCH\"} 7\n",
            "apiserver_request_total{code=\"200\",resource=\"\",subresource=\"/metrics\",verb=\"GET\"} 7\n",
            "apiserver_response_sizes{resource=\"pods\",verb=\"POST\"} 7\n",
        );
        assert!((calls_in(metrics) - 2000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_work_of_an_idle_control_plane_does_not_count() {
        let at = Instant::now();
        let before = Reading { at, cpu: Duration::from_secs(10), calls: 100.0 };
        let after = Reading { at: at + Duration::from_secs(20), cpu: Duration::from_secs(15), calls: 160.0 };
        let work = work(before, after, 0.05);
        assert!((work.cpu_seconds - 4.0).abs() < 1e-9 && (work.calls - 60.0).abs() < 1e-9, "{work:?}");
    }
}
