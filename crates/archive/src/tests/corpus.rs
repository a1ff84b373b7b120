//! The corpus of the fuzzer: each file of it is judged. Hostile archives that are small become a part of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{crio, ctrd, hostile};
use crate::judge::judge;

/// With this variable set the archives of the tests are written into the corpus.
const UPDATE: &str = "UPDATE_CORPUS";

/// The longest file of the corpus in bytes, as in `make fuzz`.
const LONGEST: usize = 32 << 10;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name)
}

/// The files of a folder by their names.
fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())).collect()
}

#[test]
fn the_corpus_has_the_archives_of_the_tests() {
    let hostile = hostile::archives().into_iter().map(|hostile| (hostile.name.to_owned(), hostile.bytes));
    let good = [("of_containerd".to_owned(), ctrd::archive()), ("of_crio".to_owned(), crio::archive())];
    let expected: BTreeMap<_, _> = hostile.chain(good).filter(|(_, bytes)| bytes.len() <= LONGEST).collect();
    let folder = corpus("archive");
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(&folder).unwrap();
        for name in files_of(&folder).keys() {
            fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, bytes) in &expected {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    assert!(files_of(&folder) == expected, "{UPDATE}=1 cargo test -p snapwatcher-archive corpus");
}

#[test]
fn each_file_of_the_corpus_is_judged() {
    let mut archives = 0;
    for folder in ["archive", "archive-found"] {
        let files = files_of(&corpus(folder));
        assert!(!files.is_empty(), "{folder}");
        archives += files.values().filter(|bytes| judge(bytes)).count();
    }
    assert!(archives >= 2, "{archives}");
}
