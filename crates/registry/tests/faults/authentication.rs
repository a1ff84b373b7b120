//! Credentials: which ones are sent, to whom, and what their refusal says.

use std::fs;
use std::path::Path;

use lab::registry::{FakeRegistry, Fault, Login, Step};
use snapwatcher_registry::{ErrorKind, RegistrySettings, Repository};

use super::{CHUNK, content, failure, repository, repository_of, settings, upload};

const PASSWORD: &str = "a-secret-password";
/// `bob:a-secret-password`
const BASIC: &str = "Basic Ym9iOmEtc2VjcmV0LXBhc3N3b3Jk";
const IDENTITY: &str = "an-identity-token";

/// A `.dockerconfigjson` with this entry for the registry.
fn file(folder: &Path, registry: &FakeRegistry, entry: &str) -> std::path::PathBuf {
    let path = folder.join("config.json");
    fs::write(&path, format!(r#"{{"auths":{{"http://{}/v2/":{entry}}}}}"#, registry.address())).unwrap();
    path
}

fn password(password: &str) -> String {
    format!(r#"{{"username":"bob","password":"{password}"}}"#)
}

fn logged_in(registry: &FakeRegistry, folder: &Path, entry: &str) -> Repository {
    let credentials_file = Some(file(folder, registry, entry));
    repository_of(&RegistrySettings { credentials_file, ..settings(registry) })
}

#[tokio::test]
async fn a_password_is_sent_where_basic_is_required() {
    let (registry, folder) = (FakeRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    registry.require(Login::Basic { authorization: BASIC.to_owned() });
    let repository = logged_in(&registry, folder.path(), &password(PASSWORD));
    upload(&repository, &content(3 * CHUNK)).await.unwrap();
    let requests = registry.requests();
    assert_eq!(requests[0].authorization, None, "the registry has to require it first");
    assert!(requests[1..].iter().all(|request| request.authorization.as_deref() == Some(BASIC)), "{requests:?}");
    assert_eq!(registry.requests_of(Step::Patch).len(), 3, "no chunk was sent only to be refused");
}

#[tokio::test]
async fn a_token_is_requested_once_and_used_for_all_of_an_upload() {
    let (registry, folder) = (FakeRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    registry.require(Login::token(Some(BASIC)));
    let repository = logged_in(&registry, folder.path(), &password(PASSWORD));
    upload(&repository, &content(3 * CHUNK)).await.unwrap();
    upload(&repository, &content(CHUNK)).await.unwrap();
    let tokens = registry.requests_of(Step::Token);
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].target, "/token?service=stand-in&scope=repository%3Asnapshots%2Fshop%2Fweb%3Apull%2Cpush");
    assert_eq!(tokens[0].authorization.as_deref(), Some(BASIC));
    let patches = registry.requests_of(Step::Patch);
    assert!(patches.iter().all(|request| request.authorization.as_deref() == Some("Bearer stand-in-token-1")));
    assert_eq!(patches.len(), 4);
}

#[tokio::test]
async fn an_anonymous_token_needs_no_credentials() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.require(Login::token(None));
    upload(&repository(&registry), &content(CHUNK)).await.unwrap();
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_not_sent_to_the_registry() {
    let (registry, folder) = (FakeRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    registry.require(Login::identity_token(IDENTITY));
    let repository = logged_in(&registry, folder.path(), &format!(r#"{{"identitytoken":"{IDENTITY}"}}"#));
    upload(&repository, &content(CHUNK)).await.unwrap();
    let token = &registry.requests_of(Step::Token)[0];
    assert_eq!(
        (token.method.as_str(), token.authorization.as_deref(), token.target.as_str()),
        ("POST", None, "/token")
    );
    let of_registry = registry.requests().into_iter().filter(|request| request.step != Step::Token);
    assert!(of_registry.filter_map(|request| request.authorization).all(|value| !value.contains(IDENTITY)));
}

#[tokio::test]
async fn a_token_that_ends_is_replaced_before_a_chunk_is_refused() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.require(Login::token_for(0));
    upload(&repository(&registry), &content(4 * CHUNK)).await.unwrap();
    assert_eq!(registry.requests_of(Step::Patch).len(), 4);
    assert!(registry.requests_of(Step::Token).len() >= 4);
}

#[tokio::test]
async fn a_token_that_the_registry_no_longer_accepts_is_replaced_once() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.require(Login::token(None));
    let mut upload = repository(&registry).begin_upload().await.unwrap();
    upload.write(&content(CHUNK)).await.unwrap();
    registry.end_tokens();
    upload.write(&content(CHUNK)).await.unwrap();
    assert_eq!(registry.requests_of(Step::Patch).len(), 3);
    // A registry that accepts none of its own tokens.
    for _ in 0..2 {
        let challenge = format!(r#"Bearer realm="http://{}/token""#, registry.address());
        let headers = vec![("www-authenticate", challenge)];
        registry.fail(Step::Patch, Fault::Answer { status: 401, headers, body: "no".to_owned() });
    }
    let (kind, text) = failure(upload.write(&content(CHUNK)).await);
    assert_eq!(kind, ErrorKind::Credentials, "{text}");
    assert_eq!(registry.requests_of(Step::Patch).len(), 5);
}

#[tokio::test]
async fn wrong_credentials_are_named_by_their_file_and_not_shown() {
    for login in [Login::Basic { authorization: BASIC.to_owned() }, Login::token(Some(BASIC))] {
        let (registry, folder) = (FakeRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
        registry.require(login);
        let repository = logged_in(&registry, folder.path(), &password("another-password"));
        let (kind, text) = failure(repository.begin_upload().await);
        assert_eq!(kind, ErrorKind::Credentials, "{text}");
        assert!(text.contains("does not accept the credentials") && text.contains("config.json"), "{text}");
        assert!(!text.contains("another-password") && !text.contains("bob"), "{text}");
        // The operator corrects the file.
        file(folder.path(), &registry, &password(PASSWORD));
        upload(&repository, &content(CHUNK)).await.unwrap();
    }
}

#[tokio::test]
async fn missing_credentials_are_said() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.require(Login::Basic { authorization: BASIC.to_owned() });
    let (kind, text) = failure(repository(&registry).begin_upload().await);
    assert_eq!(kind, ErrorKind::Credentials, "{text}");
    assert!(text.contains("requires credentials, and the configuration has none"), "{text}");
    let missing = RegistrySettings { credentials_file: Some("/no/such/file".into()), ..settings(&registry) };
    let (kind, text) = failure(repository_of(&missing).begin_upload().await);
    assert_eq!(kind, ErrorKind::Credentials, "{text}");
    assert!(text.contains("/no/such/file"), "{text}");
}

#[tokio::test]
async fn new_credentials_replace_a_token_of_the_old_ones() {
    let (registry, folder) = (FakeRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    registry.require(Login::token(Some(BASIC)));
    let repository = logged_in(&registry, folder.path(), &password(PASSWORD));
    upload(&repository, &content(CHUNK)).await.unwrap();
    file(folder.path(), &registry, &password("another-password"));
    let (kind, text) = failure(upload(&repository, &content(CHUNK)).await);
    assert_eq!(kind, ErrorKind::Credentials, "{text}");
}

#[tokio::test]
async fn credentials_do_not_go_to_a_realm_without_tls_on_another_machine() {
    let (registry, folder) = (FakeRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    for realm in ["http://192.0.2.1/token", "ftp://a.example.com/token", "https://bob@a.example.com/token"] {
        registry.require(Login::realm(realm));
        let repository = logged_in(&registry, folder.path(), &password(PASSWORD));
        let (kind, text) = failure(repository.begin_upload().await);
        assert_eq!(kind, ErrorKind::Refused, "{realm}: {text}");
        assert!(text.contains("names another address, which is not used"), "{realm}: {text}");
    }
}

#[tokio::test]
async fn a_token_service_that_redirects_gets_no_second_request() {
    let (registry, folder) = (FakeRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    let other = FakeRegistry::start().await.unwrap();
    registry.require(Login::token(Some(BASIC)));
    registry.fail(Step::Token, Fault::redirect(&format!("http://{}/token", other.address())));
    let repository = logged_in(&registry, folder.path(), &password(PASSWORD));
    let (kind, text) = failure(repository.begin_upload().await);
    assert_eq!(kind, ErrorKind::Refused, "{text}");
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_token_service_that_fails_for_a_moment_is_asked_again() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.require(Login::token(None));
    for fault in [Fault::Reset, Fault::status(500, ""), Fault::busy(429, "0")] {
        registry.fail(Step::Token, fault);
    }
    upload(&repository(&registry), &content(CHUNK)).await.unwrap();
    assert_eq!(registry.requests_of(Step::Token).len(), 4);
}

#[tokio::test]
async fn a_token_service_without_a_usable_token_is_an_error() {
    for (fault, expected) in [
        (Fault::Answer { status: 200, headers: Vec::new(), body: "{}".to_owned() }, "holds no token"),
        (Fault::Endless(200), "is longer than"),
    ] {
        let registry = FakeRegistry::start().await.unwrap();
        registry.require(Login::token(None));
        registry.fail(Step::Token, fault);
        let (kind, text) = failure(repository(&registry).begin_upload().await);
        assert_eq!(kind, ErrorKind::Refused, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn a_challenge_that_cannot_be_answered_is_an_error() {
    for challenge in ["Negotiate", "Bearer", "Bearer realm=\"x\"", ","] {
        let registry = FakeRegistry::start().await.unwrap();
        let headers = vec![("www-authenticate", challenge.to_owned())];
        registry.fail(Step::BeginUpload, Fault::Answer { status: 401, headers, body: String::new() });
        let (kind, text) = failure(repository(&registry).begin_upload().await);
        assert_eq!(kind, ErrorKind::Refused, "{challenge}: {text}");
        assert!(text.contains("requires an authentication that is not possible"), "{challenge}: {text}");
    }
}

#[tokio::test]
async fn a_registry_that_quotes_credentials_does_not_bring_them_into_an_error() {
    let (registry, folder) = (FakeRegistry::start().await.unwrap(), tempfile::tempdir().unwrap());
    registry.require(Login::Basic { authorization: BASIC.to_owned() });
    let repository = logged_in(&registry, folder.path(), &password(PASSWORD));
    let body = format!("bad header {BASIC} with {PASSWORD}, see the log");
    registry.fail(Step::BeginUpload, Fault::Answer { status: 400, headers: Vec::new(), body });
    let error = repository.begin_upload().await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("see the log"), "{shown}");
    assert!(!shown.contains(PASSWORD) && !shown.contains("Ym9iOmEtc2"), "{shown}");
}

#[tokio::test]
async fn another_token_is_requested_for_deletion() {
    let registry = FakeRegistry::start().await.unwrap();
    registry.require(Login::token(None));
    let digest = registry.add_manifest("snapshots/shop/web", "a", b"{}");
    repository(&registry).delete_manifest(&digest.parse().unwrap()).await.unwrap();
    let scope = "scope=repository%3Asnapshots%2Fshop%2Fweb%3Adelete";
    assert!(registry.requests_of(Step::Token)[0].target.ends_with(scope));
}
