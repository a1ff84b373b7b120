//! Why a certificate is not trusted, in words.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use super::signature_algorithm;

/// How errors of webpki are printed for which rustls has no variant of its own, and what they mean.
const OTHERS: [(&str, &str); 7] = [
    ("CaUsedAsEndEntity", "it is the certificate of a CA, and not one of those that are trusted"),
    ("EndEntityUsedAsCa", "the certificate that has signed it is not one of a CA"),
    ("MaximumPathDepthExceeded", "there are too many CAs above it"),
    ("NameConstraintViolation", "a CA above it may not sign certificates for its names"),
    ("PathLenConstraintViolated", "there are more CAs above it than one of them allows"),
    (
        "UnsupportedCriticalExtension",
        "it, or a CA above it, has a critical extension that SnapWatcher does not support, such as certificate policies",
    ),
    ("UnsupportedCertVersion", "it, or a CA above it, is of another version than X.509 version 3"),
];

/// Why a certificate was not accepted, if that is a cause of this error.
pub fn in_chain<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref::<rustls::Error>() {
            return Some(why);
        }
        next = wrapped(error).or_else(|| error.source());
    }
    None
}

/// The error that an I/O error wraps; its `source` skips that one.
fn wrapped<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    error.downcast_ref::<io::Error>()?.get_ref().map(|inner| inner as &(dyn Error + 'static))
}

/// Whether the certificate becomes valid, or is replaced, without a change by the operator.
pub fn is_temporary(why: &CertificateError) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(why, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// The names that the certificate is valid for, if it is valid, but not for the name or address that was used. The list is
/// empty if they are not known.
pub fn other_names(why: &CertificateError) -> Option<Vec<String>> {
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
        // webpki accepts no smaller keys, and says the same of them.
        E::BadSignature => {
            "its signature is not of the trusted CA, or an RSA key has fewer than 2048 or more than 8192 bits"
                .to_owned()
        }
        E::BadEncoding => "it, or a CA above it, is no valid X.509 certificate".to_owned(),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "it is not for servers: its extended key usage lacks `serverAuth`".to_owned()
        }
        E::Other(other) => {
            let words = other.to_string();
            OTHERS.iter().find(|(printed, _)| *printed == words).map_or(words, |(_, cause)| (*cause).to_owned())
        }
        other => other.to_string(),
    }
}

/// Names in messages.
pub fn listed(names: &[String]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_behind_the_errors_of_others() {
        let why = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(why()));
        assert_eq!(in_chain(&wrapped), Some(&CertificateError::UnknownIssuer));
        assert_eq!(in_chain(&why()), Some(&CertificateError::UnknownIssuer));
        assert_eq!(in_chain(&io::Error::other("closed")), None);
    }

    #[test]
    fn a_key_that_is_too_small_is_named_among_the_causes() {
        assert!(cause(&CertificateError::BadSignature).contains("fewer than 2048"));
    }
}
