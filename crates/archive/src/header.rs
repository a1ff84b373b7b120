//! One header of a tar stream: a block of 512 bytes.
//!
//! The form is POSIX ustar (pax, IEEE Std 1003.1, "ustar Interchange Format"), as Go's `archive/tar` writes it for containerd and
//! CRI-O. All else is refused, also what other programs write: the less a reader accepts, the less two readers can disagree
//! about. In particular there are no GNU headers, so no long names, sparse files or binary numbers.
//!
//! The crate `tar` is not used here, because it reads long names and pax records into memory whatever their size, ends at the
//! first block of zeros, and has one error for everything.

/// The size of a header, and what contents are padded to.
pub(crate) const BLOCK: usize = 512;

pub(crate) type Block = [u8; BLOCK];

/// What an entry is. There is nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    /// pax records for the entry that follows.
    Records,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    /// Not empty, printable ASCII, at most 100 bytes.
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    /// Bytes of the content.
    pub(crate) size: u64,
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    #[error("it is no header of a tar archive")]
    NotTar,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is a {0}, allowed are files and folders")]
    Kind(&'static str),
    #[error("it has the format of GNU tar, container runtimes write POSIX ustar")]
    Gnu,
    #[error("its name is longer than 100 bytes")]
    LongName,
    #[error("its name is empty or has a byte that is no printable ASCII character")]
    Name,
    #[error("its size is no octal number")]
    Size,
}

/// The bytes of the name as they are in the block, for errors.
pub(crate) fn raw_name(block: &Block) -> &[u8] {
    let field = &block[..100];
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

pub(crate) fn parse(block: &Block) -> Result<Header<'_>, HeaderFault> {
    let is_posix = &block[257..265] == b"ustar\x0000";
    let is_gnu = &block[257..265] == b"ustar  \0";
    if !is_posix && !is_gnu {
        return Err(HeaderFault::NotTar);
    }
    if octal(&block[148..156]) != Some(checksum(block)) {
        return Err(HeaderFault::Checksum);
    }
    // Before the format, because it says more.
    let kind = kind(block[156])?;
    if is_gnu {
        return Err(HeaderFault::Gnu);
    }
    // A prefix is written only for names that do not fit into 100 bytes.
    if block[345] != 0 {
        return Err(HeaderFault::LongName);
    }
    let name = name(&block[..100]).ok_or(HeaderFault::Name)?;
    let size = octal(&block[124..136]).ok_or(HeaderFault::Size)?;
    Ok(Header { name, kind, size })
}

/// The sum of all bytes, with the checksum itself as spaces.
fn checksum(block: &Block) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

fn kind(flag: u8) -> Result<Kind, HeaderFault> {
    let refused = match flag {
        b'0' => return Ok(Kind::File),
        b'5' => return Ok(Kind::Folder),
        b'x' => return Ok(Kind::Records),
        0 => "file of the format before POSIX",
        b'1' => "hard link",
        b'2' => "symbolic link",
        b'3' => "character device",
        b'4' => "block device",
        b'6' => "FIFO",
        b'7' => "contiguous file",
        b'g' => "list of records for all entries",
        b'K' | b'L' => "long name of GNU tar",
        b'S' => "sparse file",
        _ => "thing of an unknown type",
    };
    Err(HeaderFault::Kind(refused))
}

/// Up to the first NUL, after which there is nothing else: another reader could take a longer name.
fn name(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let (name, rest) = field.split_at(end);
    let is_valid = !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
        && rest.iter().all(|byte| *byte == 0);
    if is_valid { str::from_utf8(name).ok() } else { None }
}

/// Octal digits, then spaces or NULs.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| !matches!(byte, b'0'..=b'7')).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if digits.is_empty() || rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    // At most 12 digits, so 36 bits.
    Some(digits.iter().fold(0, |number, digit| (number << 3) | u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::tape;

    #[test]
    fn a_header_of_go_is_read() {
        let block = tape::header("checkpoint/core-1.img", b'0', 0o1234);
        assert_eq!(parse(&block), Ok(Header { name: "checkpoint/core-1.img", kind: Kind::File, size: 0o1234 }));
        let longest = "x".repeat(100);
        for (flag, kind) in [(b'0', Kind::File), (b'5', Kind::Folder), (b'x', Kind::Records)] {
            let block = tape::header(&longest, flag, 0);
            assert_eq!(parse(&block), Ok(Header { name: &longest, kind, size: 0 }));
        }
    }

    #[test]
    fn numbers_are_octal_digits_with_padding_behind_them() {
        for (field, expected) in [
            (&b"00000001234\0"[..], Some(0o1234)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"0 \0", Some(0)),
            (b"12\0 ", Some(0o12)),
            (b"", None),
            (b"\0\0\0", None),
            (b"  12\0", None),
            (b"-1\0", None),
            (b"+1\0", None),
            (b"8\0", None),
            (b"1\x002", None),
            (b"0x1\0", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\0\x01", None),
            (b"\xff\xff\xff\xff", None),
        ] {
            assert_eq!(octal(field), expected, "{field:?}");
        }
    }

    #[test]
    fn a_name_ends_at_its_nul_and_nothing_follows() {
        for (field, expected) in [
            (&b"status\0\0"[..], Some("status")),
            (b"status", Some("status")),
            (b"a b\0", Some("a b")),
            (b"", None),
            (b"\0\0", None),
            (b"status\0/../x", None),
            (b"a\nb\0", None),
            (b"\xc3\xa9\0", None),
            (b"a\x7f\0", None),
        ] {
            assert_eq!(name(field), expected, "{field:?}");
        }
    }
}
