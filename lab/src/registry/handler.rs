//! Answers requests to the stand-in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::{ConnectInfo, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use futures::{StreamExt as _, stream};

use super::contents::{Contents, Refusal, digest_of};
use super::fault::{Fault, Step};
use super::route::{Route, TOKEN};
use super::shared::{RegistryRequest, Shared};
use crate::lock::lock;
use crate::server::ResetHandle;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const LEAST_CHUNK: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// How long a body waits before it breaks.
const FLUSH_TIME: Duration = Duration::from_millis(100);
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(super) async fn receive(
    State(shared): State<Arc<Mutex<Shared>>>,
    ConnectInfo(connection): ConnectInfo<ResetHandle>,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let route = Route::of(&parts.method, parts.uri.path());
    let index = record(&shared, &parts, route.step);
    if let Some(refusal) = unauthorized(&shared, &parts, route.step) {
        return refusal;
    }
    let fault = lock(&shared).faults.take(route.step);
    match &fault {
        Some(Fault::Answer { status, headers, body }) => return with_headers(answer(*status, body.clone()), headers),
        Some(Fault::Reset) => return connection.reset().await,
        Some(Fault::Endless(status)) => return endless(*status),
        Some(Fault::Silent(status)) => return silent(*status),
        Some(Fault::Forget) => drop(lock(&shared).contents.forget(&route.object)),
        _ => {}
    }
    let parts = if fault == Some(Fault::IgnoreRange) { without_range(parts) } else { parts };
    let limit = if let Some(Fault::CutAfter(bytes)) = fault { bytes } else { usize::MAX };
    let mut pieces = body.into_data_stream();
    let body = read(&mut pieces, limit).await;
    if let Some(request) = lock(&shared).requests.get_mut(index) {
        request.bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    }
    if fault == Some(Fault::Hang) {
        return std::future::pending().await;
    }
    let stored = if fault == Some(Fault::StoreHalf) { body.slice(..body.len() / 2) } else { body };
    let response = lock(&shared).answer(&route, &parts, &stored);
    match fault {
        Some(Fault::LoseAnswer) => connection.reset().await,
        Some(Fault::CutAfter(_)) => {
            connection.reset_within(pieces).await;
            response
        }
        Some(Fault::Headers(headers)) => with_headers(response, &headers),
        Some(Fault::OtherBytes) => other_bytes(response).await,
        Some(Fault::CutBody(bytes)) => cut_body(response, bytes).await,
        _ => response,
    }
}

fn record(shared: &Mutex<Shared>, parts: &Parts, step: Step) -> usize {
    let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request = RegistryRequest {
        step,
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        authorization: text(header::AUTHORIZATION),
        range: text(header::CONTENT_RANGE).or_else(|| text(header::RANGE)),
        bytes: 0,
    };
    let requests = &mut lock(shared).requests;
    requests.push(request);
    requests.len() - 1
}

/// A 401, if the request is not permitted. The token service decides by itself.
fn unauthorized(shared: &Mutex<Shared>, parts: &Parts, step: Step) -> Option<Response<Body>> {
    if step == Step::Token {
        return None;
    }
    let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let realm = format!("http://{}{TOKEN}", text(header::HOST).unwrap_or_default());
    let challenge = lock(shared).login.challenge(text(header::AUTHORIZATION), &realm)?;
    let refusal = refused((401, "UNAUTHORIZED"));
    Some(with_headers(refusal, &[("www-authenticate", challenge)]))
}

fn without_range(mut parts: Parts) -> Parts {
    parts.headers.remove(header::RANGE);
    parts
}

/// The body, or its first bytes.
async fn read(pieces: &mut BodyDataStream, limit: usize) -> Bytes {
    let mut read = Vec::new();
    while read.len() < limit
        && let Some(Ok(piece)) = pieces.next().await
    {
        read.extend_from_slice(&piece);
    }
    read.truncate(limit);
    read.into()
}

impl Shared {
    fn answer(&mut self, route: &Route, parts: &Parts, body: &Bytes) -> Response<Body> {
        let Route { step, repository, object } = route;
        let contents = &mut self.contents;
        let result = match step {
            Step::BeginUpload => {
                let upload = contents.begin();
                let mut begun = accepted(contents, repository, &upload);
                if let (Ok(response), Some(least)) = (&mut begun, &self.least_chunk) {
                    insert(response, LEAST_CHUNK, least);
                }
                begun
            }
            Step::Patch => patch(contents, route, parts, body),
            Step::UploadState => accepted(contents, repository, object).map(|mut response| {
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }),
            Step::FinishUpload => finish(contents, route, parts),
            Step::CancelUpload => contents.forget(object).map(|()| answer(204, "")),
            Step::HeadBlob | Step::GetBlob => blob(contents, object, parts),
            Step::PutManifest => {
                let digest = contents.put_manifest(repository, object, body.to_vec());
                Ok(with_digest(answer(201, ""), &digest))
            }
            Step::GetManifest => match contents.manifest(repository, object) {
                Some((digest, content)) => {
                    let response = with_digest(answer(200, content.to_vec()), &digest);
                    Ok(with_headers(response, &[("content-type", MANIFEST.to_owned())]))
                }
                None => Err((404, "MANIFEST_UNKNOWN")),
            },
            Step::DeleteManifest if !self.deletes => Err((405, "UNSUPPORTED")),
            Step::DeleteManifest => contents.delete_manifest(repository, object).map(|()| answer(202, "")),
            Step::ListTags => Ok(tags(contents, repository, parts)),
            Step::Token => {
                let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                let form = String::from_utf8_lossy(body);
                let token = self.login.give_out(authorization, &form);
                token.map(|json| answer(200, json)).ok_or((401, "UNAUTHORIZED"))
            }
            Step::Other => Err((404, "NAME_UNKNOWN")),
        };
        result.unwrap_or_else(refused)
    }
}

