//! The API server: whether it answers, and as whom it knows us.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};

use super::finding::{Finding, Topic};
use snapwatcher_kubernetes::cluster::{CallError, call};

const WHAT: &str = "API server";

/// What the API server says of itself and of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) version: String,
    /// Our user name, where it can be asked (since Kubernetes 1.28).
    pub(super) user: Option<String>,
}

impl Server {
    /// Whoever asks, in a sentence.
    pub(super) fn who(&self) -> &str {
        self.user.as_deref().unwrap_or("the account of SnapWatcher")
    }

    pub(super) fn finding(&self) -> Finding {
        let known = match &self.user {
            Some(user) => format!("asked as `{user}`"),
            None => "it does not tell as whom it knows this account".to_owned(),
        };
        Finding::ok(Topic::ApiServer, WHAT, format!("{}, {known}", self.version))
    }
}

/// The one line where nothing else can be asked.
pub(super) fn away(words: &str, address: Option<&str>) -> Finding {
    let at = address.map(|address| format!(" at {address}")).unwrap_or_default();
    let remedy = format!(
        "see that the API server{at} can be reached from here and takes this account; it is found through KUBECONFIG, \
         ~/.kube/config or the service account of the pod"
    );
    Finding::failed(Topic::ApiServer, format!("{WHAT}{at}"), words, remedy)
}

/// Asks for version and user.
pub(super) async fn look(client: &Client) -> Result<Server, CallError> {
    let version = call("read the version of the API server", client.apiserver_version()).await?;
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = call("ask who we are", api.create(&PostParams::default(), &SelfSubjectReview::default())).await;
    let user = match review {
        Ok(review) => review.status.and_then(|status| status.user_info).and_then(|user| user.username),
        // A token that is no longer taken is the same to every other question.
        Err(error) if error.status().is_some_and(|status| status.code == 401) => return Err(error),
        Err(_) => None,
    };
    Ok(Server { version: version.git_version, user })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_is_told_with_its_version_and_our_name() {
        let server = |user: Option<&str>| Server { version: "v1.37.2".to_owned(), user: user.map(str::to_owned) };
        assert_eq!(server(Some("me")).finding().seen, "v1.37.2, asked as `me`");
        let unknown = "v1.37.2, it does not tell as whom it knows this account";
        assert_eq!(server(None).finding().seen, unknown);
    }

    #[test]
    fn one_that_is_away_is_told_by_its_address() {
        let finding = away("connection refused", Some("https://127.0.0.1:6443/"));
        assert_eq!(finding.what, "API server at https://127.0.0.1:6443/");
        assert!(finding.remedy.unwrap().contains("KUBECONFIG"));
    }
}
