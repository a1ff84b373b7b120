//! The answers to health probes, in the form of the API server's own.
//!
//! See <https://kubernetes.io/docs/reference/using-api/health-checks/>: `ok` alone while all is well, one line a check
//! with `?verbose` or when something is not, 200 or 500. Unlike the API server we say why a check fails.

use std::fmt::Write;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::health::{Check, Gate};

/// Which question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// `/healthz`, the old name of `/livez`.
    Health,
    Live,
    Ready,
}

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Short,
    Verbose,
}

/// What a probe finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    healthy: bool,
    text: String,
}

impl Probe {
    fn as_str(self) -> &'static str {
        match self {
            Self::Health => "healthz",
            Self::Live => "livez",
            Self::Ready => "readyz",
        }
    }

    /// Looks at the checks. Liveness looks at none: a process that answers is alive, and a restart would mend nothing
    /// outside of it.
    pub(super) fn find<'a>(self, checks: impl Iterator<Item = &'a Check>, detail: Detail) -> Finding {
        let mut lines = String::from("[+]ping ok\n");
        let mut healthy = true;
        if self == Self::Ready {
            for check in checks {
                healthy &= check.gate == Gate::Informational || check.fault().is_none();
                write_check(&mut lines, check);
            }
        }
        if healthy && detail == Detail::Short {
            return Finding { healthy, text: "ok".to_owned() };
        }
        let verdict = if healthy { "passed" } else { "failed" };
        // Writing to a String does not fail.
        let _ = writeln!(lines, "{} check {verdict}", self.as_str());
        Finding { healthy, text: lines }
    }
}

impl Detail {
    /// The key alone counts, as at the API server: `?verbose`, `?verbose=` and `?verbose=true` are the same.
    pub(super) fn from_query(query: Option<&str>) -> Self {
        let mut keys = query.unwrap_or_default().split('&').map(|pair| pair.split('=').next());
        if keys.any(|key| key == Some("verbose")) { Self::Verbose } else { Self::Short }
    }
}

impl IntoResponse for Finding {
    fn into_response(self) -> Response {
        let status = if self.healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        (status, [(header::CACHE_CONTROL, "no-cache, private")], self.text).into_response()
    }
}

fn write_check(lines: &mut String, check: &Check) {
    let name = check.name;
    // Writing to a String does not fail.
    let _ = match (check.fault(), check.gate) {
        (None, Gate::Readiness) => writeln!(lines, "[+]{name} ok"),
        (None, Gate::Informational) => writeln!(lines, "[+]{name} ok (told only)"),
        (Some(words), Gate::Readiness) => writeln!(lines, "[-]{name} failed: {words}"),
        (Some(words), Gate::Informational) => writeln!(lines, "[-]{name} failed (told only): {words}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::health::Health;

    fn find(probe: Probe, health: &Health, detail: Detail) -> (bool, String) {
        let finding = probe.find(health.checks(), detail);
        (finding.healthy, finding.text)
    }

    #[test]
    fn ready_is_decided_by_the_gates_and_says_what_fails() {
        let mut health = Health::new();
        let (leaf, bundle) = (health.check("leaf", Gate::Readiness), health.check("bundle", Gate::Readiness));
        let crd = health.check("crd", Gate::Informational);
        leaf.pass();
        crd.fail("not installed; run `snapwatcher crd | kubectl apply --server-side -f -`");
        for detail in [Detail::Short, Detail::Verbose] {
            let text = "[+]ping ok\n\
                        [+]leaf ok\n\
                        [-]bundle failed: not yet\n\
                        [-]crd failed (told only): not installed; run `snapwatcher crd | kubectl apply --server-side -f -`\n\
                        readyz check failed\n";
            assert_eq!(find(Probe::Ready, &health, detail), (false, text.to_owned()), "{detail:?}");
        }
        bundle.pass();
        assert_eq!(find(Probe::Ready, &health, Detail::Short), (true, "ok".to_owned()));
        crd.pass();
        let text = "[+]ping ok\n[+]leaf ok\n[+]bundle ok\n[+]crd ok (told only)\nreadyz check passed\n";
        assert_eq!(find(Probe::Ready, &health, Detail::Verbose), (true, text.to_owned()));
    }

    #[test]
    fn alive_depends_on_nothing_outside() {
        let mut health = Health::new();
        health.check("leaf", Gate::Readiness).fail("broken");
        for (probe, name) in [(Probe::Live, "livez"), (Probe::Health, "healthz")] {
            assert_eq!(find(probe, &health, Detail::Short), (true, "ok".to_owned()));
            let text = format!("[+]ping ok\n{name} check passed\n");
            assert_eq!(find(probe, &health, Detail::Verbose), (true, text));
        }
    }

    #[test]
    fn verbose_is_asked_for_by_its_key() {
        for (query, expected) in [
            (None, Detail::Short),
            (Some(""), Detail::Short),
            (Some("verbosely"), Detail::Short),
            (Some("verbose"), Detail::Verbose),
            (Some("verbose="), Detail::Verbose),
            (Some("timeout=1s&verbose=true"), Detail::Verbose),
        ] {
            assert_eq!(Detail::from_query(query), expected, "{query:?}");
        }
    }
}
