//! The command lines of the control plane's processes, and the files they need.
//!
//! Nothing here waits or restarts: `cluster` does. Flags follow the components' reference pages (kubernetes.io,
//! "Component tools"); those that differ from the defaults say why.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::{fs, io};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use sha2::{Digest, Sha256};

use crate::access::private_file;
use crate::binaries::Binaries;
use crate::process::Launch;

/// Requests a second that controllers may send. With the default of 20, a thousand pods take 50 s.
const CONTROLLER_QPS: [&str; 2] = ["--kube-api-qps=500", "--kube-api-burst=1000"];

/// Ours are the only controllers; an election would only cost seconds at start.
const NO_ELECTION: &str = "--leader-elect=false";

/// Files and addresses of one control plane.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
    pub(crate) ports: Ports,
    pub(crate) token: String,
}

/// Ports on 127.0.0.1 that have to be known before their servers start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    etcd: u16,
    etcd_peer: u16,
    pub(crate) api_server: u16,
}

impl Ports {
    /// Ports that were free a moment ago; whoever uses them must be ready to find them taken.
    pub(crate) fn free() -> io::Result<Self> {
        // All three are held at once, so that they differ.
        let held: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<_>>()?;
        let port = |index: usize| held[index].local_addr().map(|address| address.port());
        Ok(Self { etcd: port(0)?, etcd_peer: port(1)?, api_server: port(2)? })
    }
}

impl Layout {
    /// Writes keys and the administrator's token below `folder`.
    pub(crate) fn create(folder: &Path, ports: Ports, stages: &str) -> io::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
        let secret = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
        // Random enough for a server that only this machine reaches, without one more dependency.
        let token = format!("{:x}", Sha256::digest(secret.public_key_raw()));
        let layout = Self { folder: folder.to_owned(), ports, token };
        fs::create_dir_all(layout.path("logs"))?;
        private_file(&layout.path("service-account.key"), &key.serialize_pem())?;
        private_file(&layout.path("service-account.pub"), &key.public_key_pem())?;
        private_file(&layout.path("tokens.csv"), &format!("{},lab-admin,lab-admin,system:masters\n", layout.token))?;
        fs::write(layout.path("stages.yaml"), stages)?;
        Ok(layout)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The certificate that the API server makes for itself at its first start, with its CA.
    pub(crate) fn server_certificate(&self) -> PathBuf {
        self.path("certs/apiserver.crt")
    }

    fn flag(&self, flag: &str, file: &str) -> String {
        format!("--{flag}={}", self.path(file).display())
    }

    fn launch(&self, name: &str, program: &Path) -> Launch {
        Launch::new(name, program, &self.path("logs").join(format!("{name}.log")))
    }

    pub(crate) fn etcd(&self, binaries: &Binaries) -> Launch {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        self.launch("etcd", &binaries.etcd()).args([
            "--name=lab",
            // The data live no longer than the process: waiting for the disk would buy nothing.
            "--unsafe-no-fsync",
            "--log-level=warn",
            &self.flag("data-dir", "etcd"),
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=lab={peer}"),
        ])
    }

    pub(crate) fn api_server(&self, binaries: &Binaries) -> Launch {
        self.launch("kube-apiserver", &binaries.api_server()).args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            // A Service cannot point at a loopback address, and nothing here dials the `kubernetes` Service.
            "--endpoint-reconciler-type=none",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            &format!("--secure-port={}", self.ports.api_server),
            &format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            &self.flag("cert-dir", "certs"),
            &self.flag("token-auth-file", "tokens.csv"),
            &self.flag("service-account-key-file", "service-account.pub"),
            &self.flag("service-account-signing-key-file", "service-account.key"),
        ])
    }

    pub(crate) fn controller_manager(&self, binaries: &Binaries, kubeconfig: &Path) -> Launch {
        self.launch("kube-controller-manager", &binaries.controller_manager()).args(CONTROLLER_QPS).args([
            NO_ELECTION,
            "--secure-port=0",
            "--use-service-account-credentials",
            &format!("--kubeconfig={}", kubeconfig.display()),
            &format!("--root-ca-file={}", self.server_certificate().display()),
            &self.flag("service-account-private-key-file", "service-account.key"),
        ])
    }

    pub(crate) fn scheduler(&self, binaries: &Binaries, kubeconfig: &Path) -> Launch {
        self.launch("kube-scheduler", &binaries.scheduler()).args(CONTROLLER_QPS).args([
            NO_ELECTION,
            "--secure-port=0",
            &format!("--kubeconfig={}", kubeconfig.display()),
        ])
    }

    pub(crate) fn kwok(&self, binaries: &Binaries, kubeconfig: &Path) -> Launch {
        let mut launch = self.launch("kwok", &binaries.kwok()).args([
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            // Heartbeats go into the node's status by a stage of ours; leases would be twice the traffic.
            "--node-lease-duration-seconds=0",
            // From the documentation range (RFC 5737): a call to a fake node leads nowhere.
            "--node-ip=192.0.2.1",
            &self.flag("config", "stages.yaml"),
            &format!("--kubeconfig={}", kubeconfig.display()),
        ]);
        // kwok makes a folder for its state below its home; it shall vanish with ours.
        launch.command().env("KWOK_WORKDIR", self.path("kwok")).env("HOME", &self.folder);
        launch
    }

    /// The administrator's kubeconfig; JSON, which every reader of YAML reads.
    pub(crate) fn kubeconfig(&self) -> String {
        let name = "lab";
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {
                "server": format!("https://127.0.0.1:{}", self.ports.api_server),
                "certificate-authority": self.server_certificate(),
            }}],
            "users": [{"name": name, "user": {"token": self.token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        });
        format!("{config:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let ports = Ports::free().unwrap();
        assert!(ports.etcd != ports.etcd_peer && ports.etcd != ports.api_server);
    }

    #[test]
    fn two_control_planes_have_different_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports::free().unwrap();
        let first = Layout::create(folder.path(), ports, "").unwrap();
        let second = Layout::create(folder.path(), ports, "").unwrap();
        assert_ne!(first.token, second.token);
        assert_eq!(first.token.len(), 64);
    }
}
