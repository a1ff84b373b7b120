//! The one pass over an archive.
//!
//! Runtimes write the small files in an order of their own, in CRI-O `config.dump` and `spec.dump` after gigabytes of memory. So
//! nothing that a sink got may be used before the pass has ended, and the identity of the archive was checked.
//!
//! All bytes are read, also those behind the last entry, so that a digest of what was read is the digest of the file.

use std::collections::HashSet;
use std::io::{self, Read};

use crate::error::ReadError;
use crate::foreign::Foreign;
use crate::header::{self, BLOCK, Block, Header, Kind};
use crate::limits::Limits;
use crate::names::{CONFIG, Entry, FOLDER, FileName, INVENTORY, LOG, SPEC};
use crate::pax::{self, PaxFault};
use crate::sink::Sink;
use crate::source::Source;

/// How many bytes of the beginning of `dump.log` are kept.
const LOG_HEAD: usize = 4096;

/// What was read of an archive besides the files that the sink got.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Files and folders.
    pub entries: u32,
    /// Bytes of all files together.
    pub bytes: u64,
    /// `config.dump`, see [`crate::ConfigDump::parse`].
    pub config: Vec<u8>,
    /// `spec.dump`, see [`crate::SpecDump::parse`].
    pub spec: Vec<u8>,
    /// The first 4 KiB of `dump.log`. Not each runtime writes it into the archive.
    pub log_head: Vec<u8>,
}

impl Contents {
    /// What is kept of a file, and how many bytes of it.
    fn kept(&mut self, name: FileName<'_>) -> Option<(&mut Vec<u8>, usize)> {
        if name.is_image() {
            return None;
        }
        match name.last() {
            // Their size is checked against the limit of documents first.
            CONFIG => Some((&mut self.config, usize::MAX)),
            SPEC => Some((&mut self.spec, usize::MAX)),
            LOG => Some((&mut self.log_head, LOG_HEAD)),
            _ => None,
        }
    }
}

/// Reads an archive of `size` bytes to its end, and gives its files to the sink.
///
/// The size is that of the file's inode before the first byte is read.
pub fn read(archive: impl Read, size: u64, limits: &Limits, sink: &mut impl Sink) -> Result<Contents, ReadError> {
    let source = Source::new(archive, size);
    let mut pass = Pass { source, limits, sink, seen: HashSet::new(), contents: Contents::default() };
    let mut block = [0; BLOCK];
    loop {
        pass.block(&mut block)?;
        if is_zero(&block) {
            break;
        }
        pass.entry(&block)?;
    }
    pass.end()?;
    for name in [CONFIG, SPEC, INVENTORY] {
        if !pass.seen.contains(name) {
            return Err(ReadError::Missing { name });
        }
    }
    Ok(pass.contents)
}

struct Pass<'a, R, S> {
    source: Source<R>,
    limits: &'a Limits,
    sink: &'a mut S,
    /// The names of all entries.
    seen: HashSet<Box<str>>,
    contents: Contents,
}

