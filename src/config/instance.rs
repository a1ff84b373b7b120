//! The name of this replica.

use clap::Args;

use snapwatcher_controller::Holder;

#[derive(Debug, Clone, Args)]
pub struct InstanceArgs {
    /// Name of this replica in the Checkpoints that it works on [default: POD_NAME, else the host's name and a random part].
    /// Each replica needs a name of its own. Of two replicas with one name, each would end the attempts of the other.
    #[arg(long, env = "SNAPWATCHER_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,
    /// Name of this process's pod, set by the downward API.
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
    /// UID of this process's pod, set by the downward API. Events about certificates are on this pod.
    #[arg(long, env = "POD_UID", value_name = "UID", hide = true)]
    pub pod_uid: Option<String>,
}

impl InstanceArgs {
    /// Who this process is. Without a pod's name, a random part distinguishes two processes on one host.
    pub fn holder(&self) -> Holder {
        let random = |length: usize| uuid::Uuid::new_v4().simple().to_string()[..length].to_owned();
        let named = self.instance.clone().or_else(|| self.pod_name.clone());
        let instance = named.unwrap_or_else(|| {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            format!("{host}-{}", random(5))
        });
        Holder { instance, boot: random(8) }
    }
}
