//! What a registry says about an upload: how much of it is stored, and how long its chunks have to be.
//!
//! OCI distribution specification 1.1, "Pushing a blob in chunks": `Range: 0-END`, END is the last stored byte. For an upload
//! without a byte both Docker's registry and zot say `0-0`, as for one with one byte.

/// The longest header that is read, in bytes.
const LONGEST: usize = 64;

/// How much is stored. Some registries write `bytes=` in front. It is `None` for a malformed value.
pub(super) fn stored_bytes(range: &str) -> Option<Stored> {
    let range = range.trim();
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let end = range.strip_prefix("0-").filter(|end| end.len() <= LONGEST)?;
    let is_number = !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
    match end.parse::<u64>().ok().filter(|_| is_number)? {
        0 => Some(Stored::NoneOrOne),
        last => last.checked_add(1).map(Stored::Bytes),
    }
}

/// How much of an upload a registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// `0-0`
    NoneOrOne,
    Bytes(u64),
}

/// What follows from what the registry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume {
    /// So many bytes of what was sent are stored.
    From(u64),
    /// It has fewer bytes than it acknowledged, or more than it was sent.
    Lost,
}

/// What follows if the registry had acknowledged `acknowledged` bytes, and was then sent `sent` more. `refused`: it did not accept
/// that these begin behind the acknowledged ones.
pub(super) fn resume(stored: Stored, acknowledged: u64, sent: u64, refused: bool) -> Resume {
    let bytes = match stored {
        Stored::Bytes(bytes) => bytes,
        // One byte, if that is what was acknowledged, or all that there is, or what it refused to add to nothing.
        Stored::NoneOrOne => u64::from(acknowledged == 1 || (acknowledged == 0 && (sent == 1 || refused))),
    };
    match bytes.checked_sub(acknowledged) {
        Some(new) if new <= sent => Resume::From(new),
        _ => Resume::Lost,
    }
}

/// The bytes of a chunk, if the registry requires `least` and the settings say `wanted`; `None`: the registry requires too much.
pub(super) fn chunk_bytes(least: Option<&str>, wanted: usize, longest: usize) -> Option<Chunk> {
    let is_number = |digits: &&str| digits.len() <= LONGEST && digits.bytes().all(|byte| byte.is_ascii_digit());
    // What is no number is not obeyed.
    let least = match least.map(str::trim).filter(is_number) {
        None | Some("") => 0,
        Some(digits) => digits.parse::<usize>().ok()?,
    };
    (least <= longest).then(|| Chunk { least, bytes: wanted.max(least) })
}

/// The lengths of chunks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// No chunk but the last may be shorter.
    pub(super) least: usize,
    pub(super) bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_the_number_of_stored_bytes() {
        for (range, expected) in [
            ("0-0", Some(Stored::NoneOrOne)),
            ("0-1", Some(Stored::Bytes(2))),
            (" 0-8388607 ", Some(Stored::Bytes(8_388_608))),
            ("bytes=0-9", Some(Stored::Bytes(10))),
            ("1-9", None),
            ("0-", None),
            ("0-+9", None),
            ("0--9", None),
            ("0-18446744073709551615", None),
            ("0-99999999999999999999", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(stored_bytes(range), expected, "{range}");
        }
    }

    #[test]
    fn an_upload_continues_behind_what_is_stored() {
        use Stored::{Bytes, NoneOrOne};
        for (stored, acknowledged, sent, expected) in [
            (Bytes(10), 10, 5, Resume::From(0)),
            (Bytes(12), 10, 5, Resume::From(2)),
            (Bytes(15), 10, 5, Resume::From(5)),
            (Bytes(16), 10, 5, Resume::Lost),
            (Bytes(9), 10, 5, Resume::Lost),
            (NoneOrOne, 10, 5, Resume::Lost),
            (NoneOrOne, 0, 5, Resume::From(0)),
            (NoneOrOne, 0, 1, Resume::From(1)),
            (NoneOrOne, 1, 5, Resume::From(0)),
            (NoneOrOne, 0, 0, Resume::From(0)),
            (Bytes(u64::MAX), 0, 5, Resume::Lost),
        ] {
            assert_eq!(resume(stored, acknowledged, sent, false), expected, "{stored:?} {acknowledged} {sent}");
        }
    }

    #[test]
    fn nothing_that_is_refused_is_one_byte() {
        assert_eq!(resume(Stored::NoneOrOne, 0, 5, true), Resume::From(1));
        assert_eq!(resume(Stored::NoneOrOne, 1, 5, true), Resume::From(0));
        assert_eq!(resume(Stored::Bytes(10), 10, 5, true), Resume::From(0));
    }

    #[test]
    fn a_required_length_is_obeyed_within_a_limit() {
        let chunk = |least, bytes| Some(Chunk { least, bytes });
        for (least, expected) in [
            (None, chunk(0, 8)),
            (Some("5"), chunk(5, 8)),
            (Some("16"), chunk(16, 16)),
            (Some("32"), chunk(32, 32)),
            (Some("33"), None),
            (Some("99999999999999999999999"), None),
            (Some("-1"), chunk(0, 8)),
            (Some("x"), chunk(0, 8)),
        ] {
            assert_eq!(chunk_bytes(least, 8, 32), expected, "{least:?}");
        }
    }
}
