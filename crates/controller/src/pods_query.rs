//! Which pods a request for `/pods` asks for.

use std::fmt::Write as _;

use snapwatcher_state::PageStart;

/// How many pods a response shows at most, and by default.
const MAX_PODS: usize = 500;

/// `?namespace=NAME&limit=NUMBER&continue=TOKEN`, each of them optional. Other parameters are ignored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PodsQuery {
    pub(crate) namespace: Option<String>,
    /// From 1 to [`MAX_PODS`].
    pub(crate) limit: usize,
    pub(crate) after: Option<PageStart>,
}

/// A parameter has an invalid value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PodsQueryError {
    #[error("`limit` must be a whole number from 1 up")]
    Limit,
    #[error("`continue` must be the value of `continue` in the response before")]
    Continue,
}

impl PodsQuery {
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, PodsQueryError> {
        let mut parsed = Self { namespace: None, limit: MAX_PODS, after: None };
        for pair in query.unwrap_or_default().split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("namespace", name) if !name.is_empty() => parsed.namespace = Some(name.to_owned()),
                ("limit", limit) => {
                    let limit = limit.parse().ok().filter(|limit| *limit > 0).ok_or(PodsQueryError::Limit)?;
                    parsed.limit = MAX_PODS.min(limit);
                }
                ("continue", token) => parsed.after = Some(page_start(token).ok_or(PodsQueryError::Continue)?),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

/// The value of `continue` for the pods after this one: hexadecimal, since people may write any text into a UID.
pub(crate) fn token(after: &PageStart) -> String {
    let PageStart { namespace, name, uid } = after;
    format!("{namespace}/{name}/{uid}").bytes().fold(String::new(), |mut token, byte| {
        let _ = write!(token, "{byte:02x}"); // writing to a String can't fail
        token
    })
}

fn page_start(token: &str) -> Option<PageStart> {
    let digits = token.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    let text = String::from_utf8(digits.collect::<Option<_>>()?).ok()?;
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    Some(PageStart { namespace: parts.next()?, name: parts.next()?, uid: parts.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_the_pod_that_it_was_made_of() {
        for uid in ["0b5c9d7e-1111-2222-3333-444455556666", "a/b&c=d é", ""] {
            let after = PageStart { namespace: "shop".to_owned(), name: "web-0".to_owned(), uid: uid.to_owned() };
            let token = token(&after);
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{token}");
            assert_eq!(PodsQuery::parse(Some(&format!("continue={token}"))).unwrap().after, Some(after));
        }
    }

    #[test]
    fn a_limit_is_at_most_that_of_a_response() {
        for (query, expected) in [
            (None, Ok(500)),
            (Some(""), Ok(500)),
            (Some("namespace=shop&pretty"), Ok(500)),
            (Some("limit=7"), Ok(7)),
            (Some("limit=501"), Ok(500)),
            (Some("limit=0"), Err(PodsQueryError::Limit)),
            (Some("limit=all"), Err(PodsQueryError::Limit)),
            (Some("continue=xy"), Err(PodsQueryError::Continue)),
            (Some("continue=é"), Err(PodsQueryError::Continue)),
            (Some("continue=6"), Err(PodsQueryError::Continue)),
            (Some("continue="), Err(PodsQueryError::Continue)),
        ] {
            assert_eq!(PodsQuery::parse(query).map(|query| query.limit), expected, "{query:?}");
        }
    }
}
