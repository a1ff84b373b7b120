//! Reads the checkpoint archive that a kubelet's container runtime wrote, and unpacks it.
//!
//! Such an archive contains the memory of processes, and a restore runs what it contains. So it is believed only after all of it
//! was read: containerd's advisories GHSA-rgh6-rfwx-v388, GHSA-cvxm-645q-p574 and GHSA-33vj-92qq-66hc are about
//! archives that were believed too early. The steps of a caller:
//!
//! 1. [`Archive::open`]: the file is a regular file of the right owner, opened without following a link.
//! 2. [`read`]: one pass over its bytes as a tar stream. What is no known name, no file or folder, or too much is an error.
//!    The caller may wrap the reader, to hash and compress the same bytes: they are all read, to the last one.
//! 3. [`identity::check`]: the archive is that of the expected pod, container and image.
//! 4. [`Archive::verify_unchanged`]: the file was not written to meanwhile.
//! 5. [`Folder::finish`]: what was unpacked is on the disk. After an error in any step, [`remove`] deletes the folder.
//! 6. [`Archive::remove`], once the archive is saved elsewhere: exactly that file is deleted.
//!
//! [`shape`] and [`requirements`] describe what a container has to have in common with the archive to be restored from it.
//!
//! The crate uses blocking I/O of `std` and knows nothing of Kubernetes. It depends on no other crate of the workspace.

mod documents;
mod environment;
mod error;
mod folder;
mod foreign;
mod header;
pub mod identity;
mod json_digest;
#[cfg(any(test, feature = "test-support"))]
pub mod judge;
mod limits;
mod lists;
mod names;
mod open;
mod open_error;
mod pax;
mod read;
mod removal;
pub mod requirements;
pub mod shape;
mod sink;
mod source;
#[cfg(test)]
mod tests;

pub use documents::{ConfigDump, DocumentError, SpecDump};
pub use error::{Fault, ReadError};
pub use folder::{Folder, FolderError};
pub use foreign::Foreign;
pub use header::HeaderFault;
pub use limits::Limits;
pub use names::FileName;
pub use open::{Archive, Removal, Rules, Stamp};
pub use open_error::{OpenError, OpenFault};
pub use pax::PaxFault;
pub use read::{Contents, read};
pub use removal::remove;
pub use sink::{Discard, Sink};
pub use source::BUFFER;
