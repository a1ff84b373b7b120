//! Named health checks, one for each dependency of the process.
//!
//! A check fails until its owner proves for the first time that the dependency works. The owner also decides whether the
//! check gates readiness. Only dependencies without which the process can't answer its clients should: a process that is
//! not ready gets no request.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::telemetry::one_line;

/// The failure of a check without a first result.
const NOT_CHECKED: &str = "not checked yet";

/// What a check has an effect on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The process is ready only while the check passes.
    Readiness,
    /// The check appears in `?verbose` and in metrics only.
    Informational,
}

/// All checks of the process. The admin port takes them over, so all checks exist before it opens.
#[derive(Default)]
pub struct Health {
    checks: Vec<Arc<Check>>,
    gauges: Family<CheckLabels, Gauge>,
}

/// Passes or fails one check. Clones are handles to the same check.
#[derive(Clone)]
pub struct CheckHandle(Arc<Check>);

/// One check and its current result.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) gate: Gate,
    /// Why the check fails; none while it passes.
    failure: ArcSwapOption<String>,
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

    /// Adds a check. It fails until the handle passes it.
    pub fn check(&mut self, name: &'static str, gate: Gate) -> CheckHandle {
        let failure = ArcSwapOption::from_pointee(NOT_CHECKED.to_owned());
        let gauge = self.gauges.get_or_create_owned(&CheckLabels { name });
        let check = Arc::new(Check { name, gate, failure, gauge });
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
    pub(super) fn failure(&self) -> Option<Arc<String>> {
        self.failure.load_full()
    }
}

impl CheckHandle {
    /// The dependency works. Logged if the check failed before.
    pub fn pass(&self) {
        if self.0.failure.swap(None).is_some() {
            self.0.gauge.set(1);
            tracing::info!(check = self.0.name, "Health check `{}` passes", self.0.name);
        }
    }

    /// The dependency does not work. The message says why and what to do. Logged if it differs from the last one.
    pub fn fail(&self, message: impl AsRef<str>) {
        let message = Arc::new(one_line(message.as_ref()).into_owned());
        let before = self.0.failure.swap(Some(Arc::clone(&message)));
        self.0.gauge.set(0);
        if before.is_none_or(|before| before != message) {
            tracing::warn!(check = self.0.name, "Health check `{}` fails: {message}", self.0.name);
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
        let certificate = health.check("serving-certificate", Gate::Readiness);
        let failure = || health.checks().next().and_then(Check::failure).map(|message| message.to_string());
        assert_eq!(failure(), Some("not checked yet".to_owned()));
        certificate.pass();
        assert_eq!(failure(), None);
        certificate.fail("expired\nor so");
        assert_eq!(failure(), Some(r"expired\nor so".to_owned()));
    }

    #[test]
    fn each_check_is_a_metric() {
        let mut health = Health::new();
        let mut registry = metrics::registry();
        health.register(&mut registry);
        health.check("serving-certificate", Gate::Readiness).pass();
        let watch = health.check("watch", Gate::Informational);
        watch.pass();
        watch.fail("forbidden");
        let text = metrics::render(&registry).unwrap();
        assert!(text.contains("snapwatcher_health_check{name=\"serving-certificate\"} 1\n"), "{text}");
        assert!(text.contains("snapwatcher_health_check{name=\"watch\"} 0\n"), "{text}");
    }

    #[test]
    fn only_changes_are_logged() {
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
        assert_eq!(
            lines,
            [" WARN Health check `crd` fails: missing check=crd", " INFO Health check `crd` passes check=crd"]
        );
    }
}
