//! The file with credentials. A Secret that is mounted into a pod changes while the program runs, so each use looks whether
//! the file is still the one that was read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::docker_config::{Credential, DockerConfig, EntryError};
use crate::repository_name::RepositoryName;

/// The most that is read of the file, in bytes: the limit of a Secret.
const LONGEST_FILE: u64 = 1024 * 1024;

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("the file `{path}` with credentials could not be read ({why})", path = path.display())]
    Unreadable { path: PathBuf, why: io::ErrorKind },
    #[error("the file `{path}` with credentials is longer than {LONGEST_FILE} bytes", path = path.display())]
    TooLong { path: PathBuf },
    #[error("the file `{path}` with credentials is no `.dockerconfigjson`", path = path.display())]
    Malformed { path: PathBuf },
    #[error("the entry for `{repository}` in the file `{path}` can't be used: {why}", path = path.display())]
    Entry { path: PathBuf, repository: RepositoryName, why: EntryError },
}

/// Counts the changes of the file. What was made by other credentials is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Generation(u64);

/// The credentials that are in a file.
#[derive(Debug)]
pub(crate) struct Keychain {
    path: Option<PathBuf>,
    read: Mutex<Option<ReadFile>>,
}

#[derive(Debug)]
struct ReadFile {
    content: Vec<u8>,
    config: DockerConfig,
    generation: Generation,
}

impl Keychain {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, read: Mutex::new(None) }
    }

    /// Where credentials come from, for messages.
    pub(crate) fn origin(&self) -> String {
        match &self.path {
            Some(path) => format!("the file `{}`", path.display()),
            None => "the configuration".to_owned(),
        }
    }

    /// The credentials for a repository, if there are any, and the generation of the file.
    pub(crate) async fn credential(
        &self,
        repository: &RepositoryName,
    ) -> Result<(Option<Credential>, Generation), CredentialsError> {
        let Some(path) = &self.path else { return Ok((None, Generation::default())) };
        let content = content(path).await?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let last = read.as_ref().map_or(0, |read| read.generation.0);
        // The file is small. Its times and inode could be those of another content.
        if read.as_ref().is_none_or(|read| read.content != content) {
            let config = DockerConfig::parse(&content);
            let config = config.map_err(|_| CredentialsError::Malformed { path: path.clone() })?;
            *read = Some(ReadFile { content, config, generation: Generation(last + 1) });
        }
        let Some(read) = read.as_ref() else { return Ok((None, Generation::default())) };
        let found = read.config.find(repository).transpose();
        let found =
            found.map_err(|why| CredentialsError::Entry { path: path.clone(), repository: repository.clone(), why })?;
        Ok((found, read.generation))
    }
}

async fn content(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let unreadable = |error: io::Error| CredentialsError::Unreadable { path: path.to_owned(), why: error.kind() };
    let file = File::open(path).await.map_err(unreadable)?;
    let mut content = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut content).await.map_err(unreadable)?;
    let is_short = u64::try_from(content.len()).is_ok_and(|length| length <= LONGEST_FILE);
    if is_short { Ok(content) } else { Err(CredentialsError::TooLong { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn file_of(user: &str) -> String {
        format!(r#"{{"auths":{{"a.example.com":{{"username":"{user}","password":"password"}}}}}}"#)
    }

    async fn user(keychain: &Keychain) -> (String, Generation) {
        match keychain.credential(&"a.example.com/x".parse().unwrap()).await.unwrap() {
            (Some(Credential::Basic { user, .. }), generation) => (user, generation),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        // A Secret is mounted as a link, which is replaced.
        for name in ["one", "two"] {
            fs::write(folder.path().join(name), file_of(name)).unwrap();
        }
        symlink("one", &path).unwrap();
        let keychain = Keychain::new(Some(path.clone()));
        let (name, first) = user(&keychain).await;
        assert_eq!((name.as_str(), user(&keychain).await.1), ("one", first));
        fs::remove_file(&path).unwrap();
        symlink("two", &path).unwrap();
        let (name, second) = user(&keychain).await;
        assert_eq!(name, "two");
        assert_ne!(first, second);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_named_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let keychain = Keychain::new(Some(path.clone()));
        let repository = "a.example.com/x".parse().unwrap();
        let long = " ".repeat(usize::try_from(LONGEST_FILE).unwrap() + 1);
        for (content, expected) in [
            (None, "could not be read"),
            (Some("secret-secret"), "is no `.dockerconfigjson`"),
            (Some(r#"{"auths":{"a.example.com":{"auth":"secret-secret"}}}"#), "its `auth` is not"),
            (Some(long.as_str()), "is longer than"),
        ] {
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            let error = keychain.credential(&repository).await.unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("config.json"), "{error}");
            assert!(!error.contains("secret-secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn without_a_file_there_are_no_credentials() {
        let found = Keychain::new(None).credential(&"a.example.com/x".parse().unwrap()).await.unwrap();
        assert_eq!(found, (None, Generation::default()));
    }
}
