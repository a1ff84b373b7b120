use std::convert::Infallible;
use std::net::Ipv4Addr;

use futures::future::{Either, join_all, select};
use futures::stream::{iter, pending};
use tokio::time::{Instant, interval};

use super::super::large_bodies::SLOW_FOR;
use super::*;

const SHORT: Duration = Duration::from_millis(50);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn reader(permits: usize) -> BodyReader {
    BodyReader {
        large_bodies: LargeBodies::new(permits, permits),
        permit_timeout: SHORT,
        timeout: SHORT,
        awaited_timeout: SHORT,
    }
}

fn frames(lengths: &[usize]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let frame = |(letter, &length): (u8, &usize)| Ok(Bytes::from(vec![letter; length]));
    iter((b'a'..).zip(lengths).map(frame).collect::<Vec<_>>())
}

#[tokio::test]
async fn the_frames_of_a_body_are_joined() {
    for lengths in [&[][..], &[10], &[SMALL_BODY], &[SMALL_BODY, 1], &[1, SMALL_BODY, 5], &[REVIEW_LIMIT]] {
        let body = reader(1).read(Body::from_stream(frames(lengths)), CLIENT).await.unwrap();
        let expected = (b'a'..).zip(lengths).flat_map(|(letter, &length)| std::iter::repeat_n(letter, length));
        assert!(body.bytes().iter().copied().eq(expected), "{lengths:?}");
    }
}

#[tokio::test]
async fn a_body_is_rejected_at_the_first_byte_over_the_limit() {
    for lengths in [&[REVIEW_LIMIT + 1][..], &[SMALL_BODY, REVIEW_LIMIT - SMALL_BODY, 1]] {
        let endless = frames(lengths).chain(pending());
        assert!(
            matches!(reader(1).read(Body::from_stream(endless), CLIENT).await, Err(RequestError::BodyTooLarge { .. })),
            "{lengths:?}"
        );
    }
}

#[tokio::test]
async fn large_bodies_wait_for_a_permit_and_small_ones_do_not() {
    let reader = reader(1);
    let first = reader.read(Body::from_stream(frames(&[SMALL_BODY + 1])), CLIENT).await.unwrap();
    assert!(matches!(
        reader.read(Body::from_stream(frames(&[SMALL_BODY + 1])), CLIENT).await,
        Err(RequestError::TooManyLargeBodies)
    ));
    assert!(reader.read(Body::from_stream(frames(&[SMALL_BODY])), CLIENT).await.is_ok());
    drop(first);
    assert!(reader.read(Body::from_stream(frames(&[SMALL_BODY + 1])), CLIENT).await.is_ok());
}

#[tokio::test]
async fn a_large_body_that_does_not_arrive_returns_its_permit() {
    let reader = reader(1);
    let stuck = Body::from_stream(frames(&[SMALL_BODY + 1]).chain(pending()));
    assert!(matches!(reader.read(stuck, CLIENT).await, Err(RequestError::BodyTimeout)));
    assert!(reader.read(Body::from_stream(frames(&[SMALL_BODY + 1])), CLIENT).await.is_ok());
}

/// An API server waits 3 s for the response, as the webhook configuration says.
#[tokio::test(start_paused = true)]
async fn bodies_of_twenty_addresses_that_do_not_arrive_delay_no_other_one_for_long() {
    let reader = BodyReader::default();
    let stuck = |number: u8| {
        let (reader, client) = (&reader, IpAddr::from([10, 0, 0, number]));
        async move {
            loop {
                let body = Body::from_stream(frames(&[SMALL_BODY + 1]).chain(pending()));
                assert!(reader.read(body, client).await.is_err());
            }
        }
    };
    let attack = join_all((1..=20).flat_map(|number| (0..10).map(move |_| number)).map(stuck));
    let honest = async {
        let (mut waits, mut second) = (Vec::new(), interval(Duration::from_secs(1)));
        for _ in 0..3 * SLOW_FOR.as_secs() {
            second.tick().await;
            let start = Instant::now();
            reader.read(Body::from_stream(frames(&[REVIEW_LIMIT])), CLIENT).await.unwrap();
            waits.push(start.elapsed());
        }
        waits
    };
    let Either::Right((waits, _)) = select(Box::pin(attack), Box::pin(honest)).await else {
        panic!("the attack has no end");
    };
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(2)), "{waits:?}");
    let delayed = waits.iter().filter(|wait| !wait.is_zero()).count();
    assert!(delayed <= 9, "the clients are known to be slow: {waits:?}");
}

/// A client far from this process can need a second for a large body.
#[tokio::test(start_paused = true)]
async fn a_body_that_takes_long_ends_early_only_if_others_wait() {
    let slow_body = || {
        let last = futures::stream::once(async {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"z"))
        });
        Body::from_stream(frames(&[SMALL_BODY + 1]).chain(Box::pin(last)))
    };
    let other = IpAddr::from([10, 0, 0, 1]);
    for (permits, expected) in [(2, true), (1, false)] {
        let large_bodies = LargeBodies::new(permits, 1);
        let reader = BodyReader { large_bodies, ..BodyReader::default() };
        let first = reader.read(slow_body(), CLIENT);
        let second = reader.read(Body::from_stream(frames(&[SMALL_BODY + 1])), other);
        let (first, second) = tokio::join!(first, async { second.await.is_ok() });
        assert_eq!((first.is_ok(), second), (expected, true), "{permits}");
    }
}

#[test]
fn only_a_body_that_may_need_a_permit_needs_the_address_of_its_client() {
    for (length, expected) in [(0, false), (SMALL_BODY, false), (SMALL_BODY + 1, true)] {
        assert_eq!(may_be_large(&Body::from(vec![0; length])), expected, "{length}");
    }
    assert!(may_be_large(&Body::from_stream(frames(&[1]))), "no length is announced");
}
