mod commands;
mod objects;
mod ordinary_errors;
mod sentences;
mod service_tokens;
mod shapes;
mod variables;

use proptest::prelude::*;

use super::*;

fn redacted(text: &str) -> String {
    redact(text).as_str().to_owned()
}

/// Obviously made up; its form alone shows nothing.
const S: &str = "hunter2X";

/// The texts of which [`S`] is left.
fn leaks(texts: Vec<String>) -> Vec<(String, String)> {
    let results = texts.into_iter().map(|text| (redacted(&text), text));
    results.filter(|(result, _)| result.contains(S)).collect()
}

/// Each form in which a SNAP server, or a tool that it runs, prints a secret.
fn planted(secret: &str) -> Vec<(&'static str, String)> {
    vec![
        ("bearer", format!("Bearer {secret}")),
        ("bearer token", format!("bearer token: {secret}")),
        ("header", format!("Authorization: Bearer {secret}")),
        ("header of another scheme", format!("authorization: Custom {secret}")),
        ("header without a scheme", format!("Authorization: {secret}")),
        ("quoted header", format!(r#"-H "Authorization: Bearer {secret}""#)),
        ("header in JSON", format!(r#"{{"Authorization": ["Bearer {secret}"]}}"#)),
        ("header as Go prints it", format!("map[Authorization:[Bearer {secret}] Accept:[*/*]]")),
        (
            "curl of SNAP",
            format!("Command 'curl -k -X POST --header Authorization: Bearer {secret} https://a/b' failed"),
        ),
        (
            "login of SNAP",
            format!("Command 'buildah login --username bob --password {secret} --tls-verify=false r' failed"),
        ),
        ("URL", format!("https://bob:{secret}@registry.example.com/v2/")),
        ("URL without a user", format!("https://:{secret}@registry.example.com/v2/")),
        ("URL with the token as user", format!("oci://{secret}@registry.example.com/v2/")),
        ("--creds", format!("buildah push --creds bob:{secret} image")),
        ("--creds=", format!("buildah push --creds=bob:{secret} image")),
        ("--dest-creds", format!("skopeo copy --dest-creds bob:{secret} a b")),
        ("--src-creds", format!("skopeo copy --src-creds=bob:{secret} a b")),
        ("--registry-token", format!("skopeo inspect --registry-token {secret} a")),
        ("-p", format!("podman login -u bob -p {secret} registry")),
        ("-u", format!("curl -u bob:{secret} https://a/b")),
        ("--password", format!("login --password {secret} registry")),
        ("--password=", format!("login --password={secret} registry")),
        ("list of arguments, Python", format!("Command '['buildah', '--creds', 'bob:{secret}', 'x']' returned 125")),
        ("list of arguments, JSON", format!(r#"["buildah", "-p", "{secret}", "x"]"#)),
        ("YAML", format!("password: {secret}\nuser: bob")),
        ("quoted YAML", format!("password: '{secret}'")),
        ("JSON", format!(r#"{{"token":"{secret}","user":"bob"}}"#)),
        ("JSON with spaces", format!(r#"{{ "clientSecret" : "{secret}" }}"#)),
        ("JSON in JSON", format!(r#"{{"detail":"{{\"password\":\"{secret}\",\"a\":\"b\"}}"}}"#)),
        ("docker config", format!(r#"{{"auths":{{"r":{{"auth": "{secret}"}}}}}}"#)),
        ("environment", format!("SECRET={secret}")),
        ("longer name in the environment", format!("CACHE_REGISTRY_PASS={secret} CACHE_REPO=x")),
        ("Python keyword", format!("Config(user='bob', password='{secret}')")),
        ("Go struct", format!("{{Username:bob Password:{secret}}}")),
        ("AWS", format!("aws_secret_access_key = {secret}")),
        ("query", format!("https://host/path?access_token={secret}&a=b")),
        ("cookie", format!("Set-Cookie: session={secret}; Path=/")),
        ("key inside a value", format!("token=a,password: {secret}")),
        ("flag after a flag", format!("--password-stdin -p {secret}")),
        ("coloured", format!("\x1b[31mpass\x1b[0mword:\x1b[1m {secret}")),
        ("with a hidden character", format!("pass\u{200b}word: {secret}")),
        ("on the next line", format!("password:\r\n\t{secret}")),
    ]
}

/// Characters of generated passwords that mean nothing to a shell, JSON or URL.
const SECRET: &str = "[A-Za-z0-9!#$%^*+_.~|?-]{6,40}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_planted_secret_never_survives(secret in SECRET, before in "[a-z ]{0,40}", after in r"[a-z ,}\]]{0,40}") {
        for (form, text) in planted(&secret) {
            let result = redacted(&format!("{before} {text} {after}"));
            prop_assert!(!result.contains(&secret), "{form}: {result}");
        }
    }

    #[test]
    fn a_secret_on_the_cut_leaves_no_part(secret in "[A-Z]{12,40}", before in 940_usize..1060) {
        for (form, text) in planted(&secret) {
            let result = redacted(&format!("{} {text}", "é ".repeat(before / 2)));
            prop_assert!(!result.contains(&secret[..4]), "{form}: {result}");
        }
    }

    #[test]
    fn any_text_becomes_one_short_line_and_stays_it(text in any::<String>(), repeat in 1_usize..60) {
        stays(&text.repeat(repeat))?;
    }

    #[test]
    fn what_looks_like_secrets_becomes_one_short_line_and_stays_it(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "password", "token", ":", "=", " ", "\"", "'", "\\", "[", "{", "}", "]", "[redacted]", "[reda", "…", "--creds", "-p",
                "Authorization", "Bearer", "basic", "://", "@", "/", "eyJhbGciOiJI.", "\n", "\x1b[0m", "\u{200b}", "é", ",",
                "AbC123dEf456", "0123456789abcdef", "sha256:", "-----BEGIN PRIVATE KEY-----", "x", "some words here",
            ]),
            0..400,
        ),
    ) {
        stays(&words.concat())?;
    }
}

#[test]
fn a_secret_on_the_input_limit_leaves_no_part() {
    for (index, (form, text)) in planted("ABCDEFGHIJKLMNOPQRSTUVWX").into_iter().enumerate() {
        // Nearly all of it is one long secret, so that the text at the limit is not cut off afterwards.
        let filling = format!("token={} ", "x".repeat(INPUT_LIMIT - 17 - index));
        let result = redacted(&format!("{filling}{text} and more"));
        for part in ["ABCD", "EFGH", "IJKL"] {
            assert!(!result.contains(part), "{form}: {result}");
        }
    }
}

fn stays(text: &str) -> Result<(), TestCaseError> {
    let once = redacted(text);
    prop_assert!(once.chars().count() <= Redacted::LIMIT);
    prop_assert!(!once.contains(|character: char| character.is_control()));
    prop_assert_eq!(redacted(&once), once);
    Ok(())
}

#[test]
fn a_secret_is_recognized_by_its_form_or_because_it_is_random() {
    for secret in [
        "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "glpat-abcdefghijklmnopqrst",
        "sha256~kV46hPnEYhCWFnB85r5NrprAxggzgb6GOeLbgcKNsH0",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "dXNlcjpwYXNzd29yZC10aGF0LWlzLWxvbmc=",
        "-----BEGIN RSA PRIVATE KEY----- MIIEow IBAAKC -----END RSA PRIVATE KEY-----",
    ] {
        assert_eq!(redacted(&format!("got {secret} back")), "got [redacted] back");
    }
    assert_eq!(redacted("Basic dXNlcjpwYXNz is wrong"), "Basic [redacted] is wrong");
    assert_eq!(redacted("-----BEGIN PRIVATE KEY-----\nMIIE\nvQIB"), "[redacted]");
}

#[test]
fn text_without_secrets_is_kept() {
    for text in [
        "could not connect to SnapHook at http://snap-back-api/kubelet/checkpoint: connection refused",
        "Checkpoint failed for pod shop/web-5f4d7c9b8d-x2k4z",
        "/var/lib/kubelet/checkpoints/checkpoint-web-5f4d7c9b8d-x2k4z_default-app-2025-01-01T00:00:00Z.tar",
        "pulling docker://registry:5000/shop/web@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "CreateContainerConfigError: rpc error: code = Unknown desc = criu failed: type NOTIFY errno 0",
        "pod uid 8f14e45f-ceea-467f-a8f3-1c2d3e4f5a6b of node worker-node-1 at 10.0.0.1:8080",
        "Erreur réseau : délai dépassé, 検査に失敗しました",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn the_text_around_a_secret_is_kept() {
    for (text, expected) in [
        (
            "Command 'buildah login --username bob --password s3cret --tls-verify=false r' failed with error: 401",
            "Command 'buildah login --username bob --password [redacted] --tls-verify=false r' failed with error: 401",
        ),
        (
            "curl --header Authorization: Bearer abc https://kubernetes/api failed",
            "curl --header Authorization: [redacted] https://kubernetes/api failed",
        ),
        (r#"{"token":"abc","user":"bob"}"#, r#"{"token":"[redacted]","user":"bob"}"#),
        ("GET https://bob:abc@registry/v2/: 401", "GET https://[redacted]@registry/v2/: 401"),
        ("line one\nline\ttwo", "line one line two"),
    ] {
        assert_eq!(redacted(text), expected);
    }
}

#[test]
fn a_long_text_ends_in_an_ellipsis_within_the_limit() {
    let longest = "é".repeat(Redacted::LIMIT);
    assert_eq!(redacted(&longest), longest);
    let cut = redacted(&format!("{longest}é"));
    assert_eq!(cut.chars().count(), Redacted::LIMIT);
    assert_eq!(cut, format!("{}…", "é".repeat(Redacted::LIMIT - 1)));
}

#[test]
fn a_hostile_text_takes_little_time() {
    let started = std::time::Instant::now();
    for hostile in [
        "token=",
        "password=\"",
        "://",
        "\\\"token\\\":",
        "--p",
        "eyJ",
        "Authorization: a ",
        "a://b:c/",
        "-p ",
        "basic ",
        "[redacted]",
        "token for a:",
        "{a b ",
        "<a value=\"b",
        "env:[",
        "password:a(",
        "snmpget -A a ",
        "a\nenv:\n b\n",
        "-e \"a=",
        "env a=b ",
        "a=\"",
        "login for ",
        "password must be ",
        "env: a=b ",
        "name: MODE, value",
        "-o a user=b ",
        "smbclient a ",
        "Name:a Value:b",
        "{Name:a,Value:b,",
        "\"loc\":[\"password\",\"",
        "\"field\":\"token\",\"msg\":\"",
        "data:map[",
        "\\u00",
        "%c3",
    ] {
        redact(&hostile.repeat(INPUT_LIMIT / hostile.len() + 1));
    }
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(20), "took {took:?} in a build without optimisation");
}
