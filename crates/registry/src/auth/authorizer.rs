//! The credentials of requests to the registry. Tokens are kept until shortly before their end.
//!
//! The first request has no credentials; the registry then says by a 401 which ones it requires. A token is renewed by the same
//! challenge before it ends, so that a chunk is not sent only to be refused.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Client, Response, Url};
use tokio::time::Instant;

use super::authorization::{Authorization, basic, bearer};
use super::challenge::{BearerChallenge, Challenge};
use super::docker_config::Credential;
use super::keychain::{Generation, Keychain};
use super::token_service::TokenService;
use crate::error::Cause;
use crate::http::{HopRule, shown_host};
use crate::refusal::Refusals;
use crate::repository_name::RepositoryName;
use crate::secret::Secret;

/// The most tokens that are kept: one for each repository and access.
const MOST_TOKENS: usize = 1024;

/// The longest scope that is taken from a challenge, in bytes.
const LONGEST_SCOPE: usize = 1024;

/// What a request needs a token for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Pull,
    Push,
    Delete,
}

/// Makes the header `Authorization` for one registry.
pub(crate) struct Authorizer {
    keychain: Keychain,
    service: TokenService,
    grants: Mutex<Grants>,
}

/// What the registry accepted last.
#[derive(Debug, Default)]
struct Grants {
    /// It requires user and password with each request.
    basic: bool,
    bearer: HashMap<(RepositoryName, Access), Grant>,
}

#[derive(Debug, Clone)]
struct Grant {
    token: Secret,
    until: Instant,
    challenge: BearerChallenge,
    /// Of the credentials that the token was made for.
    generation: Generation,
}

impl Access {
    fn scope(self, repository: &RepositoryName) -> String {
        let actions = match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
            Self::Delete => "delete",
        };
        format!("repository:{}:{actions}", repository.path())
    }
}

impl Authorizer {
    pub(crate) fn new(client: Client, registry: Url, hops: HopRule, keychain: Keychain, refusals: Refusals) -> Self {
        let origin = keychain.origin();
        let service = TokenService { client, registry, hops, refusals, origin };
        Self { keychain, service, grants: Mutex::default() }
    }

    /// The header by what is known; `None`: nothing is known yet, or nothing is needed.
    pub(crate) async fn known(
        &self,
        repository: &RepositoryName,
        access: Access,
    ) -> Result<Option<Authorization>, Cause> {
        let (is_basic, grant) = {
            let grants = self.grants();
            (grants.basic, grants.bearer.get(&(repository.clone(), access)).cloned())
        };
        if is_basic {
            let (credential, _) = self.keychain.credential(repository).await?;
            return Ok(credential.as_ref().and_then(basic));
        }
        let Some(grant) = grant else { return Ok(None) };
        let (credential, generation) = self.keychain.credential(repository).await?;
        if grant.generation == generation && grant.until > Instant::now() {
            return Ok(Some(bearer(&grant.token)));
        }
        self.renewed(repository, access, grant.challenge, credential, generation).await.map(Some)
    }

    /// The header after the registry has answered 401. `sent` is the one that was sent.
    pub(crate) async fn challenged(
        &self,
        repository: &RepositoryName,
        access: Access,
        mut response: Response,
        sent: Option<&Authorization>,
    ) -> Result<Authorization, Cause> {
        let challenge = Challenge::of(response.headers().get_all(WWW_AUTHENTICATE)).map_err(|why| {
            let host = shown_host(&self.service.registry);
            Cause::Authentication { host, why: why.to_string() }
        })?;
        let (credential, generation) = self.keychain.credential(repository).await?;
        match challenge {
            Challenge::Basic => match credential.as_ref().and_then(basic) {
                Some(basic) if sent.is_none_or(|sent| sent.value != basic.value) => {
                    self.grants().basic = true;
                    Ok(basic)
                }
                basic => {
                    let secrets = basic.map(|basic| basic.secrets).unwrap_or_default();
                    Err(self.refused(repository, &mut response, &secrets).await)
                }
            },
            Challenge::Bearer(challenge) => self.renewed(repository, access, challenge, credential, generation).await,
        }
    }

    /// The cause if the registry does not accept what it was sent.
    pub(crate) async fn refused(
        &self,
        repository: &RepositoryName,
        response: &mut Response,
        secrets: &[Secret],
    ) -> Cause {
        let answer = self.service.refusals.read(response, secrets).await;
        let has_credentials = matches!(self.keychain.credential(repository).await, Ok((Some(_), _)));
        Cause::of_unauthorized(&shown_host(&self.service.registry), &self.service.origin, has_credentials, answer)
    }

    /// Requests a token and keeps it.
    async fn renewed(
        &self,
        repository: &RepositoryName,
        access: Access,
        challenge: BearerChallenge,
        credential: Option<Credential>,
        generation: Generation,
    ) -> Result<Authorization, Cause> {
        let named = challenge.scope.clone().filter(|scope| is_scope_of(scope, repository));
        let scope = named.unwrap_or_else(|| access.scope(repository));
        let token = self.service.token(&challenge, &scope, credential).await?;
        let authorization = bearer(&token.value);
        let grant = Grant { token: token.value, until: Instant::now() + token.use_for, challenge, generation };
        let mut grants = self.grants();
        grants.basic = false;
        if grants.bearer.len() >= MOST_TOKENS {
            grants.bearer.clear();
        }
        grants.bearer.insert((repository.clone(), access), grant);
        Ok(authorization)
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a scope that a registry names is about this repository alone.
fn is_scope_of(scope: &str, repository: &RepositoryName) -> bool {
    let prefix = format!("repository:{}:", repository.path());
    let is_action = |byte: u8| byte.is_ascii_lowercase() || byte == b',' || byte == b'*';
    let actions = scope.strip_prefix(&prefix);
    scope.len() <= LONGEST_SCOPE && actions.is_some_and(|actions| !actions.is_empty() && actions.bytes().all(is_action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_of_another_repository_is_not_requested() {
        let repository = "a.example.com/team/x".parse().unwrap();
        for (scope, expected) in [
            ("repository:team/x:pull,push", true),
            ("repository:team/x:*", true),
            ("repository:team/y:pull", false),
            ("repository:team/x:", false),
            ("repository:team/x:pull repository:team/y:push", false),
            ("registry:catalog:*", false),
            ("", false),
        ] {
            assert_eq!(is_scope_of(scope, &repository), expected, "{scope}");
        }
        assert!(!is_scope_of(&format!("repository:team/x:{}", "p".repeat(2000)), &repository));
    }
}
