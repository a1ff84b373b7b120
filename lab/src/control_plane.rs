//! The command lines and files of the control plane's processes.
//!
//! This module starts nothing; `cluster` does. The flags follow the reference pages of the components (kubernetes.io,
//! "Component tools"). A comment explains each flag that differs from the default.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::{fs, io};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use sha2::{Digest, Sha256};

use crate::access::private_file;
use crate::binaries::{Binaries, Controllers};
use crate::cluster_ca::{ClusterCa, IssuedCertificate};
use crate::network::Network;
use crate::node::REAL_NODE;
use crate::process::Launch;

/// Requests per second that the controllers may send. With the default of 20, a thousand pods take 50 s.
const CONTROLLER_QPS: [&str; 2] = ["--kube-api-qps=500", "--kube-api-burst=1000"];

/// There is only one instance of each controller, and an election would take seconds.
const NO_ELECTION: &str = "--leader-elect=false";

/// Records user, request and result without bodies, which shows the rights that are used and those that are missing.
/// Access reviews are recorded with their bodies, which hold no secrets.
const AUDIT_POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[{"level":"Request","resources":[{"group":"authorization.k8s.io","resources":["subjectaccessreviews"]}]},{"level":"Metadata"}]}"#;

/// The files and addresses of one control plane.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
    pub(crate) network: Network,
    pub(crate) ports: Ports,
    pub(crate) token: String,
    audit: bool,
}

/// Ports that have to be known before the servers start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    etcd: u16,
    etcd_peer: u16,
    pub(crate) api_server: u16,
}

impl Ports {
    /// Chooses free ports. Another process may take them before the servers listen.
    pub(crate) fn free(network: Network) -> io::Result<Self> {
        // All three listeners are open at once, so that the ports differ.
        let addresses = [Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, network.host()];
        let held: Vec<TcpListener> =
            addresses.into_iter().map(|address| TcpListener::bind((address, 0))).collect::<io::Result<_>>()?;
        let port = |index: usize| held[index].local_addr().map(|address| address.port());
        Ok(Self { etcd: port(0)?, etcd_peer: port(1)?, api_server: port(2)? })
    }
}

impl Layout {
    /// Writes keys, certificates and the administrator's token into `folder`.
    pub(crate) fn create(folder: &Path, network: Network, stages: &str, audit: bool) -> io::Result<Self> {
        let ports = Ports::free(network)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
        let secret = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
        // A public key is random enough for a token of a server that only this machine reaches.
        let token = format!("{:x}", Sha256::digest(secret.public_key_raw()));
        let layout = Self { folder: folder.to_owned(), network, ports, token, audit };
        fs::create_dir_all(layout.path("logs"))?;
        layout.write_certificates().map_err(io::Error::other)?;
        fs::write(layout.path("audit-policy.json"), AUDIT_POLICY)?;
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

    /// The CA certificate that all parts trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.path("certs/ca.crt")
    }

    fn write_certificates(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        fs::create_dir_all(self.path("certs"))?;
        let authority = ClusterCa::generate()?;
        fs::write(self.authority(), authority.certificate())?;
        private_file(&self.path("certs/ca.key"), authority.key())?;
        self.write_pair("apiserver", &authority.server(&self.network.api_server_names())?)?;
        // The kubelet asks the API server for the rights of this user. Members of this group have all rights.
        self.write_pair("kubelet-client", &authority.client("kube-apiserver", "system:masters")?)?;
        self.write_pair("kubelet", &authority.client(&format!("system:node:{REAL_NODE}"), "system:nodes")?)?;
        self.write_pair("kube-proxy", &authority.client("system:kube-proxy", "system:node-proxiers")?)?;
        // In other clusters CoreDNS has a role of its own. Here it reads with all rights.
        self.write_pair("coredns", &authority.client("coredns", "system:masters")?)?;
        Ok(())
    }

