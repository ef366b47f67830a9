//! Answers that are much longer than their bodies, to clients that read them and clients that don't.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use testkit::https::{Connection, post_head};

use crate::{
    fixture::{PATH, Serving, serve},
    http2,
    overload::{open, post, seed},
};

/// A review of a Pod with as many of these containers as a Pod may have.
fn review(container: &str) -> String {
    let list = vec![container; 10_000].join(",");
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","object":{{"spec":{{"containers":[{list}]}}}}}}}}"#
    )
}

/// Requests of a short body and a long answer, all at once; nobody reads.
fn unread(serving: &Serving, count: usize) -> Vec<Connection> {
    let body = review("{}");
    let head = post_head(&format!("{PATH}?timeout=30s"), body.len());
    let all_but_the_end = |_| {
        let mut connection = open(serving);
        connection.send(head.as_bytes()).unwrap();
        connection.send(&body.as_bytes()[..body.len() - 1]).unwrap();
        connection
    };
    let mut connections: Vec<Connection> = (0..count).map(all_but_the_end).collect();
    connections.iter_mut().for_each(|connection| connection.send(b"}").unwrap());
    connections
}

fn operations(answer: &[u8]) -> usize {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
    serde_json::from_slice::<Vec<Value>>(&patch).unwrap().len()
}

#[test]
fn answers_take_no_memory_before_they_are_read() {
    let serving = serve(&[]);
    let before = serving.resident();
    let mut connections = unread(&serving, 200);
    for _ in 0..50 {
        assert_eq!(post(&serving, "?timeout=2s", seed()).join().unwrap().0.status, 200, "they stop nobody");
    }
    let answers: Vec<usize> = connections[..20]
        .iter_mut()
        .map(|connection| {
            let answer = connection.finish().unwrap();
            assert_eq!(operations(&answer.body), 10_000);
            answer.body.len()
        })
        .collect();
    assert!(answers.iter().all(|length| *length > 1_400_000), "{answers:?}");
    let grown = serving.peak() - before;
    println!("{} MiB more", grown >> 20);
    assert!(grown < 90 << 20, "{} MiB, with the buffers of 200 connections", grown >> 20);
}

/// Two have all the slots, and more of their answers than the sockets hold.
#[test]
fn an_answer_that_nobody_reads_breaks_off() {
    let serving = serve(&["--max-in-flight=2"]);
    let mut connections = unread(&serving, 2);
    let body = review("{}");
    let next = post_head(&format!("{PATH}?timeout=30s"), body.len()) + &body;
    for connection in &mut connections {
        connection.send(next.repeat(12).as_bytes()).unwrap();
    }
    std::thread::sleep(Duration::from_secs(1));
    let (answer, _) = post(&serving, "?timeout=500ms", seed()).join().unwrap();
    assert_eq!(answer.status, 503, "they have the slots");
    let (answer, took) = post(&serving, "?timeout=30s", seed()).join().unwrap();
    assert_eq!(answer.status, 200);
    assert!(took < Duration::from_secs(20), "{took:?}");
    // The other's time is up a moment later.
    std::thread::sleep(Duration::from_secs(2));
    for connection in &mut connections {
        let whole = (0..13).take_while(|_| connection.finish().is_ok()).count();
        assert!(whole < 13, "one must not look whole");
    }
}

#[test]
fn long_bodies_with_long_answers_are_all_answered() {
    let serving = serve(&[]);
    let padding = "x".repeat(250);
    let body = review(&format!(r#"{{"name":"c","image":"{padding}"}}"#)).into_bytes();
    let posts: Vec<_> = (0..64).map(|_| post(&serving, "?timeout=30s", body.clone())).collect();
    for post in posts {
        let (answer, _) = post.join().unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(operations(&answer.body), 10_000);
    }
}

#[tokio::test]
async fn so_they_are_with_http2() {
    let serving = serve(&[]);
    let (mut sender, _) = http2::connect(&serving).await;
    let body = bytes::Bytes::from(review("{}"));
    // One that is not read does not hold up the others of its connection.
    let unread = sender.send_request(http2::request("", Full::new(body.clone()).boxed())).await.unwrap();
    let posts: Vec<_> = (0..20)
        .map(|_| {
            let (mut sender, body) = (sender.clone(), Full::new(body.clone()).boxed());
            tokio::spawn(async move {
                let answer = sender.send_request(http2::request("?timeout=30s", body)).await.unwrap();
                answer.into_body().collect().await.unwrap().to_bytes()
            })
        })
        .collect();
    for post in posts {
        assert_eq!(operations(&post.await.unwrap()), 10_000);
    }
    drop(unread);
}
