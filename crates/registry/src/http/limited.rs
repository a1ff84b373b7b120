//! Reads a body that must not be longer than a limit, nor take longer.

use std::time::Duration;

use reqwest::Response;
use tokio::time::timeout;

use super::exchange::Failure;

/// What was read of a body.
#[derive(Debug)]
pub(crate) enum Oversized {
    /// It is longer than the limit: its start, as long as the limit.
    Yes(Vec<u8>),
    Whole(Vec<u8>),
}

/// Reads a body up to a limit in bytes.
pub(crate) async fn read_at_most(
    response: &mut Response,
    limit: usize,
    within: Duration,
) -> Result<Oversized, Failure> {
    let read = async {
        let mut read = Vec::new();
        while let Some(piece) = response.chunk().await? {
            let room = limit - read.len();
            if piece.len() > room {
                read.extend_from_slice(&piece[..room]);
                return Ok(Oversized::Yes(read));
            }
            read.extend_from_slice(&piece);
        }
        Ok(Oversized::Whole(read))
    };
    match timeout(within, read).await {
        Ok(result) => result.map_err(Failure::Transport),
        Err(_) => Err(Failure::Silent(within)),
    }
}
