//! `.ci/check-imports`, which `make lint` runs, on a repository made up for it: what it refuses, and what it accepts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A repository of two packages: `upper` may depend on `lower`.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.write("Cargo.toml", "[workspace]\nmembers = [\"lower\", \"upper\"]\nresolver = \"3\"\n");
        repository.write(".ci/layers", "# package: may depend on\nlower:\nupper: lower\n");
        repository.package("lower", "");
        repository.package("upper", "[dependencies]\nsnapwatcher-lower = { path = \"../lower\" }\n");
        repository
    }

    fn package(&self, name: &str, dependencies: &str) {
        let head = format!("[package]\nname = \"snapwatcher-{name}\"\nedition = \"2024\"\n");
        self.write(&format!("{name}/Cargo.toml"), &format!("{head}{dependencies}"));
        self.write(&format!("{name}/src/lib.rs"), "mod a;\nmod b;\n");
        self.write(&format!("{name}/src/a.rs"), "pub struct A;\n");
        self.write(&format!("{name}/src/b.rs"), "pub struct B(super::a::A);\n");
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Whether the check passes, and what it prints.
    fn check(&self) -> (bool, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/check-imports");
        let output = Command::new(script).arg(self.0.path()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    fn passes(&self, case: &str) {
        assert_eq!(self.check(), (true, String::new()), "{case}");
    }

    /// Fails with these lines and no others.
    fn fails(&self, case: &str, lines: &[&str]) {
        let expected = lines.iter().map(|line| format!("error: {line}\n")).collect::<Vec<_>>().concat();
        assert_eq!(self.check(), (false, expected), "{case}");
    }
}

#[test]
fn a_dependency_that_the_table_does_not_allow_is_refused() {
    let repository = Repository::new();
    repository.passes("upper depends on lower");

    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        repository.package("upper", "");
        repository.package("lower", &format!("[{section}]\nsnapwatcher-upper = {{ path = \"../upper\" }}\n"));
        let line = format!("package `lower` depends on `upper` in [{section}], which .ci/layers does not allow");
        repository.fails(section, &[&line]);
    }

    repository.write(".ci/layers", "lower: | upper\nupper:\n");
    repository.fails(
        "allowed for tests alone",
        &["package `lower` depends on `upper` in [build-dependencies], which .ci/layers does not allow"],
    );
    repository.package("lower", "[dev-dependencies]\nsnapwatcher-upper = { path = \"../upper\" }\n");
    repository.passes("a dependency of tests");
}

#[test]
fn each_package_has_a_row_and_each_row_a_package() {
    let repository = Repository::new();
    repository.write(".ci/layers", "upper: lower\nmiddle:\n");
    repository.fails(
        "lower is missing, middle is too much",
        &[
            "package `lower` has no row in .ci/layers: add one that says what it may depend on",
            "the row `middle` in .ci/layers has no package: remove it",
        ],
    );
}

#[test]
fn two_files_that_import_each_other_are_refused() {
    for (case, a, b, [of_a, of_b]) in [
        (
            "by use",
            "use crate::b::B;\npub struct A(B);",
            "use crate::a::A;\npub struct B(A);",
            ["crate::b::B", "crate::a::A"],
        ),
        ("by paths", "pub struct A(super::b::B);", "pub struct B(super::a::A);", ["super::b::B", "super::a::A"]),
        (
            "by a list and a function",
            "use super::{b::{B, self as other}};\npub struct A(B, other::C);\npub fn run() {}",
            "pub struct B;\npub struct C;\nfn f() { crate::a::run() }",
            ["other::C", "crate::a::run"],
        ),
        (
            "in tests",
            "pub struct A(super::b::B);",
            "pub struct B;\n#[cfg(test)]\nmod tests {\n    use super::super::a::A;\n    use super::*;\n}",
            ["super::b::B", "super::super::a::A"],
        ),
    ] {
        let repository = Repository::new();
        repository.write("lower/src/a.rs", a);
        repository.write("lower/src/b.rs", b);
        let line = format!(
            "lower/src/a.rs and lower/src/b.rs import each other: `{of_a}` in the first, `{of_b}` in the second"
        );
        repository.fails(case, &[&line]);
    }
}

#[test]
fn a_name_that_is_passed_on_counts_for_the_file_that_defines_it() {
    let repository = Repository::new();
    let b = "use super::A;\npub(crate) struct B(A);";
    repository.write("lower/src/b.rs", b);
    repository.write(
        "lower/src/lib.rs",
        "mod a;\nmod b;\npub use a::A;\npub(crate) use b::B;\n// B\nconst TEXT: &str = \"B\";",
    );
    repository.passes("the parent only passes B and A on");

    repository.write("lower/src/lib.rs", "mod a;\nmod b;\npub use a::A;\nfn f(_: b::B) {}");
    repository.passes("the parent uses B, and passes A on");

    repository.write("lower/src/lib.rs", "mod b;\nuse b::B;\npub struct A;\nfn f(_: B) {}");
    repository.fails(
        "the parent uses B and defines A",
        &["lower/src/b.rs and lower/src/lib.rs import each other: `super::A` in the first, `b::B` in the second"],
    );
}
