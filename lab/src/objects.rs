//! Kubernetes objects for tests and demo, made by saying only what matters:
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

/// A shell script for [`Builder::runs`] that counts aloud, ten numbers a second: what goes on counting was not restarted.
///
/// It waits by reading what never comes, for it must start no programs while it counts: a shell that waits for its child
/// to start one (`vfork`) can't be stopped by criu, and each number would be a chance to fail. The program that keeps the
/// pipe open is looped, since criu cuts its sleep short.
pub const COUNTING: &str = "while true; do sleep 3600; done | \
                            { n=0; while true; do n=$((n+1)); echo $n; read -t 0.1 nothing; done; }";

/// An object in the making. Labels, annotations and containers are those of its pods.
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

/// Runs one pod on each node; `replicas` has no meaning for it.
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

/// Runs `replicas` pods side by side. They end only with `completing`.
pub fn job(name: &str) -> Builder<Job> {
    builder(name, "Never", |parts| Job { metadata: parts.metadata(), spec: Some(parts.job()), status: None })
}

/// Never starts a Job by itself within a test: its schedule is 29 February.
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

/// The Job that `cronjob` makes when its time has come (what `kubectl create job --from` does).
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

    /// Opts in: the snap label with "true", and nothing else.
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

    /// Names the containers; one called `app` unless said otherwise.
    pub fn containers<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.spec.containers = names.into_iter().map(container).collect();
        self
    }

    /// Has each container run from this image, for a node that is real.
    pub fn image(mut self, image: &str) -> Self {
        for container in &mut self.spec.containers {
            container.image = Some(image.to_owned());
        }
        self
    }

    /// Has each container run this shell script in this image ([`crate::RealNode::busybox`]), for a node that is real.
    pub fn runs(self, image: &str, script: &str) -> Self {
        let mut this = self.image(image);
        for container in &mut this.spec.containers {
            container.command = Some(["sh", "-c", script].map(str::to_owned).to_vec());
        }
        this
    }

    /// Leaves the pods' status to the test: they stay Pending until it writes one.
    pub fn hold(self) -> Self {
        self.annotate(HOLD, "true")
    }

    /// Lets the pods of a Job end successfully after a few seconds.
    pub fn completing(self) -> Self {
        self.annotate(COMPLETE, "true")
    }

    /// Changes whatever else of the pods' spec a test is about.
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

    /// A Job's selector and labels are the API server's to choose.
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
        // There is no process to wait for: deletions in tests are carried out at once.
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
        // Never pulled where nodes are fake.
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
