//! Why an archive could not be read, and whose fault it is.

use std::io;

use crate::foreign::Foreign;
use crate::header::HeaderFault;
use crate::pax::PaxFault;

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The archive is not one that a container runtime writes, or it changed while it was read. Another try with the same
    /// file ends the same way.
    Archive,
    /// The disk of the node. Another try may succeed.
    Machine,
}

/// Why [`crate::read`] stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("could not read the archive at byte {at}: check the disk of the node")]
    Read { at: u64, source: io::Error },
    #[error("could not store `{name}` of the archive: check the disk and the free space of the node store")]
    Store { name: String, source: io::Error },
    #[error("the archive changed while it was read: it had {expected} bytes, and has {found} or more")]
    Grew { expected: u64, found: u64 },
    #[error("the archive changed while it was read: it had {expected} bytes, and ended after {found}")]
    Shrank { expected: u64, found: u64 },
    #[error("the header of `{name}` at byte {at} of the archive is refused")]
    Header { name: Foreign, at: u64, source: HeaderFault },
    #[error("the pax records at byte {at} of the archive are refused")]
    Records { at: u64, source: PaxFault },
    #[error("`{name}` is refused: no container runtime writes a file or folder of this name into an archive")]
    UnknownName { name: Foreign },
    #[error("`{name}` is refused: it has the name of a file and the type of a folder, or the reverse")]
    WrongType { name: Foreign },
    #[error("`{name}` is refused: the archive contains it twice")]
    Twice { name: Foreign },
    #[error("`{name}` is refused: it comes before its folder")]
    BeforeItsFolder { name: Foreign },
    #[error("the folder `{name}` is refused: it has a content of {size} bytes")]
    FolderWithContent { name: Foreign, size: u64 },
    #[error("the archive is refused: it has more than {limit} files and folders")]
    TooMany { limit: u32 },
    #[error("`{name}` is refused: it has {size} bytes, allowed are {limit}")]
    TooLarge { name: Foreign, size: u64, limit: u64 },
    #[error("the archive is cut off: `{name}` has {size} bytes, and {left} bytes of the archive follow")]
    CutOff { name: Foreign, size: u64, left: u64 },
    #[error("the archive is cut off at byte {at}: the blocks of zeros at its end are missing")]
    NoEnd { at: u64 },
    #[error("the archive is refused: after `{name}`, the padding is not zeros")]
    Padding { name: Foreign },
    #[error("the archive is refused: something follows its end, at byte {at}")]
    BehindTheEnd { at: u64 },
    #[error("the archive is no checkpoint: `{name}` is missing")]
    Missing { name: &'static str },
}

impl ReadError {
    /// Whose fault it is: whether the archive is to be rejected, or read again later.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { .. } | Self::Store { .. } => Fault::Machine,
            _ => Fault::Archive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_disk_is_a_reason_to_read_the_archive_again() {
        let source = || io::Error::from(io::ErrorKind::StorageFull);
        for (error, expected) in [
            (ReadError::Read { at: 0, source: source() }, Fault::Machine),
            (ReadError::Store { name: "status".to_owned(), source: source() }, Fault::Machine),
            (ReadError::Shrank { expected: 2, found: 1 }, Fault::Archive),
            (ReadError::Missing { name: "spec.dump" }, Fault::Archive),
        ] {
            assert_eq!(error.fault(), expected, "{error}");
        }
    }
}
