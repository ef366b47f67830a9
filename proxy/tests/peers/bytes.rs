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

/// A stream of bytes that everybody can make again.
fn fill(random: &mut fastrand::Rng, piece: &mut [u8]) {
    // Eight bytes at a time, whatever the sizes of pieces.
    random.fill(piece);
}

fn send(mut stream: TcpStream, plan: &Plan) {
    let (mut content, mut sizes) =
        (fastrand::Rng::with_seed(plan.seed), fastrand::Rng::with_seed(!plan.seed));
    let (mut left, mut place) = (plan.length, vec![0; plan.send]);
    while left > 0 {
        let size = sizes.usize(1..=plan.send).min(left);
        fill(&mut content, &mut place[..size]);
        stream.write_all(&place[..size]).unwrap();
        left -= size;
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn receive(mut stream: TcpStream, plan: &Plan) {
    let mut content = fastrand::Rng::with_seed(plan.seed);
    let (mut received, mut place, mut expected) = (0, vec![0; plan.read], vec![0; plan.read]);
    loop {
        let size = stream.read(&mut place).unwrap();
        if size == 0 {
            break;
        }
        fill(&mut content, &mut expected[..size]);
        assert!(place[..size] == expected[..size], "other bytes between {received} and {}", received + size);
        received += size;
    }
    assert_eq!(received, plan.length);
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
            std::thread::scope(|scope| {
                let (client, server) = (&client, &server);
                let (out, back) = (&out, &back);
                scope.spawn(move || send(client.try_clone().unwrap(), out));
                scope.spawn(move || send(server.try_clone().unwrap(), back));
                scope.spawn(move || receive(server.try_clone().unwrap(), out));
                scope.spawn(move || receive(client.try_clone().unwrap(), back));
            });
            Ok(())
        })
        .unwrap();
    proxy.wait_for_metric("apiserver_proxy_connections_open", 0);
    assert_eq!(proxy.metric("apiserver_proxy_connections_total{result=\"ok\"}"), 24);
}
