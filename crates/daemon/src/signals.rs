//! The signals that end the process: the first asks for an orderly end, the second is obeyed at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::CheckHandle;

/// Signals can't be waited for.
#[derive(Debug, thiserror::Error)]
#[error("could not wait for signals")]
pub struct SignalsError {
    source: io::Error,
}

/// Turns SIGTERM and SIGINT into the stop, until the end of everything else.
///
/// From the stop on, whoever caused it, the process is not ready.
pub async fn serve(shutdown: CheckHandle, stop: CancellationToken, end: CancellationToken) -> Result<(), SignalsError> {
    let failed = |source| SignalsError { source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    shutdown.pass();
    let (mut is_asked, mut is_stopping) = (false, false);
    loop {
        let (name, kind) = tokio::select! {
            _ = terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
            () = stop.cancelled(), if !is_stopping => {
                shutdown.fail("the process is stopping");
                is_stopping = true;
                continue;
            }
            () = end.cancelled() => return Ok(()),
        };
        if is_asked {
            end_at_once(name, kind);
        }
        is_asked = true;
        info!("{name}: stopping");
        shutdown.fail("the process is stopping");
        stop.cancel();
    }
}

/// Ends the process with the exit code of one that a signal has killed, as a shell tells it.
#[expect(clippy::exit, reason = "whoever asks twice wants nothing waited for, destructors included")]
fn end_at_once(name: &str, kind: SignalKind) -> ! {
    warn!("{name} again: ending at once, with what is under way left unfinished");
    std::process::exit(128 + kind.as_raw_value())
}
