//! One request to the API server in Kubernetes' terms: verb, resource, namespace, name.
//!
//! Paths follow <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>.

use std::fmt;

use axum::http::{Method, Uri};
use jiff::Timestamp;

/// The verb of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

/// A request that the proxy has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub at: Timestamp,
    pub verb: Verb,
    /// With the subresource, for example `checkpoints/status`. Empty for paths that name no resource.
    pub resource: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// The body, with invalid UTF-8 replaced.
    pub body: String,
}

impl Call {
    pub(super) fn read(method: &Method, uri: &Uri, body: &[u8]) -> Self {
        let Subject { resource, namespace, name } = subject(uri.path());
        let is_watch = uri.query().unwrap_or_default().split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
        let verb = match (method.as_str(), &name) {
            ("POST", _) => Verb::Create,
            ("PUT", _) => Verb::Update,
            ("PATCH", _) => Verb::Patch,
            ("DELETE", _) => Verb::Delete,
            (_, _) if is_watch => Verb::Watch,
            (_, None) => Verb::List,
            (_, Some(_)) => Verb::Get,
        };
        let body = String::from_utf8_lossy(body).into_owned();
        Self { at: Timestamp::now(), verb, resource, namespace, name, body }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.verb, self.resource)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " `{name}`"))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Subject {
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
}

fn subject(path: &str) -> Subject {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => &[],
    };
    let (namespace, rest) = match rest {
        // The path of a Namespace itself ends with its name or with one of these two subresources.
        ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
            (Some((*namespace).to_owned()), rest)
        }
        rest => (None, rest),
    };
    let (resource, name) = match rest {
        [] => (String::new(), None),
        [resource] => ((*resource).to_owned(), None),
        [resource, name] => ((*resource).to_owned(), Some((*name).to_owned())),
        [resource, name, sub @ ..] => (format!("{resource}/{}", sub.join("/")), Some((*name).to_owned())),
    };
    Subject { resource, namespace, name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, uri: &str) -> Call {
        Call::read(&method.parse().unwrap(), &uri.parse().unwrap(), b"")
    }

    #[test]
    fn paths_are_read_as_the_api_server_reads_them() {
        for (method, uri, verb, resource, namespace, name) in [
            ("GET", "/api/v1/namespaces/a/pods?limit=500", Verb::List, "pods", Some("a"), None),
            ("GET", "/api/v1/pods?watch=true&limit=1", Verb::Watch, "pods", None, None),
            ("GET", "/api/v1/namespaces/a/pods/web", Verb::Get, "pods", Some("a"), Some("web")),
            ("PUT", "/apis/x.io/v1/namespaces/a/ckpts/r/status", Verb::Update, "ckpts/status", Some("a"), Some("r")),
            ("POST", "/apis/x.io/v1/namespaces/a/ckpts", Verb::Create, "ckpts", Some("a"), None),
            ("GET", "/api/v1/namespaces/a", Verb::Get, "namespaces", None, Some("a")),
            ("GET", "/readyz", Verb::List, "", None, None),
        ] {
            let found = call(method, uri);
            assert_eq!((found.verb, found.resource.as_str()), (verb, resource), "{uri}");
            assert_eq!((found.namespace.as_deref(), found.name.as_deref()), (namespace, name), "{uri}");
        }
    }
}
