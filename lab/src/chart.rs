//! SnapWatcher's chart: rendering it by Helm and reading the objects.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize as _;
use serde_json::Value;

use crate::go_module::KubernetesVersion;
use crate::helm::{Helm, HelmError};
use crate::must::must;

/// The kind that `webhook.mode: policy` needs. Without an API server, `helm template` needs its name as an argument.
const POLICY: &str = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";

/// Makes Helm render the notes like any other template.
const NOTES: &str = "notes: {{ include \"notes\" . | toJson }}\n";

/// The chart in this repository.
#[derive(Clone, Debug)]
pub struct Chart {
    helm: Helm,
    folder: PathBuf,
}

/// What to render. The default is what `helm install snapwatcher charts/snapwatcher -n snap` installs with the image of `ci/image.yaml`.
#[derive(Clone, Debug)]
pub struct Template {
    release: String,
    namespace: String,
    kubernetes: String,
    has_policies: bool,
    arguments: Vec<String>,
}

/// The objects of a rendered chart, in Helm's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    text: String,
    objects: Vec<Value>,
}

impl Chart {
    pub async fn of_repository() -> Self {
        let helm = match Helm::built().await {
            Ok(helm) => helm,
            Err(error) => panic_with("build Helm", &error),
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        Self { helm, folder: root.join("charts/snapwatcher") }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn helm(&self) -> &Helm {
        &self.helm
    }

    /// The scenarios in `ci/`, by name.
    pub fn scenarios(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.join("ci")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut scenarios: Vec<_> =
            names.filter_map(|name| Some(name.strip_suffix("-values.yaml")?.to_owned())).collect();
        scenarios.sort();
        scenarios
    }

    /// Renders the chart, or returns Helm's error.
    pub fn try_render(&self, template: &Template) -> Result<Rendered, HelmError> {
        Ok(Rendered::read(self.helm.run(self.arguments(template, &self.folder))?))
    }

    /// The notes that Helm prints after an installation. `helm template` leaves them out, so a copy of the chart has them in
    /// a template.
    pub fn notes(&self, template: &Template) -> String {
        let folder = must("make a folder", tempfile::tempdir());
        let copy = folder.path().join("snapwatcher");
        let copied = must("copy the chart", Command::new("cp").arg("-r").args([&self.folder, &copy]).status());
        let templates = copy.join("templates");
        let notes = must("read the notes", std::fs::read_to_string(templates.join("NOTES.txt")));
        let definition = format!("{{{{ define \"notes\" }}}}{notes}{{{{ end }}}}");
        must("write a template", std::fs::write(templates.join("_notes.tpl"), definition));
        must("write a template", std::fs::write(templates.join("notes.yaml"), NOTES));
        let mut arguments = self.arguments(template, &copy);
        arguments.push("--show-only=templates/notes.yaml".to_owned());
        let rendered = Rendered::read(must(&format!("render the notes ({copied})"), self.helm.run(arguments)));
        rendered.objects.iter().filter_map(|object| object["notes"].as_str()).collect()
    }

    fn arguments(&self, template: &Template, folder: &Path) -> Vec<String> {
        let mut arguments = vec!["template".to_owned(), template.release.clone(), folder.display().to_string()];
        arguments.extend(["--namespace".to_owned(), template.namespace.clone()]);
        arguments.extend(["--kube-version".to_owned(), template.kubernetes.clone()]);
        if template.has_policies {
            arguments.extend(["--api-versions".to_owned(), POLICY.to_owned()]);
        }
        for argument in &template.arguments {
            // Value files are relative to the chart's folder.
            let path = argument.strip_prefix("--values=").map(|file| self.folder.join(file).display().to_string());
            arguments.push(path.map_or_else(|| argument.clone(), |path| format!("--values={path}")));
        }
        arguments
    }

    /// Renders the chart, which has to succeed.
    pub fn render(&self, template: &Template) -> Rendered {
        self.try_render(template).unwrap_or_else(|error| panic_with("render the chart", &error))
    }

    /// Helm's error for a template that it has to reject.
    pub fn refusal(&self, template: &Template) -> String {
        match self.try_render(template) {
            Ok(rendered) => panic_with("see Helm reject the chart", &rendered.text),
            Err(error) => error.to_string(),
        }
    }
}

impl Default for Template {
    fn default() -> Self {
        Self {
            release: "snapwatcher".to_owned(),
            namespace: "snap".to_owned(),
            kubernetes: KubernetesVersion::DEFAULT.to_owned(),
            has_policies: true,
            arguments: vec!["--values=ci/image.yaml".to_owned()],
        }
    }
}

impl Template {
    /// Adds the values of a scenario in `ci/`.
    pub fn scenario(name: &str) -> Self {
        Self::default().argument(format!("--values=ci/{name}-values.yaml"))
    }

    /// Sets a top-level value, as JSON.
    pub fn with(self, key: &str, value: &Value) -> Self {
        self.argument(format!("--set-json={key}={value}"))
    }

    /// Sets the release's name and namespace.
    pub fn release(self, name: &str, namespace: &str) -> Self {
        Self { release: name.to_owned(), namespace: namespace.to_owned(), ..self }
    }

    /// Renders for a Kubernetes version without MutatingAdmissionPolicy.
    pub fn for_old_kubernetes(self, version: &str) -> Self {
        Self { kubernetes: version.to_owned(), has_policies: false, ..self }
    }

    /// Adds an argument of `helm template`.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

impl Rendered {
    fn read(text: String) -> Self {
        let documents = serde_yaml_ng::Deserializer::from_str(&text);
        let objects = documents.map(|document| match Value::deserialize(document) {
            Ok(object) => object,
            Err(error) => panic_with("read what Helm rendered", &format!("{error}\n{text}")),
        });
        let objects = objects.filter(|object| !object.is_null()).collect();
        Self { text, objects }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn objects(&self) -> &[Value] {
        &self.objects
    }

    /// The objects of this kind, without those of `helm test`.
    pub fn all(&self, kind: &str) -> Vec<&Value> {
        let is_test = |object: &&Value| object["metadata"]["annotations"]["helm.sh/hook"] == "test";
        self.objects.iter().filter(|object| object["kind"] == kind && !is_test(object)).collect()
    }

    /// The only object of this kind.
    pub fn one(&self, kind: &str) -> &Value {
        match self.all(kind)[..] {
            [object] => object,
            _ => panic_with(&format!("find one {kind}"), &self.text),
        }
    }

    /// The object of this kind and name, including those of `helm test`.
    pub fn named(&self, kind: &str, name: &str) -> &Value {
        let found = self.objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic_with(&format!("find {kind} `{name}`"), &self.text))
    }

    /// The container of the Deployment.
    pub fn container(&self) -> &Value {
        &self.one("Deployment")["spec"]["template"]["spec"]["containers"][0]
    }

    /// An environment variable of that container, or null.
    pub fn variable(&self, name: &str) -> Value {
        let variables = self.container()["env"].as_array().into_iter().flatten();
        let found: Vec<_> = variables.filter(|variable| variable["name"] == name).collect();
        match found[..] {
            [] => Value::Null,
            [variable] if variable["value"].is_null() => variable["valueFrom"].clone(),
            [variable] => variable["value"].clone(),
            _ => panic_with(&format!("find variable {name} once"), &self.text),
        }
    }
}

#[expect(clippy::panic, reason = "a test fails by panicking")]
fn panic_with(doing: &str, message: &dyn Display) -> ! {
    panic!("could not {doing}: {message}")
}
