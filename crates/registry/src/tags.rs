//! The tags of a repository, page by page (OCI distribution specification 1.1, "Listing Tags"; RFC 8288 for `Link`).

use std::sync::Arc;

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::auth::Access;
use crate::digest::Tag;
use crate::error::{Cause, Operation, RegistryError};
use crate::repository_name::RepositoryName;
use crate::server::{Call, Server};

/// The tags of a page that are requested. Docker's registry 2.8 sends all tags at once.
const PAGE: &str = "1000";

/// The longest page that is read, in bytes: about 8,000 tags of the greatest length.
const LONGEST_PAGE: usize = 1024 * 1024;

/// The most pages, so that a registry can't make a listing endless.
const MOST_PAGES: usize = 1000;

/// The pages of a listing.
#[derive(Debug)]
pub struct Tags {
    server: Arc<Server>,
    repository: RepositoryName,
    next: Option<Call>,
    pages: usize,
}

#[derive(Deserialize)]
struct Page {
    /// Docker's registry writes `null` for none.
    tags: Option<Vec<String>>,
}

impl Tags {
    pub(crate) fn new(server: Arc<Server>, repository: RepositoryName) -> Self {
        let mut first = server.call(Method::GET, &repository, "tags/list", Access::Pull);
        first.url.query_pairs_mut().append_pair("n", PAGE);
        Self { server, repository, next: Some(first), pages: 0 }
    }

    /// The next page; `None` after the last one. A repository that does not exist has no tags.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Tag>>, RegistryError> {
        let Some(call) = self.next.take() else { return Ok(None) };
        self.page(call).await.map(Some).map_err(|cause| RegistryError {
            operation: Operation::ListTags,
            repository: self.repository.clone(),
            cause,
        })
    }

    async fn page(&mut self, call: Call) -> Result<Vec<Tag>, Cause> {
        let server = &self.server;
        if self.pages == MOST_PAGES {
            return Err(server.protocol(&format!("the list of tags has more than {MOST_PAGES} pages")));
        }
        self.pages += 1;
        let read = server.patiently(|| server.read(&self.repository, &call, "a page of tags", LONGEST_PAGE)).await;
        let (reply, json) = match read {
            Err(cause) if cause.status() == 404 => return Ok(Vec::new()),
            read => read?,
        };
        let page: Page = serde_json::from_slice(&json).map_err(|_| server.protocol("the list of tags is malformed"))?;
        if let Some(target) = next_link(reply.response.headers()) {
            let url: Url = server.resolved(&reply.url, &target)?;
            if !server.is_own(&url) {
                return Err(server.protocol("the next page of tags is on another server"));
            }
            self.next = Some(Call { url, ..call });
        }
        // What is no tag can't be requested either.
        Ok(page.tags.unwrap_or_default().iter().filter_map(|tag| tag.parse().ok()).collect())
    }
}

/// The target of `<TARGET>; rel="next"`.
fn next_link(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?.trim();
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| {
        let parameter: String = parameter.chars().filter(|character| !matches!(character, ' ' | '"')).collect();
        parameter.eq_ignore_ascii_case("rel=next")
    });
    is_next.then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn the_next_page_is_in_the_link() {
        for (link, expected) in [
            (r#"</v2/x/tags/list?n=2&last=b>; rel="next""#, Some("/v2/x/tags/list?n=2&last=b")),
            ("<x>;rel=next", Some("x")),
            (r#"<x>; title="y"; REL="next""#, Some("x")),
            (r#"<x>; rel="prev""#, None),
            ("x; rel=next", None),
            ("<x; rel=next", None),
        ] {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(link))]);
            assert_eq!(next_link(&headers).as_deref(), expected, "{link}");
        }
    }
}
