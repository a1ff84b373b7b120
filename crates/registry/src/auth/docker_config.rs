//! Which entry of a `.dockerconfigjson` is for a repository.
//!
//! The rule is the kubelet's (Kubernetes page "Images", "Interpretation of config.json"): a key has a host, in which `*` and
//! `?` match within one label, an optional port, which has to be equal, and an optional path, with which the repository has to
//! begin. `https://`, `http://`, and a path that begins with `/v1/` or `/v2/` are accepted for the sake of Docker. Of several
//! matching entries the most specific one is used.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::repository_name::{RepositoryName, canonical_host};
use crate::secret::Secret;

/// The credentials of one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Basic {
        user: String,
        password: Secret,
    },
    /// A refresh token, which only a token service accepts.
    IdentityToken(Secret),
}

/// Why an entry can't be used. Its content is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("its `auth` is not USER:PASSWORD in base64")]
    Auth,
    #[error("it has no `auth`, no `username` with `password`, and no `identitytoken`")]
    Empty,
}

/// The parsed file.
#[derive(Deserialize)]
pub(crate) struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
}

/// What a key matches.
#[derive(Debug, PartialEq, Eq)]
struct Pattern<'a> {
    host: &'a str,
    port: Option<&'a str>,
    /// Begins with a slash, or is empty.
    path: &'a str,
}

impl DockerConfig {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// The credentials for a repository.
    pub(crate) fn find(&self, repository: &RepositoryName) -> Option<Result<Credential, EntryError>> {
        let matching = self.auths.iter().filter_map(|(key, entry)| {
            let pattern = Pattern::of(key);
            pattern.matches(repository).then(|| (pattern.specificity(), entry))
        });
        matching.max_by_key(|(specificity, _)| *specificity).map(|(_, entry)| entry.credential())
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.auths.keys()).finish()
    }
}

impl Entry {
    fn credential(&self) -> Result<Credential, EntryError> {
        let is_set = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = is_set(&self.identity_token) {
            return Ok(Credential::IdentityToken(Secret::new(token)));
        }
        if let Some(auth) = is_set(&self.auth) {
            let decoded = STANDARD.decode(auth.trim()).map_err(|_| EntryError::Auth)?;
            let decoded = String::from_utf8(decoded).map_err(|_| EntryError::Auth)?;
            let (user, password) = decoded.split_once(':').ok_or(EntryError::Auth)?;
            // Docker fills up some passwords with zeros.
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Credential::Basic { user: user.to_owned(), password: Secret::new(password) });
        }
        match (is_set(&self.username), is_set(&self.password)) {
            (Some(user), Some(password)) => Ok(Credential::Basic { user, password: Secret::new(password) }),
            _ => Err(EntryError::Empty),
        }
    }
}

impl<'a> Pattern<'a> {
    fn of(key: &'a str) -> Self {
        let key = ["https://", "http://"].into_iter().find_map(|scheme| key.strip_prefix(scheme)).unwrap_or(key);
        let (server, path) = key.split_at(key.find('/').unwrap_or(key.len()));
        let path = match path.get(..4) {
            Some("/v1/" | "/v2/") => &path[3..],
            _ => path,
        };
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (server, None),
        };
        Self { host: canonical_host(host), port, path: if path == "/" { "" } else { path } }
    }

    fn matches(&self, repository: &RepositoryName) -> bool {
        let registry = repository.registry();
        let (host, port) = match registry.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (registry.as_str(), None),
        };
        let is_host = matches_labels(self.host, canonical_host(host));
        is_host && self.port == port && format!("/{}", repository.path()).starts_with(self.path)
    }

    /// The longest path first, then a host without wildcards.
    fn specificity(&self) -> (usize, bool) {
        (self.path.len(), !self.host.contains(['*', '?']))
    }
}

/// Whether each label of a host matches the same label of a pattern.
fn matches_labels(pattern: &str, host: &str) -> bool {
    let (patterns, labels) = (pattern.split('.'), host.split('.'));
    patterns.clone().count() == labels.clone().count()
        && patterns.zip(labels).all(|(pattern, label)| matches_label(pattern.as_bytes(), label.as_bytes()))
}

