//! What a registry requires: its `WWW-Authenticate` (RFC 9110, 11.6.1; distribution's "Token Authentication Specification").
//!
//! A registry may be hostile. So the header is bounded and read strictly, and credentials go to a realm only if `hop` accepts it.

use reqwest::Url;
use reqwest::header::HeaderValue;

/// The longest header that is read, in bytes.
const LONGEST: usize = 4096;

/// The most challenges, and the most parameters of one.
const MOST: usize = 16;

/// The challenge that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer(BearerChallenge),
}

/// Where a token is to be requested, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BearerChallenge {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scope: Option<String>,
}

/// Why a challenge can't be answered, as the end of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChallengeError {
    #[error("its answer has no `WWW-Authenticate`")]
    Missing,
    #[error("its `WWW-Authenticate` is malformed or too long")]
    Malformed,
    #[error("it requires neither Basic nor Bearer authentication")]
    Unsupported,
    #[error("its `WWW-Authenticate` names no valid realm")]
    Realm,
}

struct Parameters(Vec<(String, String)>);

impl Challenge {
    /// The challenge in the values of the header. Bearer is preferred: it does not send the password with each request.
    pub(crate) fn of<'v>(values: impl IntoIterator<Item = &'v HeaderValue>) -> Result<Self, ChallengeError> {
        let mut challenges = Vec::new();
        for value in values {
            let text = value.to_str().map_err(|_| ChallengeError::Malformed)?;
            if text.len() > LONGEST {
                return Err(ChallengeError::Malformed);
            }
            challenges.extend(parsed(text).ok_or(ChallengeError::Malformed)?);
            if challenges.len() > MOST {
                return Err(ChallengeError::Malformed);
            }
        }
        if challenges.is_empty() {
            return Err(ChallengeError::Missing);
        }
        if let Some((_, parameters)) = challenges.iter().find(|(scheme, _)| scheme == "bearer") {
            return BearerChallenge::of(parameters).map(Self::Bearer);
        }
        let is_basic = challenges.iter().any(|(scheme, _)| scheme == "basic");
        if is_basic { Ok(Self::Basic) } else { Err(ChallengeError::Unsupported) }
    }
}

impl BearerChallenge {
    fn of(parameters: &Parameters) -> Result<Self, ChallengeError> {
        let realm = parameters.get("realm").and_then(|realm| realm.parse::<Url>().ok());
        Ok(Self {
            realm: realm.filter(Url::has_host).ok_or(ChallengeError::Realm)?,
            service: parameters.get("service").map(str::to_owned),
            scope: parameters.get("scope").filter(|scope| !scope.is_empty()).map(str::to_owned),
        })
    }
}

impl Parameters {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Schemes in lower case with their parameters: `scheme [name=value *(, name=value)] *(, challenge)`.
fn parsed(text: &str) -> Option<Vec<(String, Parameters)>> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = text.trim_matches(is_blank);
    while !rest.is_empty() {
        let (word, after) = token(rest)?;
        if let Some(value) = after.trim_start_matches(is_blank).strip_prefix('=') {
            let (value, after) = value_of(value.trim_start_matches(is_blank))?;
            let (_, parameters) = challenges.last_mut()?;
            if parameters.get(&word).is_some() || parameters.0.len() == MOST {
                return None;
            }
            parameters.0.push((word, value));
            rest = next_element(after)?;
        } else {
            challenges.push((word, Parameters(Vec::new())));
            // A scheme and its first parameter have a space between them, two schemes a comma.
            let spaced = after.trim_start_matches(is_blank);
            rest = if spaced.len() < after.len() && !spaced.starts_with(',') { spaced } else { next_element(after)? };
        }
    }
    Some(challenges)
}

/// What is behind a comma, or nothing at the end.
fn next_element(text: &str) -> Option<&str> {
    let text = text.trim_start_matches(is_blank);
    if text.is_empty() {
        return Some(text);
    }
    let next = text.strip_prefix(',')?.trim_start_matches(is_blank);
    (!next.is_empty()).then_some(next)
}

