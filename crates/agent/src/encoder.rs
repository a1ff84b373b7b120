//! Compresses an archive by zstd, and encrypts what comes of it by age if the Snapshot names a recipient.

use std::io::{self, Write};

use age::Encryptor;
use age::stream::StreamWriter;
use age::x25519::Recipient;
use zstd::stream::write::Encoder as Compressor;

use crate::pieces::{Encoded, Pieces};

/// zstd's own default: higher levels take twice the time for some percent of the bytes.
const LEVEL: i32 = 3;

/// A writer of an archive whose compressed form goes to an upload.
pub(crate) enum Encoder {
    Plain(Compressor<'static, Pieces>),
    Encrypted(Compressor<'static, StreamWriter<Pieces>>),
}

impl Encoder {
    /// Without a recipient, the archive is not encrypted.
    pub(crate) fn new(recipient: Option<&Recipient>, pieces: Pieces) -> io::Result<Self> {
        let Some(recipient) = recipient else { return Ok(Self::Plain(Compressor::new(pieces, LEVEL)?)) };
        let recipients = std::iter::once(recipient as &dyn age::Recipient);
        let encryptor = Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        Ok(Self::Encrypted(Compressor::new(encryptor.wrap_output(pieces)?, LEVEL)?))
    }

    /// Ends the compression and the encryption.
    pub(crate) fn finish(self) -> io::Result<Encoded> {
        match self {
            Self::Plain(compressor) => compressor.finish()?.finish(),
            Self::Encrypted(compressor) => compressor.finish()?.finish()?.finish(),
        }
    }
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(compressor) => compressor.write(bytes),
            Self::Encrypted(compressor) => compressor.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(compressor) => compressor.flush(),
            Self::Encrypted(compressor) => compressor.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use age::x25519::Identity;
    use tokio::sync::mpsc;

    use super::*;

    fn encoded(recipient: Option<&Recipient>, content: &[u8]) -> Vec<u8> {
        let (sender, mut receiver) = mpsc::channel(100);
        let mut encoder = Encoder::new(recipient, Pieces::new(sender)).unwrap();
        encoder.write_all(content).unwrap();
        let Encoded { bytes, .. } = encoder.finish().unwrap();
        let mut arrived = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            arrived.extend_from_slice(&piece);
        }
        assert_eq!(bytes, arrived.len() as u64);
        arrived
    }

    #[test]
    fn a_plain_archive_is_decompressed_to_the_same_bytes() {
        let content = b"memory ".repeat(100_000);
        let arrived = encoded(None, &content);
        assert!(arrived.len() < content.len() / 100);
        assert!(zstd::decode_all(arrived.as_slice()).unwrap() == content);
    }

    #[test]
    fn an_encrypted_archive_is_read_by_the_identity_of_its_recipient_alone() {
        let (identity, other) = (Identity::generate(), Identity::generate());
        let content = b"memory ".repeat(100_000);
        let arrived = encoded(Some(&identity.to_public()), &content);
        assert!(!arrived.windows(7).any(|window| window == b"memory "));
        let decryptor = || age::Decryptor::new_buffered(arrived.as_slice()).unwrap();
        let mut compressed = Vec::new();
        let identities = std::iter::once(&identity as &dyn age::Identity);
        decryptor().decrypt(identities).unwrap().read_to_end(&mut compressed).unwrap();
        assert!(zstd::decode_all(compressed.as_slice()).unwrap() == content);
        assert!(decryptor().decrypt(std::iter::once(&other as &dyn age::Identity)).is_err());
    }

    #[test]
    fn the_same_archive_is_encrypted_to_other_bytes_each_time() {
        let recipient = Identity::generate().to_public();
        assert_ne!(encoded(Some(&recipient), b"memory"), encoded(Some(&recipient), b"memory"));
    }
}
