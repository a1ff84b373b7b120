use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::super::call::call;
use super::*;

/// An API server with a certificate that is its own CA: its address, its certificate, and the task that runs it.
async fn api_server() -> (String, rcgen::Certificate, JoinSet<()>) {
    let (address, certificate, _, running) = api_server_and_acceptor().await;
    (address, certificate, running)
}

/// The same, and what accepts TLS connections with this certificate.
async fn api_server_and_acceptor() -> (String, rcgen::Certificate, TlsAcceptor, JoinSet<()>) {
    // An error means that another test has installed it.
    let _installed = ring::default_provider().install_default();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key.into());
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let mut running = JoinSet::new();
    let accepting = acceptor.clone();
    running.spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let Ok(mut connection) = accepting.accept(connection).await else { continue };
            let mut request = [0; 4096];
            let _read = connection.read(&mut request).await;
            let body = r#"{"major":"1","minor":"37","gitVersion":"v1.37.2","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            let _written = connection.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    (address, certificate, acceptor, running)
}

fn config(address: &str, given: &rcgen::Certificate) -> Config {
    let mut config = Config::new(address.parse().unwrap());
    config.root_cert = Some(vec![given.der().to_vec()]);
    config
}

#[tokio::test]
async fn an_api_server_whose_certificate_is_its_own_ca_is_trusted_if_it_is_given() {
    let (address, certificate, _running) = api_server().await;
    let client = client(&config(&address, &certificate)).unwrap();
    assert_eq!(client.apiserver_version().await.unwrap().git_version, "v1.37.2");
}

#[tokio::test]
async fn the_certificate_is_verified_by_the_file_of_the_pod() {
    let (address, certificate, _running) = api_server().await;
    let (_, other, _) = api_server().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate.pem()).unwrap();
    let mut config = config(&address, &other);
    config.root_cert_file = Some(file.path().to_owned());
    assert!(client(&config).unwrap().apiserver_version().await.is_ok());
}

#[tokio::test]
async fn an_api_server_that_is_not_trusted_is_explained_with_the_cause_and_the_way_out() {
    let (address, _, _running) = api_server().await;
    let (_, other, _) = api_server().await;
    let client = client(&config(&address, &other)).unwrap();
    let error = call("read the version", client.apiserver_version()).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("is not trusted (it is the certificate of a CA"), "{words}");
    assert!(words.contains("`certificate-authority`"), "{words}");
    assert!(!error.is_about_object() && !error.is_timeout() && error.status().is_none());
}

#[tokio::test]
async fn another_name_of_the_server_can_be_given() {
    let (address, certificate, _running) = api_server().await;
    let mut config = config(&address.replace("localhost", "127.0.0.1"), &certificate);
    assert!(client(&config).unwrap().apiserver_version().await.is_err());
    config.tls_server_name = Some("localhost".to_owned());
    assert!(client(&config).unwrap().apiserver_version().await.is_ok());
}

/// Answers as an HTTP proxy or, if the client begins so, as a SOCKS5 proxy, and then copies all bytes to the API server.
async fn serve_proxy(mut client: impl AsyncRead + AsyncWrite + Unpin, to: &str, heads: &mpsc::UnboundedSender<String>) {
    let mut head = vec![client.read_u8().await.unwrap()];
    if head[0] == 5 {
        let methods = client.read_u8().await.unwrap();
        client.read_exact(&mut vec![0; methods.into()]).await.unwrap();
        client.write_all(&[5, 0]).await.unwrap();
        // Version, command, reserved, type of the address: a name.
        let mut request = [0; 5];
        client.read_exact(&mut request).await.unwrap();
        client.read_exact(&mut vec![0; usize::from(request[4]) + 2]).await.unwrap();
        client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await.unwrap();
    } else {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    }
    heads.send(String::from_utf8(head).unwrap()).unwrap();
    let mut server = TcpStream::connect(to.trim_start_matches("https://")).await.unwrap();
    let _copied = copy_bidirectional(&mut client, &mut server).await;
}

/// The version that is read from the API server through this kind of proxy, and the head that the proxy receives.
async fn through_a_proxy(url: &str) -> (String, String) {
    let (address, certificate, acceptor, _running) = api_server_and_acceptor().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (sender, mut heads) = mpsc::unbounded_channel();
    let url = url.replace("PROXY", &format!("localhost:{}", listener.local_addr().unwrap().port()));
    let mut config = config(&address, &certificate);
    config.proxy_url = Some(url.parse().unwrap());
    let mut running = JoinSet::new();
    running.spawn(async move {
        let (connection, _) = listener.accept().await.unwrap();
        if url.starts_with("https:") {
            serve_proxy(acceptor.accept(connection).await.unwrap(), &address, &sender).await;
        } else {
            serve_proxy(connection, &address, &sender).await;
        }
    });
    let version = client(&config).unwrap().apiserver_version().await.unwrap();
    (version.git_version, heads.recv().await.unwrap())
}

#[tokio::test]
async fn the_certificate_is_verified_so_behind_each_kind_of_proxy() {
    for proxy in ["http://PROXY", "https://PROXY", "socks5://PROXY"] {
        assert_eq!(through_a_proxy(proxy).await.0, "v1.37.2", "{proxy}");
    }
}

#[tokio::test]
async fn a_proxy_receives_the_user_name_and_the_password_as_they_are() {
    let (_, head) = through_a_proxy("http://user:pa%40ss@PROXY").await;
    assert!(head.contains(&format!("Basic {}", STANDARD.encode("user:pa@ss"))), "{head}");
    let (_, head) = through_a_proxy("http://PROXY").await;
    assert!(head.starts_with("CONNECT localhost:") && !head.to_lowercase().contains("authorization"), "{head}");
}
