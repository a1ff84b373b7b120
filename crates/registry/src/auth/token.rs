//! The request to a token service and its answer: distribution's "Token Authentication Specification" and, for identity tokens,
//! "OAuth2 Token Authentication".

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::challenge::BearerChallenge;
use super::docker_config::Credential;
use crate::secret::Secret;

/// The name of this client for token services.
const CLIENT: &str = "snapwatcher";

/// How long a token is valid if its service does not say it.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// A longer life is cut to this.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A token is replaced by this much before its end, and a short one after three quarters of its life.
const MARGIN: Duration = Duration::from_secs(30);

/// The longest token, in bytes: servers limit a request's headers.
const LONGEST_TOKEN: usize = 16 * 1024;

/// What is sent to a token service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenRequest {
    /// `GET`, with user and password if there are any.
    Get { url: Url, basic: Option<(String, Secret)> },
    /// `POST` of a form that holds the identity token.
    Post { url: Url, form: Secret, token: Secret },
}

/// An access token, and how long it is used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) value: Secret,
    pub(crate) use_for: Duration,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// The request for a token with this scope.
pub(crate) fn request(challenge: &BearerChallenge, scope: &str, credential: Option<Credential>) -> TokenRequest {
    let mut url = challenge.realm.clone();
    match credential {
        Some(Credential::IdentityToken(token)) => {
            let mut form = Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("service", challenge.service.as_deref().unwrap_or_default());
            form.append_pair("client_id", CLIENT);
            form.append_pair("scope", scope);
            form.append_pair("refresh_token", token.reveal());
            TokenRequest::Post { url, form: Secret::new(form.finish()), token }
        }
        other => {
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = &challenge.service {
                    query.append_pair("service", service);
                }
                query.append_pair("scope", scope);
            }
            let basic = match other {
                Some(Credential::Basic { user, password }) => Some((user, password)),
                _ => None,
            };
            TokenRequest::Get { url, basic }
        }
    }
}

/// The token in an answer. `issued_at` is not used: it is of another clock, and a token that has ended is replaced after a 401.
pub(crate) fn token(json: &[u8]) -> Option<Token> {
    let answer: TokenAnswer = serde_json::from_slice(json).ok()?;
    let value = answer.token.filter(|token| !token.is_empty()).or(answer.access_token)?;
    let is_token = (1..=LONGEST_TOKEN).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).min(LONGEST_LIFE);
    let use_for = life.saturating_sub(MARGIN).max(life * 3 / 4).min(life);
    is_token.then(|| Token { value: Secret::new(value), use_for })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "repository:a/b:pull,push";

    fn challenge() -> BearerChallenge {
        BearerChallenge {
            realm: "https://auth.example.com/token?x=y".parse().unwrap(),
            service: Some("registry example".to_owned()),
            scope: None,
        }
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_password_is_sent_by_basic_and_not_in_the_url() {
        let credential = Credential::Basic { user: "bob".to_owned(), password: secret("password") };
        let url = "https://auth.example.com/token?x=y&service=registry+example&scope=repository%3Aa%2Fb%3Apull%2Cpush";
        let expected =
            TokenRequest::Get { url: url.parse().unwrap(), basic: Some(("bob".to_owned(), secret("password"))) };
        assert_eq!(request(&challenge(), SCOPE, Some(credential)), expected);
        let anonymous = TokenRequest::Get { url: url.parse().unwrap(), basic: None };
        assert_eq!(request(&challenge(), SCOPE, None), anonymous);
    }

    #[test]
    fn an_identity_token_is_posted_in_a_form() {
        let form = "grant_type=refresh_token&service=registry+example&client_id=snapwatcher\
                    &scope=repository%3Aa%2Fb%3Apull%2Cpush&refresh_token=a%26b";
        let token = secret("a&b");
        let expected = TokenRequest::Post { url: challenge().realm, form: secret(form), token: token.clone() };
        assert_eq!(request(&challenge(), SCOPE, Some(Credential::IdentityToken(token))), expected);
    }

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        for (json, value, seconds) in [
            (r#"{"token":"t"}"#, "t", 45),
            (r#"{"access_token":"a","expires_in":300}"#, "a", 270),
            (r#"{"token":"t","access_token":"a","expires_in":60,"issued_at":"2009-11-10T23:00:00Z"}"#, "t", 45),
            (r#"{"token":"","access_token":"a","expires_in":0}"#, "a", 0),
            (r#"{"token":"t","expires_in":1000000000}"#, "t", 24 * 3600 - 30),
        ] {
            let expected = Token { value: secret(value), use_for: Duration::from_secs(seconds) };
            assert_eq!(token(json.as_bytes()), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let long = format!(r#"{{"token":"{}"}}"#, "x".repeat(LONGEST_TOKEN + 1));
        for json in ["", "[]", "{}", r#"{"token":""}"#, r#"{"token":"a b"}"#, r#"{"token":"a\nb"}"#, long.as_str()] {
            assert_eq!(token(json.as_bytes()), None, "{json}");
        }
    }
}
