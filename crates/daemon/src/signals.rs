//! The signals that stop the process: the first starts a graceful shutdown, the second exits at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::CheckHandle;

/// The process can't receive signals.
#[derive(Debug, thiserror::Error)]
#[error("could not register handlers for SIGTERM and SIGINT")]
pub struct SignalsError {
    source: io::Error,
}

/// Cancels `stop` at the first SIGTERM or SIGINT, and exits at the second. Returns when `end` is cancelled.
///
/// `shutdown` fails from the stop on, whatever caused the stop.
pub async fn serve(shutdown: CheckHandle, stop: CancellationToken, end: CancellationToken) -> Result<(), SignalsError> {
    let failed = |source| SignalsError { source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    shutdown.pass();
    let (mut has_signal, mut is_stopping) = (false, false);
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
        if has_signal {
            exit_now(name, kind);
        }
        has_signal = true;
        info!("Received {name}: stopping");
        shutdown.fail("the process is stopping");
        stop.cancel();
    }
}

/// Exits with the code that a shell shows for a process killed by this signal.
#[expect(clippy::exit, reason = "the second signal demands an exit without destructors")]
fn exit_now(name: &str, kind: SignalKind) -> ! {
    warn!(
        "Received {name} again: exiting at once. Open requests and unfinished work are \
         aborted without a record of their result"
    );
    std::process::exit(128 + kind.as_raw_value())
}
