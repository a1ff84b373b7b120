//! Why the listener can't serve.

use std::io;

/// Why the listener can't serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("could not set up TLS")]
    Tls { source: rustls::Error },
    #[error("could not run the HTTPS listener on its own thread")]
    Thread { source: io::Error },
    #[error("could not use the listening socket")]
    Socket { source: io::Error },
}
