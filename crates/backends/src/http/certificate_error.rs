//! Why a certificate is not trusted, in words.

use rustls::CertificateError;

use super::signature_algorithm;

/// How the error of webpki is printed for which rustls has no variant of its own.
const CA_AS_END_ENTITY: &str = "CaUsedAsEndEntity";

/// Whether the certificate is one of a CA that a server presents as its own.
pub(crate) fn is_ca_as_end_entity(why: &CertificateError) -> bool {
    matches!(why, CertificateError::Other(other) if other.to_string() == CA_AS_END_ENTITY)
}

/// Whether the certificate becomes valid, or is replaced, without a change by the operator.
pub(crate) fn is_temporary(why: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(why, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// The names that the certificate is valid for, if it is valid, but not for the name or address that was used. The list is
/// empty if they are not known.
pub(crate) fn other_names(why: &CertificateError) -> Option<Vec<String>> {
    match why {
        CertificateError::NotValidForName => Some(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => {
            Some(presented.iter().map(|name| plain(name)).collect())
        }
        _ => None,
    }
}

/// The signature algorithm that is not supported, if that is the cause.
fn unsupported_algorithm(why: &CertificateError) -> Option<String> {
    use CertificateError as E;
    match why {
        E::UnsupportedSignatureAlgorithmContext { signature_algorithm_id, .. } => {
            Some(signature_algorithm::of_signature(signature_algorithm_id))
        }
        E::UnsupportedSignatureAlgorithmForPublicKeyContext { signature_algorithm_id, public_key_algorithm_id } => {
            let algorithm = signature_algorithm::of_signature(signature_algorithm_id);
            Some(format!("{algorithm} by a {} key", signature_algorithm::of_key(public_key_algorithm_id)))
        }
        _ => None,
    }
}

/// What to do if no list of trusted certificates can help, since SnapWatcher does not support the algorithm.
#[must_use]
pub fn remedy(why: &CertificateError) -> Option<&'static str> {
    unsupported_algorithm(why)
        .map(|_| "use certificates that RSA, P-256 or P-384 keys have signed with SHA-256 or SHA-384")
}

/// What is wrong with the certificate, as the end of a sentence.
#[must_use]
pub fn cause(why: &CertificateError) -> String {
    use CertificateError as E;
    if is_ca_as_end_entity(why) {
        return "it is the certificate of a CA, and not one of those that are trusted".to_owned();
    }
    if let Some(names) = other_names(why) {
        return format!("it is valid for {}", listed(&names));
    }
    if let Some(algorithm) = unsupported_algorithm(why) {
        return format!("it, or a CA above it, is signed with {algorithm}, which SnapWatcher does not support");
    }
    match why {
        E::Expired | E::ExpiredContext { .. } => "it has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        E::UnknownIssuer => "no trusted CA has signed it".to_owned(),
        E::BadSignature => "its signature is not of the trusted CA".to_owned(),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "it is not for servers".to_owned(),
        other => other.to_string(),
    }
}

/// Names in messages.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    match names {
        [] => "other names".to_owned(),
        _ if more > 0 => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}

/// A name without its type: webpki presents `DnsName("n1")` and `IpAddress(10.0.0.7)`.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').to_owned()
}
