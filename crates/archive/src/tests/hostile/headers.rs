//! Types that are no files, headers of other formats, and headers that are damaged.

use crate::tests::ctrd::{archive, images};
use crate::tests::tape::{Block, header, patched, record, sealed};

type Row = (&'static str, Vec<u8>, &'static str);

/// An entry of that type which has the name of a file and refers to another.
fn of_type(flag: u8) -> Vec<u8> {
    let block = patched(header("status", flag, 0), 157, b"/etc/shadow");
    images().entry(&block, b"").end()
}

fn with_block(block: &Block) -> Vec<u8> {
    images().entry(block, b"").end()
}

/// A header as GNU tar writes it.
fn gnu(flag: u8) -> Block {
    patched(header("status", flag, 0), 257, b"ustar  \0")
}

macro_rules! at {
    ($why:literal) => {
        concat!("the header of `status` at byte 4608 of the archive is refused: ", $why)
    };
}

pub(super) fn archives() -> Vec<Row> {
    let mut damaged = header("status", b'0', 0);
    damaged[0] = b'S';
    let mut unsealed = header("status", b'0', 0);
    unsealed[148..156].fill(0);
    let mut without_magic = header("status", b'0', 0);
    without_magic[257..265].fill(0);
    vec![
        ("a_symbolic_link_is_made", of_type(b'2'), at!("it is a symbolic link, allowed are files and folders")),
        ("a_hard_link_is_made", of_type(b'1'), at!("it is a hard link")),
        ("a_character_device_is_made", of_type(b'3'), at!("it is a character device")),
        ("a_block_device_is_made", of_type(b'4'), at!("it is a block device")),
        ("a_fifo_is_made", of_type(b'6'), at!("it is a FIFO")),
        ("a_contiguous_file_is_taken_for_a_file", of_type(b'7'), at!("it is a contiguous file")),
        ("an_old_header_is_taken_for_a_folder", of_type(0), at!("it is a file of the format before POSIX")),
        ("a_volume_label_is_taken_for_a_file", of_type(b'V'), at!("it is a thing of an unknown type")),
        ("a_second_volume_is_waited_for", of_type(b'M'), at!("it is a thing of an unknown type")),
        ("a_type_beyond_ascii_is_taken_for_a_file", of_type(0xff), at!("it is a thing of an unknown type")),
        ("a_sparse_file_of_gnu_is_unpacked", with_block(&gnu(b'S')), at!("it is a sparse file")),
        (
            "a_sparse_file_of_pax_is_unpacked",
            {
                let records = record("GNU.sparse.major", "1") + &record("GNU.sparse.realsize", "1099511627776");
                images().records(&records).file("checkpoint/pages-2.img", "1\n0\n1\n").end()
            },
            "the pax records at byte 4608 of the archive are refused: the key `GNU.sparse.major` is not allowed",
        ),
        ("a_header_of_gnu_is_read_in_two_ways", with_block(&gnu(b'0')), at!("it has the format of GNU tar")),
        (
            "a_header_without_a_format_is_read",
            with_block(&sealed(without_magic)),
            at!("it is no header of a tar archive"),
        ),
        (
            "a_damaged_header_is_read",
            with_block(&damaged),
            "the header of `Status` at byte 4608 of the archive is refused: its checksum is wrong",
        ),
        ("a_header_without_a_checksum_is_read", with_block(&unsealed), at!("its checksum is wrong")),
        (
            "a_negative_checksum_is_taken",
            {
                let mut block = header("status", b'0', 0);
                block[148..156].copy_from_slice(b"-000001\0");
                with_block(&block)
            },
            at!("its checksum is wrong"),
        ),
        (
            "a_compressed_archive_is_read",
            [&b"\x1f\x8b\x08\0\0\0\0\0\0\xff"[..], &archive()].concat(),
            "the header of `\\u{1f}",
        ),
        (
            "another_file_is_read_as_an_archive",
            "root:x:0:0:root:/root:/bin/bash\n".repeat(100).into_bytes(),
            "the header of `root:x:0:0:root:/root:/bin/bash\\nroot:x",
        ),
    ]
}
