//! What replaces a secret.

/// Replaces each secret.
pub const MARK: &str = "[redacted]";
