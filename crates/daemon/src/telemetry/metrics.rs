//! The registry of metrics and its text.
//!
//! Each part of the program registers what it counts under its own prefix; this module only opens and closes the book.

use std::fmt;

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What all names of metrics start with.
const PREFIX: &str = "snapwatcher";

/// Media type of [`render`]'s text, see
/// <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md#text-format>.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry that knows which build this is, and nothing else yet.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "Version of this SnapWatcher", build);
    registry
}

/// All metrics as OpenMetrics text; fails only if a collector does.
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_text_names_the_build_and_what_was_registered() {
        let mut registry = registry();
        let slips = Counter::<u64>::default();
        registry.register("slips", "Pods that were not labelled", slips.clone());
        slips.inc();
        let expected = format!(
            "# HELP snapwatcher_build Version of this SnapWatcher.\n\
             # TYPE snapwatcher_build info\n\
             snapwatcher_build_info{{version=\"{}\"}} 1\n\
             # HELP snapwatcher_slips Pods that were not labelled.\n\
             # TYPE snapwatcher_slips counter\n\
             snapwatcher_slips_total 1\n\
             # EOF\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(render(&registry).unwrap(), expected);
    }
}
