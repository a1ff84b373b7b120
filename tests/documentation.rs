//! The documentation agrees with the program. docs/configuration.md, docs/metrics.md and the drawing in docs/architecture.md are
//! generated, and the rows and paths in README.md are compared with the program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use axum::body::{Body, to_bytes};
use axum::http::Request;
use clap::Arg;
use snapwatcher::cli;
use snapwatcher_admission::AdmissionMetrics;
use snapwatcher_agent::AgentMetrics;
use snapwatcher_backends::metrics::BackendMetrics;
use snapwatcher_certificates::{BundleState, CertificateMetrics, ConfigurationKind};
use snapwatcher_controller::{CheckpointMetrics, PODS, PodsPage, WatchMetrics};
use snapwatcher_daemon::admin::{AdminState, Gate, HEALTHZ, Health, LIVEZ, METRICS, READYZ, router};
use snapwatcher_daemon::telemetry::metrics::registry;
use snapwatcher_https::HttpsMetrics;
use snapwatcher_kubernetes::events;
use snapwatcher_snapshots::SnapshotMetrics;
use snapwatcher_state::PodTimelines;
use tower::ServiceExt;

/// With this variable set the generated pages are written instead of compared.
const UPDATE: &str = "UPDATE_DOCS";

const CONFIGURATION_HEAD: &str = "\
# Configuration

Each setting is a flag of `snapwatcher run` and an environment variable. If both are set, the flag is used. Durations are
written `30s`, `2m` or `1h30m` (units h, m, s, ms); a number without a unit is seconds. If a value is wrong, the program ends
with exit code 2 and one line that names the flag, the value and what is allowed.

