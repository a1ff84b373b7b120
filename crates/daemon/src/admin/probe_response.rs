//! Responses to health probes, in the format of the API server.
//!
//! While all checks pass, the response is `ok`. With `?verbose`, or when a check fails, it has one line for each check. The
//! status is 200 or 500. See <https://kubernetes.io/docs/reference/using-api/health-checks/>. A client that may read
//! detail sees why a check fails; for others the reason is withheld, in the API server's words.

use std::fmt::Write;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::health::{Check, Gate};

/// How a client that is not on loopback gets what was withheld.
pub(super) const LOOPBACK_ONLY: &str =
    "The detail is shown to clients on loopback: run `kubectl port-forward` to the pod, or set --admin-expose-detail\n";

/// The probes that the admin port answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// `/healthz`, the old name of `/livez`.
    Health,
    Live,
    Ready,
}

/// How much a response contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    Short,
    Verbose,
}

/// Whether a response says why a check fails. A reason may quote what the API server says of other people's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reasons {
    Shown,
    Withheld,
}

/// The result of a probe.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ProbeResult {
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

    /// Evaluates the checks. Liveness ignores them: a process that answers is alive, and a restart repairs no dependency.
    pub(super) fn evaluate<'a>(
        self,
        checks: impl Iterator<Item = &'a Check>,
        detail: Detail,
        reasons: Reasons,
    ) -> ProbeResult {
        let mut lines = String::from("[+]ping ok\n");
        let mut healthy = true;
        if self == Self::Ready {
            for check in checks {
                healthy &= check.gate == Gate::Informational || check.failure().is_none();
                write_line(&mut lines, check, reasons);
            }
        }
        if healthy && detail == Detail::Short {
            return ProbeResult { healthy, text: "ok".to_owned() };
        }
        let summary = if healthy { "passed" } else { "failed" };
        // Writing to a String does not fail.
        let _ = writeln!(lines, "{} check {summary}", self.as_str());
        if self == Self::Ready && reasons == Reasons::Withheld {
            lines.push_str(LOOPBACK_ONLY);
        }
        ProbeResult { healthy, text: lines }
    }
}

impl Detail {
    /// Looks at the keys only, as the API server does: `?verbose`, `?verbose=` and `?verbose=true` are the same.
    pub(super) fn from_query(query: Option<&str>) -> Self {
        let mut keys = query.unwrap_or_default().split('&').map(|pair| pair.split('=').next());
        if keys.any(|key| key == Some("verbose")) { Self::Verbose } else { Self::Short }
    }
}

impl IntoResponse for ProbeResult {
    fn into_response(self) -> Response {
        let status = if self.healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        (status, [(header::CACHE_CONTROL, "no-cache, private")], self.text).into_response()
    }
}

fn write_line(lines: &mut String, check: &Check, reasons: Reasons) {
    let name = check.name;
    let informational = if check.gate == Gate::Informational { " (informational)" } else { "" };
    // Writing to a String does not fail.
    let _ = match (check.failure(), reasons) {
        (None, _) => writeln!(lines, "[+]{name} ok{informational}"),
        (Some(reason), Reasons::Shown) => writeln!(lines, "[-]{name} failed{informational}: {reason}"),
        (Some(_), Reasons::Withheld) => writeln!(lines, "[-]{name} failed{informational}: reason withheld"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::health::Health;

    fn evaluate(probe: Probe, health: &Health, detail: Detail) -> (bool, String) {
        let result = probe.evaluate(health.checks(), detail, Reasons::Shown);
        (result.healthy, result.text)
    }

    #[test]
    fn readiness_depends_on_its_gates_and_names_what_fails() {
        let mut health = Health::new();
        let certificate = health.check("serving-certificate", Gate::Readiness);
        let bundle = health.check("ca-bundle", Gate::Readiness);
        let crd = health.check("crd", Gate::Informational);
        certificate.pass();
        crd.fail("not installed; run `snapwatcher crd | kubectl apply --server-side -f -`");
        for detail in [Detail::Short, Detail::Verbose] {
            let text = "[+]ping ok\n\
                        [+]serving-certificate ok\n\
                        [-]ca-bundle failed: not checked yet\n\
                        [-]crd failed (informational): not installed; run `snapwatcher crd | kubectl apply --server-side -f -`\n\
                        readyz check failed\n";
            assert_eq!(evaluate(Probe::Ready, &health, detail), (false, text.to_owned()), "{detail:?}");
        }
        bundle.pass();
        assert_eq!(evaluate(Probe::Ready, &health, Detail::Short), (true, "ok".to_owned()));
        crd.pass();
        let text =
            "[+]ping ok\n[+]serving-certificate ok\n[+]ca-bundle ok\n[+]crd ok (informational)\nreadyz check passed\n";
        assert_eq!(evaluate(Probe::Ready, &health, Detail::Verbose), (true, text.to_owned()));
    }

    #[test]
    fn a_client_that_may_not_read_detail_gets_no_reason() {
        let mut health = Health::new();
        health.check("ca-bundle", Gate::Readiness).fail("a text of the API server");
        health.check("crd", Gate::Informational).fail("another");
        let text = format!(
            "[+]ping ok\n\
             [-]ca-bundle failed: reason withheld\n\
             [-]crd failed (informational): reason withheld\n\
             readyz check failed\n{LOOPBACK_ONLY}"
        );
        for detail in [Detail::Short, Detail::Verbose] {
            let result = Probe::Ready.evaluate(health.checks(), detail, Reasons::Withheld);
            assert_eq!(result, ProbeResult { healthy: false, text: text.clone() }, "{detail:?}");
        }
    }

    #[test]
    fn liveness_depends_on_no_check() {
        let mut health = Health::new();
        health.check("serving-certificate", Gate::Readiness).fail("broken");
        for (probe, name) in [(Probe::Live, "livez"), (Probe::Health, "healthz")] {
            assert_eq!(evaluate(probe, &health, Detail::Short), (true, "ok".to_owned()));
            let text = format!("[+]ping ok\n{name} check passed\n");
            assert_eq!(evaluate(probe, &health, Detail::Verbose), (true, text));
        }
    }

    #[test]
    fn verbose_is_requested_by_its_key() {
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
