//! The token that kubelets are sent: of a service account whose only right is this, kept in memory until near its end,
//! see <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/>.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::Mutex;

use crate::NotSent;
use snapwatcher_api::outcome::Reason;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

/// The shortest life that the API server gives a token.
const LIFE: Duration = Duration::from_secs(600);

/// Gets tokens. Nothing of it can be printed.
pub(super) struct Tokens {
    accounts: Api<ServiceAccount>,
    namespace: String,
    name: String,
    identity: String,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: String,
    /// By the clock that runs on in suspend: no further request is begun with it.
    until: Duration,
}

impl Tokens {
    pub(super) fn new(client: Client, namespace: String, name: String) -> Self {
        let accounts = Api::namespaced(client, &namespace);
        let identity = format!("system:serviceaccount:{namespace}:{name}");
        Self { accounts, namespace, name, identity, held: Mutex::default() }
    }

    /// As whom kubelets see us.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Where the service account is.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A token that is valid for a while.
    pub(super) async fn get(&self) -> Result<String, NotSent> {
        // Kept over the request: of many attempts that begin at once, one asks.
        let mut held = self.held.lock().await;
        let now = clock::since_boot();
        if let Some(held) = held.as_ref().filter(|held| held.until > now) {
            return Ok(held.token.clone());
        }
        let Self { namespace, name, .. } = self;
        let what = format!("get a token of service account `{namespace}/{name}`");
        let create = PostParams::default();
        let request = request();
        let made = call(what, self.accounts.create_token_request(name, &create, &request)).await;
        let made = made.map_err(|error| self.refused(&error))?;
        let life = made.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let life = life.map_or(LIFE, Duration::from_secs);
        let Some(token) = made.status.map(|status| status.token).filter(|token| !token.is_empty()) else {
            let message = format!("the API server gave no token of service account `{namespace}/{name}`");
            return Err(NotSent(Reason::Unreachable, message));
        };
        // From before the request was made; its end by the server's clock would need both clocks to agree.
        *held = Some(Held { token: token.clone(), until: now + usable(life) });
        Ok(token)
    }

    /// Asks for another token next time: this one was turned down.
    pub(super) async fn forget(&self, token: &str) {
        self.held.lock().await.take_if(|held| held.token == token);
    }

    fn refused(&self, error: &CallError) -> NotSent {
        let Self { namespace, name, .. } = self;
        let told = error_chain(error);
        match error.status().map(|status| status.code) {
            Some(401 | 403) => {
                let right = format!("`create` on `serviceaccounts/token` named `{name}` in namespace `{namespace}`");
                NotSent(Reason::Unauthorized, format!("{told}; SnapWatcher needs the right {right}"))
            }
            Some(404) => {
                let remedy = "create it, with the right `create` on `nodes/checkpoint`, or name another by \
                              `--kubelet-service-account`";
                let message = format!("there is no service account `{namespace}/{name}`: {remedy}");
                NotSent(Reason::Unauthorized, message)
            }
            _ => NotSent(Reason::Unreachable, told),
        }
    }
}

/// For whichever audience the API server itself is: a kubelet asks it what a token is worth.
fn request() -> TokenRequest {
    let seconds = i64::try_from(LIFE.as_secs()).ok();
    let spec = TokenRequestSpec { expiration_seconds: seconds, ..TokenRequestSpec::default() };
    TokenRequest { metadata: ObjectMeta::default(), spec, status: None }
}

/// How much of a token's life requests may begin: a kubelet looks at it at once, but its clock may be off, and it asks the
/// API server.
fn usable(life: Duration) -> Duration {
    life * 4 / 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::tests::{Seen, api_server};

    fn tokens(client: Client) -> Tokens {
        Tokens::new(client, "snap".to_owned(), "snapwatcher-kubelet".to_owned())
    }

    #[tokio::test]
    async fn a_token_is_kept_until_it_is_turned_down() {
        let (client, requests) = api_server(|_, number| {
            Ok(serde_json::json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
                "spec": {"audiences": ["api"], "expirationSeconds": 600},
                "status": {"token": format!("token-{number}"), "expirationTimestamp": "2026-01-01T00:00:00Z"},
            }))
        });
        let tokens = tokens(client);
        assert_eq!(tokens.identity(), "system:serviceaccount:snap:snapwatcher-kubelet");
        let all = futures::future::join_all((0..8).map(|_| tokens.get())).await;
        assert!(all.into_iter().all(|token| token.unwrap() == "token-1"), "one request for all");
        let asked = |request: &Seen| (request.path.clone(), request.body["spec"]["expirationSeconds"].clone());
        let path = "/api/v1/namespaces/snap/serviceaccounts/snapwatcher-kubelet/token";
        assert_eq!(asked(&requests.lock().unwrap()[0]), (path.to_owned(), 600.into()));
        tokens.forget("another").await;
        assert_eq!(tokens.get().await.unwrap(), "token-1");
        tokens.forget("token-1").await;
        assert_eq!(tokens.get().await.unwrap(), "token-2");
    }

    #[tokio::test]
    async fn a_token_near_its_end_is_not_used() {
        let (client, _requests) = api_server(|_, number| {
            Ok(serde_json::json!({
                "metadata": {}, "spec": {"audiences": [], "expirationSeconds": 0},
                "status": {"token": format!("token-{number}"), "expirationTimestamp": "2026-01-01T00:00:00Z"},
            }))
        });
        let tokens = tokens(client);
        assert_eq!(tokens.get().await.unwrap(), "token-1");
        assert_eq!(tokens.get().await.unwrap(), "token-2");
    }

    #[tokio::test]
    async fn a_token_that_is_not_given_is_told_with_the_right_or_the_account_that_is_missing() {
        for (code, reason, words) in [
            (403, Reason::Unauthorized, "`create` on `serviceaccounts/token` named `snapwatcher-kubelet` in namespace"),
            (404, Reason::Unauthorized, "there is no service account `snap/snapwatcher-kubelet`: create it"),
            (500, Reason::Unreachable, "could not get a token of service account `snap/snapwatcher-kubelet`"),
        ] {
            let (client, _requests) = api_server(move |_, _| Err(code));
            let NotSent(got, message) = tokens(client).get().await.unwrap_err();
            assert_eq!(got, reason, "{message}");
            assert!(message.contains(words), "{message}");
        }
    }
}
