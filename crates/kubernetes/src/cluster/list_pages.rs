//! Listings that come in pages.

use std::fmt::Debug;

use kube::Api;
use kube::api::ListParams;
use serde::de::DeserializeOwned;

use super::call::{CallError, call};

/// A listing, page by page, each page within the time of one [`call`]. Between two pages any time may pass: if the API server has
/// forgotten the listed version meanwhile, the other objects are listed as they are then, see
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses>.
pub struct Pages<K> {
    api: Api<K>,
    /// Of the next page. `None`: there is none.
    next: Option<ListParams>,
}

impl<K: Clone + Debug + DeserializeOwned> Pages<K> {
    /// `params` has the number of objects in a page.
    pub fn new(api: Api<K>, params: ListParams) -> Self {
        Self { api, next: Some(params) }
    }

    /// The objects of the next page; `None` after the last one. `what` completes the sentence "could not ...".
    pub async fn next(&mut self, what: &str) -> Result<Option<Vec<K>>, CallError> {
        let Some(mut params) = self.next.take() else { return Ok(None) };
        let listed = match call(what, self.api.list(&params)).await {
            Ok(listed) => listed,
            Err(error) => {
                let Some(token) = token_after_expiry(&error) else { return Err(error) };
                params = params.continue_token(token);
                call(what, self.api.list(&params)).await?
            }
        };
        let token = listed.metadata.continue_.filter(|token| !token.is_empty());
        self.next = token.map(|token| params.continue_token(&token));
        Ok(Some(listed.items))
    }
}

/// The token with which a listing whose version is forgotten continues, from a status with code 410.
fn token_after_expiry(error: &CallError) -> Option<&str> {
    let status = error.status().filter(|status| status.code == 410)?;
    status.metadata.as_ref()?.continue_.as_deref().filter(|token| !token.is_empty())
}

/// Lists objects page by page, as [`Pages`] does. Only what `keep` returns stays in memory beside one page.
pub async fn list_pages<K, T>(
    what: &str,
    api: &Api<K>,
    params: ListParams,
    mut keep: impl FnMut(K) -> Option<T>,
) -> Result<Vec<T>, CallError>
where
    K: Clone + Debug + DeserializeOwned,
{
    let (mut pages, mut kept) = (Pages::new(api.clone(), params), Vec::new());
    while let Some(page) = pages.next(what).await? {
        kept.extend(page.into_iter().filter_map(&mut keep));
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body;
    use kube::{Client, ResourceExt as _};
    use serde_json::{Value, json};

    use super::*;

    /// Lists what this function answers to a token: a code and an object.
    async fn listed(answer: fn(&str) -> (u16, Value)) -> Result<Vec<String>, CallError> {
        let server = tower::service_fn(move |request: Request<Body>| async move {
            let query = request.uri().query().unwrap_or_default();
            let token = query.split('&').find_map(|pair| pair.strip_prefix("continue=")).unwrap_or_default();
            let (code, object) = answer(token);
            let body = Body::from(object.to_string().into_bytes());
            Ok::<_, kube::Error>(Response::builder().status(code).body(body).unwrap())
        });
        let api: Api<ConfigMap> = Api::all(Client::new(server, "default"));
        list_pages("list", &api, ListParams::default().limit(1), |object| Some(object.name_any())).await
    }

    fn page(name: &str, token: &str) -> (u16, Value) {
        let metadata = json!({"resourceVersion": "1", "continue": token});
        let items = json!([{"metadata": {"name": name}}]);
        (200, json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items}))
    }

    fn expired(token: &str) -> (u16, Value) {
        let metadata = json!({"continue": token});
        (410, json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "metadata": metadata}))
    }

    #[tokio::test]
    async fn a_listing_whose_version_is_forgotten_continues_with_the_next_object() {
        let names = listed(|token| match token {
            "" => page("a", "old"),
            "old" => expired("new"),
            _ => page("b", ""),
        });
        assert_eq!(names.await.unwrap(), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_listing_that_expires_again_at_once_is_an_error() {
        let names = listed(|token| if token.is_empty() { page("a", "old") } else { expired("old") });
        assert_eq!(names.await.unwrap_err().status().map(|status| status.code), Some(410));
        let names = listed(|token| if token.is_empty() { page("a", "old") } else { expired("") });
        assert!(names.await.is_err());
    }
}
