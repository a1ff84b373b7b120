//! The Secret that all replicas share: the CAs, their keys, and the state of a rotation.
//!
//! SnapWatcher creates it, not the chart, so that no upgrade removes it. If several replicas write at the same time, one
//! wins: by the name at the creation, by `resourceVersion` later.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;

use super::ca_set::{CaSet, NextCa, PreviousCa};
use super::certificate_authority::{CaCertificate, CertificateAuthority};
use super::error::UnusableCa;
use super::named_object::{NamedObject, ObjectView};
use super::pem::split_certificates;
use snapwatcher_kubernetes::cluster::{CallError, Cluster, call};

const CURRENT_CERTIFICATE: &str = "current.crt";
const CURRENT_KEY: &str = "current.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const NEXT_PUBLISHED: &str = "next.published";
/// One certificate or several. The time of each is at the same position in `PREVIOUS_SWITCHED`.
const PREVIOUS_CERTIFICATE: &str = "previous.crt";
const PREVIOUS_SWITCHED: &str = "previous.switched";
/// CAs up to this generation are revoked.
const REVOKED_GENERATION: &str = "revoked.generation";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The Secret.
pub(super) struct CaSecret {
    secret: NamedObject<Secret>,
}

/// What was read, with the version to watch from.
pub(super) struct SecretView {
    pub(super) content: SecretContent,
    pub(super) version: String,
}

/// What the Secret contains.
pub(super) enum SecretContent {
    Absent,
    Usable(Secret, CaSet),
    /// With the reason why it can't be used.
    Unusable(Secret, UnusableCa),
}

impl SecretContent {
    /// The object as it was read.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Absent => None,
            Self::Usable(secret, _) | Self::Unusable(secret, _) => Some(secret),
        }
    }
}

impl CaSecret {
    pub(super) fn new(namespace: &str, name: &str, cluster: &Cluster) -> Self {
        Self {
            secret: NamedObject {
                name: name.to_owned(),
                description: format!("Secret `{namespace}/{name}`"),
                watch_timeout: cluster.watch_timeout,
                calls: Api::namespaced(cluster.calls.clone(), namespace),
                watches: Api::namespaced(cluster.watches.clone(), namespace),
            },
        }
    }

    /// Kind and name for messages.
    pub(super) fn description(&self) -> &str {
        &self.secret.description
    }

    pub(super) async fn read(&self) -> Result<SecretView, CallError> {
        let ObjectView { object, version } = self.secret.read().await?;
        let content = match object {
            None => SecretContent::Absent,
            Some(secret) => match decode(&secret) {
                Ok(set) => SecretContent::Usable(secret, set),
                Err(why) => SecretContent::Unusable(secret, why),
            },
        };
        Ok(SecretView { content, version })
    }

    pub(super) async fn wait_for_change(&self, version: &str) -> Result<(), CallError> {
        self.secret.wait_for_change(version).await
    }

    /// Creates the Secret, or replaces its data if it is still the one that was found.
    pub(super) async fn write(&self, found: Option<&Secret>, set: &CaSet) -> Result<(), CallError> {
        let params = PostParams::default();
        let written = match found {
            None => {
                let secret = encode(Secret::default(), &self.secret.name, set);
                call(format!("create the {}", self.secret.description), self.secret.calls.create(&params, &secret))
                    .await
            }
            Some(found) => {
                let secret = encode(found.clone(), &self.secret.name, set);
                let replaced = self.secret.calls.replace(&self.secret.name, &params, &secret);
                call(format!("write the {}", self.secret.description), replaced).await
            }
        };
        written.map(drop)
    }
}

fn decode(secret: &Secret) -> Result<CaSet, UnusableCa> {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key))?;
        std::str::from_utf8(&bytes.0).ok()
    };
    let time = |key: &str| text(key).and_then(|time| time.trim().parse::<Timestamp>().ok());
    let pair = |certificate, key| CertificateAuthority::load(text(certificate).unwrap_or(""), text(key).unwrap_or(""));
    let current = Arc::new(pair(CURRENT_CERTIFICATE, CURRENT_KEY)?);
    // Other CAs that can't be read do not make the Secret unusable: the next write removes them.
    // So does it those that are revoked, for example of a backup that was applied over this Secret.
    let revoked = text(REVOKED_GENERATION).and_then(|number| number.trim().parse().ok()).unwrap_or(0);
    let is_trusted = |certificate: &CaCertificate| certificate.generation() > revoked;
    let next = pair(NEXT_CERTIFICATE, NEXT_KEY).ok().filter(|next| is_trusted(next.certificate()));
    let next = next.map(|next| NextCa { authority: Arc::new(next), published: time(NEXT_PUBLISHED) });
    let certificates = split_certificates(text(PREVIOUS_CERTIFICATE).unwrap_or(""));
    let times = text(PREVIOUS_SWITCHED).unwrap_or("").split_whitespace();
    let previous = certificates.iter().zip(times).filter_map(|(pem, time)| {
        let certificate = CaCertificate::parse(pem).ok().filter(is_trusted)?;
        Some(PreviousCa { certificate, switched: time.parse().ok()? })
    });
    Ok(CaSet { previous: previous.collect(), current, next, revoked })
}

