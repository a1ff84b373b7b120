//! Sends what is in memory until the registry has it.

use bytes::{Bytes, BytesMut};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use tokio::time::Instant;

use super::Upload;
use super::answers::{ACCEPTED, is_range_refused, is_unknown, is_without_state, lost};
use super::progress_report::{Resume, Stored, resume, stored_bytes};
use crate::auth::Access;
use crate::error::Cause;
use crate::server::Reply;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl Upload {
    /// Sends what is in memory. Unless it is the end of the blob, the rest of a chunk that is shorter than the registry accepts
    /// stays in memory.
    pub(super) async fn send_buffer(&mut self, is_end: bool) -> Result<(), Cause> {
        self.in_flight = self.buffer.split().freeze();
        let mut patience = self.server.patience();
        while !self.in_flight.is_empty() {
            if !is_end && self.in_flight.len() < self.chunk.least {
                self.buffer = BytesMut::with_capacity(self.chunk.bytes);
                self.buffer.extend_from_slice(&self.in_flight);
                self.in_flight = Bytes::new();
                break;
            }
            let before = self.acknowledged;
            let has_looked = self.is_unclear;
            let result = if has_looked { self.look().await } else { self.patch().await };
            match result {
                Ok(()) if self.acknowledged > before => patience.progress(Instant::now()),
                Ok(()) if has_looked => {}
                Ok(()) => {
                    let cause = self.server.protocol("it accepts a chunk and says that it has stored nothing of it");
                    self.server.wait_after(cause, &mut patience).await?;
                }
                Err(cause) if cause.is_worth_repeating() || self.is_range_refused => {
                    self.is_unclear = true;
                    self.server.wait_after(cause, &mut patience).await?;
                }
                Err(cause) if is_unknown(&cause) => return Err(lost()),
                Err(cause) => return Err(cause),
            }
        }
        Ok(())
    }

    /// Sends `in_flight`.
    async fn patch(&mut self) -> Result<(), Cause> {
        let length = as_u64(self.in_flight.len());
        let last = self.acknowledged + length - 1;
        let mut patch = self.server.call_to(Method::PATCH, self.location.clone(), Access::Push);
        patch.headers.insert(CONTENT_TYPE, OCTETS);
        if let Ok(range) = HeaderValue::try_from(format!("{}-{last}", self.acknowledged)) {
            patch.headers.insert(CONTENT_RANGE, range);
        }
        patch.body = self.in_flight.clone();
        // Whatever happens next, also to this future: the registry may have the chunk.
        self.is_unclear = true;
        match self.server.expect(&self.repository, &patch, &ACCEPTED).await {
            Ok(reply) => {
                self.follow(&reply)?;
                match stored_of(&reply) {
                    None => self.acknowledge(Stored::Bytes(self.acknowledged + length), false),
                    // The state of the upload shows whether it is lost, or this answer wrong.
                    Some(stored) if resume(stored, self.acknowledged, length, false) == Resume::Lost => Ok(()),
                    Some(stored) => self.acknowledge(stored, false),
                }
            }
            Err(cause) => {
                self.is_range_refused = is_range_refused(&cause);
                Err(cause)
            }
        }
    }

    /// Asks the registry how much it has.
    pub(super) async fn look(&mut self) -> Result<(), Cause> {
        let get = self.server.call_to(Method::GET, self.location.clone(), Access::Push);
        let was_range_refused = std::mem::take(&mut self.is_range_refused);
        match self.server.expect(&self.repository, &get, &ACCEPTED).await {
            Ok(reply) => {
                let stored = stored_of(&reply).ok_or_else(|| self.server.protocol("an upload has no valid `Range`"))?;
                self.follow(&reply)?;
                let before = self.acknowledged;
                self.acknowledge(stored, was_range_refused)?;
                // It has what it had, and does not accept what follows.
                if was_range_refused && self.acknowledged == before { Err(lost()) } else { Ok(()) }
            }
            // It does not say how much it has. It refuses the chunk if it has a part of it.
            Err(cause) if is_without_state(&cause) => {
                self.is_unclear = false;
                if was_range_refused { Err(lost()) } else { Ok(()) }
            }
            Err(cause) => Err(cause),
        }
    }

    /// Uses the address that the registry names from now on.
    fn follow(&mut self, reply: &Reply) -> Result<(), Cause> {
        if reply.response.headers().contains_key(LOCATION) {
            self.location = self.server.location(reply)?;
        }
        Ok(())
    }

    /// Drops what the registry has from memory.
    fn acknowledge(&mut self, stored: Stored, refused: bool) -> Result<(), Cause> {
        match resume(stored, self.acknowledged, as_u64(self.in_flight.len()), refused) {
            Resume::From(new) => {
                self.acknowledged += new;
                // `new` is at most the length.
                self.in_flight = self.in_flight.split_off(usize::try_from(new).unwrap_or(usize::MAX));
                self.is_unclear = false;
                Ok(())
            }
            Resume::Lost => Err(lost()),
        }
    }
}

/// How much of the upload a registry has by its response.
fn stored_of(reply: &Reply) -> Option<Stored> {
    stored_bytes(reply.response.headers().get(RANGE)?.to_str().ok()?)
}

fn as_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
