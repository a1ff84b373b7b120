//! The header `Authorization`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use super::docker_config::Credential;
use crate::secret::Secret;

/// The header of a request, and what it was made of.
#[derive(Debug, Clone)]
pub(crate) struct Authorization {
    pub(crate) value: HeaderValue,
    /// What is removed from the texts of the server.
    pub(crate) secrets: Vec<Secret>,
}

/// The header for user and password; `None` for an identity token, which no registry accepts.
pub(super) fn basic(credential: &Credential) -> Option<Authorization> {
    let Credential::Basic { user, password } = credential else { return None };
    let encoded = STANDARD.encode(format!("{user}:{}", password.reveal()));
    authorization("Basic", &encoded, vec![password.clone(), Secret::new(encoded.clone())])
}

/// The header for a token, which has only visible ASCII characters.
pub(super) fn bearer(token: &Secret) -> Authorization {
    let empty = || Authorization { value: HeaderValue::from_static(""), secrets: Vec::new() };
    authorization("Bearer", token.reveal(), vec![token.clone()]).unwrap_or_else(empty)
}

fn authorization(scheme: &str, value: &str, secrets: Vec<Secret>) -> Option<Authorization> {
    let mut value = HeaderValue::try_from(format!("{scheme} {value}")).ok()?;
    value.set_sensitive(true);
    Some(Authorization { value, secrets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_hide_their_values() {
        let password = Secret::new("password".to_owned());
        let basic = basic(&Credential::Basic { user: "bob".to_owned(), password }).unwrap();
        assert_eq!(basic.value.to_str().unwrap(), "Basic Ym9iOnBhc3N3b3Jk");
        let bearer = bearer(&Secret::new("token-token".to_owned()));
        assert_eq!(bearer.value.to_str().unwrap(), "Bearer token-token");
        let shown = format!("{basic:?} {bearer:?}");
        assert!(!shown.contains("Ym9i") && !shown.contains("password") && !shown.contains("token-token"), "{shown}");
    }
}
