//! A limit on the log lines about each namespace within a minute, for lines that differ each time and that people can cause without
//! end. `repeated_messages.rs` limits messages that repeat.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::Level;

/// Lines are counted from zero after this time.
const WINDOW: Duration = Duration::from_secs(60);

/// How many lines each namespace has had in the current minute. It keeps one number for each namespace and level.
#[derive(Debug, Default)]
pub struct LinesPerMinute {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// When the first line was counted.
    start: Option<Instant>,
    /// By namespace and level, so that successes do not hide failures. Lines that were left out are included.
    lines: BTreeMap<(String, Level), usize>,
}

/// Lines about a namespace that did not appear within a minute.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub namespace: String,
    pub level: Level,
    pub count: usize,
}

impl LinesPerMinute {
    /// How many lines of one level about one namespace may appear within a minute.
    pub const MAX_LINES: usize = 60;

    /// Whether a line may appear now; it counts in any case. A minute lasts until [`Self::left_out`] is called after its end.
    pub fn should_log(&self, namespace: &str, level: Level, now: Instant) -> bool {
        let mut window = self.window();
        window.start.get_or_insert(now);
        let lines = window.lines.entry((namespace.to_owned(), level)).or_default();
        *lines = lines.saturating_add(1);
        *lines <= Self::MAX_LINES
    }

    /// What was left out in the minute that has ended; nothing while it lasts. Ends the minute.
    pub fn left_out(&self, now: Instant) -> Vec<LeftOut> {
        let mut window = self.window();
        if window.start.is_none_or(|start| now.saturating_duration_since(start) < WINDOW) {
            return Vec::new();
        }
        let ended = std::mem::take(&mut *window);
        let of_namespace = |((namespace, level), lines): ((String, Level), usize)| {
            let count = lines.saturating_sub(Self::MAX_LINES);
            (count > 0).then_some(LeftOut { namespace, level, count })
        };
        ended.lines.into_iter().filter_map(of_namespace).collect()
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(lines: &LinesPerMinute, level: Level, now: Instant) -> usize {
        (0..1000).filter(|_| lines.should_log("loud", level, now)).count()
    }

    #[test]
    fn the_lines_about_one_namespace_are_limited_and_those_about_another_are_not_affected() {
        let (lines, start) = (LinesPerMinute::default(), Instant::now());
        assert_eq!(logged(&lines, Level::INFO, start), LinesPerMinute::MAX_LINES);
        assert!(lines.should_log("quiet", Level::INFO, start));
    }

    #[test]
    fn successes_do_not_hide_failures() {
        let (lines, start) = (LinesPerMinute::default(), Instant::now());
        logged(&lines, Level::INFO, start);
        assert_eq!(logged(&lines, Level::WARN, start), LinesPerMinute::MAX_LINES);
    }

    #[test]
    fn what_was_left_out_is_named_once_after_the_minute_and_then_lines_appear_again() {
        let (lines, start) = (LinesPerMinute::default(), Instant::now());
        assert!(lines.left_out(start).is_empty());
        logged(&lines, Level::INFO, start);
        assert!(lines.should_log("quiet", Level::INFO, start));
        let (before, end) = (start + WINDOW.saturating_sub(Duration::from_nanos(1)), start + WINDOW);
        assert!(lines.left_out(before).is_empty());
        assert!(!lines.should_log("loud", Level::INFO, before));
        let expected =
            LeftOut { namespace: "loud".to_owned(), level: Level::INFO, count: 1001 - LinesPerMinute::MAX_LINES };
        assert_eq!(lines.left_out(end), [expected]);
        assert!(lines.left_out(end).is_empty() && lines.left_out(end + WINDOW).is_empty());
        assert!(lines.should_log("loud", Level::INFO, end));
    }

    #[test]
    fn nothing_is_kept_of_a_namespace_after_the_minute() {
        let (lines, start) = (LinesPerMinute::default(), Instant::now());
        logged(&lines, Level::INFO, start);
        lines.left_out(start + WINDOW);
        assert!(lines.window().lines.is_empty());
    }
}
