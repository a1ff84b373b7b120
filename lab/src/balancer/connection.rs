//! A TLS connection that is reused, and the parts of an HTTP response head that a client needs (RFC 9112, 6.3 and 9.3).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::webhook_client::Reply;

/// An open connection and the time of its last use.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    pub(super) unused_since: Instant,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr, tls: Arc<ClientConfig>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(tls).connect(ServerName::from(address.ip()), stream).await?;
        Ok(Self { stream, unused_since: Instant::now() })
    }

    /// Whether the server has closed the connection. Go's client reads all the time, so it knows at once. This client
    /// asks the kernel, because tokio may learn of it later. A server that sends unrequested data is about to close
    /// too.
    pub(super) fn is_closed(&self) -> bool {
        let socket = self.stream.get_ref().0;
        recv(socket, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT).err() != Some(Errno::AGAIN)
    }

    /// Sends a request. Returns the response, and the connection if it can be reused.
    pub(super) async fn send(mut self, request: &[u8]) -> io::Result<(Reply, Option<Self>)> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let mut answer = Vec::new();
        let end_of_head = loop {
            if let Some(start) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break start + 4;
            }
            self.read_more(&mut answer).await?;
        };
        let head = Head::parse(&answer[..end_of_head])?;
        while answer.len() < end_of_head + head.length {
            self.read_more(&mut answer).await?;
        }
        let body = String::from_utf8_lossy(&answer[end_of_head..]).into_owned();
        self.unused_since = Instant::now();
        Ok((Reply { status: head.status, body }, (!head.closes).then_some(self)))
    }

    async fn read_more(&mut self, answer: &mut Vec<u8>) -> io::Result<()> {
        match self.stream.read_buf(answer).await? {
            0 => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the server closed the connection before the response was complete",
            )),
            _ => Ok(()),
        }
    }
}

/// The parts of a response head that this client needs.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    closes: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let invalid =
            || io::Error::new(ErrorKind::InvalidData, "the response head has no valid status or no content-length");
        let text = std::str::from_utf8(bytes).map_err(|_| invalid())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let (mut length, mut closes) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok(),
                "connection" => closes = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        match (status, length) {
            (Some(status), Some(length)) => Ok(Self { status, length, closes }),
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_a_status_a_length_and_whether_the_connection_closes() {
        let kept = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(Head::parse(kept).unwrap(), Head { status: 200, length: 12, closes: false });
        let last = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(Head::parse(last).unwrap(), Head { status: 503, length: 0, closes: true });
        for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", "\r\n\r\n"] {
            assert!(Head::parse(head.as_bytes()).is_err(), "{head}");
        }
    }
}
