//! The two servers that are compared, behind one trait.

use futures::StreamExt;
use jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, WatchEvent, WatchParams};
use kube::core::Status;
use simulation::{ApiServer, Continue, EventKind, Rejection};
use snapwatcher_api::checkpoint::Checkpoint;

use crate::transcript::Refusal;

/// A page of a list: its objects, its revision, and whether a further page follows.
pub(crate) type Page = (Vec<Checkpoint>, String, bool);

/// The calls on Checkpoints of one namespace.
pub(crate) trait Server {
    async fn create(&mut self, object: Checkpoint, is_elsewhere: bool) -> Result<Checkpoint, Refusal>;
    async fn get(&mut self, name: &str) -> Result<Checkpoint, Refusal>;
    async fn replace_status(&mut self, object: Checkpoint) -> Result<Checkpoint, Refusal>;
    async fn replace(&mut self, object: Checkpoint) -> Result<Checkpoint, Refusal>;
    async fn delete(&mut self, name: &str, preconditions: Preconditions) -> Result<(), Refusal>;
    /// The first page of a list, or the next one of the last list.
    async fn list(&mut self, limit: u32, is_next: bool) -> Result<Page, Refusal>;
    /// The events since a revision, up to the creation of the object of this name.
    async fn events(&mut self, since: &str, last: &str) -> Result<Vec<(&'static str, Checkpoint)>, Refusal>;
}

pub(crate) struct Real {
    pub(crate) api: Api<Checkpoint>,
    /// The API of a namespace that does not exist.
    pub(crate) elsewhere: Api<Checkpoint>,
    pub(crate) token: Option<String>,
}

impl Server for Real {
    async fn create(&mut self, object: Checkpoint, is_elsewhere: bool) -> Result<Checkpoint, Refusal> {
        let api = if is_elsewhere { &self.elsewhere } else { &self.api };
        api.create(&PostParams::default(), &object).await.map_err(refusal)
    }

    async fn get(&mut self, name: &str) -> Result<Checkpoint, Refusal> {
        self.api.get(name).await.map_err(refusal)
    }

    async fn replace_status(&mut self, object: Checkpoint) -> Result<Checkpoint, Refusal> {
        let name = object.metadata.name.clone().unwrap();
        self.api.replace_status(&name, &PostParams::default(), &object).await.map_err(refusal)
    }

    async fn replace(&mut self, object: Checkpoint) -> Result<Checkpoint, Refusal> {
        let name = object.metadata.name.clone().unwrap();
        self.api.replace(&name, &PostParams::default(), &object).await.map_err(refusal)
    }

    async fn delete(&mut self, name: &str, preconditions: Preconditions) -> Result<(), Refusal> {
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        self.api.delete(name, &params).await.map(drop).map_err(refusal)
    }

    async fn list(&mut self, limit: u32, is_next: bool) -> Result<Page, Refusal> {
        let mut params = ListParams { limit: (limit > 0).then_some(limit), ..ListParams::default() };
        params.continue_token = self.token.take().filter(|_| is_next);
        let listed = self.api.list(&params).await.map_err(refusal)?;
        self.token = listed.metadata.continue_.filter(|token| !token.is_empty());
        Ok((listed.items, listed.metadata.resource_version.unwrap(), self.token.is_some()))
    }

    async fn events(&mut self, since: &str, last: &str) -> Result<Vec<(&'static str, Checkpoint)>, Refusal> {
        let stream = self.api.watch(&WatchParams::default().timeout(60), since).await.map_err(refusal)?;
        let mut stream = std::pin::pin!(stream);
        let mut events = Vec::new();
        while let Some(event) = stream.next().await {
            let (kind, object) = match event.map_err(refusal)? {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(status) => return Err(of_status(&status)),
            };
            let is_last = kind == "ADDED" && object.metadata.name.as_deref() == Some(last);
            events.push((kind, object));
            if is_last {
                return Ok(events);
            }
        }
        panic!("the watch ended before `{last}`: {events:?}");
    }
}

pub(crate) struct Simulated {
    pub(crate) server: ApiServer,
    pub(crate) namespace: String,
    pub(crate) token: Option<Continue>,
    pub(crate) now: Timestamp,
}

impl Server for Simulated {
    async fn create(&mut self, mut object: Checkpoint, is_elsewhere: bool) -> Result<Checkpoint, Refusal> {
        object.metadata.namespace = Some(if is_elsewhere { "elsewhere".to_owned() } else { self.namespace.clone() });
        self.server.create_checkpoint(object, self.now).map(|created| (*created).clone()).map_err(rejected)
    }

    async fn get(&mut self, name: &str) -> Result<Checkpoint, Refusal> {
        self.server.checkpoint(&self.namespace, name).map(|found| (*found).clone()).map_err(rejected)
    }

    async fn replace_status(&mut self, mut object: Checkpoint) -> Result<Checkpoint, Refusal> {
        object.metadata.namespace = Some(self.namespace.clone());
        self.server.replace_status(object).map(|written| (*written).clone()).map_err(rejected)
    }

    async fn replace(&mut self, mut object: Checkpoint) -> Result<Checkpoint, Refusal> {
        object.metadata.namespace = Some(self.namespace.clone());
        self.server.replace_checkpoint(object).map(|written| (*written).clone()).map_err(rejected)
    }

    async fn delete(&mut self, name: &str, preconditions: Preconditions) -> Result<(), Refusal> {
        self.server.delete_checkpoint(&self.namespace, name, &preconditions).map_err(rejected)
    }

    async fn list(&mut self, limit: u32, is_next: bool) -> Result<Page, Refusal> {
        let token = self.token.take().filter(|_| is_next);
        let page = self.server.list_checkpoints(Some(&self.namespace), limit as usize, token.as_ref());
        let page = page.map_err(rejected)?;
        self.token = page.next;
        let items = page.items.iter().map(|item| (**item).clone()).collect();
        Ok((items, page.revision.to_string(), self.token.is_some()))
    }

    async fn events(&mut self, since: &str, last: &str) -> Result<Vec<(&'static str, Checkpoint)>, Refusal> {
        let events = self.server.checkpoint_events(Some(&self.namespace), since.parse().unwrap()).map_err(rejected)?;
        let mut collected = Vec::new();
        for event in events {
            let kind = match event.kind {
                EventKind::Added => "ADDED",
                EventKind::Modified => "MODIFIED",
                EventKind::Deleted => "DELETED",
            };
            assert_eq!(event.object.metadata.resource_version, Some(event.revision.to_string()));
            let is_last = kind == "ADDED" && event.object.metadata.name.as_deref() == Some(last);
            collected.push((kind, (*event.object).clone()));
            if is_last {
                return Ok(collected);
            }
        }
        panic!("the events end before `{last}`: {collected:?}");
    }
}

fn refusal(error: kube::Error) -> Refusal {
    match error {
        kube::Error::Api(status) => of_status(&status),
        other => panic!("{other:?}"),
    }
}

fn of_status(status: &Status) -> Refusal {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    Refusal {
        code: status.code,
        reason: status.reason.clone(),
        is_namespace_terminating: causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating"),
    }
}

fn rejected(rejection: Rejection) -> Refusal {
    of_status(&rejection.status())
}
