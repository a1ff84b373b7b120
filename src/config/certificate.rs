//! The serving certificate, its CA, and the webhook configurations that trust it.

use std::path::PathBuf;

use clap::Args;

use snapwatcher_certificates::{CertificateSettings, CertificateTimings, TlsSource, service_names};

use super::fixed_times::FixedTimes;
use super::values::object_name;

#[derive(Debug, Clone, Args)]
pub struct CertificateArgs {
    /// Name of the MutatingWebhookConfiguration whose `caBundle` SnapWatcher updates. SnapWatcher never creates the object.
    #[arg(long, env = "SNAPWATCHER_MUTATING_WEBHOOK_CONFIGURATION", value_name = "NAME", value_parser = object_name)]
    pub mutating_webhook_configuration: Option<String>,
    /// Name of the ValidatingWebhookConfiguration whose `caBundle` SnapWatcher updates. SnapWatcher never creates the object.
    #[arg(long, env = "SNAPWATCHER_VALIDATING_WEBHOOK_CONFIGURATION", value_name = "NAME", value_parser = object_name)]
    pub validating_webhook_configuration: Option<String>,
    #[command(flatten)]
    pub ca: CaArgs,
    /// Name of the Service through which the API server calls the webhook. The serving certificate is issued for it.
    #[arg(long, env = "SNAPWATCHER_SERVICE_NAME", value_name = "NAME", default_value = "snapwatcher", value_parser = object_name)]
    pub service_name: String,
    /// PEM file with the serving certificate. If it is set, SnapWatcher does not issue a certificate.
    #[arg(long, env = "SNAPWATCHER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the key of the certificate in `--tls-cert`.
    #[arg(long, env = "SNAPWATCHER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Where the CA is stored, for `run` and for `certs rotate`.
#[derive(Debug, Clone, Args)]
pub struct CaArgs {
    /// Namespace of the webhook's Service, of the Lease and of the CA Secret.
    #[arg(long, env = "SNAPWATCHER_SERVICE_NAMESPACE", value_name = "NAME", default_value = "snap", value_parser = object_name)]
    pub service_namespace: String,
    /// Name of the Secret with the CA that signs the serving certificates. All replicas share it. The Secret must exist:
    /// SnapWatcher writes its data, and never creates it.
    #[arg(long, env = "SNAPWATCHER_CA_SECRET", value_name = "NAME", default_value = "snapwatcher-webhook-ca", value_parser = object_name)]
    pub ca_secret: String,
}

impl CertificateArgs {
    /// What the service of certificates takes.
    pub fn settings(&self, times: &FixedTimes) -> CertificateSettings {
        CertificateSettings {
            source: self.source(),
            timings: CertificateTimings {
                ca_life: times.ca_life,
                serving_life: times.serving_certificate_life,
                publish_wait: times.publish_wait,
                level_check: times.level_check,
            },
            mutating: self.mutating_webhook_configuration.clone(),
            validating: self.validating_webhook_configuration.clone(),
        }
    }

    /// Where the serving certificate comes from.
    pub fn source(&self) -> TlsSource {
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            return TlsSource::Files { certificate: cert.clone(), key: key.clone() };
        }
        let mut names = service_names(&self.service_name, &self.ca.service_namespace);
        // The API server calls a process outside the cluster by `clientConfig.url`.
        names.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()]);
        TlsSource::CaSecret { names, namespace: self.ca.service_namespace.clone(), secret: self.ca.ca_secret.clone() }
    }
}
