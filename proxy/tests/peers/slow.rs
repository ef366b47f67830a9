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
        assert!(most < before + 2_048, "{before} KiB at first, {most} KiB at most");
    }
}
