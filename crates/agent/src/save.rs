//! Saves one Snapshot. Each step may be repeated after a kill:
//!
//! 1. The archive is read once, and its blob uploaded but not closed.
//! 2. The unpacked copy gets its name in the node store.
//! 3. The journal names the blob.
//! 4. The upload is closed, the manifest pushed and read back, the journal names it.
//! 5. The archive of the kubelet is removed.
//! 6. The entry of this node is written.

use std::path::Path;
use std::sync::Arc;

use age::x25519::Recipient;
use kube::ResourceExt as _;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use snapwatcher_api::snapshot::Snapshot;
use snapwatcher_archive::Archive;
use snapwatcher_daemon::clock;
use snapwatcher_registry::Upload;

use crate::archive_pass::{Passed, Target, pass};
use crate::journal::{Entry, LayerEntry};
use crate::known::uid;
use crate::outcome;
use crate::pieces::WAITING;
use crate::push::{has_layer, push_manifest, upload};
use crate::queue::Key;
use crate::save_error::SaveError;
use crate::shared::Shared;
use crate::task::{Task, task};

/// Does what is to be done about a Snapshot. `unpacks` is false after the disk of the node store has failed.
pub(crate) async fn save(shared: &Arc<Shared>, key: &Key, unpacks: bool) -> Result<(), SaveError> {
    let Some(snapshot) = shared.access.read_snapshot(&key.namespace, &key.name).await? else { return Ok(()) };
    let Some(id) = uid(&snapshot) else { return Ok(()) };
    let (node, journal) = (&shared.settings.node, shared.store.entry(id));
    let saved = match (task(&snapshot, node, journal.as_ref()), journal) {
        (Task::Nothing, _) => return Ok(()),
        (Task::Continue, Some(entry)) => resume(shared, &snapshot, entry, unpacks).await,
        (Task::Read | Task::Continue, _) => read(shared, &snapshot, id, unpacks).await,
    };
    match saved {
        Ok(entry) => {
            shared.access.report(&snapshot, &outcome::done(node, &entry)).await?;
            shared.metrics.saved();
            let Key { namespace, name } = key;
            tracing::info!(
                namespace,
                snapshot = name,
                bytes = entry.bytes,
                stored_bytes = entry.layer.map(|layer| layer.bytes),
                "The archive of Snapshot `{namespace}/{name}` is saved"
            );
            Ok(())
        }
        Err(error) => {
            if let Some(entry) = outcome::failed(node, &snapshot, &error) {
                shared.access.report(&snapshot, &entry).await?;
            }
            Err(error)
        }
    }
}

/// Continues after a kill, or after a failure behind the read.
async fn resume(shared: &Arc<Shared>, snapshot: &Snapshot, entry: Entry, unpacks: bool) -> Result<Entry, SaveError> {
    if is_read(shared, &entry).await? {
        finish(shared, snapshot, entry).await
    } else {
        read(shared, snapshot, entry.snapshot, unpacks).await
    }
}

/// Whether what the archive is needed for is done: the registry has its blob, or without a registry the node has a copy.
async fn is_read(shared: &Shared, entry: &Entry) -> Result<bool, SaveError> {
    if entry.manifest.is_some() || entry.is_archive_removed {
        return Ok(true);
    }
    match (&shared.repository, &entry.layer) {
        (Some(repository), Some(layer)) => has_layer(repository, layer).await,
        (Some(_), None) => Ok(false),
        (None, _) => Ok(entry.copy_bytes.is_some()),
    }
}

/// Reads the archive, and uploads it.
async fn read(shared: &Arc<Shared>, snapshot: &Snapshot, id: Uuid, unpacks: bool) -> Result<Entry, SaveError> {
    let archive = open(shared, snapshot)?;
    let recipient = recipient(snapshot)?;
    let bytes = archive.size();
    let unpacks = unpacks && shared.make_room(bytes)?;
    if shared.repository.is_none() && !unpacks {
        return Err(SaveError::NoRoom { bytes });
    }
    let partial = id.to_string();
    let result = read_into(shared, snapshot, archive, recipient, unpacks.then_some(&partial)).await;
    if result.is_err() {
        shared.store.folder.remove_partial(&partial)?;
    }
    let (passed, uploaded) = result?;
    let entry = keep(shared, snapshot, id, passed, &partial).await?;
    if let (Some(uploaded), Some(LayerEntry { digest, .. })) = (uploaded, &entry.layer) {
        let digest = digest.parse().map_err(|_| SaveError::Disk(std::io::Error::other("invalid digest")))?;
        shared.metrics.pushed(uploaded.finish(&digest).await?);
    }
    finish(shared, snapshot, entry).await
}

