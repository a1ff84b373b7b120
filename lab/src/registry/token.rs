//! How the stand-in authenticates: distribution's token and OAuth2 specifications.

use std::collections::HashSet;

/// What the stand-in requires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Login {
    #[default]
    Nothing,
    /// The value of `Authorization`, and the challenge without it.
    Basic { authorization: String },
    /// A token of the service at `realm`, which is `/token` of the stand-in if it is `None`.
    Token(TokenLogin),
}

/// The token service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenLogin {
    realm: Option<String>,
    /// The value of `Authorization` that the service requires; `None`: anonymous tokens.
    authorization: Option<String>,
    /// The identity token that the service requires.
    identity_token: Option<String>,
    /// What the service says about the life of a token, in seconds. It accepts it for ever.
    expires_in: u64,
    given_out: u64,
    valid: HashSet<String>,
}

impl Login {
    /// A token service that requires this value of `Authorization`.
    pub fn token(authorization: Option<&str>) -> Self {
        Self::Token(TokenLogin {
            authorization: authorization.map(str::to_owned),
            expires_in: 300,
            ..TokenLogin::default()
        })
    }

    /// A token service that requires this identity token.
    pub fn identity_token(token: &str) -> Self {
        Self::Token(TokenLogin { identity_token: Some(token.to_owned()), expires_in: 300, ..TokenLogin::default() })
    }

    /// A token service without login, the tokens of which end in this number of seconds.
    pub fn token_for(seconds: u64) -> Self {
        Self::Token(TokenLogin { expires_in: seconds, ..TokenLogin::default() })
    }

    /// A token service at another address.
    pub fn realm(realm: &str) -> Self {
        Self::Token(TokenLogin { realm: Some(realm.to_owned()), expires_in: 300, ..TokenLogin::default() })
    }

    pub(super) fn end_tokens(&mut self) {
        if let Self::Token(login) = self {
            login.valid.clear();
        }
    }

    /// The challenge, if this value of `Authorization` is not enough.
    pub(super) fn challenge(&self, authorization: Option<&str>, own_realm: &str) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Basic { authorization: required } => {
                (authorization != Some(required)).then(|| r#"Basic realm="stand-in""#.to_owned())
            }
            Self::Token(login) => {
                let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
                let realm = login.realm.as_deref().unwrap_or(own_realm);
                let is_valid = token.is_some_and(|token| login.valid.contains(token));
                (!is_valid).then(|| format!(r#"Bearer realm="{realm}",service="stand-in""#))
            }
        }
    }

    /// The JSON of a token, if the request is permitted. `form` is the body of a POST.
    pub(super) fn give_out(&mut self, authorization: Option<&str>, form: &str) -> Option<String> {
        let Self::Token(login) = self else { return None };
        let identity = form.split('&').find_map(|pair| pair.strip_prefix("refresh_token="));
        let is_permitted = match &login.identity_token {
            Some(required) => identity == Some(required),
            None => authorization == login.authorization.as_deref(),
        };
        if !is_permitted {
            return None;
        }
        login.given_out += 1;
        let token = format!("stand-in-token-{}", login.given_out);
        login.valid.insert(token.clone());
        let name = if identity.is_some() { "access_token" } else { "token" };
        Some(format!(r#"{{"{name}":"{token}","expires_in":{}}}"#, login.expires_in))
    }
}
