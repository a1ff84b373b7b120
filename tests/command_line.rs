//! The program as a person starts it: what it prints, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use lab::Access;

const SNAPWATCHER: &str = env!("CARGO_BIN_EXE_snapwatcher");

/// How a program ended and what it printed.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program with nothing of the caller's environment, until it ends by itself.
fn snapwatcher(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(SNAPWATCHER);
    command.args(arguments).env_clear().envs(variables.iter().copied());
    finished(&mut command, "")
}

fn finished(command: &mut Command, input: &str) -> Ended {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Refused: exit code 2, nothing on stdout, one line on stderr with all these words.
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is missing: {}", ended.stderr);
    }
}

#[test]
fn a_wrong_flag_is_refused_in_one_line_that_names_it() {
    for (arguments, words) in [
        (vec!["--no-such-flag"], vec!["--no-such-flag"]),
        (vec!["fly"], vec!["fly"]),
        (vec!["--log-level", "LOUD"], vec!["--log-level", "LOUD", "DEBUG", "INFO", "WARNING", "ERROR"]),
        (vec!["--log-format", "xml"], vec!["--log-format", "xml", "text", "json"]),
        (vec!["--webhook-listen", "nowhere"], vec!["--webhook-listen", "nowhere"]),
        (vec!["--admin-listen", "127.0.0.1:99999"], vec!["--admin-listen", "127.0.0.1:99999"]),
        (vec!["--validation", "maybe"], vec!["--validation", "maybe", "warn", "deny", "off"]),
        (vec!["--backend", "unknown"], vec!["--backend", "unknown", "snaphook", "log"]),
        (vec!["--snap-back-api-url", "ftp://snap"], vec!["--snap-back-api-url", "ftp", "http", "https"]),
        (vec!["--snap-back-api-contract", "v7"], vec!["--snap-back-api-contract", "v7", "kubelet-checkpoint"]),
        (vec!["--snap-back-api-contract", "snapapi-kubelet"], vec!["--cluster-name"]),
        (vec!["--kube-api-address", "not a url"], vec!["--kube-api-address", "not a url"]),
        (vec!["--request-timeout", "soon"], vec!["--request-timeout", "soon", "30s"]),
        (vec!["--response-timeout=0"], vec!["--response-timeout", "more than 0s", "1h"]),
        (vec!["--namespaces", "shop,Wrong_Name"], vec!["--namespaces", "Wrong_Name"]),
        (vec!["--mutating-webhook-configuration", "UPPER"], vec!["--mutating-webhook-configuration", "UPPER"]),
        (vec!["--tls-cert", "cert.pem"], vec!["--tls-key"]),
        (vec!["run", "--webhook-listen"], vec!["--webhook-listen"]),
        (vec!["crd", "--log-level", "INFO"], vec!["--log-level"]),
    ] {
        assert_refused(&snapwatcher(&arguments, &[]), &words);
    }
}

#[test]
fn a_wrong_variable_is_refused_in_one_line_that_names_its_flag() {
    for (variable, value, words) in [
        ("LOG_LEVEL", "LOUD", vec!["--log-level", "LOUD", "WARNING"]),
        ("SNAP_BACK_API_URL", "snap-back-api:80", vec!["--snap-back-api-url", "http"]),
        ("KUBE_API_ADDRESS", "kubernetes", vec!["--kube-api-address", "kubernetes"]),
        ("SNAPWATCHER_REQUEST_TIMEOUT", "5 minutes or so", vec!["--request-timeout", "5 minutes or so"]),
        ("SNAPWATCHER_WEBHOOK_LISTEN", "8443", vec!["--webhook-listen", "8443"]),
        ("SNAPWATCHER_NAMESPACES", "a,b c", vec!["--namespaces", "b c"]),
        ("SNAPWATCHER_VALIDATION", "strict", vec!["--validation", "strict", "deny"]),
    ] {
        assert_refused(&snapwatcher(&[], &[(variable, value)]), &words);
    }
}

#[test]
fn a_refusal_does_not_repeat_a_password() {
    let ended = snapwatcher(&["--snap-back-api-url", "ftp://snap:hunter2@back-api"], &[]);
    assert_refused(&ended, &["--snap-back-api-url"]);
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn help_and_version_are_printed_and_all_is_well() {
    let version = concat!("snapwatcher ", env!("CARGO_PKG_VERSION"), "\n");
    for flag in ["--version", "-V"] {
        let ended = snapwatcher(&[flag], &[]);
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), version, ""), "{flag}");
    }
    for (arguments, words) in [
        (vec!["--help"], "crd"),
        (vec!["-h"], "run"),
        (vec!["run", "--help"], "SNAP_BACK_API_URL"),
        (vec!["help", "crd"], "kubectl apply"),
    ] {
        let ended = snapwatcher(&arguments, &[("LOG_LEVEL", "LOUD")]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(ended.stdout.contains(words), "{arguments:?}: {}", ended.stdout);
    }
}

