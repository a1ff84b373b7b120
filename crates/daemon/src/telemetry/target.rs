//! Distinguishes log events of this program from those of its dependencies, by their target.

/// The prefix of this program's crates. All other targets belong to dependencies.
pub(super) const OURS: &str = "snapwatcher";

/// Whether a crate of this program logged the event with this target.
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
