//! Where the files of an archive go.

use std::io;

use crate::names::FileName;

/// Takes the files of an archive in their order. [`crate::Folder`] writes them to a disk.
///
/// What a sink took counts for nothing before [`crate::read`] has returned without an error.
pub trait Sink {
    /// The folder `checkpoint` begins. It comes once, and before all files in it.
    fn folder(&mut self) -> io::Result<()>;

    /// A file of `size` bytes begins. No name comes twice.
    fn begin(&mut self, name: FileName<'_>, size: u64) -> io::Result<()>;

    /// The next bytes of the file, at most [`crate::BUFFER`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// All bytes of the file were written.
    fn end(&mut self) -> io::Result<()>;
}

/// Keeps nothing, to check an archive alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl Sink for Discard {
    fn folder(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn begin(&mut self, _: FileName<'_>, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}
