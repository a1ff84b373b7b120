//! The upload of an archive, and its manifest.

use bytes::Bytes;
use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::sync::mpsc::Receiver;

use snapwatcher_api::snapshot::Snapshot;
use snapwatcher_registry::{
    CheckpointFacts, CheckpointImage, Digest, ErrorKind, Layer, LayerForm, RegistryError, Repository, Tag, Upload,
};

use crate::journal::{Entry, LayerEntry};
use crate::machine::go_architecture;
use crate::save_error::SaveError;

/// Uploads the pieces, and leaves the upload open: its digest is known at the end of the pass. All pieces are taken if it succeeds.
pub(crate) async fn upload(repository: &Repository, mut pieces: Receiver<Bytes>) -> Result<Upload, RegistryError> {
    let mut upload = repository.begin_upload().await?;
    while let Some(piece) = pieces.recv().await {
        if let Err(error) = upload.write(&piece).await {
            // The registry removes it by itself later, if it can't do so now.
            drop(upload.cancel().await);
            return Err(error);
        }
    }
    Ok(upload)
}

/// Whether the registry has the blob of an earlier process.
pub(crate) async fn has_layer(repository: &Repository, layer: &LayerEntry) -> Result<bool, SaveError> {
    let Ok(digest) = layer.digest.parse::<Digest>() else { return Ok(false) };
    match repository.blob_bytes(&digest).await {
        Ok(found) => Ok(found == Some(layer.bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Pushes the manifest of an uploaded layer, and returns its digest after the registry has returned the same bytes.
pub(crate) async fn push_manifest(
    repository: &Repository,
    snapshot: &Snapshot,
    entry: &Entry,
    layer: &LayerEntry,
) -> Result<String, SaveError> {
    let invalid = || SaveError::Disk(std::io::Error::other("the journal has an invalid digest"));
    let form = match snapshot.spec.recipient {
        Some(_) => LayerForm::Encrypted,
        None => LayerForm::Plain { uncompressed: entry.archive_digest.parse().map_err(|_| invalid())? },
    };
    let layer = Layer { digest: layer.digest.parse().map_err(|_| invalid())?, bytes: layer.bytes, form };
    let image = CheckpointImage::new(&layer, &facts(snapshot, entry))?;
    let tag: Tag = entry.snapshot.to_string().parse().map_err(|_| invalid())?;
    repository.push(&tag, &image).await?;
    Ok(image.digest().to_string())
}

/// What the manifest says. The same Snapshot and entry make the same manifest, so a repeat after a kill pushes no second one.
fn facts(snapshot: &Snapshot, entry: &Entry) -> CheckpointFacts {
    let (spec, requirements) = (&snapshot.spec, &entry.requirements);
    let cpu: Vec<&str> = requirements.cpu_flags.iter().map(String::as_str).collect();
    CheckpointFacts {
        snapshot: entry.snapshot.to_string(),
        container: spec.container.clone(),
        pod: spec.origin.pod.name.clone(),
        pod_uid: spec.origin.pod.uid.clone(),
        namespace: snapshot.namespace().unwrap_or_default(),
        image: spec.image.clone(),
        image_id: spec.image_id.clone(),
        engine: entry.engine.clone(),
        engine_version: String::new(),
        workload: format!("{}/{}", spec.workload.kind, spec.workload.name),
        revision: spec.revision.clone(),
        criu: requirements.criu.clone().unwrap_or_default(),
        runc: requirements.runtime.clone().unwrap_or_default(),
        kernel: requirements.kernel.clone(),
        architecture: go_architecture(&requirements.architecture).to_owned(),
        cpu: cpu.join(" "),
        bytes: entry.bytes,
        created: Timestamp::from_second(entry.stamp.modified.0).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}
