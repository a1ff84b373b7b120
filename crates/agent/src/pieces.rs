//! The end of the encoder: takes bytes, computes their digest, and passes them in pieces to the upload.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::Sender;

use snapwatcher_registry::Digest;

/// Bytes of a piece. Two wait in the channel, and one is being filled.
const PIECE: usize = 1 << 20;
/// How many pieces wait.
pub(crate) const WAITING: usize = 2;

/// What was written, as a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// Passes what is written to an upload, which runs in another task.
pub(crate) struct Pieces {
    sender: Sender<Bytes>,
    piece: BytesMut,
    hash: Sha256,
    bytes: u64,
}

impl Pieces {
    pub(crate) fn new(sender: Sender<Bytes>) -> Self {
        Self { sender, piece: BytesMut::with_capacity(PIECE), hash: Sha256::new(), bytes: 0 }
    }

    /// Passes the rest.
    pub(crate) fn finish(mut self) -> io::Result<Encoded> {
        self.send()?;
        Ok(Encoded { digest: Digest::of_hash(self.hash.finalize().into()), bytes: self.bytes })
    }

    /// Waits until the upload has taken an earlier piece. It fails when the upload has ended.
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        if piece.is_empty() {
            return Ok(());
        }
        self.hash.update(&piece);
        self.bytes += piece.len() as u64;
        self.sender.blocking_send(piece).map_err(|_| io::Error::other("the upload has ended"))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_written_arrives_in_order_with_its_digest() {
        let (sender, mut receiver) = mpsc::channel(10);
        let content: Vec<u8> = (0..=250).cycle().take(PIECE * 2 + 5).collect();
        let mut pieces = Pieces::new(sender);
        for part in content.chunks(70_000) {
            pieces.write_all(part).unwrap();
        }
        let encoded = pieces.finish().unwrap();
        let mut arrived = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            arrived.extend_from_slice(&piece);
        }
        assert!(arrived == content);
        assert_eq!(encoded, Encoded { digest: Digest::of(&content), bytes: content.len() as u64 });
    }

    #[test]
    fn a_writer_does_not_wait_for_an_upload_that_has_ended() {
        let (sender, receiver) = mpsc::channel(WAITING);
        drop(receiver);
        let mut pieces = Pieces::new(sender);
        assert!(pieces.write_all(&vec![0; PIECE]).is_err());
    }
}
