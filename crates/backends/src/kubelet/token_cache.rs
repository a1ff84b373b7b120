//! The token that kubelets receive. It belongs to a service account whose only right is to request checkpoints, and is cached
//! until near its end, see
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/>.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::Mutex;

use snapwatcher_api::outcome::Reason;
use snapwatcher_daemon::clock;
use snapwatcher_daemon::telemetry::error_chain;
use snapwatcher_kubernetes::cluster::{CallError, call};

use crate::failure::NotSent;

/// The shortest lifetime that the API server gives a token.
const LIFETIME: Duration = Duration::from_secs(600);

/// Requests tokens and caches them. It has no `Debug`, so that nothing prints a token.
pub(super) struct TokenCache {
    accounts: Api<ServiceAccount>,
    namespace: String,
    name: String,
    identity: String,
    cached: Mutex<Option<CachedToken>>,
}

struct CachedToken {
    token: String,
    /// The end of its use, by the clock that runs on in suspend.
    usable_until: Duration,
}

impl TokenCache {
    pub(super) fn new(client: Client, namespace: String, name: String) -> Self {
        let accounts = Api::namespaced(client, &namespace);
        let identity = format!("system:serviceaccount:{namespace}:{name}");
        Self { accounts, namespace, name, identity, cached: Mutex::default() }
    }

    /// The user that the tokens belong to.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// The namespace of the service account.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A token that is valid for some minutes.
    pub(super) async fn get(&self) -> Result<String, NotSent> {
        // Locked during the request: of many attempts that start at once, one requests a token for all.
        let mut cached = self.cached.lock().await;
        let now = clock::since_boot();
        if let Some(cached) = cached.as_ref().filter(|cached| cached.usable_until > now) {
            return Ok(cached.token.clone());
        }
        let Self { namespace, name, .. } = self;
        let what = format!("get a token of service account `{namespace}/{name}`");
        let create = PostParams::default();
        let request = token_request();
        let created = call(what, self.accounts.create_token_request(name, &create, &request)).await;
        let created = created.map_err(|error| self.no_token(&error))?;
        let seconds = created.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let lifetime = seconds.map_or(LIFETIME, Duration::from_secs);
        let Some(token) = created.status.map(|status| status.token).filter(|token| !token.is_empty()) else {
            let message = format!("the API server returned no token of service account `{namespace}/{name}`");
            return Err(NotSent::new(Reason::Unreachable, message));
        };
        // Counted from before the request: the expiry by the server's clock would be wrong if the clocks differ.
        *cached = Some(CachedToken { token: token.clone(), usable_until: now + usable_for(lifetime) });
        Ok(token)
    }

    /// Drops this token, because a kubelet did not accept it.
    pub(super) async fn forget(&self, token: &str) {
        self.cached.lock().await.take_if(|cached| cached.token == token);
    }

    fn no_token(&self, error: &CallError) -> NotSent {
        let Self { namespace, name, .. } = self;
        let words = error_chain(error);
        match error.status().map(|status| status.code) {
            Some(401 | 403) => {
                let right = format!("`create` on `serviceaccounts/token` named `{name}` in namespace `{namespace}`");
                NotSent::new(Reason::Unauthorized, format!("{words}; SnapWatcher needs the right {right}"))
            }
            Some(404) => {
                let remedy = "create it, with the right `create` on `nodes/checkpoint`, or name another one by \
                              `--kubelet-service-account`";
                let message = format!("service account `{namespace}/{name}` does not exist: {remedy}");
                NotSent::new(Reason::Unauthorized, message)
            }
            _ => NotSent::new(Reason::Unreachable, words),
        }
    }
}

/// Without an audience the token is for the API server, which a kubelet asks to verify the token.
fn token_request() -> TokenRequest {
    let seconds = i64::try_from(LIFETIME.as_secs()).ok();
    let spec = TokenRequestSpec { expiration_seconds: seconds, ..TokenRequestSpec::default() };
    TokenRequest { metadata: ObjectMeta::default(), spec, status: None }
}

/// For how long of a token's lifetime a request may start with it. The rest is for the request itself, and for a kubelet whose
/// clock is ahead.
fn usable_for(lifetime: Duration) -> Duration {
    lifetime * 4 / 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_api_server::{ApiRequest, api_server};

    fn tokens(client: Client) -> TokenCache {
        TokenCache::new(client, "snap".to_owned(), "snapwatcher-kubelet".to_owned())
    }

    #[tokio::test]
    async fn a_token_is_cached_until_a_kubelet_does_not_accept_it() {
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
        let asked = |request: &ApiRequest| (request.path.clone(), request.body["spec"]["expirationSeconds"].clone());
        let path = "/api/v1/namespaces/snap/serviceaccounts/snapwatcher-kubelet/token";
        assert_eq!(asked(&requests.lock().unwrap()[0]), (path.to_owned(), 600.into()));
        tokens.forget("another").await;
        assert_eq!(tokens.get().await.unwrap(), "token-1");
        tokens.forget("token-1").await;
        assert_eq!(tokens.get().await.unwrap(), "token-2");
    }

    #[tokio::test]
    async fn a_token_near_its_expiry_is_not_used() {
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
    async fn a_missing_token_is_explained_by_the_missing_right_or_account() {
        for (code, reason, words) in [
            (403, Reason::Unauthorized, "`create` on `serviceaccounts/token` named `snapwatcher-kubelet` in namespace"),
            (404, Reason::Unauthorized, "service account `snap/snapwatcher-kubelet` does not exist: create it"),
            (500, Reason::Unreachable, "could not get a token of service account `snap/snapwatcher-kubelet`"),
        ] {
            let (client, _requests) = api_server(move |_, _| Err(code));
            let NotSent { reason: got, message } = tokens(client).get().await.unwrap_err();
            assert_eq!(got, reason, "{message}");
            assert!(message.contains(words), "{message}");
        }
    }
}
