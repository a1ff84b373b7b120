//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Room for all connections that the ports take, with as much for everything else.
const WANTED: u64 = 4096;

/// Raises the soft limit towards what is wanted, as far as the hard limit goes.
///
/// Many systems start processes with a soft limit of 1,024, for the sake of those that still use `select(2)`
/// (<https://0pointer.net/blog/file-descriptor-limits.html>). Less than the HTTPS port may need: slow clients could then
/// keep the process from opening a connection to the API server.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    // No limit is enough already.
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::warn!(%error, "Could not raise the limit of open files to {wanted}");
    }
}
