//! The name of a repository, as operators write it: `HOST[:PORT]/PATH`.
//!
//! The path follows the grammar of the OCI distribution specification 1.1 ("Pulling manifests"). The registry has to be
//! written: with Docker's rule, a forgotten host would send the memory of a container to Docker Hub.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The longest name with its registry that all clients accept, in bytes.
const LONGEST: usize = 255;
const LONGEST_LABEL: usize = 63;

/// The names of Docker Hub. `docker.io` is in names of images, the others are in files with credentials.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// The server of Docker Hub.
const DOCKER_HUB_SERVER: &str = "registry-1.docker.io";

/// A repository in a registry. A reference such as `registry.example.com:5000/team/snapshots`, without a scheme, tag or digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName {
    /// In lower case; an IPv6 address is in brackets.
    host: String,
    port: Option<u16>,
    path: String,
}

/// Why a text names no repository. The text itself is not shown: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryNameError {
    #[error("a repository has no scheme: write HOST[:PORT]/PATH")]
    Scheme,
    #[error("a repository has no user and password: put them into the file with credentials")]
    UserInfo,
    #[error("the registry is missing: write HOST[:PORT]/PATH, with a host that has a dot or a port, or is `localhost`")]
    NoRegistry,
    #[error("the registry is not a host name or an IP address with an optional port")]
    Registry,
    #[error(
        "the path has other characters than a-z, 0-9 and single separators (`.`, `_`, `__`, `-`, `/`) between them"
    )]
    Path,
    #[error("a repository has no tag and no digest: the tag is chosen for each snapshot")]
    Tag,
    #[error("the name is longer than {LONGEST} characters")]
    TooLong,
}

impl RepositoryName {
    /// Host and optional port, as in names of images.
    pub fn registry(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// The name within the registry, without a slash at the start.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The repository `path` below this one, for example `team-a/web`.
    pub fn below(&self, path: &str) -> Result<Self, RepositoryNameError> {
        let below = Self { path: format!("{}/{path}", self.path), ..self.clone() };
        below.checked()
    }

    /// Whether the registry is on this machine by its name: `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Host and port of the server.
    pub(crate) fn server(&self) -> String {
        if DOCKER_HUB.contains(&self.host.as_str()) { DOCKER_HUB_SERVER.to_owned() } else { self.registry() }
    }

    fn checked(self) -> Result<Self, RepositoryNameError> {
        if !self.path.split('/').all(is_component) {
            return Err(RepositoryNameError::Path);
        }
        if self.to_string().len() > LONGEST { Err(RepositoryNameError::TooLong) } else { Ok(self) }
    }
}

/// Whether a host, as it is in a URL, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

/// The address that a host is, if it is not a name. URLs have brackets around IPv6 addresses.
pub(crate) fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The host by which credentials are found: Docker Hub has several.
pub(crate) fn canonical_host(host: &str) -> &str {
    if DOCKER_HUB.contains(&host) { DOCKER_HUB[0] } else { host }
}

impl FromStr for RepositoryName {
    type Err = RepositoryNameError;

    fn from_str(text: &str) -> Result<Self, RepositoryNameError> {
        if text.len() > LONGEST {
            return Err(RepositoryNameError::TooLong);
        }
        if text.contains("://") {
            return Err(RepositoryNameError::Scheme);
        }
        let (registry, path) = text.split_once('/').ok_or(RepositoryNameError::NoRegistry)?;
        if registry.contains('@') {
            return Err(RepositoryNameError::UserInfo);
        }
        let names_a_registry = registry.contains(['.', ':']) || registry == "localhost";
        if !names_a_registry {
            return Err(RepositoryNameError::NoRegistry);
        }
        if path.contains([':', '@']) {
            return Err(RepositoryNameError::Tag);
        }
        let (host, port) = host_and_port(registry).ok_or(RepositoryNameError::Registry)?;
        Self { host, port, path: path.to_owned() }.checked()
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry(), self.path)
    }
}

