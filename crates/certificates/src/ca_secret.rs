//! The Secret that all replicas share: the CAs, their keys, and the state of a rotation.
//!
//! The chart creates it empty, and SnapWatcher writes its data. The account may not create Secrets, because RBAC cannot limit
//! that right to a name: with it, a stolen token could create a Secret with the token of another account. If several replicas
//! write at the same time, one wins, by `resourceVersion`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;

use super::ca_set::{CaSet, NextCa, PreviousCa};
use super::certificate_authority::{CaCertificate, CertificateAuthority};
use super::decision::Contents;
use super::error::{MissingSecret, UnusableCa};
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

/// The Secret.
pub(super) struct CaSecret {
    namespace: String,
    secret: NamedObject<Secret>,
}

/// What was read, with the version to watch from.
pub(super) struct SecretView {
    /// The object as it was read.
    pub(super) secret: Secret,
    pub(super) contents: Contents,
    pub(super) version: String,
}

/// What the Secret contains, without the CAs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaSecretState {
    Empty,
    Usable,
    /// With the reason why it can't be used.
    Unusable(UnusableCa),
}

/// Why the Secret was not read.
#[derive(Debug, thiserror::Error)]
pub enum SecretReadError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Missing(#[from] MissingSecret),
}

impl CaSecret {
    pub(super) fn new(namespace: &str, name: &str, cluster: &Cluster) -> Self {
        Self {
            namespace: namespace.to_owned(),
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

    pub(super) async fn read(&self) -> Result<SecretView, SecretReadError> {
        let ObjectView { object, version } = self.secret.read().await?;
        let secret = object
            .ok_or_else(|| MissingSecret { namespace: self.namespace.clone(), name: self.secret.name.clone() })?;
        Ok(SecretView { contents: contents(&secret), secret, version })
    }

    /// What the Secret contains, for `snapwatcher check`.
    pub(super) async fn state(&self) -> Result<CaSecretState, SecretReadError> {
        Ok(match self.read().await?.contents {
            Contents::Empty => CaSecretState::Empty,
            Contents::Usable(_) => CaSecretState::Usable,
            Contents::Unusable(why) => CaSecretState::Unusable(why),
        })
    }

    pub(super) async fn wait_for_change(&self, version: &str) -> Result<(), CallError> {
        self.secret.wait_for_change(version).await
    }

    /// Replaces the data of the Secret if it is still the one that was found.
    pub(super) async fn write(&self, found: &Secret, set: &CaSet) -> Result<(), CallError> {
        let (params, secret) = (PostParams::default(), encode(found.clone(), set));
        let replaced = self.secret.calls.replace(&self.secret.name, &params, &secret);
        call(format!("write the {}", self.secret.description), replaced).await.map(drop)
    }
}

fn contents(secret: &Secret) -> Contents {
    if secret.data.as_ref().is_none_or(BTreeMap::is_empty) {
        return Contents::Empty;
    }
    match decode(secret) {
        Ok(set) => Contents::Usable(set),
        Err(why) => Contents::Unusable(why),
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

/// Keeps the metadata, which belong to the chart or to the user, and replaces all data.
fn encode(mut secret: Secret, set: &CaSet) -> Secret {
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
    secret.metadata.managed_fields = None;
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
        let read = decode(&encode(Secret::default(), &written)).unwrap();
        assert_eq!(read.bundle(), written.bundle());
        assert_eq!(read.current.certificate(), written.current.certificate());
        assert_eq!(read.next.unwrap().published, Some(at(8)));
        assert_eq!((&read.previous, read.previous.len()), (&written.previous, 2));
    }

    #[test]
    fn broken_cas_beside_a_usable_one_are_left_out() {
        let written = rotating();
        let mut secret = encode(Secret::default(), &written);
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
        let mut secret = encode(Secret::default(), &revoked);
        let read = decode(&secret).unwrap();
        assert_eq!((read.bundle(), read.revoked), (revoked.bundle(), 4));
        let backup = encode(Secret::default(), &rotating).data.unwrap();
        let others = backup.into_iter().filter(|(key, _)| !key.starts_with("current."));
        secret.data.as_mut().unwrap().extend(others);
        assert_eq!(decode(&secret).unwrap().bundle(), revoked.bundle());
    }

    #[test]
    fn a_secret_without_data_is_not_taken_for_a_damaged_one() {
        let with = |data: Option<&[&str]>| {
            let entry = |key: &&str| ((*key).to_owned(), ByteString::default());
            Secret { data: data.map(|keys| keys.iter().map(entry).collect()), ..Secret::default() }
        };
        assert!(matches!(contents(&with(None)), Contents::Empty));
        assert!(matches!(contents(&with(Some(&[]))), Contents::Empty));
        let other = contents(&with(Some(&["other"])));
        assert!(matches!(other, Contents::Unusable(UnusableCa::NoCertificate)), "{other:?}");
    }

    /// Helm adopts and updates the object by its labels and annotations.
    #[test]
    fn a_write_does_not_change_the_metadata_of_the_chart() {
        let mut secret = Secret { type_: Some("Opaque".to_owned()), ..Secret::default() };
        secret.metadata.labels = Some([("app.kubernetes.io/managed-by".to_owned(), "Helm".to_owned())].into());
        secret.metadata.annotations = Some([("helm.sh/resource-policy".to_owned(), "keep".to_owned())].into());
        secret.metadata.resource_version = Some("7".to_owned());
        let written = encode(secret.clone(), &rotating());
        assert_eq!((written.metadata, written.type_), (secret.metadata, secret.type_));
    }
}
