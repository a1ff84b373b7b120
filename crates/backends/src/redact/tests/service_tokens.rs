//! Tokens of services, by the forms that public scanners for secrets look for. Each is made up here, from parts, so that no
//! scanner takes this file for a leak.

use super::*;

/// `length` characters of an alphabet, without any order, the same each time.
fn random(alphabet: &str, length: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut state = 0x2545_f491_u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            alphabet[usize::try_from(state >> 16).unwrap() % alphabet.len()]
        })
        .collect()
}

const HEX: &str = "0123456789abcdef";
const SMALL: &str = "abcdefghijklmnopqrstuvwxyz";
const SMALL_AND_DIGITS: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const CAPITALS_AND_DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const ALL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Prefix, alphabet and length of the rest.
const PREFIXED: [(&str, &str, usize); 88] = [
    ("ghp_", ALL, 36),
    ("gho_", ALL, 36),
    ("ghu_", ALL, 36),
    ("ghs_", ALL, 36),
    ("ghr_", ALL, 36),
    ("github_pat_", ALL, 82),
    ("glpat-", ALL, 20),
    ("gldt-", ALL, 20),
    ("glrt-", ALL, 20),
    ("glcbt-1_", ALL, 20),
    ("glffct-", ALL, 20),
    ("glft-", ALL, 20),
    ("glimt-", ALL, 25),
    ("glagent-", ALL, 50),
    ("gloas-", ALL, 64),
    ("glptt-", HEX, 40),
    ("glsoat-", ALL, 20),
    ("GR1348941", ALL, 20),
    ("dckr_pat_", ALL, 27),
    ("npm_", SMALL_AND_DIGITS, 36),
    ("AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    ("ASIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    ("ABSK", ALL, 109),
    ("LTAI", SMALL_AND_DIGITS, 20),
    ("AIza", ALL, 35),
    ("GOCSPX-", ALL, 28),
    ("ya29.", ALL, 60),
    ("sk-ant-api03-", ALL, 95),
    ("sk-ant-admin01-", ALL, 95),
    ("sk-proj-", ALL, 74),
    ("hf_", SMALL, 34),
    ("api_org_", SMALL, 34),
    ("pplx-", ALL, 48),
    ("gsk_", ALL, 52),
    ("sk_live_", ALL, 24),
    ("rk_test_", ALL, 24),
    ("xoxb-1234567890-", ALL, 24),
    ("xoxp-1234567890-1234567890-1234567890-", HEX, 32),
    ("xapp-1-A1-12-", SMALL_AND_DIGITS, 30),
    ("xoxe-1-", CAPITALS_AND_DIGITS, 146),
    ("xoxe.xoxb-1-", CAPITALS_AND_DIGITS, 163),
    ("xoxs-1-2-3-", HEX, 10),
    ("AKCp", ALL, 69),
    ("cmVmd", ALL, 59),
    ("p8e-", SMALL_AND_DIGITS, 32),
    ("ops_eyJ", ALL, 250),
    ("dapi", HEX, 32),
    ("doo_v1_", HEX, 64),
    ("dop_v1_", HEX, 64),
    ("dor_v1_", HEX, 64),
    ("dp.pt.", SMALL_AND_DIGITS, 43),
    ("duffel_live_", SMALL_AND_DIGITS, 43),
    ("dt0c01.", SMALL_AND_DIGITS, 24),
    ("EZAK", SMALL_AND_DIGITS, 54),
    ("EAAM", SMALL_AND_DIGITS, 100),
    ("FLWSECK_TEST-", "abcdefgh0123456789", 12),
    ("fo1_", ALL, 43),
    ("fm2_", ALL, 100),
    ("fio-u-", SMALL_AND_DIGITS, 64),
    ("glc_", ALL, 32),
    ("glsa_", ALL, 32),
    ("HRKU-AA", ALL, 58),
    ("ico-", ALL, 32),
    ("s-s4t2ud-", HEX, 64),
    ("lin_api_", SMALL_AND_DIGITS, 40),
    ("NRAK-", SMALL_AND_DIGITS, 27),
    ("NRII-", SMALL_AND_DIGITS, 32),
    ("NRJS-", HEX, 19),
    ("ntn_12345678901", ALL, 35),
    ("API-", CAPITALS_AND_DIGITS, 26),
    ("pscale_tkn_", ALL, 43),
    ("pscale_pw_", ALL, 43),
    ("PMAK-", HEX, 24),
    ("pnu_", ALL, 36),
    ("pul-", HEX, 40),
    ("pypi-AgEIcHlwaS5vcmc", ALL, 60),
    ("rdme_", SMALL_AND_DIGITS, 70),
    ("rubygems_", HEX, 48),
    ("tk-us-", ALL, 48),
    ("SG.", ALL, 66),
    ("xkeysib-", HEX, 64),
    ("sntryu_", HEX, 64),
    ("sm_pat_", ALL, 16),
    ("shippo_live_", HEX, 40),
    ("shpat_", HEX, 32),
    ("sq0atp-", ALL, 22),
    ("hvs.", ALL, 95),
    ("s.", ALL, 24),
];

fn others() -> Vec<String> {
    let hex = |length| random(HEX, length);
    let all = |length| random(ALL, length);
    let capitals = |length| random(CAPITALS_AND_DIGITS, length);
    vec![
        format!("A3-{}-{}-{}-{}-{}", capitals(6), capitals(11), capitals(5), capitals(5), capitals(5)),
        format!("AGE-SECRET-KEY-1{}", random("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)),
        format!("pat{}.{}", all(14), hex(64)),
        format!("ext_{}.{}.acc-{}.{}", all(12), all(5), random(SMALL_AND_DIGITS, 20), all(40)),
        format!("{}1Q~{}", all(3), all(34)),
        format!("v1.0-{}-{}", hex(24), hex(146)),
        format!("{}.atlasv1.{}", random(SMALL_AND_DIGITS, 14), random(SMALL_AND_DIGITS, 64)),
        format!("123456789:A{}", all(34)),
        format!("123456789012345|{}", random(SMALL_AND_DIGITS, 30)),
        format!("{}_{}_mmk", all(6), all(29)),
        format!("{}-us12", hex(32)),
        format!("pat.{}.{}.{}", all(22), all(24), all(20)),
        format!("dnkey-{}-{}", random(SMALL_AND_DIGITS, 26), random(SMALL_AND_DIGITS, 52)),
        format!("t1.{}.{}", all(12), all(86)),
        format!("https://hooks.slack.com/services/{}", all(44)),
        format!("key-{}", hex(32)),
        format!("eyJhbGciOiJSUzI1NiJ9.eyJ{}.{}", all(30), all(43)),
        format!("{}.{}", "abcd12", random(SMALL_AND_DIGITS, 15) + "7"),
        ["-----BEGIN PGP PRIVATE", " KEY BLOCK----- lQVYBF x -----END PGP PRIVATE KEY BLOCK-----"].concat(),
        ["-----BEGIN OPENSSH PRIVATE", " KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----"].concat(),
        ["-----BEGIN PRIVATE", r" KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----\n"].concat(),
    ]
}

#[test]
fn a_token_of_a_known_form_never_survives() {
    let tokens = PREFIXED.iter().map(|(prefix, alphabet, length)| format!("{prefix}{}", random(alphabet, *length)));
    let leaks: Vec<_> = tokens
        .chain(others())
        .flat_map(|token| [format!("could not use {token} for it"), format!("x=\"{token}\""), format!("[{token}]")])
        .map(|text| (redacted(&text), text))
        .filter(|(result, text)| {
            let secret = text.rsplit(['.', '-', '_', ' ', '"']).find(|part| part.len() > 8).unwrap_or("MII");
            result.contains(secret) || !result.contains(MARK)
        })
        .collect();
    assert_eq!(leaks, []);
}

#[test]
fn a_token_of_a_service_is_recognized_by_the_name_of_its_variable() {
    for service in ["adafruit", "bitbucket", "heroku", "linkedin", "plaid", "dropbox", "confluent", "okta", "sonar"] {
        let token = random(SMALL, 15);
        for text in [
            format!("{service}_api_token = \"{token}\""),
            format!("{service}ApiKey: {token}"),
            format!("export {}_SECRET_KEY={token}", service.to_uppercase()),
            format!("\"{service}-client-secret\":\"{token}\""),
        ] {
            assert!(!redacted(&text).contains(&token), "{text}");
        }
    }
}