fn host_and_port(registry: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match registry.rfind(']') {
        Some(end) if registry.starts_with('[') => registry.split_at(end + 1),
        Some(_) => return None,
        None => registry.split_at(registry.find(':').unwrap_or(registry.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        Some(digits) => Some(digits.parse::<u16>().ok().filter(|port| *port > 0 && is_number(digits))?),
    };
    let host = host.to_ascii_lowercase();
    let is_valid = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    is_valid.then_some((host, port))
}

/// `parse` accepts a sign.
fn is_number(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_bounded = (1..=LONGEST_LABEL).contains(&label.len());
    is_bounded && label.bytes().all(is_part) && !label.starts_with('-') && !label.ends_with('-')
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let is_word = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let is_separator =
        |text: &str| matches!(text, "." | "_" | "__") || (!text.is_empty() && text.bytes().all(|byte| byte == b'-'));
    let mut rest = component;
    loop {
        let after_word = rest.trim_start_matches(is_word);
        if after_word.len() == rest.len() {
            return false;
        }
        if after_word.is_empty() {
            return true;
        }
        let next_word = after_word.find(is_word).unwrap_or(after_word.len());
        let (separator, word) = after_word.split_at(next_word);
        if !is_separator(separator) {
            return false;
        }
        rest = word;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_has_a_registry_and_a_path() {
        for (text, registry, server, path) in [
            ("registry.example.com/snapshots", "registry.example.com", "registry.example.com", "snapshots"),
            (
                "Registry.Example.com:5000/a/b_c/d--e",
                "registry.example.com:5000",
                "registry.example.com:5000",
                "a/b_c/d--e",
            ),
            ("localhost/x", "localhost", "localhost", "x"),
            ("registry:5000/x", "registry:5000", "registry:5000", "x"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000", "127.0.0.1:5000", "x"),
            ("[fd00::1]:5000/x", "[fd00::1]:5000", "[fd00::1]:5000", "x"),
            ("docker.io/team/x", "docker.io", "registry-1.docker.io", "team/x"),
        ] {
            let name: RepositoryName = text.parse().unwrap();
            assert_eq!(
                (name.registry().as_str(), name.server().as_str(), name.path()),
                (registry, server, path),
                "{text}"
            );
            assert_eq!(name.to_string(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn what_names_no_repository_is_refused_with_the_cause() {
        use RepositoryNameError as E;
        for (text, why) in [
            ("https://registry.example.com/x", E::Scheme),
            ("bob:secret@registry.example.com/x", E::UserInfo),
            ("registry.example.com", E::NoRegistry),
            ("team/x", E::NoRegistry),
            ("", E::NoRegistry),
            ("registry.example.com:0/x", E::Registry),
            ("registry.example.com:+5000/x", E::Registry),
            ("registry.example.com:99999/x", E::Registry),
            ("-a.example.com/x", E::Registry),
            ("a..example.com/x", E::Registry),
            ("[fd00::g]:5000/x", E::Registry),
            ("fd00::1/x", E::Registry),
            ("registry.example.com/x:tag", E::Tag),
            ("registry.example.com/x@sha256:00", E::Tag),
            ("registry.example.com/X", E::Path),
            ("registry.example.com/", E::Path),
            ("registry.example.com/a//b", E::Path),
            ("registry.example.com/a/../b", E::Path),
            ("registry.example.com/a___b", E::Path),
            ("registry.example.com/a._b", E::Path),
            ("registry.example.com/a-", E::Path),
            ("registry.example.com/a%2fb", E::Path),
            ("registry.example.com/a?b", E::Path),
        ] {
            assert_eq!(text.parse::<RepositoryName>(), Err(why), "{text}");
        }
        assert_eq!(format!("a.b/{}", "x".repeat(300)).parse::<RepositoryName>(), Err(E::TooLong));
    }

    #[test]
    fn a_repository_below_is_in_the_same_registry() {
        let base: RepositoryName = "a.example.com:5000/base".parse().unwrap();
        assert_eq!(base.below("shop/web").unwrap().to_string(), "a.example.com:5000/base/shop/web");
        for path in ["", "/x", "../x", "X", "x:tag"] {
            assert_eq!(base.below(path), Err(RepositoryNameError::Path), "{path}");
        }
        assert_eq!(base.below(&"x".repeat(250)), Err(RepositoryNameError::TooLong));
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (text, expected) in [
            ("localhost:5000/x", true),
            ("127.8.9.10/x", true),
            ("[::1]:5000/x", true),
            ("localhost.example.com/x", false),
            ("128.0.0.1/x", false),
        ] {
            assert_eq!(text.parse::<RepositoryName>().unwrap().is_loopback(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_written_as_it_is_read(text in "[a-zA-Z0-9.:_/@-]{0,30}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert_eq!(name.to_string().parse(), Ok(name));
            }
        }
    }
}
