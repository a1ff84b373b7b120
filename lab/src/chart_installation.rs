//! SnapWatcher installed by its chart into a control plane with fake nodes.
//!
//! On fake nodes the Deployment's pods run no program. So the program runs beside the API server, with the Deployment's
//! settings and impersonating its service account. Its rights are those that the chart grants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use kube::config::Kubeconfig;
use serde_json::json;
use tempfile::TempDir;

use crate::access::Access;
use crate::check_command::{self, CheckOutput};
use crate::helm::Helm;
use crate::must::must;
use crate::snapwatcher::{Snapwatcher, SnapwatcherOptions};

/// The command in the documentation. The tests of the program run it at the root of the repository.
const INSTALL: &str = "install snapwatcher ./charts/snapwatcher -n snap --create-namespace";
/// The chart has no default image.
const IMAGE: &str = "charts/snapwatcher/ci/image.yaml";
const NAME: &str = "snapwatcher";
const NAMESPACE: &str = "snap";
const ACCOUNT: &str = "system:serviceaccount:snap:snapwatcher";

/// A Helm release of the chart.
pub struct ChartInstallation {
    access: Access,
    helm: Helm,
    client: kube::Client,
    // Holds the service account's kubeconfig.
    folder: TempDir,
}

impl ChartInstallation {
    /// Installs the chart by the documented command.
    pub async fn on(access: &Access) -> Self {
        let helm = must("build Helm", Helm::built().await).with_access(access);
        let client = must("make a client", access.client().await);
        let folder = must("make a folder", tempfile::tempdir());
        let installation = Self { access: access.clone(), helm, client, folder };
        installation.install();
        installation
    }

    /// Installs the chart again, after an uninstall.
    pub fn install(&self) {
        self.helm(INSTALL);
    }

    /// Runs Helm with these space-separated arguments. `install` and `upgrade` get the image of the scenarios too.
    pub fn helm(&self, arguments: &str) -> String {
        must("run Helm", self.helm.run(with_image(arguments)))
    }

    /// Runs Helm with these space-separated arguments and returns its error, if it fails.
    pub fn helm_error(&self, arguments: &str) -> Option<String> {
        self.helm.run(with_image(arguments)).err().map(|error| error.to_string())
    }

    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The environment of the Deployment's container, without the values that a node fills in.
    pub async fn variables(&self) -> BTreeMap<String, String> {
        let deployments: Api<Deployment> = Api::namespaced(self.client(), NAMESPACE);
        let deployment = must("read the Deployment", deployments.get(NAME).await);
        let containers = deployment.spec.and_then(|spec| spec.template.spec).map(|pod| pod.containers);
        let variables = containers.into_iter().flatten().filter_map(|container| container.env).flatten();
        variables.filter_map(|variable| Some((variable.name, variable.value?))).collect()
    }

    /// Starts the program as the Deployment would, with these variables added.
    pub async fn start_snapwatcher(&self, binary: &Path, besides: &[(&str, &str)]) -> Snapwatcher {
        let kubeconfig = self.kubeconfig();
        let mut env = self.settings().await;
        env.extend(besides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let options =
            SnapwatcherOptions { binary: binary.to_owned(), kubeconfig, env, ..SnapwatcherOptions::default() };
        must("start SnapWatcher", Snapwatcher::start(options).await)
    }

    /// Runs `snapwatcher check` as the Deployment's service account and with its settings.
    pub async fn check(&self, binary: &Path) -> CheckOutput {
        let settings = self.settings().await;
        let flag = |(name, value): (&String, &String)| {
            let name = name.strip_prefix("SNAPWATCHER_").unwrap_or(name);
            format!("--{}={value}", name.to_lowercase().replace('_', "-"))
        };
        let flags: Vec<String> = settings.iter().map(flag).collect();
        let mut arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
        arguments.push("--output=json");
        must("run `snapwatcher check`", check_command::run(binary, &self.kubeconfig(), &arguments).await)
    }

    /// The Deployment's environment with the name of one of its pods.
    async fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.variables().await;
        settings.insert("POD_NAME".to_owned(), format!("{NAME}-0"));
        settings
    }

    /// A kubeconfig that impersonates the Deployment's service account.
    fn kubeconfig(&self) -> PathBuf {
        let mut kubeconfig = must("read the kubeconfig", Kubeconfig::read_from(self.access.kubeconfig()));
        for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            user.impersonate = Some(ACCOUNT.to_owned());
        }
        let path = self.folder.path().join("kubeconfig");
        let text = must("write a kubeconfig", serde_yaml_ng::to_string(&kubeconfig));
        must("write a kubeconfig", std::fs::write(&path, text));
        path
    }

    /// Replaces the Service in the webhook configurations by this address. The API server cannot reach Services here.
    pub async fn point_webhooks_at(&self, address: SocketAddr) {
        let to = |path: &str| {
            let patch = json!([
                {"op": "remove", "path": "/webhooks/0/clientConfig/service"},
                {"op": "add", "path": "/webhooks/0/clientConfig/url", "value": format!("https://{address}{path}")},
            ]);
            Patch::Json::<()>(must("make a patch", serde_json::from_value(patch)))
        };
        let by = PatchParams::default();
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client());
        must("patch a configuration", mutating.patch(NAME, &by, &to("/mutate")).await);
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client());
        must("patch a configuration", validating.patch(NAME, &by, &to("/validate")).await);
    }

    /// The caBundle of the mutating configuration.
    pub async fn ca_bundle(&self) -> Option<Vec<u8>> {
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client());
        let found = must("read a configuration", mutating.get_opt(NAME).await)?;
        Some(found.webhooks?.into_iter().next()?.client_config.ca_bundle?.0)
    }
}

fn with_image(arguments: &str) -> Vec<&str> {
    let mut all: Vec<_> = arguments.split(' ').collect();
    if matches!(all.first(), Some(&("install" | "upgrade"))) {
        all.extend(["--values", IMAGE]);
    }
    all
}
