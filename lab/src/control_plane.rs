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
use crate::binaries::{Binaries, Controllers};
use crate::cluster_ca::{ClusterCa, IssuedCertificate};
use crate::network::Network;
use crate::node::REAL_NODE;
use crate::process::Launch;

/// Requests a second that controllers may send. With the default of 20, a thousand pods take 50 s.
const CONTROLLER_QPS: [&str; 2] = ["--kube-api-qps=500", "--kube-api-burst=1000"];

/// Ours are the only controllers; an election would only cost seconds at start.
const NO_ELECTION: &str = "--leader-elect=false";

/// Who asked for what and what came of it, without bodies: enough to see which rights are used and which are refused. Of
/// questions about rights also what was asked, which holds no secret.
const AUDIT_POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[{"level":"Request","resources":[{"group":"authorization.k8s.io","resources":["subjectaccessreviews"]}]},{"level":"Metadata"}]}"#;

/// Files and addresses of one control plane.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
    pub(crate) network: Network,
    pub(crate) ports: Ports,
    pub(crate) token: String,
    audit: bool,
}

/// Ports that have to be known before their servers start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    etcd: u16,
    etcd_peer: u16,
    pub(crate) api_server: u16,
}

impl Ports {
    /// Ports that were free a moment ago; whoever uses them must be ready to find them taken.
    pub(crate) fn free(network: Network) -> io::Result<Self> {
        // All three are held at once, so that they differ.
        let addresses = [Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, network.host()];
        let held: Vec<TcpListener> =
            addresses.into_iter().map(|address| TcpListener::bind((address, 0))).collect::<io::Result<_>>()?;
        let port = |index: usize| held[index].local_addr().map(|address| address.port());
        Ok(Self { etcd: port(0)?, etcd_peer: port(1)?, api_server: port(2)? })
    }
}

impl Layout {
    /// Writes keys, certificates and the administrator's token below `folder`.
    pub(crate) fn create(folder: &Path, network: Network, stages: &str, audit: bool) -> io::Result<Self> {
        let ports = Ports::free(network)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
        let secret = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
        // Random enough for a server that only this machine reaches, without one more dependency.
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

    /// The certificate of the CA that everything here is signed by.
    pub(crate) fn authority(&self) -> PathBuf {
        self.path("certs/ca.crt")
    }

    fn write_certificates(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        fs::create_dir_all(self.path("certs"))?;
        let authority = ClusterCa::generate()?;
        fs::write(self.authority(), authority.certificate())?;
        private_file(&self.path("certs/ca.key"), authority.key())?;
        self.write_pair("apiserver", &authority.server(&self.network.api_server_names())?)?;
        // A kubelet asks the API server what this user may do: everything, as a member of this group.
        self.write_pair("kubelet-client", &authority.client("kube-apiserver", "system:masters")?)?;
        self.write_pair("kubelet", &authority.client(&format!("system:node:{REAL_NODE}"), "system:nodes")?)?;
        self.write_pair("kube-proxy", &authority.client("system:kube-proxy", "system:node-proxiers")?)?;
        // A cluster gives it rights of its own; here it may read whatever it likes.
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
            // By default the node's name comes first, which nobody here resolves.
            "--kubelet-preferred-address-types=InternalIP",
            &self.flag("token-auth-file", "tokens.csv"),
            &self.flag("service-account-key-file", "service-account.pub"),
            &self.flag("service-account-signing-key-file", "service-account.key"),
        ]);
        if self.network == Network::Loopback {
            // A Service cannot point at a loopback address, and nothing there dials the `kubernetes` Service.
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

    pub(crate) fn api_server_url(&self) -> String {
        format!("https://{}:{}", self.network.host(), self.ports.api_server)
    }

    /// The administrator's kubeconfig; JSON, which every reader of YAML reads.
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
