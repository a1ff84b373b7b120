//! A limit on the bytes of a page of a listing.
//!
//! A page is in memory as text and as objects. The API server limits the number of its objects and not their size, and other
//! people's objects can have more than a megabyte. So a page that is too long is requested again with fewer objects: the continue
//! token of a listing is valid with any limit, see
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>.

use std::sync::{Arc, Mutex, PoisonError};

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::Client;
use kube::client::Body;

/// The most bytes of a page.
#[derive(Debug, Clone, Copy)]
struct PageLimits {
    /// Of a page of several objects: some times what a page of ordinary pods has.
    several: usize,
    /// Of a page of one object. etcd stores 1.5 MiB of an object, of which JSON makes at most six times as much.
    one: usize,
}

/// After so many pages that were short enough, a page may have twice as many objects.
const PAGES_BEFORE_GROWTH: u32 = 8;

const LIMITS: PageLimits = PageLimits { several: 4 << 20, one: 16 << 20 };

/// A client that reads at most 4 MiB of a listing at a time, and 16 MiB of a single object. It changes only requests that limit the
/// number of objects.
pub fn limit_pages(client: &Client) -> Client {
    with_limits(client, LIMITS)
}

fn with_limits(client: &Client, limits: PageLimits) -> Client {
    let (inner, size) = (client.clone(), Arc::new(Mutex::new(PageSize { objects: u32::MAX, pages: 0 })));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, size) = (inner.clone(), Arc::clone(&size));
        async move {
            match limit(request.uri()) {
                Some(limit) => page(&client, &request.into_parts().0, limit, limits, &size).await,
                None => client.send(request).await,
            }
        }
    });
    Client::new(service, client.default_namespace())
}

/// How many objects a page had that was short enough, and how many such pages there were.
struct PageSize {
    objects: u32,
    pages: u32,
}

impl PageSize {
    /// A page of so many objects was short enough.
    fn accept(&mut self, objects: u32) {
        self.pages = if objects == self.objects { self.pages + 1 } else { 0 };
        self.objects = objects;
        if self.pages >= PAGES_BEFORE_GROWTH {
            *self = Self { objects: objects.saturating_mul(2), pages: 0 };
        }
    }

    /// A page was too long; the next one has at most so many objects.
    fn reject(&mut self, objects: u32) {
        *self = Self { objects: self.objects.min(objects), pages: 0 };
    }
}

/// Requests one page of at most `limit` objects.
async fn page(
    client: &Client,
    request: &Parts,
    limit: u32,
    limits: PageLimits,
    size: &Mutex<PageSize>,
) -> kube::Result<Response<Body>> {
    let size = || size.lock().unwrap_or_else(PoisonError::into_inner);
    let mut limit = size().objects.min(limit);
    loop {
        let (head, body) = client.send(with_limit(request, limit)?).await?.into_parts();
        let longest = if limit > 1 { limits.several } else { limits.one };
        match Limited::new(body, longest).collect().await {
            Ok(read) => {
                size().accept(limit);
                return Ok(Response::from_parts(head, Body::from(read.to_bytes())));
            }
            Err(error) if limit > 1 && error.is::<LengthLimitError>() => {
                limit /= 2;
                // At once: if the time of the caller is over before a page is short enough, the next request starts here.
                size().reject(limit);
            }
            Err(error) => return Err(kube::Error::Service(error)),
        }
    }
}

/// The parameter `limit`, if it is greater than 0.
fn limit(uri: &Uri) -> Option<u32> {
    let value = uri.query()?.split('&').find_map(|parameter| parameter.strip_prefix("limit="))?;
    value.parse().ok().filter(|limit| *limit > 0)
}

