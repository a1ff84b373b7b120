//! A client that pushes images to the lab's registry (OCI distribution specification 1.1, "Push").

use std::net::SocketAddr;

use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, StatusCode};

use super::image::{Blob, Image, MANIFEST};

/// A registry at an address, without TLS and credentials.
#[derive(Clone, Debug)]
pub(super) struct Registry {
    address: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("could not make a client for the registry")]
    Client { source: reqwest::Error },
    #[error("the registry at {address} did not answer when {what} was pushed")]
    Unreachable { address: SocketAddr, what: String, source: reqwest::Error },
    #[error("the registry at {address} answered {status} when {what} was pushed: {message}")]
    Refused { address: SocketAddr, what: String, status: StatusCode, message: String },
}

impl Registry {
    pub(super) fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Pushes an image under a name such as `busybox:lab` or `library/nginx:latest`.
    pub(super) async fn push(&self, name: &str, image: Image) -> Result<(), PushError> {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
        crate::access::install_crypto_provider();
        let client = Client::builder().no_proxy().build().map_err(|source| PushError::Client { source })?;
        let [layer, configuration, manifest] = image.blobs();
        for blob in [layer, configuration] {
            self.push_blob(&client, repository, blob).await?;
        }
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.address);
        let put = client.put(url).header(CONTENT_TYPE, MANIFEST).body(manifest.content);
        self.accepted(&format!("the manifest of `{name}`"), put).await.map(drop)
    }

    async fn push_blob(&self, client: &Client, repository: &str, blob: Blob) -> Result<(), PushError> {
        let what = format!("a part of `{repository}`");
        let uploads = format!("http://{}/v2/{repository}/blobs/uploads/", self.address);
        let started = self.accepted(&what, client.post(uploads)).await?;
        let location = started.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // By the specification the location may be a path.
        let location =
            if location.starts_with('/') { format!("http://{}{location}", self.address) } else { location.to_owned() };
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = client.put(format!("{location}{separator}digest={}", blob.digest));
        self.accepted(&what, put.header(CONTENT_TYPE, "application/octet-stream").body(blob.content)).await?;
        Ok(())
    }

    async fn accepted(&self, what: &str, request: reqwest::RequestBuilder) -> Result<Response, PushError> {
        let (address, what) = (self.address, what.to_owned());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(source) => return Err(PushError::Unreachable { address, what, source }),
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer.text().await.unwrap_or_default();
        Err(PushError::Refused { address, what, status, message })
    }
}
