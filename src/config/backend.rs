//! Which back-end takes checkpoints, how it is reached, and how long it may take.

use std::time::Duration;

use clap::Args;

use snapwatcher_backends::{kubelet, snaphook};

use super::kubelet::KubeletArgs;
use super::snaphook::SnapHookArgs;
use super::values::timeout;

/// The name of a back-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendName {
    Snaphook,
    Kubelet,
    Log,
}

/// A back-end with its settings.
pub enum BackendSettings {
    Log,
    SnapHook(Box<snaphook::SnapHookSettings>),
    Kubelet(Box<kubelet::KubeletSettings>),
}

#[derive(Debug, Clone, Args)]
pub struct BackendArgs {
    /// What takes checkpoints: `snaphook` calls SnapHook over HTTP, `kubelet` calls the kubelet of each pod's node, `log` only
    /// logs eligible pods.
    #[arg(long, env = "SNAPWATCHER_BACKEND", value_name = "NAME", default_value = "snaphook")]
    pub backend: BackendName,
    #[command(flatten)]
    pub snaphook: SnapHookArgs,
    /// Time limit for connecting to SnapHook, including TLS. For a kubelet it includes reading the node and getting the token.
    #[arg(long, env = "SNAPWATCHER_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = timeout)]
    pub request_timeout: Duration,
    /// Time limit for SnapHook's response, after the connection is made. SnapHook responds when the checkpoint is done.
    #[arg(long, env = "SNAPWATCHER_RESPONSE_TIMEOUT", value_name = "DURATION", default_value = "120s", value_parser = timeout)]
    pub response_timeout: Duration,
    #[command(flatten)]
    pub kubelet: KubeletArgs,
}

impl BackendArgs {
    pub fn settings(&self) -> BackendSettings {
        match (self.backend, &self.snaphook.snap_back_api_url.0) {
            (BackendName::Kubelet, _) => BackendSettings::Kubelet(Box::new(self.kubelet_settings())),
            (BackendName::Log, _) | (BackendName::Snaphook, None) => BackendSettings::Log,
            (BackendName::Snaphook, Some(url)) => BackendSettings::SnapHook(Box::new(snaphook::SnapHookSettings {
                url: url.clone(),
                contract: self.snaphook.snap_back_api_contract,
                // A URL type adds a slash, which SnapHook's own clients do not send.
                kube_api_address: self.snaphook.kube_api_address.as_str().trim_end_matches('/').to_owned(),
                cluster_name: self.snaphook.cluster_name.clone(),
                request_timeout: self.request_timeout,
                response_timeout: self.response_timeout,
                token_file: self.snaphook.snap_back_api_token_file.clone(),
                ca_file: self.snaphook.snap_back_api_ca_file.clone(),
            })),
        }
    }

    fn kubelet_settings(&self) -> kubelet::KubeletSettings {
        kubelet::KubeletSettings {
            request_timeout: self.request_timeout,
            checkpoint_timeout: self.kubelet.kubelet_timeout,
            trust: self.kubelet.trust(),
            address_types: self.kubelet.kubelet_preferred_address_types.clone(),
            service_account: self.kubelet.kubelet_service_account.clone(),
            archive_bytes_per_day: self.kubelet.kubelet_archive_budget,
        }
    }

    /// How long the back-end may take to respond after the connection is made.
    pub fn longest_response(&self) -> Duration {
        match self.backend {
            BackendName::Kubelet => self.kubelet_settings().response_timeout(),
            BackendName::Snaphook | BackendName::Log => self.response_timeout,
        }
    }

    /// The longest time that one attempt can take.
    pub fn longest_attempt(&self) -> Duration {
        self.request_timeout + self.longest_response()
    }

    /// The longest time that a slot counts if only the start of its attempt is known: one attempt, and one response that was
    /// lost.
    pub fn longest_slot(&self) -> Duration {
        self.longest_attempt() + self.longest_response()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        backend: BackendArgs,
    }

    fn parsed(arguments: &[&str]) -> BackendArgs {
        Flags::parse_from(["snapwatcher"].iter().chain(arguments)).backend
    }

    #[test]
    fn times_follow_the_back_end() {
        let seconds = Duration::from_secs;
        let snaphook = parsed(&["--kubelet-timeout", "7"]);
        assert_eq!((snaphook.longest_attempt(), snaphook.longest_slot()), (seconds(125), seconds(245)));
        assert_eq!(snaphook.longest_response(), seconds(120));
        let kubelet = parsed(&["--backend", "kubelet", "--kubelet-timeout", "60", "--response-timeout", "7"]);
        assert_eq!((kubelet.longest_attempt(), kubelet.longest_slot()), (seconds(75), seconds(145)));
        assert_eq!(kubelet.longest_response(), seconds(70));
    }

    #[test]
    fn the_order_of_address_types_is_that_of_the_flag() {
        use kubelet::AddressType::{ExternalIP, Hostname, InternalDNS, InternalIP};
        for (arguments, expected) in [
            (&[][..], vec![InternalIP, Hostname, ExternalIP]),
            (&["--kubelet-preferred-address-types", "Hostname,InternalDNS"], vec![Hostname, InternalDNS]),
        ] {
            assert_eq!(parsed(arguments).kubelet_settings().address_types, expected);
        }
        for wrong in ["", "Hostname,", "internalip", "IP"] {
            let arguments = ["snapwatcher", "--kubelet-preferred-address-types", wrong];
            assert!(Flags::try_parse_from(arguments).is_err(), "{wrong}");
        }
    }

    #[test]
    fn kubelets_are_verified_by_the_clusters_ca_unless_a_file_is_named_or_verification_is_off() {
        for (arguments, expected) in [
            (&[][..], kubelet::KubeletTrust::ClusterCa),
            (&["--kubelet-ca-file", "ca.crt"], kubelet::KubeletTrust::CaFile("ca.crt".into())),
            (&["--kubelet-insecure-skip-verify=false"], kubelet::KubeletTrust::ClusterCa),
            (&["--kubelet-insecure-skip-verify", "--kubelet-ca-file", "ca.crt"], kubelet::KubeletTrust::Unverified),
        ] {
            let arguments = [&["--backend", "kubelet"][..], arguments].concat();
            let BackendSettings::Kubelet(settings) = parsed(&arguments).settings() else { panic!("{arguments:?}") };
            assert_eq!(settings.trust, expected, "{arguments:?}");
        }
    }
}
