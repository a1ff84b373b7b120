//! pax records: what a tar header has no room for. They precede the entry that they describe.
//!
//! A record is `LENGTH KEY=VALUE` and a newline; the length counts all of it (IEEE Std 1003.1, "pax Extended Header"). Go writes the
//! key `size` for files of 8 GiB and more, and CRI-O writes extended attributes. Only the size is used. Names in records are
//! refused: each known name fits into a header.

use crate::foreign::Foreign;

/// The longest list of records, in bytes. It is held in memory.
pub(crate) const LONGEST: u64 = 64 << 10;

/// Records that describe what is not kept: owner, times, attributes.
const IGNORED: [&[u8]; 7] = [b"atime", b"ctime", b"mtime", b"uid", b"gid", b"uname", b"gname"];
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// Why records are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaxFault {
    #[error("they are longer than {} bytes", LONGEST)]
    TooLong,
    #[error("they are empty, or a length in them is wrong")]
    Malformed,
    #[error("the key `{0}` is not allowed")]
    Key(Foreign),
    #[error("the size is no decimal number, or there are two")]
    Size,
    #[error("no entry follows them")]
    NoEntry,
    #[error("the size in them is {records}, and {header} in the header")]
    TwoSizes { records: u64, header: u64 },
}

/// The size in the records, in bytes.
pub(crate) fn size(mut records: &[u8]) -> Result<Option<u64>, PaxFault> {
    if records.is_empty() {
        return Err(PaxFault::Malformed);
    }
    let mut size = None;
    while !records.is_empty() {
        let (record, rest) = first(records).ok_or(PaxFault::Malformed)?;
        let separator = record.iter().position(|byte| *byte == b'=').ok_or(PaxFault::Malformed)?;
        let (key, value) = (&record[..separator], &record[separator + 1..]);
        if key == b"size" {
            if size.is_some() {
                return Err(PaxFault::Size);
            }
            size = Some(decimal(value).ok_or(PaxFault::Size)?);
        } else if !IGNORED.contains(&key) && !key.starts_with(ATTRIBUTE) {
            return Err(PaxFault::Key(Foreign::of_bytes(key)));
        }
        records = rest;
    }
    Ok(size)
}

/// `KEY=VALUE` of the first record, and the other records.
fn first(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&records[..space])?).ok()?;
    let record = records.get(space + 1..length)?;
    let (b'\n', record) = record.split_last()? else { return None };
    Some((record, &records[length..]))
}

/// Digits without a sign, and without a zero in front.
fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || !digits.starts_with(b"0"));
    // Go's sizes are signed.
    let number: i64 = str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    u64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_taken_and_the_rest_ignored() {
        for (records, expected) in [
            (&b"10 uid=70\n"[..], None),
            (b"19 size=8589934592\n", Some(8_589_934_592)),
            (b"30 mtime=1700000000.123456789\n19 size=8589934592\n", Some(8_589_934_592)),
            // A value may have newlines and equals signs in it.
            (b"27 SCHILY.xattr.user.a=\n\n=\n10 size=7\n", Some(7)),
            (b"7 uid=\n", None),
        ] {
            let shown = String::from_utf8_lossy(records);
            assert_eq!(size(records), Ok(expected), "{shown}");
        }
    }

    #[test]
    fn records_that_are_wrong_are_refused() {
        for (records, expected) in [
            (&b""[..], PaxFault::Malformed),
            (b"\n", PaxFault::Malformed),
            (b"10 size=7", PaxFault::Malformed),
            (b"8 size=7\n", PaxFault::Malformed),
            (b"11 size=7\n", PaxFault::Malformed),
            (b"010 size=7\n", PaxFault::Malformed),
            (b"-1 size=7\n", PaxFault::Malformed),
            (b"0 size=7\n", PaxFault::Malformed),
            (b"2 \n", PaxFault::Malformed),
            (b"3 \n\n", PaxFault::Malformed),
            (b"7 size\n", PaxFault::Malformed),
            (b"99999999999999999999 size=7\n", PaxFault::Malformed),
            (b"18446744073709551615 size=7\n", PaxFault::Malformed),
            (b"10 size=7\n\0\0", PaxFault::Malformed),
            (b"8 size=\n", PaxFault::Size),
            (b"11 size=-7\n", PaxFault::Size),
            (b"11 size=07\n", PaxFault::Size),
            (b"12 size=0x7\n", PaxFault::Size),
            (b"28 size=9223372036854775808\n", PaxFault::Size),
            (b"10 size=7\n10 size=7\n", PaxFault::Size),
            (b"10 path=a\n", PaxFault::Key(Foreign::new("path"))),
            (b"14 linkpath=a\n", PaxFault::Key(Foreign::new("linkpath"))),
            (b"22 GNU.sparse.major=1\n", PaxFault::Key(Foreign::new("GNU.sparse.major"))),
            (b"10 SIZE=7\n", PaxFault::Key(Foreign::new("SIZE"))),
            (b"6 =aa\n", PaxFault::Key(Foreign::new(""))),
        ] {
            let shown = String::from_utf8_lossy(records);
            assert_eq!(size(records), Err(expected), "{shown}");
        }
    }
}
