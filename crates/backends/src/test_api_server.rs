//! An API server that is a function, for tests.

use std::sync::{Arc, Mutex};

use serde_json::Value;

/// One request to the API server.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// A client for an API server that answers each request by this function. The function receives the request and its number,
/// and returns the object or the status code of an error.
pub(crate) fn api_server(
    answer: impl Fn(&ApiRequest, usize) -> Result<Value, u16> + Send + Sync + 'static,
) -> (kube::Client, Arc<Mutex<Vec<ApiRequest>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
    let service = tower::service_fn(move |request: axum::http::Request<kube::client::Body>| {
        let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
        async move {
            let path = request.uri().path().to_owned();
            let body = request.into_body().collect_bytes().await?;
            let request = ApiRequest { path, body: serde_json::from_slice(&body).unwrap_or_default() };
            let mut log = log.lock().unwrap();
            let answered = answer(&request, log.len() + 1);
            log.push(request);
            let (code, body) = match answered {
                Ok(object) => (200, object),
                Err(code) => {
                    let status = kube::core::Status::failure("no", "Odd").with_code(code);
                    (code, serde_json::to_value(status).unwrap())
                }
            };
            let answer = axum::http::Response::builder().status(code);
            Ok::<_, kube::Error>(answer.body(kube::client::Body::from(body.to_string().into_bytes())).unwrap())
        }
    });
    (kube::Client::new(service, "default"), requests)
}
