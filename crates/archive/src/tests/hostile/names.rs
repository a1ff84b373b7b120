//! Names that lead elsewhere, hide something, or come twice.

use crate::tests::ctrd::images;
use crate::tests::tape::{Tape, header, patched, record};

type Row = (&'static str, Vec<u8>, &'static str);

/// After the images, so that the folder exists.
fn named(name: &str) -> Vec<u8> {
    images().file(name, "evil").end()
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn archives() -> Vec<Row> {
    let long = "checkpoint/".to_owned() + &"x".repeat(3000);
    let unprefixed = header("evil", b'0', 0);
    vec![
        ("a_name_leads_to_the_folder_above", named("../evil"), "`../evil` is refused: no container runtime"),
        ("an_image_leads_to_the_folder_above", named("checkpoint/../../evil"), "`checkpoint/../../evil` is refused"),
        ("an_image_replaces_a_document", named("checkpoint/../config.dump"), "`checkpoint/../config.dump` is refused"),
        ("dots_are_hidden_behind_a_dot", named("./../evil"), "`./../evil` is refused"),
        ("dots_are_hidden_in_the_middle", named("checkpoint/./../evil"), "`checkpoint/./../evil` is refused"),
        ("a_name_is_dots_alone", named(".."), "`..` is refused"),
        ("a_name_is_a_dot_alone", named("."), "`.` is refused"),
        ("a_name_is_absolute", named("/etc/passwd"), "`/etc/passwd` is refused"),
        ("an_image_is_absolute", named("checkpoint//etc/passwd"), "`checkpoint//etc/passwd` is refused"),
        ("a_name_has_backslashes", named("checkpoint/..\\evil"), "`checkpoint/..\\\\evil` is refused"),
        ("a_name_is_empty", named(""), "the header of `` at byte"),
        ("a_name_goes_on_behind_a_nul", named("status\0/../../evil"), "the header of `status` at byte"),
        ("a_name_has_a_control_character", named("checkpoint/a\x1b[2J"), "the header of `checkpoint/a\\u{1b}[2J`"),
        ("a_name_is_no_ascii", named("checkpoint/é"), "the header of `checkpoint/é` at byte"),
        ("a_name_looks_like_an_option", named("checkpoint/--version"), "`checkpoint/--version` is refused"),
        ("a_name_is_hidden", named("checkpoint/.evil"), "`checkpoint/.evil` is refused"),
        ("a_name_is_of_another_folder", named("evil/core-1.img"), "`evil/core-1.img` is refused"),
        ("a_folder_is_within_the_images", images().folder("checkpoint/evil/").end(), "`checkpoint/evil/` is refused"),
        ("a_whiteout_deletes_a_file", named("checkpoint/.wh.core-1.img"), "`checkpoint/.wh.core-1.img` is refused"),
        (
            "a_name_is_long_by_its_prefix",
            {
                let block = patched(unprefixed, 345, b"checkpoint/..");
                images().entry(&block, b"").end()
            },
            "the header of `evil` at byte 4608 of the archive is refused: its name is longer than 100 bytes",
        ),
        (
            "a_name_is_long_by_gnu_tar",
            {
                let tape = images().entry(&header("././@LongLink", b'L', long.len() as u64), long.as_bytes());
                tape.file("checkpoint/x", "").end()
            },
            "the header of `././@LongLink` at byte 4608 of the archive is refused: it is a long name of GNU tar",
        ),
        (
            "a_link_is_long_by_gnu_tar",
            {
                images()
                    .entry(&header("././@LongLink", b'K', long.len() as u64), long.as_bytes())
                    .file("status", "")
                    .end()
            },
            "the header of `././@LongLink` at byte 4608 of the archive is refused: it is a long name of GNU tar",
        ),
        (
            "a_name_is_long_by_pax",
            { images().records(&record("path", &long)).file("checkpoint/x", "").end() },
            "the pax records at byte 4608 of the archive are refused: the key `path` is not allowed",
        ),
        (
            "a_name_is_replaced_by_pax",
            { images().records(&record("path", "../evil")).file("status", "").end() },
            "the pax records at byte 4608 of the archive are refused: the key `path` is not allowed",
        ),
        (
            "a_name_is_replaced_for_all_entries",
            {
                let records = record("path", "../evil");
                images().entry(&header("pax", b'g', records.len() as u64), records.as_bytes()).file("status", "").end()
            },
            "the header of `pax` at byte 4608 of the archive is refused: it is a list of records for all entries",
        ),
        (
            "a_file_comes_twice",
            images().file("status", "1").file("status", "2").end(),
            "`status` is refused: the archive contains it twice",
        ),
        (
            "an_image_comes_twice",
            images().file("checkpoint/core-1.img", "2").end(),
            "`checkpoint/core-1.img` is refused: the archive contains it twice",
        ),
        (
            "a_file_comes_twice_by_a_dot",
            images().file("status", "1").file("./status", "2").end(),
            "`./status` is refused: no",
        ),
        (
            "a_file_comes_twice_by_a_slash",
            images().file("checkpoint//core-1.img", "2").end(),
            "`checkpoint//core-1.img` is refused: no",
        ),
        ("a_file_comes_twice_by_its_case", images().file("Status", "2").end(), "`Status` is refused: no"),
        (
            "the_folder_comes_twice",
            images().folder("checkpoint/").end(),
            "`checkpoint/` is refused: the archive contains it twice",
        ),
        (
            "an_image_comes_before_its_folder",
            Tape::new().file("checkpoint/core-1.img", "").end(),
            "`checkpoint/core-1.img` is refused: it comes before",
        ),
        ("a_file_replaces_the_folder", Tape::new().file("checkpoint", "").end(), "`checkpoint` is refused: no"),
        (
            "a_file_has_the_name_of_the_folder",
            Tape::new().file("checkpoint/", "").end(),
            "`checkpoint/` is refused: it has the name of a file and the type of a folder, or the reverse",
        ),
        (
            "a_folder_replaces_a_file",
            images().folder("config.dump").end(),
            "`config.dump` is refused: it has the name of a file and",
        ),
        ("a_folder_has_the_name_of_a_file", images().folder("config.dump/").end(), "`config.dump/` is refused: no"),
        (
            "a_folder_replaces_an_image",
            images().folder("checkpoint/core-2.img").end(),
            "`checkpoint/core-2.img` is refused: it has the name",
        ),
    ]
}
