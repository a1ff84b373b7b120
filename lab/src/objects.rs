//! Builders of Kubernetes objects for tests and demo. A test sets only what matters to it:
//! `deployment("web").replicas(3).labelled().build()`.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec, StatefulSet, StatefulSetSpec,
};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobSpec, JobTemplateSpec};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;

use crate::fake_nodes::{COMPLETE, HOLD};
use crate::webhooks::SNAP;

/// A shell script for [`Builder::runs`] that prints ten numbers per second. If the numbers continue, the program was
/// not restarted.
///
/// The script waits by reading from a pipe that stays empty. It must not start programs while it counts: criu cannot
/// stop a shell that waits for a child to start (`vfork`). The loop that keeps the pipe open restarts `sleep`, because
/// criu cuts it short.
pub const COUNTING: &str = "while true; do sleep 3600; done | \
                            { n=0; while true; do n=$((n+1)); echo $n; read -t 0.1 nothing; done; }";

/// A builder. Labels, annotations and containers are those of the object's pods.
#[derive(Clone, Debug)]
pub struct Builder<K> {
    name: String,
    replicas: i32,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    spec: PodSpec,
    finish: fn(Self) -> K,
}

/// A pod without an owner.
pub fn pod(name: &str) -> Builder<Pod> {
    builder(name, "Always", |parts| {
        let PodTemplateSpec { metadata, spec } = parts.template();
        Pod { metadata: ObjectMeta { name: Some(parts.name), ..metadata.unwrap_or_default() }, spec, status: None }
    })
}

