//! Named checks, one for each thing this process depends on.
//!
//! A check starts as failed and is passed by the first proof that its thing works. Whether it decides readiness is
//! fixed where it is made: only what admission itself needs may take the webhook out of its Service, since a pod that
//! no webhook labels is a slip.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry::one_line;

/// The words of a check that nothing has passed or failed so far.
const NOT_YET: &str = "not yet";

/// What a check decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The process is ready only while the check passes.
    Readiness,
    /// The check is told in `?verbose` and in metrics, and decides nothing.
    Informational,
}

/// All checks of the process. Complete before the admin port opens: the port takes it over.
#[derive(Default)]
pub struct Health {
    checks: Vec<Arc<Check>>,
    gauges: Family<CheckLabels, Gauge>,
}

/// The right to pass or fail one check. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct CheckHandle(Arc<Check>);

/// One check as it stands now.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) gate: Gate,
    /// Why it fails; none while it passes.
    fault: ArcSwapOption<String>,
    gauge: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    name: &'static str,
}

impl Health {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check of that name, failed so far.
    pub fn check(&mut self, name: &'static str, gate: Gate) -> CheckHandle {
        let fault = ArcSwapOption::from_pointee(NOT_YET.to_owned());
        let gauge = self.gauges.get_or_create_owned(&CheckLabels { name });
        let check = Arc::new(Check { name, gate, fault, gauge });
        self.checks.push(Arc::clone(&check));
        CheckHandle(check)
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("health_check", "Whether the named check passes (1) or fails (0)", self.gauges.clone());
    }

    pub(super) fn checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().map(AsRef::as_ref)
    }
}

impl Check {
    pub(super) fn fault(&self) -> Option<Arc<String>> {
        self.fault.load_full()
    }
}

impl CheckHandle {
    /// The thing works. Informational in the log when it did not before.
    pub fn pass(&self) {
        if self.0.fault.swap(None).is_some() {
            self.0.gauge.set(1);
            tracing::info!(check = self.0.name, "Check `{}` passes", self.0.name);
        }
    }

    /// The thing does not work: why, and what to do about it. Informational in the log when it is news.
    pub fn fail(&self, words: impl AsRef<str>) {
        let words = Arc::new(one_line(words.as_ref()).into_owned());
        let before = self.0.fault.swap(Some(Arc::clone(&words)));
        self.0.gauge.set(0);
        if before.is_none_or(|before| before != words) {
            tracing::warn!(check = self.0.name, "Check `{}` fails: {words}", self.0.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::capture::capture;
    use crate::telemetry::{LogFormat, LogLevel, metrics};

    #[test]
    fn a_check_fails_until_it_is_passed() {
        let mut health = Health::new();
        let leaf = health.check("leaf", Gate::Readiness);
        let fault = || health.checks().next().and_then(Check::fault).map(|words| words.to_string());
        assert_eq!(fault(), Some("not yet".to_owned()));
        leaf.pass();
        assert_eq!(fault(), None);
        leaf.fail("expired\nor so");
        assert_eq!(fault(), Some(r"expired\nor so".to_owned()));
    }

    #[test]
    fn each_check_is_a_metric() {
        let mut health = Health::new();
        let mut registry = metrics::registry();
        health.register(&mut registry);
        health.check("leaf", Gate::Readiness).pass();
        let watch = health.check("watch", Gate::Informational);
        watch.pass();
        watch.fail("forbidden");
        let text = metrics::render(&registry).unwrap();
        assert!(text.contains("snapwatcher_health_check{name=\"leaf\"} 1\n"), "{text}");
        assert!(text.contains("snapwatcher_health_check{name=\"watch\"} 0\n"), "{text}");
    }

    #[test]
    fn only_news_are_logged() {
        let written = capture(LogLevel::Info, LogFormat::Text, || {
            let crd = Health::new().check("crd", Gate::Informational);
            for _ in 0..3 {
                crd.fail("missing");
            }
            for _ in 0..3 {
                crd.pass();
            }
        });
        let lines: Vec<_> = written.lines().map(|line| line.split_at(28).1).collect();
        assert_eq!(lines, [" WARN Check `crd` fails: missing check=crd", " INFO Check `crd` passes check=crd"]);
    }
}
