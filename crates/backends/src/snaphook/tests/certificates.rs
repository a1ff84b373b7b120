//! TLS: which certificates are trusted, and what is said of the others.

use std::time::Instant;

use crate::test_server::{
    Act, Server, UnsupportedAlgorithm, certificate, certificate_for, certificate_of, expired_certificate, ok,
};

use super::super::client::SnapHook;
use super::super::probe::SnapHookProbe;
use super::super::settings::SnapHookSettings;
use super::{REQUEST_TIMEOUT, SLACK, file_with, outcome, settings, words};

#[tokio::test]
async fn a_connection_that_never_speaks_tls_ends_with_the_request_timeout() {
    let server = Server::start(Act::Hang).await;
    let started = Instant::now();
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = file_with(&certificate.cert.pem());
    let url = server.url().replace("http:", "https:");
    let outcome = outcome(SnapHookSettings { ca_file: Some(ca.path().to_owned()), ..settings(&url) }).await;
    assert_eq!(outcome.as_str(), "Unreachable", "{outcome}");
    assert!(words(&outcome).contains("within 400ms; check that SnapHook runs"), "{outcome}");
    let took = started.elapsed();
    assert!(took >= REQUEST_TIMEOUT && took < REQUEST_TIMEOUT + SLACK, "{took:?}");
}

#[tokio::test]
async fn only_certificates_of_the_ca_file_are_trusted() {
    let (pem, config) = certificate();
    let (other_pem, _) = certificate();
    let trusted = file_with(&pem);
    let other = file_with(&other_pem);
    for (file, expected) in [(&trusted, "Succeeded"), (&other, "SnapHookUntrusted")] {
        let server = Server::start_tls(ok("{}"), config.clone()).await;
        let url = server.url().replace("http:", "https:");
        let outcome = outcome(SnapHookSettings { ca_file: Some(file.path().to_owned()), ..settings(&url) }).await;
        assert_eq!(outcome.as_str(), expected, "{outcome}");
        let received = usize::from(expected == "Succeeded");
        assert_eq!(server.requests().len(), received, "without a connection there is no request");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_its_own_ca_is_trusted_if_the_file_has_it() {
    let (pem, config) = certificate_for(&["127.0.0.1"], true);
    let (other_pem, _) = certificate_for(&["127.0.0.1"], true);
    let (other_name_pem, other_name) = certificate_for(&["localhost"], true);
    let (expired_pem, expired) = expired_certificate();
    for (pem, config, expected, cause) in [
        (&pem, &config, "Succeeded", ""),
        (&format!("{other_pem}{pem}"), &config, "Succeeded", ""),
        (
            &other_pem,
            &config,
            "SnapHookUntrusted",
            "it is the certificate of a CA, and not one of those that are trusted",
        ),
        (&other_name_pem, &other_name, "SnapHookUntrusted", "it is valid for localhost"),
        (&expired_pem, &expired, "SnapHookUntrusted", "it has expired"),
    ] {
        let file = file_with(pem);
        let server = Server::start_tls(ok("{}"), config.clone()).await;
        let url = server.url().replace("http:", "https:");
        let outcome = outcome(SnapHookSettings { ca_file: Some(file.path().to_owned()), ..settings(&url) }).await;
        assert_eq!(outcome.as_str(), expected, "{outcome}");
        assert!(words(&outcome).contains(cause), "{outcome}");
        assert_eq!(words(&outcome).contains("the certificate of SnapHook at https://127.0.0.1:"), !cause.is_empty());
    }
}

#[tokio::test]
async fn an_unsupported_signature_algorithm_is_named_with_the_way_out() {
    for (algorithm, name) in [
        (UnsupportedAlgorithm::P256Sha512, "ecdsa-with-SHA512"),
        (UnsupportedAlgorithm::P521Sha256, "ecdsa-with-SHA256 by a P-521 key"),
    ] {
        let (ca, config) = certificate_of(algorithm);
        let (file, server) = (file_with(&ca), Server::start_tls(ok("{}"), config).await);
        let url = server.url().replace("http:", "https:");
        let outcome = outcome(SnapHookSettings { ca_file: Some(file.path().to_owned()), ..settings(&url) }).await;
        assert_eq!(outcome.as_str(), "SnapHookUntrusted", "{outcome}");
        assert_eq!(
            words(&outcome),
            format!(
                "the certificate of SnapHook at {url}/kubelet/checkpoint is not trusted (it, or a CA above it, is signed with {name}, \
                 which SnapWatcher does not support): use certificates that RSA, P-256 or P-384 keys have signed with SHA-256 or \
                 SHA-384"
            )
        );
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_not_called_unreachable() {
    let (_, config) = certificate();
    let server = Server::start_tls(ok("{}"), config).await;
    let file = file_with(&certificate().0);
    let url = server.url().replace("http:", "https:");
    let settings = SnapHookSettings { ca_file: Some(file.path().to_owned()), ..settings(&url) };
    let snaphook = SnapHook::new(settings).unwrap();
    let SnapHookProbe::Untrusted(message) = snaphook.probe().await else { panic!("it is not trusted") };
    assert!(message.contains("is not trusted (") && message.contains("): name its CA"), "{message}");
    assert!(message.contains("--snap-back-api-ca-file") && !message.contains("connect"), "{message}");
}
