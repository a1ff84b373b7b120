//! Several replicas of SnapWatcher with one Lease, one certificate and one pair of webhook configurations.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::access::private_file;
use crate::must::must;
use crate::namespace::Namespace;
use crate::snapwatcher::{Snapwatcher, SnapwatcherOptions};
use crate::until::until;

/// The default name of SnapWatcher's Lease.
const LEASE: &str = "snapwatcher";

/// Running replicas. The API server calls the webhook of the first one.
#[derive(Debug)]
pub struct Replicas {
    pub all: Vec<Arc<Snapwatcher>>,
    leases: Api<Lease>,
    // Kept, because dropping it deletes the certificate's files.
    _folder: TempDir,
}

impl Replicas {
    /// Starts `count` replicas with these options and waits until each is ready and one is the leader.
    pub async fn start(ns: &Namespace, count: usize, options: SnapwatcherOptions) -> Self {
        let folder = must("make a folder for a certificate", TempDir::with_prefix("replicas-"));
        let files = must("make a certificate", certificate(folder.path()));
        let mut all: Vec<Arc<Snapwatcher>> = Vec::with_capacity(count);
        for number in 0..count {
            let instance = instance(number);
            let mut options = options.clone();
            for (flag, value) in [
                ("--standalone", "false"),
                ("--instance", instance.as_str()),
                ("--service-namespace", ns.name()),
                ("--tls-cert", &files.certificate),
                ("--tls-key", &files.key),
            ] {
                options.args.push(format!("{flag}={value}"));
            }
            let started = ns.launch_snapwatcher(options).await;
            if number == 0 {
                ns.install_webhooks(&started).await;
                ns.set_ca_bundle(&files.ca).await;
            }
            must("wait for a replica", started.ready().await);
            all.push(started);
        }
        ns.admission_works().await;
        let replicas = Self { all, leases: ns.api(), _folder: folder };
        replicas.leader().await;
        replicas
    }

    /// Waits until a replica holds the Lease and returns its index in `all`.
    pub async fn leader(&self) -> usize {
        until("a replica holds the Lease", async || self.holder().await.and_then(|holder| self.index_of(&holder))).await
    }

    /// Waits until another replica holds the Lease and returns its index.
    pub async fn leader_after(&self, former: usize) -> usize {
        until("another replica holds the Lease", async || {
            self.holder().await.and_then(|holder| self.index_of(&holder)).filter(|&index| index != former)
        })
        .await
    }

    /// The Lease's `holderIdentity`.
    pub async fn holder(&self) -> Option<String> {
        let lease = self.leases.get_opt(LEASE).await.ok().flatten()?;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    fn index_of(&self, holder: &str) -> Option<usize> {
        let (found, _) = holder.split_once('/')?;
        (0..self.all.len()).find(|&number| instance(number) == found)
    }
}

fn instance(number: usize) -> String {
    format!("replica-{number}")
}

/// The paths of a certificate and its key, and the CA's certificate in PEM form.
struct CertificateFiles {
    certificate: String,
    key: String,
    ca: String,
}

/// Makes a certificate for loopback and writes it and its key.
fn certificate(folder: &Path) -> io::Result<CertificateFiles> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let generate = || KeyPair::generate().map_err(io::Error::other);
    let issuer = CertifiedIssuer::self_signed(params, generate()?).map_err(io::Error::other)?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let (leaf, key) = (CertificateParams::new(names).map_err(io::Error::other)?, generate()?);
    let signed = leaf.signed_by(&key, &issuer).map_err(io::Error::other)?;
    let write = |name: &str, content: &str| {
        let path: PathBuf = folder.join(name);
        private_file(&path, content).map(|()| path.display().to_string())
    };
    let (certificate, key) = (write("tls.crt", &signed.pem())?, write("tls.key", &key.serialize_pem())?);
    Ok(CertificateFiles { certificate, key, ca: issuer.pem() })
}
