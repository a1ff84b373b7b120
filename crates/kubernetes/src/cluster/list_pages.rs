//! Listings that come in pages.

use std::fmt::Debug;

use kube::Api;
use kube::api::ListParams;
use serde::de::DeserializeOwned;

use super::call::{CallError, call};

/// Lists objects page by page, each page within the time of one [`call`]. `params` has the number of objects in a page. Only what
/// `keep` returns stays in memory beside one page. `what` completes the sentence "could not ...".
pub async fn list_pages<K, T>(
    what: &str,
    api: &Api<K>,
    mut params: ListParams,
    mut keep: impl FnMut(K) -> Option<T>,
) -> Result<Vec<T>, CallError>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut kept = Vec::new();
    loop {
        let listed = call(what, api.list(&params)).await?;
        kept.extend(listed.items.into_iter().filter_map(&mut keep));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(kept),
        }
    }
}
