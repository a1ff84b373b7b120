//! The least that a webhook can do: read the whole body and answer the same every time.

use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use lab::terminal::print_result;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// As long as SnapWatcher's answer to the review that is sent.
const REPLY: &str = concat!(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002","#,
    r#""allowed":true,"patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL21ldGFkYXRhL2xhYmVscy9zbmFwLndlYXZlcnNvZnQuaW8"#,
    r#"fjFtdXRhdGVkIiwidmFsdWUiOiJmYWxzZSJ9LHsib3AiOiJhZGQiLCJwYXRoIjoiL21ldGFkYXRhL2Fubm90YXRpb25zL3NuYXAud2VhdmVyc29mdC5pb34x"#,
    r#"YWRtaXNzaW9uIiwidmFsdWUiOiI3MDVhYjRmNS02MzkzLTExZTgtYjdjYy00MjAxMGE4MDAwMDIifV0="}}"#
);

/// Tells its address on stdout, then serves until it is killed.
pub(crate) async fn serve(certificate: &Path, key: &Path) -> Result<(), Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    print_result(&listener.local_addr()?.to_string());
    let reply = |_: Bytes| async { ([(CONTENT_TYPE, "application/json")], REPLY) };
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls))).acceptor(NoDelayAcceptor::new());
    let server = axum_server::from_tcp(listener)?.http1_only().acceptor(acceptor);
    server.serve(Router::new().route("/mutate", post(reply)).into_make_service()).await?;
    Ok(())
}
