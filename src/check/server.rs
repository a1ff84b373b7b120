//! Tests the API server: whether it responds, and which account this process has.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};

use super::finding::{Finding, Topic};
use snapwatcher_kubernetes::cluster::{CallError, call};

const WHAT: &str = "API server";

/// The version of the API server, and this process's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) version: String,
    /// The user name, if the API server can report it (since Kubernetes 1.28).
    pub(super) user: Option<String>,
}

impl Server {
    /// The name of the account, for messages.
    pub(super) fn account(&self) -> &str {
        self.user.as_deref().unwrap_or("the account of SnapWatcher")
    }

    pub(super) fn finding(&self) -> Finding {
        let account = match &self.user {
            Some(user) => format!("called as `{user}`"),
            None => "which does not report the user name of this account".to_owned(),
        };
        Finding::ok(Topic::ApiServer, WHAT, format!("{}, {account}", self.version))
    }
}

/// The only finding if the API server cannot be called.
pub(super) fn unreachable(message: &str, address: Option<&str>) -> Finding {
    let at = address.map(|address| format!(" at {address}")).unwrap_or_default();
    let remedy = format!(
        "see that the API server{at} can be reached from here and accepts this account. SnapWatcher finds it through \
         KUBECONFIG, ~/.kube/config or the service account of the pod"
    );
    Finding::failed(Topic::ApiServer, format!("{WHAT}{at}"), message, remedy)
}

/// Reads version and user.
pub(super) async fn read(client: &Client) -> Result<Server, CallError> {
    let version = call("read the version of the API server", client.apiserver_version()).await?;
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review =
        call("read the user name of this account", api.create(&PostParams::default(), &SelfSubjectReview::default()))
            .await;
    let user = match review {
        Ok(review) => review.status.and_then(|status| status.user_info).and_then(|user| user.username),
        // With an invalid token, all other requests fail too.
        Err(error) if error.status().is_some_and(|status| status.code == 401) => return Err(error),
        Err(_) => None,
    };
    Ok(Server { version: version.git_version, user })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finding_has_the_version_and_the_user_name() {
        let server = |user: Option<&str>| Server { version: "v1.37.2".to_owned(), user: user.map(str::to_owned) };
        assert_eq!(server(Some("me")).finding().seen, "v1.37.2, called as `me`");
        let unknown = "v1.37.2, which does not report the user name of this account";
        assert_eq!(server(None).finding().seen, unknown);
    }

    #[test]
    fn an_unreachable_api_server_is_reported_with_its_address() {
        let finding = unreachable("connection refused", Some("https://127.0.0.1:6443/"));
        assert_eq!(finding.what, "API server at https://127.0.0.1:6443/");
        assert!(finding.remedy.unwrap().contains("KUBECONFIG"));
    }
}
