//! The one read of an archive, in a thread of its own: hashed, checked, unpacked, compressed, encrypted.

use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;

use age::x25519::Recipient;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use snapwatcher_api::snapshot::Snapshot;
use snapwatcher_archive::identity::{self, Expected};
use snapwatcher_archive::requirements::Requirements;
use snapwatcher_archive::shape::shape;
use snapwatcher_archive::{Archive, ConfigDump, Contents, Discard, Folder, Limits, SpecDump, read};
use snapwatcher_registry::Digest;

use crate::encoder::Encoder;
use crate::machine::requirements_here;
use crate::pieces::{Encoded, Pieces};
use crate::save_error::SaveError;
use crate::state_folder::StateFolder;

/// Where the encoded archive goes.
pub(crate) struct Target {
    pub(crate) pieces: Sender<Bytes>,
    /// `None`: it is not encrypted.
    pub(crate) recipient: Option<Recipient>,
}

/// What a pass found. Nothing of it is on the disk for certain before [`Folder::finish`].
pub(crate) struct Passed {
    pub(crate) archive: Archive,
    pub(crate) digest: Digest,
    pub(crate) layer: Option<Encoded>,
    /// `None`: it was not unpacked.
    pub(crate) folder: Option<Folder>,
    pub(crate) shape: String,
    pub(crate) requirements: Requirements,
    pub(crate) engine: &'static str,
}

/// Reads an archive to its end, and checks that it is that of the Snapshot. `partial` is the name of the folder to unpack it into.
pub(crate) fn pass(
    archive: Archive,
    snapshot: &Snapshot,
    target: Option<Target>,
    unpacked: Option<(&StateFolder, &str)>,
    stop: &CancellationToken,
) -> Result<Passed, SaveError> {
    let encoder = target.map(|target| Encoder::new(target.recipient.as_ref(), Pieces::new(target.pieces)));
    let mut tee = Tee { file: archive.reader(), hash: Sha256::new(), encoder: encoder.transpose()?, stop };
    let mut folder = unpacked.map(|(state, name)| Folder::create(state.partial.as_fd(), name)).transpose()?;
    let (size, limits) = (archive.size(), Limits::default());
    let contents = match &mut folder {
        Some(folder) => read(&mut tee, size, &limits, folder),
        None => read(&mut tee, size, &limits, &mut Discard),
    }?;
    let digest = Digest::of_hash(tee.hash.finalize().into());
    let (config, spec) = checked(&contents, snapshot)?;
    archive.verify_unchanged()?;
    let layer = tee.encoder.map(Encoder::finish).transpose()?;
    Ok(Passed {
        digest,
        layer,
        folder,
        shape: shape(&spec, &[]),
        requirements: requirements_here(&config, &contents),
        engine: config.engine(),
        archive,
    })
}

fn checked(contents: &Contents, snapshot: &Snapshot) -> Result<(ConfigDump, SpecDump), SaveError> {
    let (config, spec) = (ConfigDump::parse(&contents.config)?, SpecDump::parse(&contents.spec)?);
    let named = &snapshot.spec;
    let expected = Expected {
        namespace: snapshot.metadata.namespace.as_deref().unwrap_or_default(),
        pod: &named.origin.pod.name,
        pod_uid: &named.origin.pod.uid,
        container: &named.container,
        image: &named.image,
        image_id: Some(&named.image_id),
    };
    identity::check(&config, &spec, &expected)?;
    Ok((config, spec))
}

/// Hashes and encodes what is read.
struct Tee<'a, R> {
    file: R,
    hash: Sha256,
    encoder: Option<Encoder>,
    stop: &'a CancellationToken,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("the agent stops"));
        }
        let length = self.file.read(buffer)?;
        let bytes = &buffer[..length];
        self.hash.update(bytes);
        if let Some(encoder) = &mut self.encoder {
            encoder.write_all(bytes)?;
        }
        Ok(length)
    }
}
