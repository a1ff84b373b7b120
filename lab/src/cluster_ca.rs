//! The certificate authority of a control plane.
//!
//! It signs the serving certificate of the API server, the client certificate by which the API server calls kubelets,
//! and those of a node's programs. kube-controller-manager gets the key and signs the serving certificates of kubelets.
//! So all parts trust one certificate: `ca.crt` in the control plane's folder, `kube-root-ca.crt` in each namespace.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// The CA's certificate and key.
pub(crate) struct ClusterCa {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM form.
#[derive(Clone)]
pub(crate) struct IssuedCertificate {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl ClusterCa {
    /// Makes a CA that never expires.
    pub(crate) fn generate() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("lab CA", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&certificate, key)?, certificate, key: key_pem })
    }

    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A serving certificate for these DNS names and IP addresses.
    pub(crate) fn server(&self, names: &[String]) -> Result<IssuedCertificate, rcgen::Error> {
        let params = CertificateParams::new(names)?;
        self.issue(params, subject("kube-apiserver", None), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate for this user and group, which the API server reads from CN and O.
    pub(crate) fn client(&self, user: &str, group: &str) -> Result<IssuedCertificate, rcgen::Error> {
        self.issue(CertificateParams::default(), subject(user, Some(group)), ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        subject: DistinguishedName,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<IssuedCertificate, rcgen::Error> {
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(IssuedCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn subject(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject.push(DnType::CommonName, name);
    subject
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    fn verified(authority: &ClusterCa, server: &IssuedCertificate, name: &str) -> bool {
        crate::access::install_crypto_provider();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap();
        let certificate = CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_serving_certificate_is_trusted_for_its_names_by_those_who_trust_its_ca() {
        let authority = ClusterCa::generate().unwrap();
        let server = authority.server(&["kubernetes.default".to_owned(), "10.96.0.1".to_owned()]).unwrap();
        assert!(verified(&authority, &server, "10.96.0.1") && verified(&authority, &server, "kubernetes.default"));
        assert!(!verified(&authority, &server, "10.96.0.2"));
        assert!(!verified(&ClusterCa::generate().unwrap(), &server, "10.96.0.1"));
    }

    #[test]
    fn a_client_certificate_is_no_serving_certificate() {
        let authority = ClusterCa::generate().unwrap();
        let client = authority.client("system:node:real-1", "system:nodes").unwrap();
        assert!(!verified(&authority, &client, "real-1"));
    }
}
