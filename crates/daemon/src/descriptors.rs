//! The limit on open files and sockets of the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for all connections of the ports, and for the files and outgoing connections of the process.
const NEEDED: u64 = 4096;

/// Raises the soft limit to what SnapWatcher needs, or to the hard limit if this is lower.
///
/// Many systems start processes with a soft limit of 1,024, for programs that use `select(2)`
/// (<https://0pointer.net/blog/file-descriptor-limits.html>). The HTTPS port may need more. With this limit slow clients
/// could keep the process from connecting to the API server.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = maximum.map_or(NEEDED, |maximum| maximum.min(NEEDED));
    // `None` means no limit.
    if current.is_some_and(|current| current < needed)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })
    {
        tracing::warn!(
            "Could not raise the limit on open files from {current:?} to {needed}: {error}. With many clients, connections \
             to the API server may fail: raise the limit (`ulimit -n`) of the container"
        );
    }
}
