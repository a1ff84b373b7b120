//! The time limits of the listener and the limit on its connections.

use std::time::Duration;

/// How long the listener waits for its clients, and how many connections it keeps.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From accepting a connection to the end of its TLS handshake.
    pub handshake: Duration,
    /// From the end of the handshake to the head of the first request.
    pub first_request: Duration,
    /// From a response to the head of the next request. The API server closes an idle connection after 90 s. The default
    /// is longer, so that the client closes first and no request meets a closing connection. The webhook sets it:
    /// `--idle-timeout`.
    pub idle: Duration,
    /// From the head of a request to its response. Reading the body takes most of it. The API server waits 3 s.
    /// The webhook sets it: `--body-timeout`.
    pub request: Duration,
    /// How long a client may accept no byte while a write is pending.
    pub write: Duration,
    /// Open connections. When one more client connects, the listener evicts the connection whose last request is the
    /// longest ago. An API server keeps a few connections.
    pub connections: usize,
    /// How long the listener accepts connections and answers requests after the stop. The webhook sets it: `--drain-delay`.
    pub drain: Duration,
    /// How long open connections may last after the drain.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            request: Duration::from_secs(30),
            write: Duration::from_secs(30),
            connections: 1024,
            drain: Duration::from_secs(10),
            // Drain and grace together have to be shorter than the grace period of the whole process.
            grace: Duration::from_secs(10),
        }
    }
}
