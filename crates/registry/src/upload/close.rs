//! Closes an upload, all bytes of which are acknowledged.

use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode};

use super::Upload;
use super::answers::{is_range_refused, is_unknown, lost};
use crate::auth::Access;
use crate::digest::Digest;
use crate::error::Cause;
use crate::find_blob::find_blob;

/// The digest of what the registry has stored.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Upload {
    /// Closes the upload. A repeat finds what an attempt with a lost answer has done.
    pub(super) async fn close(&mut self, digest: &Digest) -> Result<(), Cause> {
        let mut patience = self.server.patience();
        loop {
            let cause = match self.put(digest).await {
                Ok(()) => return Ok(()),
                Err(cause) => cause,
            };
            let is_wrong = cause.answer().is_some_and(|answer| answer.has_code("DIGEST_INVALID"));
            if is_wrong {
                return Err(Cause::WrongContent { why: format!("the upload does not have the digest {digest}") });
            }
            let may_be_done = is_unknown(&cause) || is_range_refused(&cause);
            if cause.is_worth_repeating() {
                self.server.wait_after(cause, &mut patience).await?;
            } else if !may_be_done {
                return Err(cause);
            }
            // The answer may have been lost after its effect.
            match find_blob(&self.server, &self.repository, digest, Access::Push).await? {
                Some(length) if length == self.acknowledged => return Ok(()),
                Some(length) => return Err(wrong_length(digest, length, self.acknowledged)),
                None if may_be_done => return Err(lost()),
                None => {}
            }
            match self.look().await {
                Err(cause) if is_unknown(&cause) => return Err(lost()),
                Err(cause) if !cause.is_worth_repeating() => return Err(cause),
                // The next attempt shows whether the registry responds again.
                Ok(()) | Err(_) => {}
            }
        }
    }

    async fn put(&self, digest: &Digest) -> Result<(), Cause> {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        let mut put = self.server.call_to(Method::PUT, url, Access::Push);
        put.silence = self.server.times.closing;
        let created = [StatusCode::CREATED, StatusCode::NO_CONTENT, StatusCode::OK];
        let reply = self.server.expect(&self.repository, &put, &created).await?;
        match reply.response.headers().get(CONTENT_DIGEST) {
            Some(other) if other.as_bytes() != digest.as_str().as_bytes() => {
                Err(Cause::WrongContent { why: format!("it answers with another digest than {digest}") })
            }
            _ => Ok(()),
        }
    }
}

fn wrong_length(digest: &Digest, length: u64, expected: u64) -> Cause {
    Cause::WrongContent { why: format!("blob {digest} has {length} bytes, {expected} were sent") }
}