/// Keeps the metadata and replaces all data.
fn encode(mut secret: Secret, name: &str, set: &CaSet) -> Secret {
    let mut data = BTreeMap::new();
    let mut put = |key: &str, text: &str| data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
    put(CURRENT_CERTIFICATE, set.current.certificate().pem());
    put(CURRENT_KEY, set.current.key_pem());
    if let Some(next) = &set.next {
        put(NEXT_CERTIFICATE, next.authority.certificate().pem());
        put(NEXT_KEY, next.authority.key_pem());
        if let Some(published) = next.published {
            put(NEXT_PUBLISHED, &published.to_string());
        }
    }
    if !set.previous.is_empty() {
        let certificates: Vec<&str> = set.previous.iter().map(|previous| previous.certificate.pem()).collect();
        let times: Vec<String> = set.previous.iter().map(|previous| previous.switched.to_string()).collect();
        put(PREVIOUS_CERTIFICATE, &certificates.concat());
        put(PREVIOUS_SWITCHED, &times.join("\n"));
    }
    if set.revoked > 0 {
        put(REVOKED_GENERATION, &set.revoked.to_string());
    }
    secret.metadata.name = Some(name.to_owned());
    secret.metadata.managed_fields = None;
    secret.metadata.labels.get_or_insert_default().insert(MANAGED_BY.to_owned(), "snapwatcher".to_owned());
    secret.data = Some(data);
    secret.string_data = None;
    secret
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIFE: Duration = Duration::from_secs(3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn rotating() -> CaSet {
        let first = CaSet::of(CertificateAuthority::generate(LIFE, at(0)).unwrap());
        let second =
            first.with_next(first.current.successor(LIFE, at(1)).unwrap()).with_next_published(at(2)).switched(at(3));
        let third =
            second.with_next(second.current.successor(LIFE, at(4)).unwrap()).with_next_published(at(5)).switched(at(6));
        third.with_next(third.current.successor(LIFE, at(7)).unwrap()).with_next_published(at(8))
    }

    #[test]
    fn a_written_set_is_read_back() {
        let written = rotating();
        let read = decode(&encode(Secret::default(), "ca", &written)).unwrap();
        assert_eq!(read.bundle(), written.bundle());
        assert_eq!(read.current.certificate(), written.current.certificate());
        assert_eq!(read.next.unwrap().published, Some(at(8)));
        assert_eq!((&read.previous, read.previous.len()), (&written.previous, 2));
    }

    #[test]
    fn broken_cas_beside_a_usable_one_are_left_out() {
        let written = rotating();
        let mut secret = encode(Secret::default(), "ca", &written);
        let data = secret.data.as_mut().unwrap();
        data.insert(NEXT_KEY.to_owned(), ByteString(b"junk".to_vec()));
        data.insert(PREVIOUS_SWITCHED.to_owned(), ByteString(format!("soon\n{}", at(3)).into_bytes()));
        let read = decode(&secret).unwrap();
        assert!(read.next.is_none());
        assert_eq!(read.previous, written.previous[1..]);
    }

    #[test]
    fn revoked_cas_beside_a_trusted_one_are_left_out() {
        let rotating = rotating();
        let revoked = rotating.revoke(LIFE, at(9)).unwrap();
        let mut secret = encode(Secret::default(), "ca", &revoked);
        let read = decode(&secret).unwrap();
        assert_eq!((read.bundle(), read.revoked), (revoked.bundle(), 4));
        let backup = encode(Secret::default(), "ca", &rotating).data.unwrap();
        let others = backup.into_iter().filter(|(key, _)| !key.starts_with("current."));
        secret.data.as_mut().unwrap().extend(others);
        assert_eq!(decode(&secret).unwrap().bundle(), revoked.bundle());
    }

    #[test]
    fn an_empty_secret_is_unusable() {
        assert_eq!(decode(&Secret::default()).err(), Some(UnusableCa::NoCertificate));
    }

    #[test]
    fn metadata_of_other_writers_stay() {
        let mut secret = Secret::default();
        secret.metadata.annotations = Some([("team".to_owned(), "web".to_owned())].into());
        secret.metadata.resource_version = Some("7".to_owned());
        let written = encode(secret, "ca", &rotating());
        assert_eq!(written.metadata.annotations.unwrap()["team"], "web");
        assert_eq!(written.metadata.resource_version.as_deref(), Some("7"));
    }
}
