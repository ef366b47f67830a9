//! Two hundred slow clients, two hundred that never finish their handshake, and one that wants to be served.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use testkit::https::{self, Connection, post_head};

use crate::{
    fixture::{PATH, Serving, serve},
    overload::{open, seed},
};

/// How many there are of each kind.
const EACH: usize = 40;
/// Between two bytes of a client that trickles.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the one that wants to be served asks.
const INTERVAL: Duration = Duration::from_millis(10);
/// The record header of a ClientHello, and its first bytes.
const HALF_A_HELLO: [u8; 11] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

fn head(length: usize) -> Vec<u8> {
    post_head(&format!("{PATH}?timeout=30s"), length).into_bytes()
}

/// Connections that send what comes after `begun` byte by byte, and connect again when they are cut.
fn trickling(serving: &Serving, begun: &[u8], rest: Vec<u8>, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (config, address) = (https::client(serving.authority.pem()), serving.address);
    let (begun, stop) = (begun.to_vec(), Arc::clone(stop));
    let connect = move || {
        let mut connection = Connection::open(&config, address).unwrap();
        connection.send(&begun).unwrap();
        connection
    };
    let mut connections: Vec<(Connection, usize)> = (0..EACH).map(|_| (connect(), 0)).collect();
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for (connection, sent) in &mut connections {
                let next = rest.get(*sent..=*sent);
                *sent += 1;
                if next.is_none_or(|byte| connection.send(byte).is_err()) {
                    (*connection, *sent) = (connect(), 0);
                }
            }
            std::thread::sleep(PAUSE);
        }
    })
}

#[test]
fn slow_clients_of_all_kinds_hold_up_nobody() {
    let (serving, seed) = (serve(&[]), seed());
    let stop = Arc::new(AtomicBool::new(false));
    let whole = [head(seed.len()), seed.clone()].concat();
    let trickling = [
        trickling(&serving, b"", whole.clone(), &stop),
        trickling(&serving, &head(seed.len()), seed.clone(), &stop),
    ];
    let begun = |bytes: &[u8]| {
        let mut connection = open(&serving);
        connection.send(bytes).unwrap();
        connection
    };
    let silent: Vec<Connection> = (0..EACH).map(|_| begun(&head(16 << 20))).collect();
    let unread: Vec<Connection> = (0..EACH).map(|_| begun(&whole.repeat(20))).collect();
    let idle: Vec<Connection> = (0..EACH).map(|_| begun(b"")).collect();
    let shaking: Vec<TcpStream> = (0..200)
        .map(|n| {
            let mut stream = TcpStream::connect(serving.address).unwrap();
            stream.write_all(if n % 2 == 0 { &HALF_A_HELLO } else { b"" }).unwrap();
            stream
        })
        .collect();

    let (mut client, begun) = (open(&serving), Instant::now());
    let mut took: Vec<Duration> = (0..400_u32)
        .map(|turn| {
            std::thread::sleep((begun + INTERVAL * turn).saturating_duration_since(Instant::now()));
            let asked = Instant::now();
            assert_eq!(client.post(&format!("{PATH}?timeout=5s"), &seed).unwrap().status, 200);
            asked.elapsed()
        })
        .collect();
    took.sort_unstable();
    println!("p99 {:?}, longest {:?}", took[took.len() * 99 / 100], took[took.len() - 1]);
    stop.store(true, Ordering::Relaxed);
    trickling.into_iter().for_each(|thread| thread.join().unwrap());
    drop((silent, unread, idle, shaking));
}
