//! Certificates and handshakes.

use super::*;

#[tokio::test]
async fn a_certificate_is_trusted_under_each_of_its_names_and_no_other() {
    let port = Port::open(Limits::default());
    for name in NAMES {
        let mut stream = port.connect(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(request(&mut stream, "/").await.ends_with("\r\n\r\nok"), "{name}");
    }
    for name in ["other.default.svc", "127.0.0.2"] {
        assert!(port.connect(name).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_client_with_another_ca_does_not_trust_the_certificate() {
    let port = Port::open(Limits::default());
    let other = Authority::generate();
    let error = connect(port.address, "localhost", &other, &[]).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn only_http_1_is_spoken() {
    let port = Port::open(Limits::default());
    let stream = port.connect("localhost").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(connect(port.address, "localhost", &port.authority, &[b"h2"]).await.is_err());
}

#[tokio::test]
async fn handshakes_fail_until_there_is_a_certificate() {
    let port = Port::without_certificate(Limits::default());
    assert!(port.connect("localhost").await.is_err());
    port.resolver.put(port.authority.issue());
    assert!(port.connect("localhost").await.is_ok());
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_only() {
    let port = Port::open(Limits::default());
    let mut old = port.connect("localhost").await.unwrap();
    port.resolver.put(port.authority.issue());
    let new = port.connect("localhost").await.unwrap();
    assert_ne!(served_by(&old), served_by(&new));
    assert!(request(&mut old, "/").await.ends_with("ok"));
}

#[tokio::test]
async fn each_failed_handshake_is_counted_by_its_reason() {
    let port = Port::without_certificate(Limits { handshake: SHORT, ..Limits::default() });
    assert!(port.connect("localhost").await.is_err());
    port.shows(r#"https_handshake_errors_total{reason="no_certificate"} 1"#).await;

    port.resolver.put(port.authority.issue());
    let other = Authority::generate();
    assert!(connect(port.address, "localhost", &other, &[]).await.is_err());
    port.shows(r#"https_handshake_errors_total{reason="untrusted"} 1"#).await;

    assert!(connect(port.address, "localhost", &port.authority, &[b"h2"]).await.is_err());
    port.shows(r#"https_handshake_errors_total{reason="protocol"} 1"#).await;

    drop(TcpStream::connect(port.address).await.unwrap());
    port.shows(r#"https_handshake_errors_total{reason="closed"} 1"#).await;

    let _silent = TcpStream::connect(port.address).await.unwrap();
    port.shows(r#"https_handshake_errors_total{reason="timeout"} 1"#).await;

    let mut plain = TcpStream::connect(port.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    port.shows(r#"https_handshake_errors_total{reason="not_tls"} 1"#).await;
    for reason in ["no_certificate", "untrusted", "protocol", "closed", "timeout", "not_tls"] {
        port.shows(&format!("https_handshake_errors_total{{reason=\"{reason}\"}} 1")).await;
    }
}

/// A ClientHello as it was until TLS 1.1: no extension that could offer more (RFC 4346, 7.4.1.2).
fn old_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = version.to_vec();
    hello.extend([7; 32]); // random
    hello.push(0); // no session
    let suites = [0xc0, 0x14, 0xc0, 0x13, 0x00, 0x35, 0x00, 0x2f, 0x00, 0x0a];
    hello.extend([0, 10]);
    hello.extend(suites);
    hello.extend([1, 0]); // no compression
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![22, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    record
}

#[tokio::test]
async fn older_versions_of_tls_are_rejected() {
    const ALERT: u8 = 21;
    let port = Port::open(Limits::default());
    for version in [[3, 0], [3, 1], [3, 2]] {
        let mut old = TcpStream::connect(port.address).await.unwrap();
        old.write_all(&old_hello(version)).await.unwrap();
        let mut said = Vec::new();
        timeout(SOON, old.read_to_end(&mut said)).await.unwrap().unwrap();
        assert_eq!(said.first(), Some(&ALERT), "{version:?}: {said:?}");
    }
    port.shows(r#"https_handshake_errors_total{reason="protocol"} 3"#).await;
}
