//! How the API server is reached, by the kubeconfig or the service account of the pod.
//!
//! kube reads the proxy variables of the environment with a kubeconfig. It then takes one that it cannot read for a missing
//! kubeconfig, although the proxy may not be used. So the kubeconfig is applied here, and [`proxy`](super::proxy) reads the
//! variables.

use kube::Config;
use kube::config::{Cluster, ExecAuthCluster, InClusterError, Kubeconfig, KubeconfigError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

/// How the API server is reached, without a proxy.
pub(super) struct Access {
    pub(super) config: Config,
    /// `proxy-url` of the kubeconfig.
    pub(super) proxy_url: Option<String>,
}

/// Why the API server is not known.
#[derive(Debug, thiserror::Error)]
#[error("found no cluster to connect to: set KUBECONFIG, or run in a pod with a service account ({in_cluster})")]
pub struct NoCluster {
    in_cluster: InClusterError,
    /// More likely an error of the user than the other.
    #[source]
    kubeconfig: NoKubeconfig,
}

#[derive(Debug, thiserror::Error)]
enum NoKubeconfig {
    #[error(transparent)]
    Unusable(#[from] KubeconfigError),
    #[error("the CA of the API server in the kubeconfig is not in PEM form")]
    NoPem(#[source] pem::Error),
}

/// By KUBECONFIG or the default kubeconfig, else by the service account of the pod.
pub(super) fn access() -> Result<Access, NoCluster> {
    let of_kubeconfig = Kubeconfig::read().map_err(NoKubeconfig::from).and_then(of_kubeconfig);
    let mut access = match of_kubeconfig {
        Ok(access) => access,
        Err(kubeconfig) => {
            let config = Config::incluster().map_err(|in_cluster| NoCluster { in_cluster, kubeconfig })?;
            Access { config, proxy_url: None }
        }
    };
    access.config.apply_debug_overrides();
    Ok(access)
}

/// The current context of a kubeconfig.
fn of_kubeconfig(kubeconfig: Kubeconfig) -> Result<Access, NoKubeconfig> {
    let name = kubeconfig.current_context.ok_or(KubeconfigError::CurrentContextNotSet)?;
    let context = kubeconfig.contexts.into_iter().find(|context| context.name == name);
    let context = context.and_then(|context| context.context).ok_or(KubeconfigError::LoadContext(name))?;
    let cluster = kubeconfig.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster =
        cluster.and_then(|cluster| cluster.cluster).ok_or(KubeconfigError::LoadClusterOfContext(context.cluster))?;
    // As for kubectl, a user that is missing is one without credentials.
    let user = context.user.and_then(|name| kubeconfig.auth_infos.into_iter().find(|user| user.name == name));
    let mut user = user.and_then(|user| user.auth_info).unwrap_or_default();
    // The same as the cluster, with its CA read from its file.
    let loaded = ExecAuthCluster::try_from(&cluster)?;
    let certificates = loaded.certificate_authority_data.as_deref().map(certificates).transpose()?;
    if let Some(exec) = user.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some(loaded);
    }
    let Cluster { server, proxy_url, insecure_skip_tls_verify, disable_compression, tls_server_name, .. } = cluster;
    let server = server.ok_or(KubeconfigError::MissingClusterUrl)?;
    let mut config = Config::new(server.parse().map_err(KubeconfigError::ParseClusterUrl)?);
    config.default_namespace = context.namespace.unwrap_or(config.default_namespace);
    config.root_cert = certificates;
    config.accept_invalid_certs = insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = disable_compression.unwrap_or(false);
    config.tls_server_name = tls_server_name;
    config.auth_info = user;
    Ok(Access { config, proxy_url: proxy_url.filter(|url| !url.is_empty()) })
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, NoKubeconfig> {
    let certificates = CertificateDer::pem_slice_iter(pem).map(|certificate| certificate.map(|der| der.to_vec()));
    certificates.collect::<Result<_, _>>().map_err(NoKubeconfig::NoPem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: one
contexts:
- name: one
  context: {cluster: c, user: u, namespace: shop}
- name: two
  context: {cluster: missing}
clusters:
- name: c
  cluster:
    server: https://10.96.0.1:6443
    tls-server-name: kubernetes
    proxy-url: socks5://proxy:1080
users:
- name: u
  user: {token: secret-token}
";

    fn read(text: &str) -> Result<Access, NoKubeconfig> {
        of_kubeconfig(Kubeconfig::from_yaml(text).unwrap())
    }

    #[test]
    fn the_current_context_says_how_the_api_server_is_reached() {
        let Access { config, proxy_url } = read(KUBECONFIG).unwrap();
        assert_eq!(config.cluster_url.to_string(), "https://10.96.0.1:6443/");
        assert_eq!(config.default_namespace, "shop");
        assert_eq!(config.tls_server_name.as_deref(), Some("kubernetes"));
        assert_eq!(proxy_url.as_deref(), Some("socks5://proxy:1080"));
        assert!(config.auth_info.token.is_some() && config.root_cert.is_none() && !config.accept_invalid_certs);
    }

    #[test]
    fn a_context_whose_cluster_is_missing_is_an_error_that_names_it() {
        let error = read(&KUBECONFIG.replace("current-context: one", "current-context: two")).err().unwrap();
        assert!(error.to_string().contains("missing"), "{error}");
    }

    #[test]
    fn a_ca_that_is_no_pem_is_an_error() {
        // `-----BEGIN CERTIFICATE-----` without an end.
        let data = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==";
        let text = KUBECONFIG
            .replace("    tls-server-name: kubernetes\n", &format!("    certificate-authority-data: {data}\n"));
        assert!(matches!(read(&text), Err(NoKubeconfig::NoPem(_))));
    }
}
