//! What must be true of any bytes that are read as an archive. The fuzzer and the tests of its corpus ask it.

use std::collections::HashSet;
use std::error::Error;
use std::io::{self, Read};

use crate::documents::{ConfigDump, SpecDump};
use crate::error::ReadError;
use crate::identity::{self, Expected};
use crate::limits::Limits;
use crate::names::FileName;
use crate::read::{Contents, read};
use crate::requirements::{Machine, requirements};
use crate::shape::shape;
use crate::sink::Sink;
use crate::source::BUFFER;

/// Low limits, so that small archives reach them.
pub const LIMITS: Limits = Limits { entries: 100, document: 16 << 10 };

const EXPECTED: Expected<'_> =
    Expected { namespace: "shop", pod: "web-0", pod_uid: "u", container: "app", image: "nginx:1.27", image_id: None };

/// Judges the bytes, and then the same bytes with right checksums: a random change never gets past a checksum.
///
/// Returns whether either of them is an archive.
///
/// # Panics
///
/// If something is not as it must be.
pub fn judge(bytes: &[u8]) -> bool {
    let is_archive = judge_as_they_are(bytes);
    let sealed = sealed(bytes);
    if sealed == bytes { is_archive } else { judge_as_they_are(&sealed) || is_archive }
}

fn judge_as_they_are(bytes: &[u8]) -> bool {
    let size = bytes.len() as u64;
    let mut files = Files::default();
    let result = read(bytes, size, &LIMITS, &mut files);
    assert!(files.bytes <= bytes.len(), "a file was larger than the archive");

    // It does not matter in which pieces the bytes arrive.
    let mut again = Files::default();
    let in_pieces = read(Pieces(bytes), size, &LIMITS, &mut again);
    assert_eq!(text_of(&result), text_of(&in_pieces));
    assert!(files.all == again.all);

    // All bytes of the file were read, and no others.
    if size > 0 {
        assert!(read(&bytes[..bytes.len() - 1], size, &LIMITS, &mut Files::default()).is_err(), "a byte less");
        assert!(read(bytes, size - 1, &LIMITS, &mut Files::default()).is_err(), "a byte more");
    }
    match result {
        Ok(contents) => {
            judge_contents(&contents, &files);
            judge_other_reader(bytes, &files);
            true
        }
        Err(error) => {
            assert!(chain(&error).chars().all(|character| !character.is_control()), "{error:?}");
            assert!(chain(&error).chars().count() < 400, "{error:?}");
            false
        }
    }
}

fn judge_contents(contents: &Contents, files: &Files) {
    assert_eq!(contents.bytes, files.all.iter().map(|(_, content)| content.len() as u64).sum::<u64>());
    let (Ok(config), Ok(spec)) = (ConfigDump::parse(&contents.config), SpecDump::parse(&contents.spec)) else { return };
    if let Err(error) = identity::check(&config, &spec, &EXPECTED) {
        assert!(error.to_string().chars().count() < 400, "{error:?}");
    }
    assert_eq!(shape(&spec, &[]).len(), 64);
    requirements(&Machine { architecture: "", cpuinfo: "", kernel: "" }, &config, &contents.log_head);
}

/// The crate `tar` finds the same files in what this crate accepts.
fn judge_other_reader(bytes: &[u8], files: &Files) {
    // It ends a record at the first newline, which a value may contain.
    if bytes.windows(5).any(|window| window == b"xattr") {
        return;
    }
    let mut found = Vec::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().into_iter().flatten() {
        let Ok(mut entry) = entry else { break };
        if entry.header().entry_type().is_file() {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut content = Vec::new();
            if entry.read_to_end(&mut content).is_ok() {
                found.push((name, content));
            }
        }
    }
    assert!(found == files.all, "the crate `tar` reads something else");
}

/// The bytes with the right checksum in each block that says it is a header.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    for block in sealed.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    sealed
}

/// An error with its causes.
pub fn chain(error: &dyn Error) -> String {
    let cause = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", cause.unwrap_or_default())
}

fn text_of(result: &Result<Contents, ReadError>) -> String {
    match result {
        Ok(contents) => format!("{contents:?}"),
        Err(error) => chain(error),
    }
}

/// Gives pieces of 1, 2, 4 ... bytes.
struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = 1 << (self.0.len() % 14);
        let length = length.min(buffer.len());
        self.0.read(&mut buffer[..length])
    }
}

/// Keeps all files, and checks that the calls come in the right order.
#[derive(Default)]
pub struct Files {
    /// Names and contents.
    pub all: Vec<(String, Vec<u8>)>,
    names: HashSet<String>,
    has_folder: bool,
    /// What is missing of the file that is being written.
    left: Option<u64>,
    bytes: usize,
}

impl Sink for Files {
    fn folder(&mut self) -> io::Result<()> {
        assert!(self.left.is_none() && !self.has_folder, "a folder within a file, or twice");
        self.has_folder = true;
        Ok(())
    }

    fn begin(&mut self, name: FileName<'_>, size: u64) -> io::Result<()> {
        assert!(self.left.is_none(), "`{name}` within a file");
        assert!(!name.is_image() || self.has_folder, "`{name}` before its folder");
        assert!(!name.last().contains(['/', '\0']) && !name.last().starts_with('.'), "`{name}`");
        assert!(self.names.insert(name.to_string()), "`{name}` twice");
        self.left = Some(size);
        self.all.push((name.to_string(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!((1..=BUFFER).contains(&bytes.len()), "a piece of {} bytes", bytes.len());
        self.left = self.left.and_then(|left| left.checked_sub(bytes.len() as u64));
        assert!(self.left.is_some(), "too many bytes");
        self.bytes += bytes.len();
        if let Some((_, content)) = self.all.last_mut() {
            content.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        assert_eq!(self.left.take(), Some(0), "too few bytes");
        Ok(())
    }
}
