//! Carries out a script on one server and writes down the answers.

use kube::api::Preconditions;
use snapwatcher_api::checkpoint::Checkpoint;

use crate::objects::{object, spec, status};
use crate::script::{Call, Change, Form, NAMES, Sent, Since};
use crate::servers::Server;
use crate::transcript::{Answer, Outcome, Transcript};

pub(crate) struct Client<S> {
    server: S,
    /// Comes before each name.
    prefix: String,
    /// The versions of each name that were seen.
    versions: [Vec<Checkpoint>; NAMES.len()],
    start: String,
    last_event: String,
    last_list: String,
    /// How many objects were created that end a watch.
    ends: usize,
}

impl<S: Server> Client<S> {
    pub(crate) async fn new(mut server: S, prefix: &str) -> Self {
        let (_, start, _) = server.list(0, false).await.unwrap();
        Self {
            server,
            prefix: prefix.to_owned(),
            versions: Default::default(),
            last_event: start.clone(),
            last_list: start.clone(),
            start,
            ends: 0,
        }
    }

    pub(crate) async fn run(mut self, script: &[Call]) -> Vec<Answer> {
        let mut transcript = Transcript::default();
        for call in script {
            transcript.add(self.call(*call).await);
        }
        transcript.ranked()
    }

    async fn call(&mut self, call: Call) -> Outcome {
        let written = match call {
            Call::Create { name, form, sent } => {
                let object = self.with(name, sent, object(&self.full(name), form));
                let is_elsewhere = matches!(form, Form::Elsewhere | Form::EmptyElsewhere);
                (name, self.server.create(object, is_elsewhere).await?)
            }
            Call::Get { name } => (name, self.server.get(&self.full(name)).await?),
            Call::ReplaceStatus { name, sent, status: number } => {
                let mut object = self.with(name, sent, object(&self.full(name), Form::BadLabel));
                object.status = status(number);
                (name, self.server.replace_status(object).await?)
            }
            Call::Replace { name, sent, change } => {
                let newest = self.versions[name].last().cloned();
                let object = newest.unwrap_or_else(|| object(&self.full(name), Form::Pod));
                let object = self.with(name, sent, changed(object, change));
                (name, self.server.replace(object).await?)
            }
            Call::Delete { name, sent } => {
                let Sent { uid, resource_version } = sent;
                let uid = self.version(name, uid).and_then(|version| version.metadata.uid.clone());
                let resource_version =
                    self.version(name, resource_version).and_then(|version| version.metadata.resource_version.clone());
                self.server.delete(&self.full(name), Preconditions { resource_version, uid }).await?;
                return Ok((Vec::new(), false));
            }
            Call::List { limit } => return self.list(limit, false).await,
            Call::NextPage => return self.list(1, true).await,
            Call::Watch { since } => return self.watch(since).await,
        };
        let (name, object) = written;
        self.versions[name].push(object.clone());
        Ok((vec![("", object)], false))
    }

    async fn list(&mut self, limit: u32, is_next: bool) -> Outcome {
        let (objects, revision, has_more) = self.server.list(limit, is_next).await?;
        self.last_list = revision;
        Ok((objects.into_iter().map(|object| ("", object)).collect(), has_more))
    }

    async fn watch(&mut self, since: Since) -> Outcome {
        self.ends += 1;
        let last = format!("{}end-{}", self.prefix, self.ends);
        self.server.create(object(&last, Form::Pod), false).await?;
        let since = match since {
            Since::Compacted => "1",
            Since::Start => &self.start,
            Since::LastEvent => &self.last_event,
            Since::LastList => &self.last_list,
        };
        let events = self.server.events(since, &last).await?;
        if let Some((_, object)) = events.last() {
            self.last_event = object.metadata.resource_version.clone().unwrap();
        }
        Ok((events, false))
    }

    fn full(&self, name: usize) -> String {
        format!("{}{}", self.prefix, NAMES[name])
    }

    fn with(&self, name: usize, sent: Sent, mut object: Checkpoint) -> Checkpoint {
        let of = |age| self.version(name, age).map(|version| version.metadata.clone()).unwrap_or_default();
        object.metadata.uid = of(sent.uid).uid;
        object.metadata.resource_version = of(sent.resource_version).resource_version;
        object
    }

    /// The version of this age, else the oldest.
    fn version(&self, name: usize, age: Option<usize>) -> Option<&Checkpoint> {
        let versions = &self.versions[name];
        versions.get(versions.len().saturating_sub(age? + 1))
    }
}

fn changed(mut object: Checkpoint, change: Change) -> Checkpoint {
    let labels = |value: String| Some([("label".to_owned(), value)].into());
    match change {
        Change::Nothing => {}
        Change::Label(number) => object.metadata.labels = labels(format!("v{number}")),
        Change::BadLabel => object.metadata.labels = labels("-".to_owned()),
        Change::Annotation(number) => object.metadata.annotations = labels(format!("any text {number}")),
        Change::Spec => {
            let is_revision = object.spec.workload.is_some();
            object.spec = spec(if is_revision { Form::Pod } else { Form::Revision });
        }
        Change::BrokenSpec => object.spec = spec(Form::PodAndWorkload),
        Change::Status(number) => object.status = status(number),
    }
    object
}