/// The request with another limit. A request for a listing has no body.
fn with_limit(request: &Parts, limit: u32) -> kube::Result<Request<Body>> {
    let mut parts = request.clone();
    let parameters = parts.uri.query().unwrap_or_default().split('&');
    let query: Vec<String> = parameters
        .map(|parameter| if parameter.starts_with("limit=") { format!("limit={limit}") } else { parameter.to_owned() })
        .collect();
    let path_and_query = format!("{}?{}", parts.uri.path(), query.join("&"));
    let mut uri = parts.uri.into_parts();
    uri.path_and_query =
        Some(PathAndQuery::try_from(path_and_query).map_err(|error| kube::Error::HttpError(error.into()))?);
    parts.uri = Uri::from_parts(uri).map_err(|error| kube::Error::HttpError(error.into()))?;
    Ok(Request::from_parts(parts, Body::empty()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::ListParams;
    use serde_json::json;

    use super::*;
    use crate::cluster::list_pages;

    const SMALL: PageLimits = PageLimits { several: 4 << 10, one: 16 << 10 };

    /// Lists `sizes.len()` objects of so many bytes. Returns how many arrived, and the limit of each request.
    async fn listed(sizes: Vec<usize>) -> (Result<usize, String>, Vec<u32>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let client = client(sizes, Arc::clone(&seen), Duration::ZERO);
        let listed = list(&client).await;
        (listed, seen.lock().unwrap().clone())
    }

    async fn list(client: &Client) -> Result<usize, String> {
        let api: Api<ConfigMap> = Api::all(client.clone());
        let count = list_pages("list", &api, ListParams::default().limit(100), Some).await;
        count.map(|objects| objects.len()).map_err(|error| format!("{error:?}"))
    }

    /// A client of an API server with `sizes.len()` objects of so many bytes, which takes `time` for each page. The limit of each
    /// request is added to `seen`.
    fn client(sizes: Vec<usize>, seen: Arc<Mutex<Vec<u32>>>, time: Duration) -> Client {
        let server = tower::service_fn(move |request: Request<Body>| {
            let limit = limit(request.uri()).unwrap();
            seen.lock().unwrap().push(limit);
            let parameter = |name: &str| {
                request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix(name)).map(str::to_owned)
            };
            let start: usize = parameter("continue=").map_or(0, |token| token.parse().unwrap());
            let end = (start + limit as usize).min(sizes.len());
            let items: Vec<_> = sizes[start..end]
                .iter()
                .map(|size| json!({"metadata": {}, "data": {"a": "x".repeat(*size)}}))
                .collect();
            let next = if end < sizes.len() { end.to_string() } else { String::new() };
            let list = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "continue": next}, "items": items});
            async move {
                tokio::time::sleep(time).await;
                Ok::<_, kube::Error>(Response::new(Body::from(list.to_string().into_bytes())))
            }
        });
        with_limits(&Client::new(server, "default"), SMALL)
    }

    #[tokio::test]
    async fn a_page_of_small_objects_is_requested_once() {
        assert_eq!(listed(vec![1; 150]).await, (Ok(150), vec![100, 100]));
    }

    #[tokio::test]
    async fn a_page_of_large_objects_is_requested_again_with_fewer() {
        let (count, limits) = listed(vec![1400; 20]).await;
        assert_eq!(count, Ok(20));
        assert_eq!(limits[..6], [100, 50, 25, 12, 6, 3]);
        assert!(limits.len() < 30, "{limits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_that_timed_out_continues_with_the_page_that_is_known_to_be_short_enough() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let client = client(vec![1400; 20], Arc::clone(&seen), Duration::from_secs(6));
        let mut failed = 0;
        let count = loop {
            match list(&client).await {
                Ok(count) => break count,
                Err(_) => failed += 1,
            }
            assert!(failed < 9, "{seen:?}");
        };
        let limits = seen.lock().unwrap().clone();
        assert!(failed > 0 && count == 20, "{failed} {count}");
        assert_eq!(limits.iter().filter(|limit| **limit == 100).count(), 1, "{limits:?}");
    }

    #[tokio::test]
    async fn an_object_alone_may_be_larger_than_a_page() {
        let (count, limits) = listed(vec![6 << 10]).await;
        assert_eq!((count, limits.last()), (Ok(1), Some(&1)));
    }

    #[tokio::test]
    async fn an_endless_object_is_an_error() {
        let (count, _) = listed(vec![SMALL.one]).await;
        let error = count.unwrap_err();
        assert!(error.contains("LengthLimitError"), "{error}");
    }
}
