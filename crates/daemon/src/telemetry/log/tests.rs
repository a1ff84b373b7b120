//! Which events are logged at which level, and both formats.

use super::*;
use crate::telemetry::capture::{Written, capture};

#[test]
fn dependencies_log_less_than_we_do() {
    for (level, expected) in [
        (LogLevel::Trace, "our error, our warn, our info, our debug, their error, their warn, their info"),
        (LogLevel::Debug, "our error, our warn, our info, our debug, their error, their warn, their info"),
        (LogLevel::Info, "our error, our warn, our info, their error, their warn"),
        (LogLevel::Warning, "our error, our warn, their error, their warn"),
        (LogLevel::Error, "our error, their error"),
    ] {
        let written = capture(level, LogFormat::Json, || {
            tracing::error!("our error");
            tracing::warn!("our warn");
            tracing::info!("our info");
            tracing::debug!("our debug");
            tracing::error!(target: "hyper", "their error");
            tracing::warn!(target: "hyper", "their warn");
            tracing::info!(target: "hyper", "their info");
            tracing::debug!(target: "hyper", "their debug");
        });
        let objects = written.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let logged: Vec<_> = objects.map(|object| object["message"].as_str().unwrap().to_owned()).collect();
        assert_eq!(logged.join(", "), expected, "{level}");
    }
}

#[test]
fn bodies_that_kube_could_not_decode_and_responses_that_are_errors_are_not_logged_by_kube() {
    let written = capture(LogLevel::Debug, LogFormat::Text, || {
        tracing::error!(target: "kube_client::client::builder", "failed with status 500 Internal Server Error");
        tracing::warn!(target: "kube_client::client", "{{\"data\":{{\"current.key\":\"x\"}}}}, invalid type");
        tracing::warn!(target: "kube_runtime::watcher", "watch list error");
    });
    assert!(
        !written.contains("current.key") && !written.contains("status 500") && written.contains("watch list error"),
        "{written}"
    );
}

#[test]
fn json_is_one_flat_object_a_line() {
    let written = capture(LogLevel::Info, LogFormat::Json, || {
        tracing::info_span!("review", uid = "u1").in_scope(|| tracing::info!(attempt = 2, "a\nb"));
    });
    assert_eq!(written.lines().count(), 1);
    let object: serde_json::Value = serde_json::from_str(&written).unwrap();
    let keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["attempt", "level", "message", "target", "timestamp"]);
    object["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn an_event_is_one_write() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let written = Written::default();
        tracing::subscriber::with_default(subscriber(LogLevel::Info, format, written.clone()), || {
            tracing::info!(target: crate::telemetry::BLOCK_TARGET, event = "ADDED", pod = "web", "Now");
        });
        assert_eq!(written.writes(), 1, "{format:?}");
    }
}