/// A token at the start, in lower case, and what follows it.
fn token(text: &str) -> Option<(String, &str)> {
    let end = text.find(|character| !is_token_character(character)).unwrap_or(text.len());
    let (token, rest) = text.split_at(end);
    (!token.is_empty()).then(|| (token.to_ascii_lowercase(), rest))
}

/// A token or a quoted string, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|character| !is_token_character(character)).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

/// RFC 9110, 5.6.2.
fn is_token_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn challenge(values: &[&str]) -> Result<Challenge, ChallengeError> {
        let values: Vec<_> = values.iter().map(|value| HeaderValue::from_str(value).unwrap()).collect();
        Challenge::of(&values)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let [service, scope] = [service, scope].map(|text| text.map(str::to_owned));
        Challenge::Bearer(BearerChallenge { realm: realm.parse().unwrap(), service, scope })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let realm = "https://auth.example.com/token";
        for (value, expected) in [
            (r#"Basic realm="Registry Realm""#, Ok(Challenge::Basic)),
            ("basic", Ok(Challenge::Basic)),
            (r#"Bearer realm="https://auth.example.com/token""#, Ok(bearer(realm, None, None))),
            (
                r#"Bearer realm="https://auth.example.com/token",service="a b",scope="repository:x:pull,push""#,
                Ok(bearer(realm, Some("a b"), Some("repository:x:pull,push"))),
            ),
            (
                r#"BEARER Service = one , REALM = "https://auth.example.com/token", scope="", error="x""#,
                Ok(bearer(realm, Some("one"), None)),
            ),
            (r#"Bearer realm="https://auth.example.com\/token""#, Ok(bearer(realm, None, None))),
            (r#"Basic realm="x, y=z", Bearer realm="https://auth.example.com/token""#, Ok(bearer(realm, None, None))),
            (r#"Negotiate, Basic realm="x""#, Ok(Challenge::Basic)),
        ] {
            assert_eq!(challenge(&[value]), expected, "{value}");
        }
        assert_eq!(challenge(&["Negotiate", "Basic realm=x"]), Ok(Challenge::Basic));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        use ChallengeError as E;
        let long = format!("Basic realm=\"{}\"", "x".repeat(LONGEST));
        let many = format!("Basic {}", (0..20).map(|n| format!("p{n}=x")).collect::<Vec<_>>().join(","));
        let schemes = ["a"; 20].join(",");
        for (values, why) in [
            (&[][..], E::Missing),
            (&[""], E::Missing),
            (&["Negotiate"], E::Unsupported),
            (&["Bearer"], E::Realm),
            (&[r#"Bearer realm="/token""#], E::Realm),
            (&[r#"Bearer realm="data:x""#], E::Realm),
            (&[r#"Bearer realm="https://a"#], E::Malformed),
            (&[r#"Bearer realm="https://a" service="x""#], E::Malformed),
            (&[r#"Bearer realm="https://a",realm="https://b""#], E::Malformed),
            (&[r"Bearer realm=https://a"], E::Malformed),
            (&["realm=x"], E::Malformed),
            (&["Basic realm="], E::Malformed),
            (&["Basic realm=x,"], E::Malformed),
            (&[", Basic"], E::Malformed),
            (&["Basic\u{7f}"], E::Malformed),
            (&[long.as_str()], E::Malformed),
            (&[many.as_str()], E::Malformed),
            (&[schemes.as_str()], E::Malformed),
        ] {
            let values: Vec<_> = values.iter().map(|value| HeaderValue::from_bytes(value.as_bytes())).collect();
            let found = match values.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(values) => Challenge::of(&values),
                // No server of HTTP can send it.
                Err(_) => Err(E::Malformed),
            };
            assert_eq!(found, Err(why));
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in "[ -~]{0,80}", parts in vec("[a-z]{0,3}|[ ,=\"\\\\]", 0..20)) {
            for text in [text, parts.concat()] {
                let value = HeaderValue::from_str(&text).unwrap();
                if let Ok(Challenge::Bearer(bearer)) = Challenge::of([&value]) {
                    prop_assert!(bearer.realm.has_host());
                }
            }
        }
    }
}