/// The two ends of the pass run at once: a thread reads and encodes, and this task uploads.
async fn read_into(
    shared: &Arc<Shared>,
    snapshot: &Snapshot,
    archive: Archive,
    recipient: Option<Recipient>,
    partial: Option<&String>,
) -> Result<(Passed, Option<Upload>), SaveError> {
    let (pieces, receiver) = mpsc::channel(WAITING);
    let target = shared.repository.is_some().then_some(Target { pieces, recipient });
    let (in_thread, snapshot, partial) = (Arc::clone(shared), snapshot.clone(), partial.cloned());
    let passing = spawn_blocking(move || {
        let unpacked = partial.as_ref().map(|name| (&in_thread.store.folder, name.as_str()));
        pass(archive, &snapshot, target, unpacked, &in_thread.stop)
    });
    let uploading = async {
        match &shared.repository {
            Some(repository) => upload(repository, receiver).await.map(Some),
            None => Ok(None),
        }
    };
    let (passed, uploaded) = tokio::join!(passing, uploading);
    let passed = passed.map_err(|_| SaveError::Stopped)?;
    if shared.stop.is_cancelled() {
        return Err(SaveError::Stopped);
    }
    match (passed, uploaded) {
        (Ok(passed), Ok(uploaded)) => Ok((passed, uploaded)),
        // The end of the upload ends the pass with an error of its own.
        (_, Err(error)) => Err(error.into()),
        (Err(error), Ok(uploaded)) => {
            if let Some(uploaded) = uploaded {
                drop(uploaded.cancel().await);
            }
            Err(error)
        }
    }
}

/// Puts the copy into the store, and writes the journal.
async fn keep(
    shared: &Arc<Shared>,
    snapshot: &Snapshot,
    id: Uuid,
    passed: Passed,
    partial: &str,
) -> Result<Entry, SaveError> {
    let Passed { archive, digest, layer, folder, shape, requirements, engine } = passed;
    let entry = Entry {
        snapshot: id,
        namespace: snapshot.namespace().unwrap_or_default(),
        name: snapshot.name_any(),
        archive: file_name(snapshot).to_owned(),
        stamp: archive.stamp(),
        archive_digest: digest.to_string(),
        bytes: archive.size(),
        shape,
        requirements,
        engine: engine.to_owned(),
        layer: layer.map(|layer| LayerEntry { digest: layer.digest.to_string(), bytes: layer.bytes }),
        manifest: None,
        copy_bytes: folder.is_some().then(|| archive.size()),
        is_archive_removed: false,
        last_used: clock::now(),
    };
    shared.metrics.read(entry.bytes);
    let (in_thread, partial) = (Arc::clone(shared), partial.to_owned());
    // A gigabyte takes seconds to be on the disk.
    let written = spawn_blocking(move || -> Result<Entry, SaveError> {
        if let Some(folder) = folder {
            folder.finish()?;
            in_thread.store.folder.keep(&partial, entry.copy_name())?;
        }
        in_thread.store.write(&entry)?;
        Ok(entry)
    });
    written.await.map_err(|_| SaveError::Stopped)?
}

/// Pushes the manifest, and removes the archive.
async fn finish(shared: &Arc<Shared>, snapshot: &Snapshot, mut entry: Entry) -> Result<Entry, SaveError> {
    let is_to_push = entry.manifest.is_none() && !entry.is_archive_removed;
    if let (Some(repository), Some(layer), true) = (&shared.repository, &entry.layer, is_to_push) {
        entry.manifest = Some(push_manifest(repository, snapshot, &entry, layer).await?);
        shared.store.write(&entry)?;
    }
    if !entry.is_archive_removed && (entry.manifest.is_some() || entry.copy_bytes.is_some()) {
        shared.remove_archive(&entry.archive, Some(entry.stamp))?;
        entry.is_archive_removed = true;
        shared.store.write(&entry)?;
    }
    Ok(entry)
}

fn open(shared: &Shared, snapshot: &Snapshot) -> Result<Archive, SaveError> {
    let (archive, folder) = (Path::new(&snapshot.spec.origin.archive), &shared.settings.checkpoints_folder);
    if archive.parent() != Some(folder) {
        return Err(SaveError::OutsideTheFolder {
            archive: archive.display().to_string(),
            folder: folder.display().to_string(),
        });
    }
    Ok(Archive::open(folder, file_name(snapshot), &shared.rules())?)
}

fn file_name(snapshot: &Snapshot) -> &str {
    let archive = snapshot.spec.origin.archive.as_str();
    archive.rsplit_once('/').map_or(archive, |(_, name)| name)
}

fn recipient(snapshot: &Snapshot) -> Result<Option<Recipient>, SaveError> {
    let recipient = snapshot.spec.recipient.as_ref();
    recipient.map(|text| text.parse().map_err(|_| SaveError::Recipient(text.clone()))).transpose()
}
