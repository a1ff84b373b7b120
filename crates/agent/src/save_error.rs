//! Why a Snapshot could not be saved, and whether another try may help.

use std::io;

use snapwatcher_archive::identity::IdentityError;
use snapwatcher_archive::{DocumentError, Fault, FolderError, OpenError, OpenFault, ReadError};
use snapwatcher_kubernetes::cluster::CallError;
use snapwatcher_registry::{ErrorKind, ImageError, RegistryError};

/// Why a Snapshot could not be saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error("the archive `{archive}` is not in the folder `{folder}` of --checkpoints-folder")]
    OutsideTheFolder { archive: String, folder: String },
    #[error("`{0}` is no public key of age")]
    Recipient(String),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(
        "the node store has no room for the {bytes} bytes of the archive, and there is no registry: raise --store-bytes, or delete \
             Snapshots"
    )]
    NoRoom { bytes: u64 },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("could not write to the folder of --state-folder: check the disk of the node")]
    Disk(#[from] io::Error),
    #[error(transparent)]
    Registry(#[from] Box<RegistryError>),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the agent stops")]
    Stopped,
}

impl From<RegistryError> for SaveError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// The archive is not what it has to be: it is not read again.
    Refused(&'static str),
    /// Another try may succeed.
    Waiting(&'static str),
    /// The API server did not take the report, so there is nothing to report.
    Unreported,
}

impl SaveError {
    /// What follows, with the reason in one CamelCase word.
    pub(crate) fn consequence(&self) -> Consequence {
        use Consequence::{Refused, Unreported, Waiting};
        match self {
            Self::OutsideTheFolder { .. } => Refused("ArchiveOutsideTheFolder"),
            Self::Recipient(_) => Refused("RecipientInvalid"),
            Self::Open(error) => match error.fault {
                OpenFault::Missing => Refused("ArchiveMissing"),
                OpenFault::TooLarge { .. } => Refused("ArchiveTooLarge"),
                OpenFault::Changed | OpenFault::Replaced => Refused("ArchiveChanged"),
                OpenFault::Folder(_)
                | OpenFault::FolderIsNone
                | OpenFault::FolderOwner { .. }
                | OpenFault::FolderMode(_) => Waiting("CheckpointsFolder"),
                OpenFault::Open(_) | OpenFault::Delete(_) => Waiting("Disk"),
                _ => Refused("ArchiveUnsafe"),
            },
            Self::Read(error) if error.fault() == Fault::Machine => Waiting("Disk"),
            Self::Read(ReadError::Grew { .. } | ReadError::Shrank { .. }) => Refused("ArchiveChanged"),
            Self::Read(_) | Self::Document(_) => Refused("ArchiveInvalid"),
            Self::Identity(_) => Refused("ArchiveOfAnother"),
            Self::NoRoom { .. } => Waiting("StoreFull"),
            Self::Folder(_) | Self::Disk(_) => Waiting("Disk"),
            Self::Registry(error) => Waiting(match error.kind() {
                ErrorKind::RetryLater => "RegistryUnavailable",
                ErrorKind::Credentials => "RegistryCredentials",
                ErrorKind::Refused | ErrorKind::NotFound => "RegistryRefused",
                ErrorKind::UploadLost => "RegistryLostUpload",
                ErrorKind::WrongContent => "RegistryWrongContent",
            }),
            Self::Image(_) => Waiting("Manifest"),
            Self::Call(_) | Self::Stopped => Unreported,
        }
    }

    /// The reason in one word, by which a message is recognized that repeats.
    pub(crate) fn consequence_word(&self) -> &'static str {
        match self.consequence() {
            Consequence::Refused(reason) | Consequence::Waiting(reason) => reason,
            Consequence::Unreported => "ApiServer",
        }
    }

    /// The wait that the registry requests.
    pub(crate) fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Registry(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Whether the disk was the cause: then the next try does not unpack.
    pub(crate) fn is_of_store(&self) -> bool {
        matches!(self, Self::Read(ReadError::Store { .. }) | Self::Folder(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(fault: OpenFault) -> SaveError {
        SaveError::Open(OpenError { path: "/a.tar".to_owned(), fault })
    }

    #[test]
    fn only_what_is_wrong_with_the_archive_itself_ends_the_tries() {
        use Consequence::{Refused, Waiting};
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        for (error, expected) in [
            (open(OpenFault::Missing), Refused("ArchiveMissing")),
            (open(OpenFault::Link), Refused("ArchiveUnsafe")),
            (open(OpenFault::HardLinks(2)), Refused("ArchiveUnsafe")),
            (open(OpenFault::Mode(0o666)), Refused("ArchiveUnsafe")),
            (open(OpenFault::TooLarge { size: 2, limit: 1 }), Refused("ArchiveTooLarge")),
            (open(OpenFault::Changed), Refused("ArchiveChanged")),
            (open(OpenFault::FolderMode(0o777)), Waiting("CheckpointsFolder")),
            (open(OpenFault::Open(full())), Waiting("Disk")),
            (SaveError::Read(ReadError::Read { at: 0, source: full() }), Waiting("Disk")),
            (SaveError::Read(ReadError::Missing { name: "spec.dump" }), Refused("ArchiveInvalid")),
            (SaveError::Read(ReadError::Grew { expected: 1, found: 2 }), Refused("ArchiveChanged")),
            (SaveError::NoRoom { bytes: 1 }, Waiting("StoreFull")),
            (SaveError::Disk(full()), Waiting("Disk")),
        ] {
            assert_eq!(error.consequence(), expected, "{error}");
        }
    }

    #[test]
    fn an_archive_that_could_not_be_unpacked_is_saved_without_a_copy() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert!(SaveError::Read(ReadError::Store { name: "pages-1.img".to_owned(), source: full() }).is_of_store());
        assert!(!SaveError::Read(ReadError::Read { at: 0, source: full() }).is_of_store());
    }
}
