//! The names of the signature algorithms and keys in certificates.

/// Names by object identifier, as in RFC 3279, 4055, 5758, 8410 and 9881, and of curves as in FIPS 186-5.
const NAMES: [(&str, &str); 21] = [
    ("1.2.840.10045.2.1", "EC"),
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.2.840.10045.4.1", "ecdsa-with-SHA1"),
    ("1.2.840.10045.4.3.1", "ecdsa-with-SHA224"),
    ("1.2.840.10045.4.3.2", "ecdsa-with-SHA256"),
    ("1.2.840.10045.4.3.3", "ecdsa-with-SHA384"),
    ("1.2.840.10045.4.3.4", "ecdsa-with-SHA512"),
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.4", "md5WithRSAEncryption"),
    ("1.2.840.113549.1.1.5", "sha1WithRSAEncryption"),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS with rare parameters"),
    ("1.2.840.113549.1.1.11", "sha256WithRSAEncryption"),
    ("1.2.840.113549.1.1.12", "sha384WithRSAEncryption"),
    ("1.2.840.113549.1.1.13", "sha512WithRSAEncryption"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
];

/// The name of a signature algorithm, by the content of its AlgorithmIdentifier (RFC 5280, 4.1.1.2).
pub(super) fn of_signature(identifier: &[u8]) -> String {
    identifiers(identifier).first().map_or_else(unknown, |oid| name(oid))
}

/// The name of a key: its curve, if it has one.
pub(super) fn of_key(identifier: &[u8]) -> String {
    identifiers(identifier).last().map_or_else(unknown, |oid| name(oid))
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn name(oid: &str) -> String {
    let known = NAMES.iter().find(|(known, _)| *known == oid);
    known.map_or_else(|| format!("OID {oid}"), |(_, name)| (*name).to_owned())
}

/// The object identifiers at the start, in dotted form.
fn identifiers(mut der: &[u8]) -> Vec<String> {
    const OBJECT_IDENTIFIER: u8 = 6;
    const LONGEST: u8 = 127;
    let mut found = Vec::new();
    while let [OBJECT_IDENTIFIER, length @ 0..=LONGEST, rest @ ..] = der {
        let Some((content, after)) = rest.split_at_checked(usize::from(*length)) else { break };
        found.push(dotted(content));
        der = after;
    }
    found
}

/// ITU-T X.690, 8.19: numbers in base 128, the first of which holds two.
fn dotted(content: &[u8]) -> String {
    let (mut numbers, mut number) = (Vec::new(), 0_u64);
    for byte in content {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                numbers.push((number / 40).min(2));
                number -= numbers[0] * 40;
            }
            numbers.push(number);
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::alg_id;

    use super::*;

    #[test]
    fn algorithms_and_keys_have_their_common_names() {
        assert_eq!(of_signature(alg_id::ECDSA_SHA512.as_ref()), "ecdsa-with-SHA512");
        assert_eq!(of_signature(alg_id::RSA_PKCS1_SHA512.as_ref()), "sha512WithRSAEncryption");
        assert_eq!(of_signature(alg_id::RSA_PSS_SHA256.as_ref()), "RSASSA-PSS with rare parameters");
        assert_eq!(of_signature(alg_id::ML_DSA_65.as_ref()), "ML-DSA-65");
        let keys = [alg_id::ECDSA_P256, alg_id::ECDSA_P521, alg_id::RSA_ENCRYPTION, alg_id::ED25519];
        assert_eq!(keys.map(|key| of_key(key.as_ref())), ["P-256", "P-521", "RSA", "Ed25519"]);
    }

    #[test]
    fn an_unknown_algorithm_is_named_by_its_identifier() {
        assert_eq!(of_signature(&[6, 4, 0x2a, 0x86, 0x48, 1]), "OID 1.2.840.1");
        for damaged in [&[][..], &[6], &[6, 5, 1], &[48, 0]] {
            assert_eq!(of_signature(damaged), "unknown");
        }
    }
}
