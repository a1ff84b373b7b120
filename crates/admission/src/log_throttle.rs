//! What is told once in a while and not for each pod: a Deployment creates its pods over and over.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same is told again after this.
const AGAIN: Duration = Duration::from_secs(3600);
/// So many different things are told within [`AGAIN`] at the most; what comes beyond is only counted.
const MOST: usize = 100;

/// What was told of late, and when.
#[derive(Default)]
pub(super) struct Once(Mutex<HashMap<String, Instant>>);

impl Once {
    /// Whether that is to be told now, which is then remembered.
    pub(super) fn is_news(&self, what: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        let is_news = told.len() < MOST && !told.contains_key(what);
        if is_news {
            told.insert(what.to_owned(), now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_an_hour() {
        let (once, start) = (Once::default(), Instant::now());
        assert!(once.is_news("shop/web-", start) && once.is_news("shop/db-", start));
        assert!(!once.is_news("shop/web-", start + Duration::from_secs(3599)));
        assert!(once.is_news("shop/web-", start + Duration::from_secs(3600)));
    }

    #[test]
    fn the_number_of_things_told_is_bounded() {
        let (once, start) = (Once::default(), Instant::now());
        let told = (0..1000).filter(|number| once.is_news(&number.to_string(), start)).count();
        assert_eq!(told, MOST);
        assert!(once.is_news("later", start + AGAIN));
    }
}
