//! `.ci/advisories`, which `make audit` runs, on a repository and a database made up for it: what is a failure, and what is not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A repository with one Go module and one Python package, and the folder of its databases.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository
            .write("lab/go.mod", "module a\n\ngo 1.26.0\n\nrequire (\n\texample.com/shim v1.4.0 // indirect\n)\n");
        repository.write("requirements.txt", "Some_Package==2.0 \\\n    --hash=sha256:00\n");
        repository.database("PyPI", &[]);
        let made = Command::new("git").args(["init", "--quiet"]).arg(repository.0.path()).status().unwrap();
        assert!(made.success());
        repository
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes the archive of an ecosystem. It is new, so it is not downloaded.
    fn database(&self, ecosystem: &str, advisories: &[Value]) {
        let folder = self.0.path().join("databases");
        fs::create_dir_all(folder.join("json")).unwrap();
        let mut zip = Command::new("python3");
        zip.current_dir(&folder).args(["-m", "zipfile", "-c", &format!("{ecosystem}.zip")]);
        fs::write(folder.join("json/index.json"), "[]").unwrap();
        zip.arg("json/index.json");
        for advisory in advisories {
            let file = format!("json/{}.json", advisory["id"].as_str().unwrap());
            fs::write(folder.join(&file), advisory.to_string()).unwrap();
            zip.arg(file);
        }
        assert!(zip.status().unwrap().success());
    }

    /// Whether the check passes, and what it prints.
    fn check(&self) -> (bool, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/advisories");
        let output = Command::new(script).arg(self.0.path().join("databases")).arg(self.0.path()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    /// Whether the Go module fails with an advisory for these events.
    fn fails_with(&self, events: &Value) -> bool {
        self.database("Go", &[advisory("GO-1", "Go", "example.com/shim", events)]);
        let (passes, printed) = self.check();
        assert_eq!(!passes, printed.contains("error: GO-1: example.com/shim v1.4.0 (lab/go.mod)"), "{printed}");
        !passes
    }
}

fn advisory(id: &str, ecosystem: &str, package: &str, events: &Value) -> Value {
    json!({"id": id, "summary": "It falls over", "affected": [{
        "package": {"ecosystem": ecosystem, "name": package},
        "ranges": [{"type": "SEMVER", "events": events}],
    }]})
}

#[test]
fn an_advisory_for_the_locked_version_is_a_failure() {
    let repository = Repository::new();
    assert!(repository.fails_with(&json!([{"introduced": "0"}])));
    assert!(repository.fails_with(&json!([{"introduced": "0"}, {"fixed": "1.4.1"}])));
    assert!(repository.fails_with(&json!([{"introduced": "1.4.0"}, {"last_affected": "1.4.0"}])));
    assert!(repository.fails_with(&json!([{"introduced": "0"}, {"fixed": "1.3.0"}, {"introduced": "1.4.0-rc.1"}])));
}

#[test]
fn an_advisory_for_other_versions_is_no_failure() {
    let repository = Repository::new();
    assert!(!repository.fails_with(&json!([{"introduced": "0"}, {"fixed": "1.4.0"}])));
    assert!(!repository.fails_with(&json!([{"introduced": "1.10.0"}])));
    assert!(!repository.fails_with(&json!([{"introduced": "0"}, {"last_affected": "1.3.9"}])));
}

#[test]
fn a_python_package_is_found_whatever_the_spelling_of_its_name() {
    let repository = Repository::new();
    repository.database("Go", &[]);
    repository.database(
        "PyPI",
        &[advisory("PYSEC-1", "PyPI", "some-package", &json!([{"introduced": "0"}, {"fixed": "2.0.post1"}]))],
    );
    let (passes, printed) = repository.check();
    assert!(!passes && printed.contains("error: PYSEC-1: some-package 2.0 (requirements.txt)"), "{printed}");
}

#[test]
fn an_ignored_advisory_is_no_failure_and_needs_a_reason() {
    let repository = Repository::new();
    repository.write(".ci/advisories-ignored", "lab/go.mod: Nothing calls it.\n    GO-1\n");
    repository.database("Go", &[advisory("GO-1", "Go", "example.com/shim", &json!([{"introduced": "0"}]))]);
    assert!(repository.check().0);
    // It is ignored for the file that the entry names alone.
    repository.write("other/go.mod", "require example.com/shim v1.4.0\n");
    let (passes, printed) = repository.check();
    assert!(!passes && printed.contains("(other/go.mod)"), "{printed}");
    repository.write(".ci/advisories-ignored", "lab/go.mod:\n    GO-1\n");
    assert!(!repository.check().0);
}
