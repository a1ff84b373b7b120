use serde_json::json;

use super::*;

fn raw(pod: &Value) -> Box<RawValue> {
    RawValue::from_string(pod.to_string()).unwrap()
}

#[test]
fn a_password_of_a_url_is_removed_as_written_and_as_sent() {
    let of_url = |url: &str| KnownSecrets::of_request(&url.parse().unwrap(), None);
    let secrets = of_url("http://bob:p%40ss%20word@snaphook/");
    for text in ["bob:p%40ss%20word", "bob:p@ss word", "got p@ss word", "got p%40ss%20word"] {
        let shown = secrets.without_credentials(text);
        assert!(!shown.contains("word"), "{shown}");
    }
    let secrets = of_url("http://my-token@snaphook/");
    assert_eq!(secrets.without_credentials("user my-token"), "user [redacted]");
    let secrets = of_url("http://snaphook/");
    assert_eq!(secrets.without_credentials("snaphook"), "snaphook");
}

#[test]
fn what_is_in_the_query_is_removed_beside_a_token() {
    let url = "http://snaphook/?code=open%2Fsesame+now&only-a-key&mode=success".parse().unwrap();
    let secrets = KnownSecrets::of_request(&url, Some("the-token"));
    for text in ["open%2Fsesame+now", "open/sesame+now", "open/sesame now", "only-a-key", "the-token"] {
        assert_eq!(secrets.without_credentials(&format!("got {text} back")), "got [redacted] back");
    }
    assert_eq!(secrets.without_credentials(r#"{"success": true}"#), r#"{"success": true}"#);
}

#[test]
fn each_value_of_a_variable_is_removed_as_it_is_and_escaped() {
    let pod = json!({"spec": {
        "containers": [{"env": [{"name": "A", "value": "first \"one\"\n"}, {"name": "B", "valueFrom": {}}]}],
        "initContainers": [{"env": [{"name": "C", "value": "second-one"}]}],
    }});
    let secrets = KnownSecrets::default().with_pod(&raw(&pod), &[]).unwrap();
    assert_eq!(secrets.without_values("a first \"one\"\n b"), "a [redacted] b");
    assert_eq!(secrets.without_values(r#"{"x": "first \"one\"\n"}"#), r#"{"x": "[redacted]"}"#);
    assert_eq!(secrets.without_values("second-one"), "[redacted]");
    assert_eq!(secrets.without_credentials("second-one"), "second-one");
}

#[test]
fn short_values_and_common_words_and_shown_names_are_kept() {
    let env = |value: &str| json!({"name": "A", "value": value});
    let pod =
        json!({"spec": {"containers": [{"env": [env("8080"), env("true"), env("production"), env("web-shop")]}]}});
    let text = "true: port 8080 of web-shop in production";
    let known = KnownSecrets::default().with_pod(&raw(&pod), &["web-shop"]).unwrap();
    assert_eq!(known.without_values(text), text);
}

#[test]
fn credentials_are_removed_in_other_encodings() {
    let secrets = KnownSecrets::of_request(&"http://bob:hunter$2X@snaphook/".parse().unwrap(), Some("ab+cd/ef==gh"));
    for text in [
        "Ym9iOmh1bnRlciQyWA==",
        "Ym9iOmh1bnRlciQyWA",
        "Ym9iOmh1bnRlciQyWA%3d%3D",
        "aHVudGVyJDJY",
        "hunter&#36;2X",
        "hunter%2524%32X",
        "ab%2Bcd%2Fef%3D%3Dgh",
        "ab%2bcd%2fef%3d%3dgh",
        r"ab+cd\/ef==gh",
        r"ab+cd/ef==gh",
        "YWIrY2QvZWY9PWdo",
    ] {
        let shown = secrets.without_credentials(&format!("could not decode '{text}' now"));
        let expected = ["[redacted]", "[redacted]==", "[redacted]%3d%3D"];
        assert!(expected.iter().any(|mark| shown == format!("could not decode '{mark}' now")), "{text}: {shown}");
    }
}

#[test]
fn values_are_removed_in_other_encodings() {
    let values = ["open sesame & <b>", "p\u{e4}ss/w\u{f6}rd", "first line\nsecond line", "it's $h\\ard+1"];
    let env: Vec<_> = values.iter().map(|value| json!({"name": "A", "value": value})).collect();
    let pod = json!({"spec": {"containers": [{"env": env}]}});
    let secrets = KnownSecrets::default().with_pod(&raw(&pod), &[]).unwrap();
    for text in [
        "open%20sesame%20%26%20%3Cb%3E",
        "open+sesame+%26+%3cb%3e",
        "open sesame &amp; &lt;b&gt;",
        r"open sesame \u0026 \u003cb\u003e",
        r"p\u00e4ss\/w\u00f6rd",
        r"p\u00e4ss/w\u00f6rd",
        "p%C3%A4ss%2Fw%C3%B6rd",
        r"p\xc3\xa4ss/w\xc3\xb6rd",
        "p&#228;ss/w&#xF6;rd",
        "first line second line",
        "first line\r\n   second line",
        r"first line\nsecond line",
        "first%20line%0Asecond+line",
        "it&#x27;s $h%5Card%2B1",
        r"it\'s $h\\\\ard+1",
    ] {
        assert_eq!(secrets.without_values(&format!("got <{text}> back")), "got <[redacted]> back", "{text}");
    }
    let other = "opened line & 100% of it\\n a+b &amp; \u{1f600}";
    assert_eq!(secrets.without_values(other), other);
}

#[test]
fn json_stays_json_and_common_words_stay_where_a_secret_is_escaped() {
    let url = "http://bob:ab%5Ccdef@snaphook/?x=message+&y=%5Cquoted".parse().unwrap();
    let secrets = KnownSecrets::of_request(&url, None);
    let body = json!({"message": "bob:ab\\cdef, ab\\cdef, \\quoted", "success": true}).to_string();
    let shown: Value = serde_json::from_str(&secrets.without_credentials(&body)).unwrap();
    assert_eq!(shown, json!({"message": "[redacted], [redacted], [redacted]", "success": true}));
}

#[test]
fn the_most_values_take_little_time() {
    let env: Vec<_> = (0..4096).map(|n| json!({"name": "A", "value": format!("{}{n}", "a%61".repeat(30))})).collect();
    let pod = json!({"spec": {"containers": [{"env": env}]}});
    let started = std::time::Instant::now();
    let secrets = KnownSecrets::default().with_pod(&raw(&pod), &[]).unwrap();
    secrets.without_values(&"a%61".repeat(16 * 1024));
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(20), "{took:?} in a build without optimisation");
}