fn matches_label(pattern: &[u8], label: &[u8]) -> bool {
    match (pattern, label) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            matches_label(rest, label) || label.split_first().is_some_and(|(_, label)| matches_label(pattern, label))
        }
        ([b'?', pattern @ ..], [_, label @ ..]) => matches_label(pattern, label),
        ([one, pattern @ ..], [other, label @ ..]) => one.eq_ignore_ascii_case(other) && matches_label(pattern, label),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The user that is found for a repository in a file with these keys; each key is its own user.
    fn user(keys: &[&str], repository: &str) -> Option<String> {
        let entries = keys.iter().map(|key| ((*key).to_owned(), json!({"username": key, "password": "password"})));
        let file = json!({"auths": entries.collect::<serde_json::Map<String, Value>>()});
        let config = DockerConfig::parse(file.to_string().as_bytes()).unwrap();
        match config.find(&repository.parse().unwrap())?.unwrap() {
            Credential::Basic { user, .. } => Some(user),
            Credential::IdentityToken(_) => None,
        }
    }

    fn credential(entry: &Value) -> Result<Credential, EntryError> {
        let file = json!({"auths": {"a.example.com": entry}}).to_string();
        DockerConfig::parse(file.as_bytes()).unwrap().find(&"a.example.com/x".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_key_matches_as_for_the_kubelet() {
        for (key, repository, expected) in [
            ("a.example.com", "a.example.com/x", true),
            ("https://a.example.com", "a.example.com/x", true),
            ("http://a.example.com/", "a.example.com/x", true),
            ("https://a.example.com/v2/", "a.example.com/x", true),
            ("https://a.example.com/v1/team", "a.example.com/team/x", true),
            ("A.example.com", "a.example.com/x", true),
            ("a.example.com/team", "a.example.com/team/x", true),
            ("a.example.com/team", "a.example.com/other/x", false),
            ("a.example.com:5000", "a.example.com:5000/x", true),
            ("a.example.com:5000", "a.example.com/x", false),
            ("a.example.com", "a.example.com:5000/x", false),
            ("*.example.com", "a.example.com/x", true),
            ("?.example.com", "a.example.com/x", true),
            ("*.example.com", "a.b.example.com/x", false),
            ("*.com", "a.example.com/x", false),
            ("b*.example.com", "a.example.com/x", false),
            ("[fd00::1]:5000", "[fd00::1]:5000/x", true),
            ("[fd00::1]", "[fd00::1]/x", true),
            ("example.com", "a.example.com/x", false),
            ("", "a.example.com/x", false),
        ] {
            assert_eq!(user(&[key], repository).is_some(), expected, "{key} for {repository}");
        }
    }

    #[test]
    fn each_name_of_docker_hub_is_docker_hub() {
        for key in ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            for repository in ["docker.io/team/x", "index.docker.io/team/x"] {
                assert!(user(&[key], repository).is_some(), "{key} for {repository}");
            }
        }
    }

    #[test]
    fn the_most_specific_key_is_used() {
        let keys = ["*.example.com", "a.example.com", "a.example.com/team", "a.example.com/team/web"];
        for (repository, expected) in [
            ("b.example.com/team/web", "*.example.com"),
            ("a.example.com/x", "a.example.com"),
            ("a.example.com/team/x", "a.example.com/team"),
            ("a.example.com/team/web/x", "a.example.com/team/web"),
        ] {
            assert_eq!(user(&keys, repository).as_deref(), Some(expected), "{repository}");
        }
    }

    #[test]
    fn each_form_of_credentials_is_read() {
        let basic = |password: &str| {
            Ok(Credential::Basic { user: "bob".to_owned(), password: Secret::new(password.to_owned()) })
        };
        for (entry, expected) in [
            (json!({"auth": STANDARD.encode("bob:pass:word")}), basic("pass:word")),
            (json!({"auth": STANDARD.encode("bob:password\0\0")}), basic("password")),
            (json!({"username": "bob", "password": "password", "email": "x"}), basic("password")),
            (
                json!({"auth": STANDARD.encode("00000000:"), "identitytoken": "refresh"}),
                Ok(Credential::IdentityToken(Secret::new("refresh".to_owned()))),
            ),
            (json!({"auth": "no base64"}), Err(EntryError::Auth)),
            (json!({"auth": STANDARD.encode("no colon")}), Err(EntryError::Auth)),
            (json!({"username": "bob"}), Err(EntryError::Empty)),
            (json!({}), Err(EntryError::Empty)),
        ] {
            assert_eq!(credential(&entry), expected, "{entry}");
        }
    }

    #[test]
    fn nothing_secret_is_in_debug_output() {
        let file = json!({"auths": {"a.example.com": {"auth": STANDARD.encode("bob:password")}}}).to_string();
        let config = DockerConfig::parse(file.as_bytes()).unwrap();
        let shown = format!("{config:?} {:?}", config.find(&"a.example.com/x".parse().unwrap()));
        assert!(shown.contains("a.example.com") && !shown.contains("password\"") && !shown.contains("Ym9i"), "{shown}");
    }

    #[test]
    fn a_file_without_auths_has_no_credentials() {
        let config = DockerConfig::parse(b"{}").unwrap();
        assert!(config.find(&"a.example.com/x".parse().unwrap()).is_none());
        assert!(DockerConfig::parse(b"not json").is_err());
    }
}
