//! Archives that are cut off, have something behind their end, or have too much in them.

use crate::tests::ctrd::{CONFIG, SPEC, archive, images};
use crate::tests::tape::{Tape, header};

type Row = (&'static str, Vec<u8>, &'static str);

fn without_end() -> Vec<u8> {
    let archive = archive();
    archive[..archive.len() - 1024].to_vec()
}

pub(super) fn archives() -> Vec<Row> {
    let archive = archive();
    let many = (0..101).fold(images(), |tape, number| tape.file(&format!("checkpoint/fs-{number}.img"), ""));
    vec![
        ("an_empty_file_is_an_archive", Vec::new(), "the archive is cut off at byte 0: the blocks of zeros"),
        ("zeros_are_an_archive", vec![0; 10_240], "the archive is no checkpoint: `config.dump` is missing"),
        ("a_single_block_of_zeros_is_an_archive", vec![0; 512], "the archive is cut off at byte 512"),
        ("an_archive_is_cut_off_in_a_header", archive[..4_700].to_vec(), "the archive is cut off at byte 4608"),
        (
            "an_archive_is_cut_off_in_a_content",
            archive[..4_300].to_vec(),
            "the archive is cut off: `checkpoint/pages-1.img` has 512 bytes",
        ),
        (
            "an_archive_is_cut_off_in_a_padding",
            archive[..1_100].to_vec(),
            "the archive is cut off: `checkpoint/core-1.img` has 9 bytes, and 76 bytes",
        ),
        ("an_archive_is_cut_off_before_its_end", without_end(), "the archive is cut off at byte"),
        ("half_of_the_end_is_enough", [without_end(), vec![0; 512]].concat(), "the archive is cut off at byte"),
        (
            "an_end_of_a_block_and_a_half_is_enough",
            [without_end(), vec![0; 700]].concat(),
            "the archive is cut off at byte",
        ),
        (
            "an_archive_is_read_up_to_a_block_of_zeros",
            [without_end(), vec![0; 512], Tape::new().file("status", "").end()].concat(),
            "the archive is refused: something follows its end",
        ),
        (
            "a_second_archive_follows",
            [archive.clone(), archive.clone()].concat(),
            "the archive is refused: something follows its end",
        ),
        ("a_byte_follows", [archive.clone(), vec![1]].concat(), "the archive is refused: something follows its end"),
        (
            "something_follows_many_zeros",
            [archive, vec![0; 100_000], b"evil".to_vec()].concat(),
            "the archive is refused: something follows its end",
        ),
        (
            "something_is_hidden_in_a_padding",
            { Tape::new().bytes(&header("status", b'0', 1)).bytes(b" ").bytes(&[b'x'; 511]).end() },
            "the archive is refused: after `status`, the padding is not zeros",
        ),
        (
            "something_is_hidden_in_the_padding_of_records",
            {
                let records = "9 uid=10\n";
                let tape = images().bytes(&header("PaxHeaders.0/x", b'x', 9)).bytes(records.as_bytes());
                tape.bytes(&[b'x'; 503]).file("status", "").end()
            },
            "the archive is refused: after `PaxHeaders.0/x`, the padding is not zeros",
        ),
        (
            "more_entries_than_allowed_are_unpacked",
            many.end(),
            "the archive is refused: it has more than 100 files and folders",
        ),
        (
            "an_archive_without_config_dump_is_kept",
            images().file("spec.dump", SPEC).end(),
            "the archive is no checkpoint: `config.dump` is missing",
        ),
        (
            "an_archive_without_spec_dump_is_kept",
            images().file("config.dump", CONFIG).end(),
            "the archive is no checkpoint: `spec.dump` is missing",
        ),
        (
            "an_archive_without_images_is_kept",
            { Tape::new().folder("checkpoint/").file("config.dump", CONFIG).file("spec.dump", SPEC).end() },
            "the archive is no checkpoint: `checkpoint/inventory.img` is missing",
        ),
    ]
}
