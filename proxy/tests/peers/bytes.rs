//! Bytes arrive as they were sent, in both directions at once, whatever the sizes.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use proptest::{prelude::*, test_runner::TestRunner};

use crate::fixture::{Proxy, pair};

/// How much one side sends, and the largest pieces in which it sends and reads.
#[derive(Debug, Clone)]
struct Plan {
    length: usize,
    send: usize,
    read: usize,
    seed: u64,
}

fn plan() -> impl Strategy<Value = Plan> {
    // 1 byte to 64 MiB, as many small ones as large ones.
    let length = (0_u32..=26, any::<u32>()).prop_map(|(power, more)| {
        let least = 1_usize << power;
        (least + more as usize % least).min(64 << 20)
    });
    (length, 0_u32..=20, 0_u32..=20, any::<u64>()).prop_map(|(length, send, read, seed)| {
        // Pieces of a byte are for short ones.
        let piece = |power: u32| (1_usize << power).max(length >> 12);
        Plan { length, send: piece(send), read: piece(read), seed }
    })
}

/// What one side sends.
fn content(plan: &Plan) -> Vec<u8> {
    let mut content = vec![0; plan.length];
    fastrand::Rng::with_seed(plan.seed).fill(&mut content);
    content
}

fn send(mut stream: &TcpStream, plan: &Plan, content: &[u8]) {
    let mut sizes = fastrand::Rng::with_seed(!plan.seed);
    let mut rest = content;
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(sizes.usize(1..=plan.send).min(rest.len()));
        stream.write_all(piece).unwrap();
        rest = later;
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn receive(mut stream: &TcpStream, plan: &Plan, content: &[u8]) {
    let (mut received, mut place) = (0, vec![0; plan.read]);
    loop {
        let size = stream.read(&mut place).unwrap();
        if size == 0 {
            break;
        }
        let expected = &content[received..received + size];
        assert!(place[..size] == *expected, "other bytes between {received} and {}", received + size);
        received += size;
    }
    assert_eq!(received, content.len());
}

#[test]
fn arrive_in_order_both_ways() {
    let (proxy, listener) = Proxy::before_listener(&[]);
    let config = ProptestConfig {
        cases: 24,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&(plan(), plan()), |(out, back)| {
            let (client, server) = pair(&listener);
            let (sent, answered) = (content(&out), content(&back));
            std::thread::scope(|scope| {
                scope.spawn(|| send(&client, &out, &sent));
                scope.spawn(|| send(&server, &back, &answered));
                scope.spawn(|| receive(&server, &out, &sent));
                scope.spawn(|| receive(&client, &back, &answered));
            });
            Ok(())
        })
        .unwrap();
    proxy.wait_for_metric("apiserver_proxy_connections_open", 0);
    assert_eq!(proxy.metric("apiserver_proxy_connections_total{result=\"ok\"}"), 24);
}
