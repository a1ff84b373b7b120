//! The bytes of an archive, counted, in pieces of bounded size.
//!
//! The size is known before the first byte is read. A file that has more bytes by the end, or fewer, is written to at this
//! moment, and what was read of it is worth nothing.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use crate::error::ReadError;

/// How many bytes are read at once, and the largest piece that a sink gets. It does not depend on the size of an archive.
pub const BUFFER: usize = 256 << 10;

pub(crate) struct Source<R> {
    reader: BufReader<R>,
    /// Bytes that were consumed.
    position: u64,
    /// Bytes of the file, by its inode.
    size: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(archive: R, size: u64) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, archive), position: 0, size }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that follow.
    pub(crate) fn left(&self) -> u64 {
        self.size - self.position
    }

    /// The next bytes, at most `most` and at most [`BUFFER`]. There are none only at the end.
    pub(crate) fn chunk(&mut self, most: u64) -> Result<&[u8], ReadError> {
        self.fill()?;
        let buffer = self.reader.buffer();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(&buffer[..buffer.len().min(most)])
    }

    /// Goes past bytes of the last chunk.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.position += bytes as u64;
    }

    /// Fills the target. Returns how many bytes it got: fewer only at the end.
    pub(crate) fn copy_to(&mut self, target: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < target.len() {
            let chunk = self.chunk((target.len() - filled) as u64)?;
            if chunk.is_empty() {
                break;
            }
            let length = chunk.len();
            target[filled..filled + length].copy_from_slice(chunk);
            self.consume(length);
            filled += length;
        }
        Ok(filled)
    }

    fn fill(&mut self) -> Result<(), ReadError> {
        let available = loop {
            match self.reader.fill_buf() {
                Ok(buffer) => break buffer.len() as u64,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Read { at: self.position, source }),
            }
        };
        let (expected, found) = (self.size, self.position.saturating_add(available));
        if found > expected {
            return Err(ReadError::Grew { expected, found });
        }
        if available == 0 && found < expected {
            return Err(ReadError::Shrank { expected, found });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Gives one byte at a time, and every other call is interrupted.
    struct Slow<'a>(&'a [u8], bool);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            self.0.read(&mut buffer[..1])
        }
    }

    #[test]
    fn bytes_are_counted_however_they_arrive() {
        let mut source = Source::new(Slow(b"abcdef", false), 6);
        let mut target = [0; 4];
        assert_eq!(source.copy_to(&mut target).unwrap(), 4);
        assert_eq!((&target, source.position(), source.left()), (b"abcd", 4, 2));
        assert_eq!(source.copy_to(&mut target).unwrap(), 2);
        assert_eq!((&target, source.position(), source.left()), (b"efcd", 6, 0));
        assert_eq!(source.copy_to(&mut target).unwrap(), 0);
    }

    #[test]
    fn a_file_that_has_another_size_by_the_end_is_refused() {
        let mut source = Source::new(&b"abcdef"[..], 7);
        let error = source.copy_to(&mut [0; 7]).unwrap_err();
        assert!(matches!(error, ReadError::Shrank { expected: 7, found: 6 }), "{error}");
        let mut source = Source::new(&b"abcdef"[..], 5);
        let error = source.copy_to(&mut [0; 5]).unwrap_err();
        assert!(matches!(error, ReadError::Grew { expected: 5, found: 6 }), "{error}");
    }

    #[test]
    fn a_chunk_is_never_larger_than_the_buffer() {
        let size = 4 * BUFFER as u64;
        let mut source = Source::new(io::repeat(7).take(size), size);
        while source.left() > 0 {
            let length = source.chunk(u64::MAX).unwrap().len();
            assert!((1..=BUFFER).contains(&length), "{length}");
            source.consume(length);
        }
    }
}