#[test]
fn each_shell_gets_a_completion_script_that_knows_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = snapwatcher(&["completion", shell], &[]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{shell}");
        for word in ["check", "completion", "unknown-result", "dry-run-pod"] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
        for hidden in ["longest-wait", "man"] {
            let is_offered = ended.stdout.split(|letter: char| letter != '-' && !letter.is_alphanumeric());
            assert!(!is_offered.into_iter().any(|word| word.trim_start_matches('-') == hidden), "{shell}: {hidden}");
        }
    }
    assert_refused(&snapwatcher(&["completion", "tcsh"], &[]), &["tcsh", "bash", "zsh", "fish"]);
}

/// bash itself completes a flag by the script.
#[test]
fn bash_completes_by_the_script() {
    let script = "source <(\"$0\" completion bash); COMP_WORDS=(snapwatcher run --unknown); COMP_CWORD=2; \
                  _snapwatcher snapwatcher --unknown run; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["-c", script, SNAPWATCHER]);
    let ended = finished(&mut bash, "");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "--unknown-result\n"), "{ended:?}");
}

#[test]
fn man_pages_are_written_for_the_program_and_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let ended = snapwatcher(&["man", pages.to_str().unwrap()], &[]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
    let written = std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let expected = ["", "-agent", "-certs", "-certs-rotate", "-check", "-completion", "-crd", "-run"];
    let expected = expected.map(|command| format!("snapwatcher{command}.1"));
    assert_eq!(written.collect::<BTreeSet<_>>(), expected.into());
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    let run = page("snapwatcher-run.1");
    assert!(run.contains(".TH snapwatcher-run 1") && run.contains("SNAPWATCHER_BACKEND"), "{run}");
    assert!(run.contains("unknown\\-result") && !run.contains("longest\\-wait"), "{run}");
    assert!(page("snapwatcher.1").contains("snapwatcher\\-check(1)"), "{}", page("snapwatcher.1"));

    let ended = snapwatcher(&["man", "/proc/no-such-folder"], &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("/proc/no-such-folder") && ended.stderr.lines().count() == 1, "{ended:?}");
}

#[test]
fn a_port_in_use_ends_the_program_with_a_last_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other, purpose) in [
        ("--webhook-listen", "--admin-listen", "admission reviews"),
        ("--admin-listen", "--webhook-listen", "the admin port"),
    ] {
        // On the way: Python's names of levels are taken, in any case, and none of them hides an error.
        for level in ["INFO", "warning", "Critical"] {
            let ended = snapwatcher(&[flag, &address, other, "127.0.0.1:0"], &[("LOG_LEVEL", level)]);
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
            let last = ended.stderr.lines().last().unwrap();
            assert!(last.contains(&address) && last.contains(purpose) && last.contains("in use"), "{ended:?}");
        }
    }
}

#[test]
fn a_kubeconfig_that_does_not_exist_ends_the_program_with_its_name() {
    let ended = snapwatcher(
        &["--webhook-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
        &[("KUBECONFIG", "/does/not/exist")],
    );
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.lines().last().unwrap().contains("/does/not/exist"), "{ended:?}");
}

#[test]
fn the_definitions_of_the_resources_are_ones_that_kubectl_takes() {
    let printed = snapwatcher(&["crd"], &[]);
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    let access = Access::attach().unwrap();
    let mut apply = Command::new(access.kubectl());
    apply.arg("--kubeconfig").arg(access.kubeconfig());
    apply.args(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"]);
    let applied = finished(&mut apply, &printed.stdout);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    for name in ["checkpoints.snap.weaversoft.io", "snapshots.snap.weaversoft.io"] {
        assert!(applied.stdout.contains(name), "{applied:?}");
    }
    assert!(!applied.stderr.to_lowercase().contains("warning"), "{applied:?}");
}

/// They come from .cargo/config.toml, which a build in another folder, such as that of the image, does not read by itself.
#[test]
fn the_options_of_the_allocator_are_built_in() {
    let program = std::fs::read(SNAPWATCHER).unwrap();
    let options = b"narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0,tcache_nslots_small_max:20";
    assert!(program.windows(options.len()).any(|bytes| bytes == options));
}