impl<R: Read, S: Sink> Pass<'_, R, S> {
    fn block(&mut self, block: &mut Block) -> Result<(), ReadError> {
        let at = self.source.position();
        if self.source.copy_to(block)? < BLOCK { Err(ReadError::NoEnd { at }) } else { Ok(()) }
    }

    fn header<'b>(&self, block: &'b Block) -> Result<Header<'b>, ReadError> {
        let at = self.source.position() - BLOCK as u64;
        header::parse(block).map_err(|source| {
            let name = Foreign::of_bytes(header::raw_name(block));
            ReadError::Header { name, at, source }
        })
    }

    /// One entry, with the records that precede it.
    fn entry(&mut self, block: &Block) -> Result<(), ReadError> {
        let at = self.source.position() - BLOCK as u64;
        let refused = |source| ReadError::Records { at, source };
        let header = self.header(block)?;
        if header.kind != Kind::Records {
            return self.member(header);
        }
        let size = self.records(&header, at)?;
        let mut block = [0; BLOCK];
        self.block(&mut block)?;
        if is_zero(&block) {
            return Err(refused(PaxFault::NoEntry));
        }
        let mut header = self.header(&block)?;
        if header.kind == Kind::Records {
            return Err(refused(PaxFault::NoEntry));
        }
        if let Some(size) = size {
            // Go writes a zero into the header if the size does not fit.
            if header.size != 0 && header.size != size {
                return Err(refused(PaxFault::TwoSizes { records: size, header: header.size }));
            }
            header.size = size;
        }
        self.member(header)
    }

    /// Reads records, and returns the size in them.
    fn records(&mut self, header: &Header<'_>, at: u64) -> Result<Option<u64>, ReadError> {
        let refused = |source| ReadError::Records { at, source };
        if header.size > pax::LONGEST {
            return Err(refused(PaxFault::TooLong));
        }
        self.fits(header)?;
        let mut records = vec![0; usize::try_from(header.size).map_err(|_| refused(PaxFault::TooLong))?];
        self.source.copy_to(&mut records)?;
        self.padding(header)?;
        pax::size(&records).map_err(refused)
    }

    fn member(&mut self, header: Header<'_>) -> Result<(), ReadError> {
        let limit = self.limits.entries;
        self.contents.entries += 1;
        if self.contents.entries > limit {
            return Err(ReadError::TooMany { limit });
        }
        let name = || Foreign::new(header.name);
        let Some(entry) = Entry::of(header.name) else {
            return Err(ReadError::UnknownName { name: name() });
        };
        if !self.seen.insert(header.name.into()) {
            return Err(ReadError::Twice { name: name() });
        }
        match (entry, header.kind) {
            (Entry::Images, Kind::Folder) if header.size > 0 => {
                Err(ReadError::FolderWithContent { name: name(), size: header.size })
            }
            (Entry::Images, Kind::Folder) => self.sink.folder().map_err(|source| stored(&header, source)),
            (Entry::File(file), Kind::File) => self.file(&header, file),
            _ => Err(ReadError::WrongType { name: name() }),
        }
    }

    fn file(&mut self, header: &Header<'_>, file: FileName<'_>) -> Result<(), ReadError> {
        let name = || Foreign::new(header.name);
        if file.is_image() && !self.seen.contains(FOLDER) {
            return Err(ReadError::BeforeItsFolder { name: name() });
        }
        let limit = self.limits.document;
        if file.is_document() && header.size > limit {
            return Err(ReadError::TooLarge { name: name(), size: header.size, limit });
        }
        self.fits(header)?;
        self.sink.begin(file, header.size).map_err(|source| stored(header, source))?;
        let mut left = header.size;
        while left > 0 {
            let chunk = self.source.chunk(left)?;
            self.sink.write(chunk).map_err(|source| stored(header, source))?;
            if let Some((kept, most)) = self.contents.kept(file) {
                let room = most.saturating_sub(kept.len());
                kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            let length = chunk.len();
            self.source.consume(length);
            left -= length as u64;
        }
        self.sink.end().map_err(|source| stored(header, source))?;
        self.contents.bytes += header.size;
        self.padding(header)
    }

    /// Whether the content and its padding can be in the rest of the archive. So no size leads to more bytes than the archive has.
    fn fits(&self, header: &Header<'_>) -> Result<(), ReadError> {
        let left = self.source.left();
        match header.size.checked_next_multiple_of(BLOCK as u64) {
            Some(padded) if padded <= left => Ok(()),
            _ => Err(ReadError::CutOff { name: Foreign::new(header.name), size: header.size, left }),
        }
    }

    /// The zeros between a content and the next header.
    fn padding(&mut self, header: &Header<'_>) -> Result<(), ReadError> {
        let rest = header.size % BLOCK as u64;
        let mut padding = (BLOCK as u64 - rest) % BLOCK as u64;
        while padding > 0 {
            let chunk = self.source.chunk(padding)?;
            if !is_zero(chunk) {
                return Err(ReadError::Padding { name: Foreign::new(header.name) });
            }
            let length = chunk.len();
            self.source.consume(length);
            padding -= length as u64;
        }
        Ok(())
    }

    /// The second block of zeros, and then zeros up to the end of the file: tar programs fill up their last record.
    fn end(&mut self) -> Result<(), ReadError> {
        let mut block = [0; BLOCK];
        let at = self.source.position();
        self.block(&mut block)?;
        if !is_zero(&block) {
            return Err(ReadError::BehindTheEnd { at });
        }
        loop {
            let at = self.source.position();
            let chunk = self.source.chunk(u64::MAX)?;
            if chunk.is_empty() {
                return Ok(());
            }
            if let Some(offset) = chunk.iter().position(|byte| *byte != 0) {
                return Err(ReadError::BehindTheEnd { at: at + offset as u64 });
            }
            let length = chunk.len();
            self.source.consume(length);
        }
    }
}

fn stored(header: &Header<'_>, source: io::Error) -> ReadError {
    ReadError::Store { name: header.name.to_owned(), source }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
