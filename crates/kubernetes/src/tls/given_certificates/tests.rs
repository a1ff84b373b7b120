use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;

use super::super::certificate_error;
use super::*;

/// A self-signed certificate for `localhost`, changed so.
pub(in crate::tls) fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "the CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `localhost` that the CA has signed, changed so.
fn signed_by(ca: &CertifiedIssuer<'static, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    change(&mut params);
    params.signed_by(&KeyPair::generate().unwrap(), &**ca).unwrap()
}

/// Whether a server with `presented` is trusted as `name`, by `given`; else the cause.
fn verdict(given: &[&Certificate], presented: &Certificate, name: &'static str) -> Result<(), String> {
    let given = given.iter().map(|certificate| certificate.der().clone()).collect();
    let verifier = GivenCertificates::new(given, Arc::new(ring::default_provider())).unwrap();
    let name = ServerName::try_from(name).unwrap();
    match verifier.verify_server_cert(presented.der(), &[], &name, &[], UnixTime::now()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(why)) => Err(certificate_error::cause(&why)),
        Err(other) => panic!("{other}"),
    }
}

fn cause(given: &Certificate, presented: &Certificate, name: &'static str) -> String {
    verdict(&[given], presented, name).unwrap_err()
}

fn period(params: &mut CertificateParams, from: i32, to: i32) {
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
}

#[test]
fn a_given_certificate_is_trusted_whatever_signed_it() {
    let leaf = signed_by(&ca(), |_| {});
    assert_eq!(verdict(&[&leaf], &leaf, "localhost"), Ok(()));
    let own_ca = self_signed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(verdict(&[&own_ca], &own_ca, "localhost"), Ok(()));
}

#[test]
fn a_given_certificate_must_be_valid_now_and_for_servers_and_for_the_name() {
    let is_ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for of_ca in [false, true] {
        let given = |change: &dyn Fn(&mut CertificateParams)| {
            self_signed(|params| {
                if of_ca {
                    is_ca(params);
                }
                change(params);
            })
        };
        let expired = given(&|params| period(params, 2020, 2021));
        assert_eq!(cause(&expired, &expired, "localhost"), "it has expired");
        let future = given(&|params| period(params, 3000, 3001));
        assert_eq!(cause(&future, &future, "localhost"), "it is not valid yet");
        let client = given(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        assert!(cause(&client, &client, "localhost").contains("not for servers"));
        let other = given(&|_| {});
        assert_eq!(cause(&other, &other, "example.com"), "it is valid for localhost");
    }
}

#[test]
fn a_certificate_for_any_purpose_is_for_servers() {
    let ca = ca();
    let any = |params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    let leaf = signed_by(&ca, any);
    assert_eq!(verdict(&[ca.as_ref()], &leaf, "localhost"), Ok(()));
    assert_eq!(cause(ca.as_ref(), &leaf, "example.com"), "it is valid for localhost");
    assert_eq!(verdict(&[&leaf], &leaf, "localhost"), Ok(()));
    let client = signed_by(&ca, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert!(cause(ca.as_ref(), &client, "localhost").contains("not for servers"));
}

#[test]
fn a_certificate_of_another_ca_is_not_trusted() {
    let (ca, other) = (ca(), ca());
    let leaf = signed_by(&other, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]);
    assert!(verdict(&[ca.as_ref()], &leaf, "localhost").is_err());
    let own_ca = self_signed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert!(cause(ca.as_ref(), &own_ca, "localhost").contains("certificate of a CA"));
    assert_eq!(verdict(&[], &leaf, "localhost"), Err("no trusted CA has signed it".to_owned()));
}

#[test]
fn a_critical_extension_that_is_not_supported_is_named_as_the_cause() {
    // certificatePolicies with anyPolicy.
    let mut policies =
        CustomExtension::from_oid_content(&[2, 5, 29, 32], vec![0x30, 8, 0x30, 6, 6, 4, 0x55, 0x1d, 0x20, 0]);
    policies.set_criticality(true);
    let ca = ca();
    let leaf = signed_by(&ca, |params| params.custom_extensions = vec![policies]);
    for given in [ca.as_ref(), &leaf] {
        let cause = cause(given, &leaf, "localhost");
        assert!(cause.contains("critical extension"), "{cause}");
    }
}

#[test]
fn a_key_of_a_ca_that_is_too_small_is_named_among_the_causes() {
    // OpenSSL made both, since rcgen makes no such key.
    let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let ca = read(include_str!("../../../test-certificates/rsa1024-ca.crt"));
    let certificate = read(include_str!("../../../test-certificates/rsa1024.crt"));
    let verifier = GivenCertificates::new(vec![ca], Arc::new(ring::default_provider())).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let error = verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now()).unwrap_err();
    let rustls::Error::InvalidCertificate(why) = error else { panic!("{error}") };
    assert!(certificate_error::cause(&why).contains("an RSA key has fewer than 2048"), "{why}");
}
