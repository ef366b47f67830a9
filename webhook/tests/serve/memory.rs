//! The memory that all bodies share: who has it, and who waits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use testkit::https::{Connection, post_head};

use crate::{
    fixture::{PATH, Serving, serve},
    limits::review_of,
    overload::{begin, open, post, seed},
};

#[test]
fn large_bodies_share_the_memory_and_are_all_answered() {
    let serving = serve(&["--max-request-bytes=4194304", "--max-buffered-bytes=16777216"]);
    let before = serving.resident();
    let body = Arc::new(review_of(3_000_000).into_bytes());
    let posts: Vec<_> = (0..32).map(|_| post(&serving, "?timeout=30s", body.to_vec())).collect();
    let statuses: Vec<u16> = posts.into_iter().map(|post| post.join().unwrap().0.status).collect();
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
    let grown = serving.peak().saturating_sub(before);
    assert!(grown < 40 << 20, "{grown} bytes for 16 MiB of bodies");
    assert_eq!(serving.post_seed(&[]).status, 200);
}

const ONE_BODY: [&str; 2] = ["--max-request-bytes=1048576", "--max-buffered-bytes=1048576"];

#[test]
fn memory_is_given_back_when_a_client_goes_away_in_the_middle() {
    let serving = serve(&ONE_BODY);
    let body = review_of(1_000_000).into_bytes();
    for _ in 0..5 {
        let first = begin(&serving, &body);
        let second = post(&serving, "?timeout=20s", body.clone());
        std::thread::sleep(Duration::from_millis(300));
        assert!(!second.is_finished(), "there is room for one");
        drop(first);
        assert_eq!(second.join().unwrap().0.status, 200);
    }
}

#[test]
fn a_body_without_a_length_counts_for_what_has_come() {
    let serving = serve(&ONE_BODY);
    let mut first = open(&serving);
    let head = format!(
        "POST {PATH}?timeout=30s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    first.send(head.as_bytes()).unwrap();
    let long = || review_of(100_000).into_bytes();
    assert_eq!(post(&serving, "?timeout=5s", long()).join().unwrap().0.status, 200, "nothing has come");
    first.send(b"1\r\n \r\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let (answer, took) = post(&serving, "?timeout=500ms", long()).join().unwrap();
    assert_eq!(answer.status, 503);
    assert!(String::from_utf8_lossy(&answer.body).contains("raise --max-buffered-bytes"));
    assert!(took >= Duration::from_millis(475), "{took:?}");
    assert_eq!(serving.post_seed(&[]).status, 200, "small ones have a part of their own");
    first.send(format!("{:x}\r\n", seed().len()).as_bytes()).unwrap();
    first.send(&seed()).unwrap();
    first.send(b"\r\n0\r\n\r\n").unwrap();
    assert_eq!(first.finish().unwrap().status, 200);
    assert_eq!(serving.post_seed(&[]).status, 200);
}

/// Clients that announce a body and stop after a part of it.
fn stopped(serving: &Serving, count: usize, announced: usize, sent: usize) -> Vec<Connection> {
    let sent = " ".repeat(sent);
    let stop = |_| {
        let mut connection = open(serving);
        connection.send(post_head(&format!("{PATH}?timeout=30s"), announced).as_bytes()).unwrap();
        connection.send(sent.as_bytes()).unwrap();
        connection
    };
    (0..count).map(stop).collect()
}

/// Small ones, and some of 3 MB at once: all served, and long before the others' time is up.
fn all_are_served(serving: &Serving) {
    let begun = Instant::now();
    let large = review_of(3_000_000).into_bytes();
    let posts: Vec<_> = (0..8).map(|_| post(serving, "?timeout=30s", large.clone())).collect();
    let small = (0..20).map(|_| post(serving, "?timeout=30s", seed()));
    for post in small.chain(posts) {
        assert_eq!(post.join().unwrap().0.status, 200);
    }
    println!("served after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn who_announces_much_and_sends_nothing_has_nothing() {
    let serving = serve(&[]);
    let silent = stopped(&serving, 20, 16 << 20, 0);
    std::thread::sleep(Duration::from_millis(300));
    all_are_served(&serving);
    drop(silent);
}

#[test]
fn others_pass_by_those_who_stop_half_way() {
    let serving = serve(&["--max-request-bytes=4194304", "--max-buffered-bytes=12582912"]);
    let stopped = stopped(&serving, 4, 4 << 20, 2_000_000);
    all_are_served(&serving);
    serving.running.wait_for("while others waited for its memory");
    drop(stopped);
}