    fn write_pair(&self, name: &str, issued: &IssuedCertificate) -> io::Result<()> {
        fs::write(self.path(&format!("certs/{name}.crt")), &issued.certificate)?;
        private_file(&self.path(&format!("certs/{name}.key")), &issued.key)
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
        self.launch("etcd", binaries.etcd()).args([
            "--name=lab",
            // The data are removed with the process, so they need not be on disk.
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
        let address = self.network.host();
        let mut launch = self.launch("kube-apiserver", binaries.api_server()).args([
            &format!("--bind-address={address}"),
            &format!("--advertise-address={address}"),
            "--authorization-mode=Node,RBAC",
            &format!("--service-cluster-ip-range={}", self.network.services()),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            &format!("--secure-port={}", self.ports.api_server),
            &format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            &self.flag("tls-cert-file", "certs/apiserver.crt"),
            &self.flag("tls-private-key-file", "certs/apiserver.key"),
            &self.flag("client-ca-file", "certs/ca.crt"),
            &self.flag("kubelet-certificate-authority", "certs/ca.crt"),
            &self.flag("kubelet-client-certificate", "certs/kubelet-client.crt"),
            &self.flag("kubelet-client-key", "certs/kubelet-client.key"),
            // By default the API server calls a kubelet by its host name, which does not resolve here.
            "--kubelet-preferred-address-types=InternalIP",
            &self.flag("token-auth-file", "tokens.csv"),
            &self.flag("service-account-key-file", "service-account.pub"),
            &self.flag("service-account-signing-key-file", "service-account.key"),
        ]);
        if self.network == Network::Loopback {
            // A Service cannot have a loopback address as its endpoint.
            launch = launch.args(["--endpoint-reconciler-type=none"]);
        }
        if self.audit {
            let log = self.flag("audit-log-path", "logs/audit.log");
            launch = launch.args([self.flag("audit-policy-file", "audit-policy.json"), log]);
        }
        launch
    }

    pub(crate) fn controller_manager(&self, programs: &Controllers, kubeconfig: &Path) -> Launch {
        self.launch("kube-controller-manager", &programs.kubernetes.join("kube-controller-manager"))
            .args(CONTROLLER_QPS)
            .args([
                NO_ELECTION,
                "--secure-port=0",
                "--use-service-account-credentials",
                &format!("--kubeconfig={}", kubeconfig.display()),
                &self.flag("root-ca-file", "certs/ca.crt"),
                &self.flag("cluster-signing-cert-file", "certs/ca.crt"),
                &self.flag("cluster-signing-key-file", "certs/ca.key"),
                &self.flag("service-account-private-key-file", "service-account.key"),
            ])
    }

    pub(crate) fn scheduler(&self, programs: &Controllers, kubeconfig: &Path) -> Launch {
        self.launch("kube-scheduler", &programs.kubernetes.join("kube-scheduler")).args(CONTROLLER_QPS).args([
            NO_ELECTION,
            "--secure-port=0",
            &format!("--kubeconfig={}", kubeconfig.display()),
        ])
    }

    pub(crate) fn kwok(&self, programs: &Controllers, kubeconfig: &Path) -> Launch {
        let mut launch = self.launch("kwok", &programs.kwok).args([
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            // A stage of the lab writes heartbeats into the node's status. Leases would double the traffic.
            "--node-lease-duration-seconds=0",
            // An address of a documentation range (RFC 5737), because nothing listens on a fake node.
            "--node-ip=192.0.2.1",
            &self.flag("config", "stages.yaml"),
            &format!("--kubeconfig={}", kubeconfig.display()),
        ]);
        // kwok writes its state below HOME. Here it is removed with the control plane's folder.
        launch.command().env("KWOK_WORKDIR", self.path("kwok")).env("HOME", &self.folder);
        launch
    }

    pub(crate) fn api_server_url(&self) -> String {
        format!("https://{}:{}", self.network.host(), self.ports.api_server)
    }

    /// The administrator's kubeconfig, as JSON, which is valid YAML.
    pub(crate) fn kubeconfig(&self) -> String {
        let name = "lab";
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {
                "server": self.api_server_url(),
                "certificate-authority": self.authority(),
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
        let ports = Ports::free(Network::Loopback).unwrap();
        assert!(ports.etcd != ports.etcd_peer && ports.etcd != ports.api_server);
    }

    #[test]
    fn two_control_planes_have_different_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let first = Layout::create(folder.path(), Network::Loopback, "", false).unwrap();
        let second = Layout::create(folder.path(), Network::Loopback, "", false).unwrap();
        assert_ne!(first.token, second.token);
        assert_eq!(first.token.len(), 64);
    }
}
