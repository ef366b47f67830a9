//! More than fits: who waits, for how long, and what comes of it.

use std::{
    thread::JoinHandle,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use testkit::{
    eventually,
    https::{self, Answer, Connection, post_head},
};

use crate::{
    fixture::{PATH, Serving, serve},
    http2,
    limits::review_of,
};

pub fn open(serving: &Serving) -> Connection {
    Connection::open(&https::client(serving.authority.pem()), serving.address).unwrap()
}

pub fn seed() -> Vec<u8> {
    std::fs::read(testkit::testdata("admission.json")).unwrap()
}

/// A request whose body has begun to arrive.
pub fn begin(serving: &Serving, body: &[u8]) -> Connection {
    let before = metric(serving, "in_flight");
    let mut connection = open(serving);
    connection.send(post_head(&format!("{PATH}?timeout=30s"), body.len()).as_bytes()).unwrap();
    connection.send(&body[..body.len() / 2]).unwrap();
    // Until it has got its slot, or its place in the queue.
    eventually(|| "a request".to_owned(), || (metric(serving, "in_flight") > before).then_some(()));
    connection
}

/// The sum of a metric over its labels.
fn metric(serving: &Serving, name: &str) -> u64 {
    metric_of(serving, name, "")
}

/// The sum of a metric over those of its labels that have a word in them.
fn metric_of(serving: &Serving, name: &str, word: &str) -> u64 {
    let text = serving.health("/metrics").body;
    let name = format!("apiserver_proxy_pod_webhook_{name}");
    let lines = text.lines().filter(|line| line.starts_with(&name) && line.contains(word));
    let values = lines.map(|line| line.rsplit(' ').next());
    values.map(|value| value.unwrap().parse::<u64>().unwrap()).sum()
}

fn end(mut connection: Connection, body: &[u8]) -> u16 {
    connection.send(&body[body.len() / 2..]).unwrap();
    connection.finish().unwrap().status
}

/// Posts, and says how long that took.
pub fn post(serving: &Serving, query: &str, body: Vec<u8>) -> JoinHandle<(Answer, Duration)> {
    let (config, address) = (https::client(serving.authority.pem()), serving.address);
    let path = format!("{PATH}{query}");
    std::thread::spawn(move || {
        let mut connection = Connection::open(&config, address).unwrap();
        let begun = Instant::now();
        (connection.post(&path, &body).unwrap(), begun.elapsed())
    })
}

#[test]
fn a_request_waits_for_a_slot_and_is_served() {
    let serving = serve(&["--max-in-flight=1"]);
    let first = begin(&serving, &seed());
    let second = post(&serving, "?timeout=20s", seed());
    std::thread::sleep(Duration::from_millis(500));
    assert!(!second.is_finished(), "it has no slot");
    assert_eq!(serving.health("/readyz").status, 200, "the health port needs none");
    assert_eq!(end(first, &seed()), 200);
    assert_eq!(second.join().unwrap().0.status, 200);
}

#[test]
fn a_request_waits_as_long_as_its_client_and_is_told_why_it_failed() {
    let serving = serve(&["--max-in-flight=1"]);
    let first = begin(&serving, &seed());
    let huge = post(&serving, "?timeout=1000000h", seed());
    let waits = [
        ("?timeout=500ms", 475),
        ("?timeout=2s", 1_900),
        ("?timeout=nonsense", 9_500),
        ("?timeout=0s", 9_500),
    ];
    let waiting = waits.map(|(query, millis)| (post(&serving, query, seed()), query, millis));
    for (waiting, query, millis) in waiting {
        let (answer, took) = waiting.join().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &status["reason"]), (503, &"ServiceUnavailable".into()), "{query}");
        assert!(status["message"].as_str().unwrap().contains("raise --max-in-flight"), "{status}");
        assert!(took >= Duration::from_millis(millis), "{query}: refused after {took:?} already");
        assert!(took < Duration::from_millis(millis) + Duration::from_secs(5), "{query}: {took:?}");
    }
    assert_eq!(metric_of(&serving, "requests_total", "shed"), 4);
    assert!(!huge.is_finished());
    assert_eq!(end(first, &seed()), 200);
    assert_eq!(huge.join().unwrap().0.status, 200);
}

