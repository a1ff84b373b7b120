//! Archives that are too long for memory: they are made while they are read.

use std::io::{self, Read};

use super::ctrd;
use super::tape::{Tape, header, record};
use crate::judge::chain;
use crate::{Discard, Limits, ReadError, read};

/// Headers of empty images without an end, each with a name of its own.
struct Endless {
    next: u32,
    block: Vec<u8>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() {
            self.block = header(&format!("checkpoint/core-{}.img", self.next), b'0', 0).to_vec();
            self.next += 1;
        }
        let length = buffer.len().min(self.block.len());
        buffer[..length].copy_from_slice(&self.block[..length]);
        self.block.drain(..length);
        Ok(length)
    }
}

/// Fills no buffer, because it does not matter what is in an image, and takes no time.
struct Anything;

impl Read for Anything {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }
}

#[test]
fn a_million_entries_are_not_unpacked() {
    let size = 1_000_000 * 512;
    let limits = Limits::default();
    let begin = Tape::new().folder("checkpoint/").without_end();
    let archive = begin.chain(Endless { next: 0, block: Vec::new() });
    let error = read(archive, size, &limits, &mut Discard).unwrap_err();
    assert!(matches!(error, ReadError::TooMany { limit: 32_768 }), "{error}");
    // As many as are allowed are no error by themselves. The archive ends early, because its size is smaller than what follows.
    let begin = Tape::new().folder("checkpoint/").without_end();
    let size = u64::from(limits.entries) * 512;
    let archive = begin.chain(Endless { next: 0, block: Vec::new() }).take(size);
    let error = read(archive, size, &limits, &mut Discard).unwrap_err();
    assert!(matches!(error, ReadError::NoEnd { at } if at == size), "{error}");
}

#[test]
fn an_image_of_more_than_8_gib_has_its_size_in_pax_records() {
    const IMAGE: u64 = (8 << 30) + 1;
    // Go writes a zero into the header if the size does not fit, and other programs what fits.
    let before = Tape::new()
        .folder("checkpoint/")
        .file("checkpoint/inventory.img", "inventory")
        .records(&record("size", &IMAGE.to_string()))
        .bytes(&header("checkpoint/pages-1.img", b'0', 0))
        .without_end();
    let after = Tape::new().bytes(&[0; 511]).file("config.dump", ctrd::CONFIG).file("spec.dump", ctrd::SPEC).end();
    let size = before.len() as u64 + IMAGE + after.len() as u64;
    let archive = before.chain(Anything.take(IMAGE)).chain(&after[..]);
    let contents = read(archive, size, &Limits::default(), &mut Discard).map_err(|error| chain(&error)).unwrap();
    assert_eq!((contents.entries, contents.config.as_slice()), (5, ctrd::CONFIG.as_bytes()));
    assert!(contents.bytes > IMAGE);
}

#[test]
fn zeros_behind_the_end_are_read_to_the_last_one() {
    let archive = ctrd::archive();
    let size = archive.len() as u64 + (10 << 20);
    let padded = |zeros: u64| archive.chain(io::repeat(0).take(zeros));
    read(padded(10 << 20), size, &Limits::default(), &mut Discard).unwrap();
    let error = read(padded((10 << 20) - 1), size, &Limits::default(), &mut Discard).unwrap_err();
    assert!(matches!(error, ReadError::Shrank { .. }), "{error}");
    let error = read(padded((10 << 20) + 1), size, &Limits::default(), &mut Discard).unwrap_err();
    assert!(matches!(error, ReadError::Grew { .. }), "{error}");
}

#[test]
fn a_large_file_of_the_container_is_no_document() {
    let archive = ctrd::images()
        .file("config.dump", ctrd::CONFIG)
        .file("container.log", vec![b'x'; 100_000])
        .file("spec.dump", ctrd::SPEC)
        .end();
    let limits = Limits { document: 50_000, ..Limits::default() };
    assert!(read(&archive[..], archive.len() as u64, &limits, &mut Discard).is_ok());
}

#[test]
fn a_broken_disk_is_no_fault_of_the_archive() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let begin = &ctrd::archive()[..5000];
    let error = read(begin.chain(Broken), 100_000, &Limits::default(), &mut Discard).unwrap_err();
    assert!(matches!(error, ReadError::Read { at: 5000, .. }), "{error:?}");
    assert_eq!(error.fault(), crate::Fault::Machine);
}
