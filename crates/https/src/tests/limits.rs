//! The limits of one connection, and of their number.

use super::*;

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_closed() {
    let port = Port::open(Limits { handshake: SHORT, ..Limits::default() });
    let mut silent = TcpStream::connect(port.address).await.unwrap();
    closed(&mut silent).await;
}

#[tokio::test]
async fn a_client_that_sends_no_request_is_closed() {
    let port = Port::open(Limits { first_request: SHORT, ..Limits::default() });
    let mut silent = port.connect("localhost").await.unwrap();
    closed(&mut silent).await;
}

#[tokio::test]
async fn a_client_that_sends_no_further_request_is_closed() {
    let port = Port::open(Limits { idle: SHORT, ..Limits::default() });
    let mut stream = port.connect("localhost").await.unwrap();
    request(&mut stream, "/").await;
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_client_that_reads_no_response_is_closed() {
    let port = Port::open(Limits { write: SHORT, ..Limits::default() });
    let mut greedy = port.connect("localhost").await.unwrap();
    // More than the kernel's buffers hold between the two.
    greedy.write_all(&b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(32)).await.unwrap();
    port.shows("https_open_connections 1").await;
    port.shows("https_open_connections 0").await;
}

#[tokio::test]
async fn a_request_whose_body_does_not_arrive_is_answered_408() {
    let port = Port::open(Limits { request: SHORT, ..Limits::default() });
    let mut stream = port.connect("localhost").await.unwrap();
    stream.write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    assert!(response(&mut stream).await.starts_with("HTTP/1.1 408 "));
    port.shows("https_request_timeouts_total 1").await;
    closed(&mut stream).await;
}

#[tokio::test]
async fn one_more_client_evicts_the_connection_whose_last_request_is_the_longest_ago() {
    let port = Port::open(Limits { connections: 2, ..Limits::default() });
    let mut silent = port.connect("localhost").await.unwrap();
    let mut asking = port.connect("localhost").await.unwrap();
    for stream in [&mut silent, &mut asking] {
        request(stream, "/").await;
    }
    let mut third = port.connect("localhost").await.unwrap();
    closed(&mut silent).await;
    for stream in [&mut third, &mut asking] {
        assert!(request(stream, "/").await.ends_with("ok"));
    }
    port.shows("https_evicted_connections_total 1").await;
}

#[tokio::test]
async fn a_connection_is_evicted_in_whatever_state_it_is() {
    let port = Port::open(Limits { connections: 1, ..Limits::default() });
    let connect_only = TcpStream::connect(port.address).await.unwrap();
    port.shows("https_open_connections 1").await;
    let mut slow_head = port.connect("localhost").await.unwrap();
    slow_head.write_all(b"POST /body HTTP/1.1\r\nHost").await.unwrap();
    let mut slow_body = port.connect("localhost").await.unwrap();
    slow_body.write_all(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345").await.unwrap();
    let mut greedy = port.connect("localhost").await.unwrap();
    greedy.write_all(&b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(32)).await.unwrap();
    let mut last = port.connect("localhost").await.unwrap();
    assert!(request(&mut last, "/").await.ends_with("ok"));
    port.shows("https_evicted_connections_total 4").await;
    drop((connect_only, slow_head, slow_body, greedy));
}

#[tokio::test]
async fn connections_are_counted_from_accepting_to_closing() {
    let port = Port::open(Limits::default());
    let mut polite = port.connect("localhost").await.unwrap();
    request(&mut polite, "/").await;
    let silent = TcpStream::connect(port.address).await.unwrap();
    port.shows("https_open_connections 2").await;
    drop((polite, silent));
    port.shows("https_open_connections 0").await;
    port.shows("https_accepted_connections_total 2").await;
}
