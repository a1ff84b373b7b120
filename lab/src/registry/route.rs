//! Which step of the protocol a request is: names of repositories have slashes, so no router can say it.

use axum::http::Method;

use super::fault::Step;

/// The path of the token service.
pub(super) const TOKEN: &str = "/token";

/// A request by its method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) step: Step,
    pub(super) repository: String,
    /// The upload, digest or tag.
    pub(super) object: String,
}

impl Route {
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let other = || Self { step: Step::Other, repository: String::new(), object: String::new() };
        if path == TOKEN {
            return Self { step: Step::Token, ..other() };
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return other() };
        let parts = [("/blobs/uploads/", Kind::Upload), ("/blobs/", Kind::Blob), ("/manifests/", Kind::Manifest)];
        let found = parts
            .iter()
            .find_map(|(part, kind)| rest.rsplit_once(part).map(|(repository, object)| (*kind, repository, object)));
        let found = found.or_else(|| rest.strip_suffix("/tags/list").map(|repository| (Kind::Tags, repository, "")));
        let Some((kind, repository, object)) = found else { return other() };
        let step = match (kind, method.as_str()) {
            (Kind::Upload, "POST") if object.is_empty() => Step::BeginUpload,
            (Kind::Upload, "PATCH") => Step::Patch,
            (Kind::Upload, "GET") => Step::UploadState,
            (Kind::Upload, "PUT") => Step::FinishUpload,
            (Kind::Upload, "DELETE") => Step::CancelUpload,
            (Kind::Blob, "HEAD") => Step::HeadBlob,
            (Kind::Blob, "GET") => Step::GetBlob,
            (Kind::Manifest, "PUT") => Step::PutManifest,
            (Kind::Manifest, "GET" | "HEAD") => Step::GetManifest,
            (Kind::Manifest, "DELETE") => Step::DeleteManifest,
            (Kind::Tags, "GET") => Step::ListTags,
            _ => Step::Other,
        };
        Self { step, repository: repository.to_owned(), object: object.to_owned() }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Upload,
    Blob,
    Manifest,
    Tags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_of_the_protocol_is_a_step() {
        for (method, path, step, object) in [
            (Method::POST, "/v2/a/b/blobs/uploads/", Step::BeginUpload, ""),
            (Method::PATCH, "/v2/a/b/blobs/uploads/7", Step::Patch, "7"),
            (Method::GET, "/v2/a/b/blobs/sha256:00", Step::GetBlob, "sha256:00"),
            (Method::HEAD, "/v2/a/b/blobs/sha256:00", Step::HeadBlob, "sha256:00"),
            (Method::PUT, "/v2/a/b/manifests/tag", Step::PutManifest, "tag"),
            (Method::GET, "/v2/a/b/tags/list", Step::ListTags, ""),
        ] {
            let expected = Route { step, repository: "a/b".to_owned(), object: object.to_owned() };
            assert_eq!(Route::of(&method, path), expected, "{method} {path}");
        }
        assert_eq!(Route::of(&Method::GET, TOKEN).step, Step::Token);
        assert_eq!(Route::of(&Method::GET, "/v2/").step, Step::Other);
    }
}
