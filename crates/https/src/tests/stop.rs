//! What a stop does to open and new connections.

use super::*;

/// A server that stops without a drain.
fn undrained() -> Limits {
    Limits { drain: Duration::ZERO, ..Limits::default() }
}

#[tokio::test]
async fn a_stop_finishes_the_open_request_and_takes_no_new_one() {
    let port = Port::open(undrained());
    let address = port.address;
    let mut idle = port.connect("localhost").await.unwrap();
    request(&mut idle, "/").await;
    let mut busy = port.connect("localhost").await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    port.request_arrived().await;
    port.stop.cancel();
    closed(&mut idle).await;
    port.signals.released.notify_one();
    assert!(response(&mut busy).await.ends_with("done"));
    assert!(port.stopped().await.is_ok());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_draining_server_answers_all_requests_and_closes_each_connection_after_its_response() {
    let port = Port::open(Limits::default());
    let mut kept = port.connect("localhost").await.unwrap();
    assert!(!request(&mut kept, "/").await.contains("connection: close"));
    port.stop.cancel();
    let mut new = port.connect("localhost").await.unwrap();
    for (stream, path) in [(&mut kept, "/"), (&mut new, "/nowhere")] {
        assert!(request(stream, path).await.contains("\r\nconnection: close\r\n"), "{path}");
        closed(stream).await;
    }
    port.shows("https_drained_requests_total 2").await;
    assert!(!port.served.is_finished(), "the drain is not over");
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let port = Port::open(Limits { drain: SHORT, ..Limits::default() });
    let mut idle = port.connect("localhost").await.unwrap();
    request(&mut idle, "/").await;
    port.stop.cancel();
    closed(&mut idle).await;
    assert!(port.stopped().await.is_ok());
}

#[tokio::test]
async fn connections_that_are_open_after_the_grace_are_aborted() {
    let port = Port::open(Limits { grace: SHORT, ..undrained() });
    let mut stuck = port.connect("localhost").await.unwrap();
    stuck.write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    port.request_arrived().await;
    port.stop.cancel();
    port.shows("https_aborted_connections_total 1").await;
    assert!(port.stopped().await.is_ok());
}
