//! Sizes that are wrong, contradict each other, or are larger than anything.

use crate::tests::ctrd::images;
use crate::tests::tape::{Tape, header, patched, record};

type Row = (&'static str, Vec<u8>, &'static str);

/// An image with these twelve bytes as its size.
fn sized(field: &[u8]) -> Vec<u8> {
    let block = patched(header("checkpoint/x", b'0', 0), 124, field);
    images().entry(&block, b"").end()
}

/// An image with these records before it.
fn with_records(records: &str, size: u64, content: &[u8]) -> Vec<u8> {
    images().records(records).entry(&header("checkpoint/x", b'0', size), content).end()
}

macro_rules! header {
    ($why:literal) => {
        concat!("the header of `checkpoint/x` at byte 4608 of the archive is refused: ", $why)
    };
}

macro_rules! records {
    ($why:literal) => {
        concat!("the pax records at byte 4608 of the archive are refused: ", $why)
    };
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn archives() -> Vec<Row> {
    vec![
        ("a_negative_size_is_taken", sized(b"-0000000001\0"), header!("its size is no octal number")),
        ("a_binary_size_is_taken", sized(b"\x80\0\0\0\0\0\0\0\0\0\0\x01"), header!("its size is no octal number")),
        ("a_negative_binary_size_is_taken", sized(&[0xff; 12]), header!("its size is no octal number")),
        (
            "a_size_beyond_64_bits_is_taken",
            sized(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            header!("its size is no"),
        ),
        ("a_size_without_a_digit_is_zero", sized(&[0; 12]), header!("its size is no octal number")),
        ("a_decimal_size_is_taken", sized(b"00000000009\0"), header!("its size is no octal number")),
        ("a_size_goes_on_behind_a_space", sized(b"0000001 001\0"), header!("its size is no octal number")),
        (
            "a_size_is_waited_for_that_never_comes",
            sized(b"777777777777"),
            "the archive is cut off: `checkpoint/x` has 68719476735 bytes",
        ),
        (
            "a_size_is_reserved_that_pax_claims",
            with_records(&record("size", "9223372036854775807"), 0, b""),
            "the archive is cut off: `checkpoint/x` has 9223372036854775807 bytes, and 1024 bytes",
        ),
        (
            "a_size_beyond_64_bits_by_pax_is_taken",
            with_records(&record("size", "18446744073709551616"), 0, b""),
            records!("the size is no decimal number"),
        ),
        (
            "a_negative_size_by_pax_is_taken",
            with_records(&record("size", "-512"), 0, b""),
            records!("the size is no decimal number"),
        ),
        (
            "two_sizes_are_read_in_two_ways",
            with_records(&record("size", "1024"), 512, &[7; 1024]),
            records!("the size in them is 1024, and 512 in the header"),
        ),
        (
            "a_size_comes_twice",
            with_records(&(record("size", "0") + &record("size", "512")), 0, b""),
            records!("the size is no decimal number, or there are two"),
        ),
        (
            "a_record_is_longer_than_it_says",
            with_records("9 size=512\n", 0, b""),
            records!("they are empty, or a length in them is wrong"),
        ),
        (
            "a_record_is_longer_than_all_of_them",
            with_records("999 size=512\n", 0, b""),
            records!("they are empty, or a length"),
        ),
        (
            "a_record_of_no_length_is_read_for_ever",
            with_records("0 size=512\n", 0, b""),
            records!("they are empty, or a length"),
        ),
        ("records_are_empty", with_records("", 0, b""), records!("they are empty, or a length")),
        (
            "records_take_all_memory",
            {
                let block = header("PaxHeaders.0/x", b'x', 8 << 30);
                images().entry(&block, b"").end()
            },
            records!("they are longer than 65536 bytes"),
        ),
        (
            "records_describe_records",
            {
                let records = record("uid", "0");
                images().records(&records).records(&records).file("status", "").end()
            },
            records!("no entry follows them"),
        ),
        ("records_describe_the_end", images().records(&record("uid", "0")).end(), records!("no entry follows them")),
        (
            "records_are_cut_off",
            { images().entry(&header("PaxHeaders.0/x", b'x', 4096), b"").end() },
            "the archive is cut off: `PaxHeaders.0/x` has 4096 bytes",
        ),
        (
            "a_folder_has_a_content",
            Tape::new().entry(&header("checkpoint/", b'5', 512), &[7; 512]).end(),
            "the folder `checkpoint/` is refused: it has a content of 512 bytes",
        ),
        (
            "a_file_is_larger_than_the_archive",
            images().entry(&header("rootfs-diff.tar", b'0', 1 << 30), b"x").end(),
            "the archive is cut off: `rootfs-diff.tar` has 1073741824 bytes",
        ),
        (
            "a_document_takes_all_memory",
            images().file("config.dump", vec![b' '; (16 << 10) + 1]).end(),
            "`config.dump` is refused: it has 16385 bytes, allowed are 16384",
        ),
        (
            "a_small_file_is_large",
            images().file("status", vec![b' '; 20_000]).end(),
            "`status` is refused: it has 20000 bytes, allowed are 16384",
        ),
    ]
}
