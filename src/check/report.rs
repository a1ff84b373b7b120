//! All findings, as lines for people or as JSON for programs.

use std::fmt::Write as _;

use serde_json::json;

use super::finding::{Finding, State};

/// The format of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// The output of `snapwatcher check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether no test failed.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.count(State::Failed) == 0
    }

    #[must_use]
    pub fn format(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => self.json(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Finding { what, state, seen, remedy, .. } in &self.findings {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{:<8} {what}: {seen}", state.as_str());
            if let Some(remedy) = remedy {
                let _ = writeln!(text, "         do: {remedy}");
            }
        }
        let counts = State::ALL.map(|state| format!("{} {}", self.count(state), state.as_str()));
        let _ = writeln!(text, "\n{}", counts.join(", "));
        text
    }

    fn json(&self) -> String {
        let findings = self.findings.iter().map(|Finding { topic, what, state, seen, remedy }| {
            json!({
                "topic": topic.as_str(), "what": what, "state": state.as_str(), "seen": seen, "remedy": remedy,
            })
        });
        let report = json!({"fine": self.is_fine(), "findings": findings.collect::<Vec<_>>()});
        format!("{report:#}\n")
    }

    fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Topic;
    use super::*;

    fn report() -> Report {
        let missing = Finding::warning(Topic::Right, "right to create events", "not allowed", "add it".to_owned());
        let unreachable = Finding::failed(Topic::Backend, "SnapHook", "refused", "start it".to_owned());
        Report { findings: vec![Finding::ok(Topic::ApiServer, "API server", "v1.37.2"), missing, unreachable] }
    }

    #[test]
    fn text_has_a_line_for_each_finding_one_for_its_remedy_and_the_counts() {
        let expected = "ok       API server: v1.37.2\n\
                        warning  right to create events: not allowed\n         do: add it\n\
                        failed   SnapHook: refused\n         do: start it\n\
                        \n1 ok, 1 warning, 1 failed, 0 skipped\n";
        assert_eq!(report().format(Format::Text), expected);
    }

    #[test]
    fn json_says_the_same() {
        let json: serde_json::Value = serde_json::from_str(&report().format(Format::Json)).unwrap();
        assert_eq!(json["fine"], false);
        assert_eq!(
            json["findings"][2],
            json!({
                "topic": "backend", "what": "SnapHook", "state": "failed", "seen": "refused", "remedy": "start it",
            })
        );
        assert_eq!(json["findings"][0]["remedy"], serde_json::Value::Null);
    }

    #[test]
    fn warnings_are_fine_and_failures_are_not() {
        let mut report = report();
        assert!(!report.is_fine());
        report.findings.pop();
        assert!(report.is_fine());
    }
}
