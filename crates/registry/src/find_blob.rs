//! Whether a registry has a blob, and how long it is.

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};

use crate::auth::Access;
use crate::digest::Digest;
use crate::error::Cause;
use crate::repository_name::RepositoryName;
use crate::server::{Call, Reply, Server};

/// The first byte alone, for registries that do not answer `HEAD`.
const FIRST_BYTE: HeaderValue = HeaderValue::from_static("bytes=0-0");

/// The length of a blob in bytes; `None` if the repository does not have it.
pub(crate) async fn find_blob(
    server: &Server,
    repository: &RepositoryName,
    digest: &Digest,
    access: Access,
) -> Result<Option<u64>, Cause> {
    let head = server.call(Method::HEAD, repository, &format!("blobs/{digest}"), access);
    server.patiently(|| found(server, repository, &head)).await
}

async fn found(server: &Server, repository: &RepositoryName, head: &Call) -> Result<Option<u64>, Cause> {
    let reply = server.send(repository, head).await?;
    match reply.response.status() {
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::OK => match length(reply.response.headers()) {
            Some(length) => Ok(Some(length)),
            None => by_range(server, repository, head).await,
        },
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => by_range(server, repository, head).await,
        // The URL that an object store has signed is often valid for GET alone.
        StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST if !server.is_own(&reply.url) => {
            by_range(server, repository, head).await
        }
        _ => Err(server.refusal(repository, reply).await),
    }
}

async fn by_range(server: &Server, repository: &RepositoryName, head: &Call) -> Result<Option<u64>, Cause> {
    let mut get = Call { method: Method::GET, ..head.clone() };
    get.headers.insert(RANGE, FIRST_BYTE);
    let reply = server.send(repository, &get).await?;
    let status = reply.response.status();
    let length = match status {
        StatusCode::NOT_FOUND => return Ok(None),
        StatusCode::OK => length(reply.response.headers()),
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => whole_length(&reply),
        _ => return Err(server.refusal(repository, reply).await),
    };
    let length = length.ok_or_else(|| server.protocol("the response for a blob has no length"))?;
    Ok(Some(length))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    number(headers, &CONTENT_LENGTH, "")
}

/// The length behind the slash of `bytes 0-0/1234` or `bytes */0`.
fn whole_length(reply: &Reply) -> Option<u64> {
    number(reply.response.headers(), &CONTENT_RANGE, "/")
}

/// The number in a header, behind the last `separator`.
fn number(headers: &HeaderMap, name: &HeaderName, separator: &str) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?;
    let digits = if separator.is_empty() { text } else { text.rsplit_once(separator)?.1 };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_strictly() {
        for (value, separator, expected) in [
            ("0", "", Some(0)),
            ("1234", "", Some(1234)),
            ("+1", "", None),
            ("1, 1", "", None),
            ("", "", None),
            ("bytes 0-0/1234", "/", Some(1234)),
            ("bytes */0", "/", Some(0)),
            ("bytes 0-0/*", "/", None),
            ("bytes 0-0", "/", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(value))]);
            assert_eq!(number(&headers, &CONTENT_LENGTH, separator), expected, "{value}");
        }
    }
}
