//! Which back-end takes checkpoints, and what each of them is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use snapwatcher_backends::{kubelet, snaphook};
use snapwatcher_controller::ConcurrencyLimits;

use super::CheckpointArgs;
use super::values::{object_name, timeout};

/// The name of a back-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendName {
    Snaphook,
    Kubelet,
    Log,
}

/// Who takes checkpoints, with what it needs.
pub enum BackendSettings {
    Log,
    SnapHook(Box<snaphook::SnapHookSettings>),
    Kubelet(Box<kubelet::KubeletSettings>),
}

/// For `--backend kubelet`.
#[derive(Debug, Clone, Args)]
pub struct KubeletArgs {
    /// File with the CA certificates that the kubelets' serving certificates are verified against, instead of the
    /// cluster's own CA.
    #[arg(long, env = "SNAPWATCHER_KUBELET_CA_FILE", value_name = "FILE")]
    pub kubelet_ca_file: Option<PathBuf>,
    /// Asks kubelets whoever they are: their certificates are not verified, and whoever answers at a node's address gets
    /// the token.
    #[arg(long, env = "SNAPWATCHER_KUBELET_INSECURE_SKIP_VERIFY", value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub kubelet_insecure_skip_verify: bool,
    /// How long the container runtime of a node may take for a checkpoint; its kubelet has 10 s more to answer.
    #[arg(long, env = "SNAPWATCHER_KUBELET_TIMEOUT", value_name = "DURATION", default_value = "120s", value_parser = timeout)]
    pub kubelet_timeout: Duration,
    /// Name of the service account, in the namespace of `--service-namespace`, whose tokens kubelets are sent; its only
    /// right is `create` on `nodes/checkpoint`.
    #[arg(long, env = "SNAPWATCHER_KUBELET_SERVICE_ACCOUNT", value_name = "NAME", default_value = "snapwatcher-kubelet", value_parser = object_name)]
    pub kubelet_service_account: String,
}

impl KubeletArgs {
    fn trust(&self) -> kubelet::KubeletTrust {
        match &self.kubelet_ca_file {
            _ if self.kubelet_insecure_skip_verify => kubelet::KubeletTrust::Unverified,
            Some(path) => kubelet::KubeletTrust::CaFile(path.clone()),
            None => kubelet::KubeletTrust::ClusterCa,
        }
    }
}

impl CheckpointArgs {
    pub fn backend(&self) -> BackendSettings {
        match (self.backend, &self.snap_back_api_url.0) {
            (BackendName::Kubelet, _) => BackendSettings::Kubelet(Box::new(self.kubelet())),
            (BackendName::Log, _) | (BackendName::Snaphook, None) => BackendSettings::Log,
            (BackendName::Snaphook, Some(url)) => BackendSettings::SnapHook(Box::new(snaphook::SnapHookSettings {
                url: url.clone(),
                contract: self.snap_back_api_contract,
                // As it was given: a URL type would add a slash, which SnapHook's own clients do not send.
                kube_api_address: self.kube_api_address.as_str().trim_end_matches('/').to_owned(),
                cluster_name: self.cluster_name.clone(),
                request_timeout: self.request_timeout,
                response_timeout: self.response_timeout,
                token_file: self.snap_back_api_token_file.clone(),
                ca_file: self.snap_back_api_ca_file.clone(),
            })),
        }
    }

    fn kubelet(&self) -> kubelet::KubeletSettings {
        kubelet::KubeletSettings {
            request_timeout: self.request_timeout,
            checkpoint_timeout: self.kubelet.kubelet_timeout,
            trust: self.kubelet.trust(),
            service_account: self.kubelet.kubelet_service_account.clone(),
        }
    }

    /// How long the back-end may take to answer once it is connected.
    fn answer_time(&self) -> Duration {
        match self.backend {
            BackendName::Kubelet => self.kubelet().response_timeout(),
            BackendName::Snaphook | BackendName::Log => self.response_timeout,
        }
    }

    /// The longest one attempt can take.
    pub fn longest_attempt(&self) -> Duration {
        self.request_timeout + self.answer_time()
    }

    /// For how long a slot may count of which nothing but its beginning is known: an attempt, and an answer that did not
    /// come.
    pub fn longest_slot(&self) -> Duration {
        self.longest_attempt() + self.answer_time()
    }

    pub fn limits(&self) -> ConcurrencyLimits {
        ConcurrencyLimits {
            concurrent: self.max_concurrent.into(),
            per_node: self.max_concurrent_per_node.into(),
            response_timeout: self.answer_time(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use snapwatcher_api::pod::OncePer;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        checkpoint: CheckpointArgs,
    }

    fn given(arguments: &[&str]) -> CheckpointArgs {
        Given::parse_from(["snapwatcher"].iter().chain(arguments)).checkpoint
    }

    #[test]
    fn once_per_follows_the_back_end_where_it_is_not_said() {
        for (arguments, expected) in [
            (&[][..], OncePer::Pod),
            (&["--backend", "kubelet"], OncePer::Revision),
            (&["--backend", "kubelet", "--once-per", "pod"], OncePer::Pod),
            (&["--once-per", "revision"], OncePer::Revision),
        ] {
            assert_eq!(given(arguments).once_per, expected, "{arguments:?}");
        }
    }

    #[test]
    fn times_follow_the_back_end() {
        let seconds = Duration::from_secs;
        let snaphook = given(&["--kubelet-timeout", "7"]);
        assert_eq!((snaphook.longest_attempt(), snaphook.longest_slot()), (seconds(125), seconds(245)));
        assert_eq!(snaphook.limits().response_timeout, seconds(120));
        let kubelet = given(&["--backend", "kubelet", "--kubelet-timeout", "60", "--response-timeout", "7"]);
        assert_eq!((kubelet.longest_attempt(), kubelet.longest_slot()), (seconds(75), seconds(145)));
        assert_eq!(kubelet.limits().response_timeout, seconds(70));
    }

    #[test]
    fn a_kubelet_is_trusted_by_the_clusters_ca_unless_another_is_named_or_nobody_verifies() {
        for (arguments, expected) in [
            (&[][..], kubelet::KubeletTrust::ClusterCa),
            (&["--kubelet-ca-file", "ca.crt"], kubelet::KubeletTrust::CaFile("ca.crt".into())),
            (&["--kubelet-insecure-skip-verify=false"], kubelet::KubeletTrust::ClusterCa),
            (&["--kubelet-insecure-skip-verify", "--kubelet-ca-file", "ca.crt"], kubelet::KubeletTrust::Unverified),
        ] {
            let arguments = [&["--backend", "kubelet"][..], arguments].concat();
            let BackendSettings::Kubelet(settings) = given(&arguments).backend() else { panic!("{arguments:?}") };
            assert_eq!(settings.trust, expected, "{arguments:?}");
        }
    }
}