pub fn deployment(name: &str) -> Builder<Deployment> {
    builder(name, "Always", |parts| Deployment {
        metadata: parts.metadata(),
        spec: Some(DeploymentSpec {
            replicas: Some(parts.replicas),
            selector: parts.selector(),
            template: parts.template(),
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

/// A ReplicaSet without a Deployment.
pub fn replicaset(name: &str) -> Builder<ReplicaSet> {
    builder(name, "Always", |parts| ReplicaSet {
        metadata: parts.metadata(),
        spec: Some(ReplicaSetSpec {
            replicas: Some(parts.replicas),
            selector: parts.selector(),
            template: Some(parts.template()),
            ..ReplicaSetSpec::default()
        }),
        status: None,
    })
}

pub fn statefulset(name: &str) -> Builder<StatefulSet> {
    builder(name, "Always", |parts| StatefulSet {
        metadata: parts.metadata(),
        spec: Some(StatefulSetSpec {
            replicas: Some(parts.replicas),
            service_name: Some(parts.name.clone()),
            selector: parts.selector(),
            template: parts.template(),
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

/// Runs one pod on each node. `replicas` has no effect.
pub fn daemonset(name: &str) -> Builder<DaemonSet> {
    builder(name, "Always", |parts| DaemonSet {
        metadata: parts.metadata(),
        spec: Some(DaemonSetSpec {
            selector: parts.selector(),
            template: parts.template(),
            ..DaemonSetSpec::default()
        }),
        status: None,
    })
}

/// Runs `replicas` pods in parallel. They end only with `completing`.
pub fn job(name: &str) -> Builder<Job> {
    builder(name, "Never", |parts| Job { metadata: parts.metadata(), spec: Some(parts.job()), status: None })
}

/// Starts no Job during a test: its schedule is 29 February.
pub fn cronjob(name: &str) -> Builder<CronJob> {
    builder(name, "Never", |parts| CronJob {
        metadata: parts.metadata(),
        spec: Some(CronJobSpec {
            schedule: "0 0 29 2 *".to_owned(),
            job_template: JobTemplateSpec { metadata: None, spec: Some(parts.job()) },
            ..CronJobSpec::default()
        }),
        status: None,
    })
}

/// The Job that `cronjob` creates at its next time, as `kubectl create job --from` does.
pub fn job_of(cronjob: &CronJob, name: &str) -> Job {
    let template = cronjob.spec.as_ref().map(|spec| spec.job_template.clone()).unwrap_or_default();
    let owner = kube::Resource::controller_owner_ref(cronjob, &());
    Job {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..template.metadata.unwrap_or_default()
        },
        spec: template.spec,
        status: None,
    }
}

impl<K> Builder<K> {
    pub fn build(self) -> K {
        (self.finish)(self)
    }

    pub fn replicas(mut self, replicas: i32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Sets the snap label to "true".
    pub fn labelled(self) -> Self {
        self.label(SNAP, "true")
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn annotate(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets the names of the containers. The default is one container `app`.
    pub fn containers<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.spec.containers = names.into_iter().map(container).collect();
        self
    }

    /// Adds an init container that runs beside the others, and others that end before them.
    pub fn init_containers<'a>(mut self, names: impl IntoIterator<Item = &'a str>, sidecar: &str) -> Self {
        let sidecar = Container { restart_policy: Some("Always".to_owned()), ..container(sidecar) };
        let all = names.into_iter().map(container).chain([sidecar]);
        self.spec.init_containers = Some(all.collect());
        self
    }

    /// Runs this image in each container, for a real node.
    pub fn image(mut self, image: &str) -> Self {
        for container in &mut self.spec.containers {
            container.image = Some(image.to_owned());
        }
        self
    }

    /// Runs this shell script in each container, in an image such as [`crate::RealNode::busybox`], for a real node.
    pub fn runs(self, image: &str, script: &str) -> Self {
        let mut this = self.image(image);
        for container in &mut this.spec.containers {
            container.command = Some(["sh", "-c", script].map(str::to_owned).to_vec());
        }
        this
    }

    /// Leaves the pods' status to the test. They stay Pending until the test writes another status.
    pub fn hold(self) -> Self {
        self.annotate(HOLD, "true")
    }

    /// Lets the pods of a Job succeed after a few seconds.
    pub fn completing(self) -> Self {
        self.annotate(COMPLETE, "true")
    }

    /// Changes other parts of the pods' spec.
    pub fn spec(mut self, change: impl FnOnce(&mut PodSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }
    }

    fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(app_label(&self.name)), ..LabelSelector::default() }
    }

    fn template(&self) -> PodTemplateSpec {
        let annotations = (!self.annotations.is_empty()).then(|| self.annotations.clone());
        let labels = (!self.labels.is_empty()).then(|| self.labels.clone());
        PodTemplateSpec {
            metadata: Some(ObjectMeta { labels, annotations, ..ObjectMeta::default() }),
            spec: Some(self.spec.clone()),
        }
    }

    /// The API server chooses a Job's selector and labels.
    fn job(&self) -> JobSpec {
        JobSpec {
            parallelism: Some(self.replicas),
            completions: Some(self.replicas),
            template: self.template(),
            ..JobSpec::default()
        }
    }
}

fn builder<K>(name: &str, restart_policy: &str, finish: fn(Builder<K>) -> K) -> Builder<K> {
    let spec = PodSpec {
        containers: vec![container("app")],
        restart_policy: Some(restart_policy.to_owned()),
        // Fake nodes run no process, so deletions need not wait.
        termination_grace_period_seconds: Some(0),
        ..PodSpec::default()
    };
    Builder { name: name.to_owned(), replicas: 1, labels: app_label(name), annotations: BTreeMap::new(), spec, finish }
}

fn app_label(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), name.to_owned())])
}

fn container(name: &str) -> Container {
    Container {
        name: name.to_owned(),
        // Fake nodes pull no images.
        image: Some(format!("registry.invalid/{name}:1")),
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_pods() {
        let built = deployment("web").replicas(3).labelled().build();
        assert_eq!(built.metadata.labels, None);
        let spec = built.spec.unwrap();
        let labels = spec.template.metadata.unwrap().labels.unwrap();
        assert_eq!(labels.get(SNAP).map(String::as_str), Some("true"));
        assert_eq!(spec.replicas, Some(3));
        assert!(spec.selector.match_labels.unwrap().iter().all(|(key, value)| labels.get(key) == Some(value)));
    }

    #[test]
    fn a_pod_without_annotations_has_no_map_of_them() {
        let built = pod("web").build();
        assert_eq!(built.metadata.annotations, None);
        assert_eq!(built.metadata.name.as_deref(), Some("web"));
        assert!(pod("web").hold().build().metadata.annotations.unwrap().contains_key(HOLD));
    }

    #[test]
    fn a_job_of_a_cronjob_names_it_as_its_controller() {
        let mut parent = cronjob("nightly").build();
        parent.metadata.uid = Some("uid-1".to_owned());
        let owners = job_of(&parent, "nightly-1").metadata.owner_references.unwrap();
        assert_eq!((owners[0].kind.as_str(), owners[0].name.as_str()), ("CronJob", "nightly"));
    }
}
