//! A limit on the bytes of single responses: of one object, not of a listing or a watch.
//!
//! Other people's objects can have more than a megabyte, JSON makes up to six times as much of it, and many operations read at
//! once. So a response is read up to a limit, and only a few long ones are read at a time.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use tokio::sync::Semaphore;

#[derive(Debug, Clone, Copy)]
struct ResponseLimits {
    /// A response up to this length waits for no other one. An ordinary object has a few KiB.
    short: usize,
    /// Of a longer response an error is made. etcd stores 1.5 MiB of an object, of which JSON makes at most six times as much.
    longest: usize,
    /// How many longer than `short` are read at once.
    long_at_once: usize,
}

const LIMITS: ResponseLimits = ResponseLimits { short: 256 << 10, longest: 16 << 20, long_at_once: 2 };

/// The response is too long.
#[derive(Debug, thiserror::Error)]
#[error("the response is longer than {} MiB", LIMITS.longest >> 20)]
pub(super) struct ResponseTooLong;

/// A client for calls about single objects, which reads at most 16 MiB of a response, and two at once of those that are longer than
/// 256 KiB. Its clones share these two.
pub fn limit_responses(client: &Client) -> Client {
    with_limits(client, LIMITS)
}

fn with_limits(client: &Client, limits: ResponseLimits) -> Client {
    let (inner, long) = (client.clone(), Arc::new(Semaphore::new(limits.long_at_once)));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, long) = (inner.clone(), Arc::clone(&long));
        async move {
            let (head, body) = client.send(request).await?.into_parts();
            let read = read(body, limits, &long).await?;
            Ok::<_, kube::Error>(Response::from_parts(head, Body::from(read)))
        }
    });
    Client::new(service, client.default_namespace())
}

async fn read(mut body: Body, limits: ResponseLimits, long: &Semaphore) -> kube::Result<Vec<u8>> {
    let (mut read, mut permit) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let length = read.len() + data.len();
        if length > limits.longest {
            return Err(kube::Error::Service(Box::new(ResponseTooLong)));
        }
        if length > limits.short && permit.is_none() {
            // Never an error: nothing closes it.
            permit = Some(long.acquire().await.map_err(|closed| kube::Error::Service(Box::new(closed)))?);
        }
        read.extend_from_slice(&data);
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use serde_json::json;
    use snapwatcher_daemon::telemetry::error_chain;
    use tokio::time::timeout;

    use super::*;

    const SMALL: ResponseLimits = ResponseLimits { short: 1 << 10, longest: 8 << 10, long_at_once: 2 };

    /// A client of an API server whose every object has so many bytes.
    fn client(bytes: usize) -> Client {
        let server = tower::service_fn(move |_: Request<Body>| async move {
            let object = json!({"metadata": {}, "data": {"a": "x".repeat(bytes)}});
            Ok::<_, kube::Error>(Response::new(Body::from(object.to_string().into_bytes())))
        });
        with_limits(&Client::new(server, "default"), SMALL)
    }

    async fn read_object(client: &Client) -> kube::Result<ConfigMap> {
        Api::default_namespaced(client.clone()).get("a").await
    }

    #[tokio::test]
    async fn a_response_of_an_ordinary_length_is_read() {
        for bytes in [1, 4 << 10] {
            assert!(read_object(&client(bytes)).await.is_ok(), "{bytes}");
        }
    }

    #[tokio::test]
    async fn of_a_response_that_is_too_long_an_error_is_made() {
        let error = read_object(&client(9 << 10)).await.unwrap_err();
        assert!(matches!(&error, kube::Error::Service(cause) if cause.is::<ResponseTooLong>()), "{error:?}");
        assert!(error_chain(&error).contains("the response is longer than 16 MiB"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_long_responses_are_read_at_once() {
        let long = Semaphore::new(SMALL.long_at_once);
        let of = async |bytes: usize| read(Body::from(vec![0; bytes]), SMALL, &long).await.unwrap().len();
        let others = long.acquire_many(2).await.unwrap();
        assert!(timeout(Duration::from_secs(1), of(4 << 10)).await.is_err(), "a third long one waits");
        assert_eq!(of(1 << 10).await, 1 << 10, "a short one waits for nothing");
        drop(others);
        assert_eq!(of(4 << 10).await, 4 << 10);
    }
}
