//! One attempt a container at a time: a wish made by hand waits while another record of the same pod and container is in
//! progress.
//!
//! Kept in memory, since all attempts under way are made by one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Pod UID and container.
type Subject = (String, String);

/// Whose turn it is. Cloning gives another handle to the same turns.
#[derive(Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<Subject, CancellationToken>>>);

/// The right to attempt, given back when dropped.
pub struct Turn {
    turns: Turns,
    subject: Subject,
}

/// Somebody else's turn.
#[derive(Debug)]
pub struct Taken(CancellationToken);

impl Turns {
    /// Takes the turn of this container, unless somebody has it.
    pub fn take(&self, pod_uid: &str, container: &str) -> Result<Turn, Taken> {
        let subject = (pod_uid.to_owned(), container.to_owned());
        let mut taken = self.lock();
        if let Some(over) = taken.get(&subject) {
            return Err(Taken(over.clone()));
        }
        taken.insert(subject.clone(), CancellationToken::new());
        Ok(Turn { turns: self.clone(), subject })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(over) = self.turns.lock().remove(&self.subject) {
            over.cancel();
        }
    }
}

impl Taken {
    /// Waits until that turn is over; another may have begun by then.
    pub async fn over(&self) {
        self.0.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_container_has_one_turn_at_a_time() {
        let turns = Turns::default();
        let first = turns.take("u", "app").ok();
        let taken = turns.take("u", "app").err().unwrap();
        assert!(turns.take("u", "proxy").is_ok() && turns.take("other", "app").is_ok());
        drop(first);
        taken.over().await;
        assert!(turns.take("u", "app").is_ok());
    }
}
