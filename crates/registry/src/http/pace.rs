//! A limit on bytes a second that several uploads share.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// The longest piece that is sent at once, in bytes.
const LONGEST_PIECE: u64 = 64 * 1024;

/// Pieces a second at least, so that a slow upload is not taken for a silent one.
const PIECES_A_SECOND: u64 = 4;

/// When the next bytes may be sent.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: Option<NonZeroU64>,
    free_at: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, free_at: None }
    }

    /// The bytes of a piece.
    pub(crate) fn piece(&self) -> usize {
        let rate = self.bytes_per_second.map_or(u64::MAX, NonZeroU64::get);
        usize::try_from((rate / PIECES_A_SECOND).clamp(1, LONGEST_PIECE)).unwrap_or(1)
    }

    /// When a piece of this length may be sent; the time that it takes is then reserved.
    pub(crate) fn reserve(&mut self, bytes: usize, now: Instant) -> Instant {
        let Some(rate) = self.bytes_per_second else { return now };
        let start = self.free_at.map_or(now, |free_at| free_at.max(now));
        let nanoseconds = u128::from(u64::try_from(bytes).unwrap_or(u64::MAX)) * 1_000_000_000 / u128::from(rate.get());
        self.free_at = Some(start + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)));
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u64) -> Pace {
        Pace::new(NonZeroU64::new(rate))
    }

    #[test]
    fn each_piece_waits_for_the_one_before() {
        let now = Instant::now();
        let mut pace = pace(1000);
        let starts = [500, 250, 1000, 1].map(|bytes| pace.reserve(bytes, now) - now);
        assert_eq!(starts.map(|start| start.as_millis()), [0, 500, 750, 1750]);
    }

    #[test]
    fn time_in_which_nothing_was_sent_is_not_made_up_for() {
        let now = Instant::now();
        let mut pace = pace(1000);
        pace.reserve(1000, now);
        let later = now + Duration::from_secs(60);
        assert_eq!([pace.reserve(1000, later), pace.reserve(1, later)], [later, later + Duration::from_secs(1)]);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let now = Instant::now();
        let mut pace = Pace::new(None);
        assert_eq!([pace.reserve(usize::MAX, now), pace.reserve(1, now)], [now, now]);
    }

    #[test]
    fn a_piece_takes_a_quarter_of_a_second_at_most() {
        for (rate, piece) in [(1, 1), (4000, 1000), (10_000_000, 65536), (0, 65536)] {
            assert_eq!(pace(rate).piece(), piece, "{rate}");
        }
    }
}
