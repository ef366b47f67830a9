//! A sender that is fast and a reader that is not.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::fixture::{Proxy, pair};

/// Bytes, in the short run and in the long one (`SLOW_GIGABYTES` in the environment).
fn amount() -> u64 {
    let gigabytes = std::env::var("SLOW_GIGABYTES").ok().and_then(|text| text.parse().ok());
    gigabytes.unwrap_or(1_u64) * 1_000_000_000
}

fn send(mut to: TcpStream, mut left: u64) {
    let piece = vec![9; 1 << 20];
    while left > 0 {
        let size = left.min(piece.len() as u64) as usize;
        to.write_all(&piece[..size]).unwrap();
        left -= size as u64;
    }
}

#[test]
fn a_slow_reader_costs_no_memory() {
    let (proxy, listener) = Proxy::before_listener(&[]);
    // What a connection needs is there from the first on.
    let (client, server) = pair(&listener);
    crate::fixture::talk(&mut client.try_clone().unwrap(), &mut server.try_clone().unwrap(), &[1; 200_000]);
    for (from, mut to) in [(&client, &server), (&server, &client)] {
        let (from, amount) = (from.try_clone().unwrap(), amount());
        let sender = std::thread::spawn(move || send(from, amount));
        let before = proxy.memory();
        let (mut most, mut received, mut place, mut reads) = (0, 0, vec![0; 1 << 20], 0);
        while received < amount {
            received += to.read(&mut place).unwrap() as u64;
            reads += 1;
            // Slower than the sender, again and again.
            if reads % 64 == 0 {
                std::thread::sleep(Duration::from_millis(2));
                most = most.max(proxy.memory());
            }
        }
        sender.join().unwrap();
        assert!(most < before + 4_096, "{before} KiB at first, {most} KiB at most");
    }
}

#[test]
fn many_readers_that_do_not_read_share_little_memory() {
    const PAIRS: usize = 100;
    let (proxy, listener) = Proxy::before_listener(&["--threads=1"]);
    let pairs: Vec<_> = (0..PAIRS).map(|_| pair(&listener)).collect();
    let before = proxy.memory();
    let piece = vec![7; 1 << 20];
    let sent: Vec<usize> = pairs
        .iter()
        .map(|(_, server)| {
            let mut server = server;
            server.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            // Until all that lies between the two is full.
            std::iter::from_fn(|| server.write(&piece).ok()).sum()
        })
        .collect();
    let more = proxy.memory() - before;
    println!("{more} KiB more for {PAIRS} readers that do not read");
    // The buffer that all share, 8 MiB that wait, and 16 KiB a connection.
    assert!(more < (1 + 8) * 1024 + 16 * PAIRS as u64 + 2048, "{more} KiB more");
    for ((mut client, server), sent) in pairs.into_iter().zip(sent) {
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), sent);
        assert!(received.iter().all(|byte| *byte == 7));
    }
}