In the chart, most settings are [values](../charts/snapwatcher/README.md#values). Set one that is no value by the value `args`, for example
`args: [--revision-labels=example.com/revision]`, or its variable by the value `env`.

This page is generated from the program by `UPDATE_DOCS=1 cargo test --test documentation`.

## The API server and its proxy

SnapWatcher finds the API server through `KUBECONFIG` or `~/.kube/config`, else through the service account of its pod. It connects to the API
server through a proxy (http, https or socks5) if one is set, and always directly to SnapHook and the kubelets. The proxy is

1. the `proxy-url` of the kubeconfig, else
2. that of `HTTPS_PROXY` if the URL of the API server begins with `https`, or of `HTTP_PROXY` if it begins with `http`. It is not used if
   `NO_PROXY` names the API server, or if the API server is on this machine, as with kubectl.

`NO_PROXY` is a list of addresses, ranges (`10.96.0.0/12`) and domains, separated by commas, or `*`, as for programs in Go. In a pod, the API
server has the address in `KUBERNETES_SERVICE_HOST` and no name, so that `.svc` does not match it. Name this address, or the range of the
Services. In the chart, set the variables by `env`:

```yaml
env:
- {name: NO_PROXY, value: '10.96.0.0/12,.svc'}
```

If SnapWatcher uses a proxy and `networkPolicy.egress` is enabled, add the port of the proxy to `networkPolicy.egress.apiServerPorts`, and its
address to `networkPolicy.egress.apiServerTo` if that is set.
";

const METRICS_HEAD: &str = "\
# Metrics

`GET /metrics` on the admin port responds with these metrics as OpenMetrics text. Durations and timestamps are in seconds;
timestamps count from 1970. No label holds the name of an object, so the number of series does not grow with the cluster.
Counters start at 0.

What to do when a metric rises: [troubleshooting.md](troubleshooting.md). Some queries for Prometheus:

| to see | query |
| --- | --- |
| results of attempts, a second | `sum by (outcome) (rate(snapwatcher_checkpoint_attempts_total[5m]))` |
| 99th percentile of admission, in seconds | `histogram_quantile(0.99, sum by (le) (rate(snapwatcher_admission_duration_seconds_bucket[5m])))` |
| pods that the webhook missed in an hour | `increase(snapwatcher_watch_missed_mutations_total[1h])` |
| days until the serving certificate expires | `(snapwatcher_certificate_serving_expiration_timestamp_seconds - time()) / 86400` |

The labels have these values:

| label | values |
| --- | --- |
| `decision` | of the webhook `mutate`: `patched`, `left` (not changed); of `validate`: `passed`, `warned`, `denied` |
| `outcome` | `Succeeded`, or the reason of an attempt that failed: [Pending](troubleshooting.md#phase-is-pending), [Failed and Unknown](troubleshooting.md#phase-is-failed-or-unknown) |
| `result` of claims | `created`; `existing`: there is a Checkpoint already; `ineligible`: the pod is not eligible any more, or its namespace is being deleted; `failed`: any other error |
| `result` of patches | `applied`, `failed` |
| `reason` of Checkpoints not attempted | a reason of [Failed](troubleshooting.md#phase-is-failed-or-unknown), or `NotReady` |
| `reason` of lost Events | [Events](troubleshooting.md#events) |
| `reason` of handshakes | [TLS handshakes fail](troubleshooting.md#tls-handshakes-fail) |
| `status` | [Requests get an HTTP error](troubleshooting.md#requests-get-an-http-error) |
| `step` | [The steps of a rotation](certificates.md#the-steps-of-a-rotation) |
| `configuration` | `mutating`, `validating` |
| `name` | [Health checks](troubleshooting.md#health-checks) |

This page is generated from the program by `UPDATE_DOCS=1 cargo test --test documentation`.
";

const CHECK_HEAD: &str = "
## `snapwatcher check`

`snapwatcher check` takes the flags and environment variables of `run`, and tests those settings. Two more flags have no
environment variable. What it tests: [troubleshooting.md](troubleshooting.md#snapwatcher-check).

| flag | default | meaning |
| --- | --- | --- |
";

const AGENT_HEAD: &str = "
## `snapwatcher agent`

The agent of a node takes the flags of `run` about the log, the watch, the registry and the admin port, and these:

| flag | variable | default | meaning |
| --- | --- | --- | --- |
";

/// The names of a flag, and its default.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    flag: String,
    variable: String,
    default: String,
}

impl Setting {
    fn of(flag: &Arg) -> Self {
        let code = |text: String| if text.is_empty() { text } else { format!("`{text}`") };
        let default: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        Self {
            flag: code(format!("--{}", flag.get_long().unwrap_or_default())),
            variable: code(flag.get_env().unwrap_or_default().to_string_lossy().into_owned()),
            default: code(default.join(",")),
        }
    }
}

/// The flags of `run` that help shows, in its order.
fn flags() -> Vec<Arg> {
    flags_of("run")
}

fn flags_of(name: &str) -> Vec<Arg> {
    let command = cli::commands();
    let command = command.find_subcommand(name).unwrap();
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set() && flag.get_long() != Some("help"));
    shown.cloned().collect()
}

/// The help text of a flag, with its possible values.
fn meaning(flag: &Arg) -> String {
    let mut meaning = flag.get_long_help().or(flag.get_help()).unwrap().to_string().replace('\n', " ");
    let values: Vec<_> = flag.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if !values.iter().all(|value| meaning.contains(value)) {
        write!(meaning, ". Values: {}", values.join(", ")).unwrap();
    }
    meaning
}

fn configuration() -> String {
    let mut page = CONFIGURATION_HEAD.to_owned();
    let mut heading = String::new();
    for flag in flags() {
        let of_flag = flag.get_help_heading().unwrap_or("Options");
        if heading != of_flag {
            of_flag.clone_into(&mut heading);
            write!(page, "\n## {heading}\n\n| flag | variable | default | meaning |\n| --- | --- | --- | --- |\n")
                .unwrap();
        }
        let Setting { flag: name, variable, default } = Setting::of(&flag);
        writeln!(page, "| {name} | {variable} | {default} | {} |", meaning(&flag)).unwrap();
    }
    page.push_str(CHECK_HEAD);
    let known: Vec<Setting> = flags().iter().map(Setting::of).collect();
    for flag in flags_of("check") {
        let setting = Setting::of(&flag);
        if !known.contains(&setting) {
            let short = flag.get_short().map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
            writeln!(page, "| {short}{} | {} | {} |", setting.flag, setting.default, meaning(&flag)).unwrap();
        }
    }
    page.push_str(AGENT_HEAD);
    for flag in flags_of("agent") {
        let Setting { flag: name, variable, default } = Setting::of(&flag);
        if !known.iter().any(|setting| setting.flag == name) {
            writeln!(page, "| {name} | {variable} | {default} | {} |", meaning(&flag)).unwrap();
        }
    }
    page
}

/// The text of all metrics of the program, registered as `run` and `agent` do.
async fn every_metric() -> String {
    let mut registry = registry();
    // A configuration has its series once it was looked at.
    CertificateMetrics::register(&mut registry).bundle_state(ConfigurationKind::Mutating, &BundleState::Missing);
    drop(AdmissionMetrics::register(&mut registry));
    drop(HttpsMetrics::register(&mut registry));
    drop(WatchMetrics::register(&mut registry));
    drop(CheckpointMetrics::register(&mut registry));
    drop(BackendMetrics::register(&mut registry));
    drop(events::EventMetrics::register(&mut registry));
    drop(SnapshotMetrics::register(&mut registry));
    drop(AgentMetrics::register(&mut registry));
    let mut health = Health::new();
    drop(health.check("serving-certificate", Gate::Readiness));
    let (_, leader) = tokio::sync::watch::channel(None);
    let timelines = PodTimelines::new();
    timelines.register(&mut registry);
    let timelines = PodsPage { timelines, leader, is_suspended: false };
    let router = router(AdminState::new(health, registry), vec![timelines.page()]);
    let answer = router.oneshot(Request::get(METRICS).body(Body::empty()).unwrap()).await.unwrap();
    let text = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}

/// The page for the text of all metrics.
fn metrics(text: &str) -> String {
    let types: BTreeMap<_, _> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    // The labels of each metric, without the bounds of histograms.
    let mut labels: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let series = sample.rsplit_once(' ').unwrap().0;
        let (name, pairs) = series.split_once('{').unwrap_or((series, ""));
        let suffixes = ["_total", "_info", "_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        let metric = suffixes.chain([name]).find(|metric| types.contains_key(metric)).unwrap();
        let keys = pairs.trim_end_matches('}').split(',').filter_map(|pair| Some(pair.split_once('=')?.0));
        labels.entry(metric).or_default().extend(keys.filter(|key| *key != "le").map(|key| format!("`{key}`")));
    }
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let mut rows: Vec<String> = Vec::new();
    for (name, help) in helps {
        let suffix = match types[name] {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let keys = labels[name].iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        rows.push(format!("| `{name}{suffix}` | {} | {keys} | {} |\n", types[name], help.trim_end_matches('.')));
    }
    rows.sort();
    format!("{METRICS_HEAD}\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n{}", rows.concat())
}

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a generated page with what is in the repository, or writes it there.
fn agrees(name: &str, expected: &str) {
    if std::env::var_os(UPDATE).is_some() {
        fs::write(page(name), expected).unwrap();
    }
    let written = fs::read_to_string(page(name)).unwrap_or_default();
    assert!(written == expected, "{name} is out of date; write it anew: {UPDATE}=1 cargo test --test documentation");
}

#[test]
fn the_page_of_settings_is_that_of_the_program() {
    agrees("docs/configuration.md", &configuration());
}

#[tokio::test]
async fn the_page_of_metrics_is_that_of_the_program() {
    agrees("docs/metrics.md", &metrics(&every_metric().await));
}

/// The table of allowed dependencies as a drawing: an arrow from each crate to each crate that it may import.
fn drawing_of_imports(layers: &str) -> String {
    let mut drawing = String::from("```mermaid\nflowchart TD\n");
    for row in layers.lines().filter(|row| !row.starts_with('#')) {
        let (package, allowed) = row.split_once(':').unwrap();
        if page(&format!("crates/{package}")).exists() {
            for other in allowed.split('|').next().unwrap().split_whitespace() {
                writeln!(drawing, "    {package} --> {other}").unwrap();
            }
        }
    }
    drawing + "```"
}

#[test]
fn the_drawing_of_imports_is_that_of_the_table() {
    let name = "docs/architecture.md";
    let text = fs::read_to_string(page(name)).unwrap();
    let start = text.find("```mermaid\n").unwrap();
    let end = start + 3 + text[start + 3..].find("```").unwrap() + 3;
    let drawing = drawing_of_imports(&fs::read_to_string(page(".ci/layers")).unwrap());
    agrees(name, &format!("{}{drawing}{}", &text[..start], &text[end..]));
}

#[test]
fn the_settings_in_the_readme_are_those_of_the_program() {
    let readme = fs::read_to_string(page("README.md")).unwrap();
    let known: Vec<Setting> = flags().iter().map(Setting::of).collect();
    let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `--")).collect();
    assert!(!rows.is_empty(), "README.md has a table of settings");
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let setting = Setting { flag: cells[1].into(), variable: cells[2].into(), default: cells[3].into() };
        assert!(known.contains(&setting), "{row}: the program has no such setting with that variable and default");
    }
}

#[test]
fn the_readme_names_every_path_of_the_admin_port() {
    let readme = fs::read_to_string(page("README.md")).unwrap();
    for path in [HEALTHZ, LIVEZ, READYZ, METRICS, PODS] {
        assert!(readme.contains(&format!("`{path}`")), "README.md names {path}");
    }
}

#[test]
fn the_page_of_troubleshooting_names_every_reason_of_an_event() {
    let troubleshooting = fs::read_to_string(page("docs/troubleshooting.md")).unwrap();
    let section = troubleshooting.split("\n## ").find(|section| section.starts_with("Events\n")).unwrap();
    let (_, table) = section.split_once("\n| reason | ").unwrap();
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split_once('`'));
    let named: BTreeSet<&str> = rows.map(|(reason, _)| reason).collect();
    assert_eq!(named, events::reasons().collect());
}

/// Whether it is the name or path of a Rust source file.
fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// Adds the names of all source files below this folder.
fn add_sources(folder: &Path, sources: &mut BTreeSet<OsString>) {
    for entry in fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            if name != "target" {
                add_sources(&path, sources);
            }
        } else if is_source(&path) {
            sources.insert(name);
        }
    }
}

#[test]
fn each_source_file_that_a_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = BTreeSet::new();
    for folder in ["bench", "crates", "fuzz/fuzz_targets", "lab", "simulation", "src", "tests"] {
        add_sources(&root.join(folder), &mut sources);
    }
    for page in ["CONTRIBUTING.md", "docs/architecture.md", "docs/contracts.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let words: Vec<_> = text.split('`').filter(|word| is_source(Path::new(word))).collect();
        assert!(!words.is_empty(), "{page}");
        for word in words.into_iter().filter(|word| !word.contains('*')) {
            // A path is that of one file. A name alone may be that of several.
            let exists =
                if word.contains('/') { root.join(word).is_file() } else { sources.contains(OsStr::new(word)) };
            assert!(exists, "{page} names `{word}`, which does not exist");
        }
    }
}

#[test]
fn the_base_images_have_a_digest() {
    let text = fs::read_to_string(page("Dockerfile")).unwrap();
    let mut stages = BTreeSet::from(["scratch"]);
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert!(!lines.is_empty());
    for line in lines {
        let image = line.split(' ').next().unwrap();
        let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
        let has_digest =
            digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(has_digest || stages.contains(image) || image.starts_with("${"), "FROM {line}");
        stages.extend(line.split_once(" AS ").map(|(_, stage)| stage));
    }
}

/// What SECURITY.md says of the account, and the rule in the rendered roles that makes it true.
#[test]
fn what_security_md_says_of_the_account_is_what_the_roles_grant() {
    let security = fs::read_to_string(page("SECURITY.md")).unwrap();
    let text = security.split_whitespace().collect::<Vec<_>>().join(" ");
    let manifest = fs::read_to_string(page("manifests/rbac.yaml")).unwrap();
    // The verbs of a rule come last.
    let rules = manifest.split("- apiGroups:").skip(1).filter_map(|rule| {
        let (resources, rest) = rule.split_once("verbs: [")?;
        Some(format!("{resources}verbs: [{}", rest.split(']').next()?))
    });
    let rules: Vec<String> = rules.collect();
    let of = |resource: &str| rules.iter().filter(|rule| rule.contains(resource)).collect::<Vec<_>>();
    let secrets = of("resources: [secrets]");
    let [secret] = secrets[..] else { panic!("one rule on Secrets: {secrets:?}") };
    assert!(secret.contains("resourceNames: [snapwatcher-webhook-ca]") && secret.contains("update"), "{secret}");
    assert!(!secret.contains("create"), "{secret}");
    for sentence in [
        "**The CA key is in one Secret.**",
        "It cannot write pods, create Secrets, or read Secrets other than its own.",
    ] {
        assert!(text.contains(sentence), "{sentence}");
    }
    assert!(!text.contains("memory only"), "the key of the CA is in a Secret");
    let patches = of("mutatingwebhookconfigurations").into_iter().any(|rule| rule.contains("patch"));
    assert!(patches && text.contains("**Who holds the account holds the cluster.**"));
}
