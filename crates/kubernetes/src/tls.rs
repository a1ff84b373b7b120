//! Which certificates of servers are trusted: that of the API server, of kubelets and of SnapHook.

pub mod certificate_error;
mod given_certificates;
mod reloaded_certificates;
mod signature_algorithm;

use std::error::Error;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;

pub use self::given_certificates::GivenCertificates;
pub(crate) use self::reloaded_certificates::ReloadedCertificates;

/// How connections are made that trust these certificates and no others, as Go does: also if a server presents one of them.
pub fn trusting(certificates: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Box<dyn Error + Send + Sync>> {
    let provider = Arc::new(ring::default_provider());
    let verifier = GivenCertificates::new(certificates, Arc::clone(&provider))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}