#[test]
fn a_body_that_does_not_arrive_in_its_time_gives_back_its_slot() {
    let serving = serve(&["--max-in-flight=1"]);
    let mut slow = open(&serving);
    slow.send(post_head(&format!("{PATH}?timeout=1s"), 1000).as_bytes()).unwrap();
    let answer = slow.finish().unwrap();
    assert_eq!(answer.status, 503);
    let told = String::from_utf8_lossy(&answer.body);
    assert!(told.contains("did not arrive within the 950ms that there were"), "{told}");
    assert!(answer.headers.contains("connection: close"));
    assert_eq!(serving.post_seed(&[]).status, 200);
}

#[test]
fn a_head_has_ten_seconds_and_an_idle_connection_more() {
    let serving = serve(&[]);
    let (mut idle, mut slow) = (open(&serving), open(&serving));
    assert_eq!(idle.post(PATH, &seed()).unwrap().status, 200);
    slow.send(b"POST / HTTP/1.1\r\nHost:").unwrap();
    let begun = Instant::now();
    assert!(slow.finish().is_err(), "cut off");
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(18), "{took:?}");
    assert_eq!(idle.post(PATH, &seed()).unwrap().status, 200);
}

#[test]
fn who_goes_away_while_waiting_leaves_its_place() {
    let serving = serve(&["--max-in-flight=1"]);
    let first = begin(&serving, &seed());
    let waiting: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = open(&serving);
            connection.send(post_head(&format!("{PATH}?timeout=30s"), seed().len()).as_bytes()).unwrap();
            connection.send(&seed()).unwrap();
            connection
        })
        .collect();
    let with = serving.descriptors();
    drop(waiting);
    let gone = Instant::now();
    eventually(
        || format!("{} descriptors", serving.descriptors()),
        || (serving.descriptors() <= with - 20).then_some(()),
    );
    assert!(gone.elapsed() < Duration::from_secs(15), "not before their time was up");
    assert_eq!(end(first, &seed()), 200);
}

#[tokio::test]
async fn streams_of_one_http2_connection_wait_like_everybody() {
    let serving = serve(&["--max-in-flight=1"]);
    let (mut sender, _) = http2::connect(&serving).await;
    let whole = || Full::new(http2::seed()).boxed();
    let (piece, body) = http2::in_pieces();
    let first = tokio::spawn(sender.send_request(http2::request("?timeout=30s", body)));
    piece.send(http2::seed().slice(..100)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;

    let begun = Instant::now();
    let refused = sender.send_request(http2::request("?timeout=500ms", whole())).await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(begun.elapsed() >= Duration::from_millis(475), "{:?}", begun.elapsed());
    // One that is cancelled while it waits, and one that is served after the first.
    let cancelled = tokio::spawn(sender.send_request(http2::request("?timeout=30s", whole())));
    let served = tokio::spawn(sender.send_request(http2::request("?timeout=30s", whole())));
    tokio::time::sleep(Duration::from_millis(300)).await;
    cancelled.abort();
    assert!(!served.is_finished());
    piece.send(http2::seed().slice(100..)).await.unwrap();
    drop(piece);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(served.await.unwrap().unwrap().status(), 200);
}

/// Their bodies together are longer than the connection's window: those that wait must not fill it.
#[tokio::test]
async fn waiting_streams_do_not_hold_up_the_bodies_of_others() {
    let serving = serve(&["--max-in-flight=2"]);
    let (sender, _) = http2::connect(&serving).await;
    let body = bytes::Bytes::from(review_of(500_000));
    let posts: Vec<_> = (0..60)
        .map(|_| {
            let (mut sender, body) = (sender.clone(), Full::new(body.clone()).boxed());
            tokio::spawn(async move { sender.send_request(http2::request("?timeout=30s", body)).await })
        })
        .collect();
    for post in posts {
        assert_eq!(post.await.unwrap().unwrap().status(), 200);
    }
}
