//! Verifies a server by given certificates, as Go does, and so the API server and kubectl.
//!
//! A certificate that is given itself is trusted, whatever signed it, if it is valid now, for servers, and for the name. The
//! guides for self-signed certificates make one that is its own CA (`openssl req -x509`), which webpki refuses as the
//! certificate of a server. A certificate below a given one is verified by webpki. Its purpose may be any, which webpki does
//! not take for that of a server.

use std::error::Error;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// `id-kp-serverAuth` and `anyExtendedKeyUsage` of RFC 5280, 4.2.1.12, as DER has them.
const SERVER_PURPOSES: [KeyPurposeId<'static>; 2] =
    [KeyPurposeId::new(&[0x2b, 6, 1, 5, 5, 7, 3, 1]), KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0])];

/// The verifier.
#[derive(Debug)]
pub struct GivenCertificates {
    given: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    /// `None` without any root.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl GivenCertificates {
    /// Fails if one of the certificates cannot be read.
    pub fn new(
        given: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut roots = RootCertStore::empty();
        for certificate in &given {
            // One that can sign no other, for webpki, can still be the certificate of a server.
            if let Err(error) = roots.add(certificate.clone()) {
                X509Certificate::from_der(certificate).map_err(|_| error)?;
            }
        }
        let roots = Arc::new(roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let webpki = if roots.is_empty() { None } else { Some(verifier.build()?) };
        Ok(Self { given, roots, webpki, provider })
    }

    fn is_given(&self, certificate: &CertificateDer<'_>) -> bool {
        self.given.iter().any(|given| given.as_ref() == certificate.as_ref())
    }

    /// Whether a given certificate leads to this one, if any purpose counts as that of servers.
    fn is_below_for_any_purpose(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> bool {
        let algorithms = self.provider.signature_verification_algorithms.all;
        EndEntityCert::try_from(end_entity).is_ok_and(|end_entity| {
            end_entity
                .verify_for_usage(algorithms, &self.roots.roots, intermediates, now, ServerPurpose, None, None)
                .is_ok()
        })
    }
}

impl ServerCertVerifier for GivenCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.is_given(end_entity) {
            is_for_servers_now(end_entity, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let Some(webpki) = &self.webpki else { return Err(CertificateError::UnknownIssuer.into()) };
        match webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
            )) if self.is_below_for_any_purpose(end_entity, intermediates, now) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks the validity period and the purpose of a certificate.
fn is_for_servers_now(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < read.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if now > read.validity().not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    let usage = read.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        return Err(CertificateError::InvalidPurpose);
    }
    Ok(())
}

/// A certificate without purposes is for all.
#[derive(Debug)]
struct ServerPurpose;

impl ExtendedKeyUsageValidator for ServerPurpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut is_empty = true;
        for purpose in purposes {
            is_empty = false;
            if SERVER_PURPOSES.contains(&purpose?) {
                return Ok(());
            }
        }
        // Which error it is does not matter: the first verification has one that says more.
        if is_empty { Ok(()) } else { Err(webpki::Error::UnknownIssuer) }
    }
}

#[cfg(test)]
pub(super) mod tests;
