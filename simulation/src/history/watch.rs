//! The watches of a process: how far each has come.

use std::time::Duration;

use crate::Continue;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    Pods,
    Checkpoints,
}

/// One watch of one scope.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    pub(super) watched: Watched,
    pub(super) scope: usize,
    pub(super) position: Position,
    /// It is interrupted until then.
    pub(super) blocked_until: Duration,
}

/// How far a watch has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    /// It lists next.
    Start,
    /// The next page of a listing.
    Page(Continue),
    /// All changes up to this revision are delivered.
    At(u64),
}

impl Watch {
    pub(super) fn new(watched: Watched, scope: usize) -> Self {
        Self { watched, scope, position: Position::Start, blocked_until: Duration::ZERO }
    }
}
