//! Credentials, and how a registry is shown that a request is permitted.

mod authorization;
mod authorizer;
mod challenge;
mod docker_config;
mod keychain;
mod token;
mod token_service;

pub(crate) use self::authorizer::{Access, Authorizer};
pub use self::docker_config::EntryError;
pub use self::keychain::CredentialsError;
pub(crate) use self::keychain::Keychain;
