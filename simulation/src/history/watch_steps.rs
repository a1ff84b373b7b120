//! The events that the watches of a process deliver.

use std::sync::Arc;

use kube::runtime::watcher::Event;
use snapwatcher_api::checkpoint::Checkpoint;
use snapwatcher_controller::Input;

use super::setup::NAMESPACES;
use super::watch::{Position, Watched};
use super::world::World;
use crate::{EventKind, Pod, Rejection};

/// One event of either kind.
enum Delivered {
    Pods(Vec<Event<Arc<Pod>>>),
    Checkpoints(Vec<Event<Arc<Checkpoint>>>),
}

impl World {
    fn namespace_of(&self, scope: usize) -> Option<&'static str> {
        self.setup.has_scopes.then(|| NAMESPACES[scope])
    }

    /// Whether a watch would deliver something now.
    pub(super) fn has_news(&self, process: usize, watch: usize) -> bool {
        let watch = &self.processes[process].watches[watch];
        if watch.blocked_until > self.now || self.is_outage() {
            return false;
        }
        let Position::At(since) = watch.position else { return true };
        let namespace = self.namespace_of(watch.scope);
        match watch.watched {
            Watched::Pods => {
                self.server.labeled_pod_events(namespace, since).map_or(true, |mut events| events.next().is_some())
            }
            Watched::Checkpoints => {
                self.server.checkpoint_events(namespace, since).map_or(true, |mut events| events.next().is_some())
            }
        }
    }

    /// A watch delivers a page of its listing, or at most `most` events.
    pub(super) fn deliver(&mut self, process: usize, watch: usize, most: usize) {
        let of = self.processes[process].watches[watch].clone();
        let namespace = self.namespace_of(of.scope);
        let next = match of.watched {
            Watched::Pods => {
                self.next_pods(namespace, &of.position, most).map(|(p, events)| (p, Delivered::Pods(events)))
            }
            Watched::Checkpoints => {
                let next = self.next_checkpoints(namespace, &of.position, most);
                next.map(|(position, events)| (position, Delivered::Checkpoints(events)))
            }
        };
        let Ok((position, delivered)) = next else {
            self.coverage.event("relists after 410");
            self.note_of(process, || format!("watch of {:?} in scope {}: 410, lists again", of.watched, of.scope));
            self.processes[process].watches[watch].position = Position::Start;
            return;
        };
        self.processes[process].watches[watch].position = position;
        match delivered {
            Delivered::Pods(events) => {
                for event in events {
                    self.note_of(process, || format!("is shown pods: {}", super::trace::pod_event(&event)));
                    self.pods_shown(process, of.scope, &event);
                    let event = event_map(event, |pod| pod.object.clone());
                    self.input(process, Input::Pods { scope: of.scope, event: Box::new(event) });
                }
            }
            Delivered::Checkpoints(events) => {
                for event in events {
                    self.note_of(process, || format!("is shown: {}", super::trace::checkpoint_event(&event)));
                    self.checkpoints_shown(process, of.scope, &event);
                    let event = event_map(event, Arc::unwrap_or_clone);
                    self.input(process, Input::Checkpoints { scope: of.scope, event: Box::new(event) });
                }
            }
        }
    }

    fn next_pods(&self, namespace: Option<&str>, position: &Position, most: usize) -> Next<Pod> {
        if let Position::At(since) = position {
            let events = self.server.labeled_pod_events(namespace, *since)?;
            return Ok(watched(*since, events.take(most)));
        }
        let token = if let Position::Page(token) = position { Some(token) } else { None };
        let page = self.server.list_labeled_pods(namespace, self.setup.page, token)?;
        Ok(listed(token.is_none(), page))
    }

    fn next_checkpoints(&self, namespace: Option<&str>, position: &Position, most: usize) -> Next<Checkpoint> {
        if let Position::At(since) = position {
            let events = self.server.checkpoint_events(namespace, *since)?;
            return Ok(watched(*since, events.take(most)));
        }
        let token = if let Position::Page(token) = position { Some(token) } else { None };
        let page = self.server.list_checkpoints(namespace, self.setup.page, token)?;
        Ok(listed(token.is_none(), page))
    }

    fn pods_shown(&mut self, process: usize, scope: usize, event: &Event<Arc<Pod>>) {
        let namespace = self.namespace_of(scope);
        let now = self.now;
        let seen = &mut self.processes[process].seen;
        match event {
            Event::InitApply(pod) | Event::Apply(pod) => seen.pod_shown(&pod.facts, now),
            Event::Delete(pod) => drop(seen.pods.remove(&pod.facts.name.to_string())),
            Event::Init => drop(seen.listed_pods.remove(&scope)),
            Event::InitDone => {
                let listed = seen.listed_pods.remove(&scope).unwrap_or_default();
                let is_of_scope = |name: &str| namespace.is_none_or(|of| name.split('/').next() == Some(of));
                seen.pods.retain(|name, _| !is_of_scope(name) || listed.contains(name));
            }
        }
        seen.rejections.pods_shown(seen.pods.values().map(|pod| &pod.facts));
        if let Event::InitApply(pod) = event {
            seen.listed_pods.entry(scope).or_default().insert(pod.facts.name.to_string());
        }
    }

    fn checkpoints_shown(&mut self, process: usize, scope: usize, event: &Event<Arc<Checkpoint>>) {
        let now = self.now;
        let seen = &mut self.processes[process].seen;
        match event {
            Event::Init => seen.listing_started(scope),
            Event::InitApply(checkpoint) | Event::Apply(checkpoint) => seen.shown(scope, checkpoint, now),
            Event::InitDone => seen.listing_ended(scope),
            Event::Delete(checkpoint) => seen.deleted(checkpoint),
        }
    }
}

type Next<T> = Result<(Position, Vec<Event<Arc<T>>>), Rejection>;

fn watched<T>(since: u64, events: impl Iterator<Item = crate::Event<T>>) -> (Position, Vec<Event<Arc<T>>>) {
    let mut last = since;
    let events = events.map(|event| {
        last = event.revision;
        match event.kind {
            EventKind::Added | EventKind::Modified => Event::Apply(event.object),
            EventKind::Deleted => Event::Delete(event.object),
        }
    });
    let events: Vec<_> = events.collect();
    (Position::At(last), events)
}

fn listed<T>(is_first: bool, page: crate::Page<T>) -> (Position, Vec<Event<Arc<T>>>) {
    let first = is_first.then_some(Event::Init);
    let last = page.next.is_none().then_some(Event::InitDone);
    let events = first.into_iter().chain(page.items.into_iter().map(Event::InitApply)).chain(last);
    (page.next.map_or(Position::At(page.revision), Position::Page), events.collect())
}

fn event_map<T, U>(event: Event<T>, map: impl Fn(T) -> U) -> Event<U> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(map(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(map(object)),
        Event::Delete(object) => Event::Delete(map(object)),
    }
}
