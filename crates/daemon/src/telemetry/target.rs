//! Which targets of log events are of this program.

/// What the names of this program's crates begin with; all other targets are dependencies.
pub(super) const OURS: &str = "snapwatcher";

/// Whether an event of that target comes from one of this program's crates.
pub(super) fn is_ours(target: &str) -> bool {
    target.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crates_of_this_program_are_ours() {
        for (target, expected) in [
            ("snapwatcher", true),
            ("snapwatcher::run", true),
            ("snapwatcher_https::handshake", true),
            ("snapwatcherx", false),
            ("kube", false),
        ] {
            assert_eq!(is_ours(target), expected, "{target}");
        }
    }
}