/// The address of an upload holds how much of it is stored, as that of Docker's registry does.
fn accepted(contents: &Contents, repository: &str, upload: &str) -> Result<Response<Body>, Refusal> {
    let stored = contents.stored(upload)?;
    let mut response = answer(202, "");
    insert(&mut response, header::LOCATION, &format!("/v2/{repository}/blobs/uploads/{upload}?state={stored}"));
    insert(&mut response, header::RANGE, &format!("0-{}", stored.saturating_sub(1)));
    Ok(response)
}

fn patch(contents: &mut Contents, route: &Route, parts: &Parts, body: &[u8]) -> Result<Response<Body>, Refusal> {
    check_state(contents, route, parts)?;
    let range = parts.headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.split_once('-')?.0.parse().ok());
    contents.append(&route.object, start.ok_or((400, "BLOB_UPLOAD_INVALID"))?, body)?;
    accepted(contents, &route.repository, &route.object)
}

fn finish(contents: &mut Contents, route: &Route, parts: &Parts) -> Result<Response<Body>, Refusal> {
    check_state(contents, route, parts)?;
    let digest = query(parts, "digest").unwrap_or_default().replace("%3A", ":");
    contents.finish(&route.object, &digest)?;
    let mut response = with_digest(answer(201, ""), &digest);
    insert(&mut response, header::LOCATION, &format!("/v2/{}/blobs/{digest}", route.repository));
    Ok(response)
}

/// Refuses an address of an upload that is not the latest one.
fn check_state(contents: &Contents, route: &Route, parts: &Parts) -> Result<(), Refusal> {
    let stored = contents.stored(&route.object)?;
    let is_latest = query(parts, "state").is_some_and(|state| state == stored.to_string());
    if is_latest { Ok(()) } else { Err((416, "RANGE_INVALID")) }
}

fn blob(contents: &Contents, digest: &str, parts: &Parts) -> Result<Response<Body>, Refusal> {
    let content = contents.blob(digest).ok_or((404, "BLOB_UNKNOWN"))?;
    if parts.method == Method::HEAD {
        let mut response = answer(200, "");
        insert(&mut response, header::CONTENT_LENGTH, &content.len().to_string());
        return Ok(with_digest(response, digest));
    }
    let range = parts.headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')?.0.parse::<usize>().ok());
    let Some(start) = start else { return Ok(answer(200, content.to_vec())) };
    let end = range.and_then(|range| range.split_once('-')?.1.parse::<usize>().ok());
    let end = end.map_or(content.len(), |last| (last + 1).min(content.len()));
    let part = content.get(start..end).filter(|part| !part.is_empty()).ok_or((416, "RANGE_INVALID"))?;
    let mut response = answer(206, part.to_vec());
    insert(&mut response, header::CONTENT_RANGE, &format!("bytes {start}-{}/{}", end - 1, content.len()));
    Ok(response)
}

fn tags(contents: &Contents, repository: &str, parts: &Parts) -> Response<Body> {
    let count = query(parts, "n").and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
    let (tags, has_more) = contents.tags(repository, query(parts, "last").unwrap_or_default(), count);
    let list = serde_json::json!({"name": repository, "tags": tags});
    let mut response = answer(200, list.to_string());
    if has_more && let Some(last) = tags.last() {
        let next = format!("</v2/{repository}/tags/list?n={count}&last={last}>; rel=\"next\"");
        insert(&mut response, header::LINK, &next);
    }
    response
}

fn query<'p>(parts: &'p Parts, name: &str) -> Option<&'p str> {
    let pairs = parts.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find_map(|(key, value)| (key == name).then_some(value))
}

fn answer(status: u16, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn refused((status, code): Refusal) -> Response<Body> {
    answer(status, format!(r#"{{"errors":[{{"code":"{code}","message":"refused by the stand-in"}}]}}"#))
}

fn with_digest(mut response: Response<Body>, digest: &str) -> Response<Body> {
    insert(&mut response, DIGEST, digest);
    response
}

fn with_headers(mut response: Response<Body>, headers: &[(&'static str, String)]) -> Response<Body> {
    for (name, value) in headers {
        insert(&mut response, HeaderName::from_static(name), value);
    }
    response
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

async fn other_bytes(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let mut bytes = read(&mut body.into_data_stream(), usize::MAX).await.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    if parts.headers.contains_key(DIGEST)
        && let Ok(digest) = HeaderValue::from_str(&digest_of(&bytes))
    {
        parts.headers.insert(DIGEST, digest);
    }
    Response::from_parts(parts, bytes.into())
}

/// The announced length is that of the whole body.
async fn cut_body(response: Response<Body>, bytes: usize) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let length = body.size_hint().exact().unwrap_or_default();
    let start = read(&mut body.into_data_stream(), bytes).await;
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let cut = stream::once(async {
        // What hyper has not sent when a body fails is lost.
        tokio::time::sleep(FLUSH_TIME).await;
        Err(std::io::Error::other("cut"))
    });
    Response::from_parts(parts, Body::from_stream(stream::once(async { Ok(start) }).chain(cut)))
}

fn endless(status: u16) -> Response<Body> {
    let piece = Bytes::from(vec![b' '; 64 * 1024]);
    answer(status, Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()))))
}

fn silent(status: u16) -> Response<Body> {
    answer(status, Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()))
}
