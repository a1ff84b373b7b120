//! What watched pods have in common is kept once: clusters have many pods of few workloads, images and nodes.

use std::sync::Arc;

use snapwatcher_api::pod::{CheckpointOptions, ControllerReference, PodFacts};
use snapwatcher_api::shared_values::SharedValues;

/// One copy of what pods have in common.
#[derive(Default)]
pub(super) struct SharedFacts {
    texts: SharedValues<str>,
    controllers: SharedValues<ControllerReference>,
    options: SharedValues<CheckpointOptions>,
}

impl SharedFacts {
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        self.texts.shared(text)
    }

    /// Replaces what other pods may have, too, by its shared copy. Drops the IDs of images: an attempt reads them from the live pod.
    pub(super) fn share(&mut self, mut pod: PodFacts) -> PodFacts {
        let texts = &mut self.texts;
        pod.name.namespace = texts.share(pod.name.namespace);
        for text in [&mut pod.mutated, &mut pod.node, &mut pod.template_hash] {
            *text = text.take().map(|text| texts.share(text));
        }
        pod.controller = pod.controller.map(|controller| self.controllers.share(controller));
        pod.options = pod.options.map(|options| self.options.share(options));
        for container in &mut pod.containers {
            container.name = texts.share(Arc::clone(&container.name));
            container.image = texts.share(Arc::clone(&container.image));
            container.image_id = None;
        }
        pod
    }
}
