//! Clients that want too much.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::connection::{LIMITS, Limits},
    Fake, get, on_tcp, time_until_closed,
};

/// Short times, so that the tests are short.
const SHORT: Limits =
    Limits { head_time: Duration::from_millis(500), connection_time: Duration::from_millis(1500), ..LIMITS };
/// The same where the end of the whole connection is not to help.
const SHORT_HEADS: Limits = Limits { connection_time: Duration::from_secs(60), ..SHORT };
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(5);

#[test]
fn of_100_connections_32_stay_and_the_port_recovers() {
    // Time enough to tell those that are closed at once from those that are cut.
    let limits = Limits { head_time: Duration::from_secs(2), ..SHORT_HEADS };
    let address = on_tcp(&Arc::new(Fake::default()), limits);
    let begun = Instant::now();
    let mut connections: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Half of them say nothing, half begin a request.
    for stream in connections.iter_mut().step_by(2) {
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost:");
    }
    let closed_at: Vec<Duration> = connections
        .into_iter()
        .map(|stream| {
            std::thread::spawn(move || {
                time_until_closed(stream);
                begun.elapsed()
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    let late = closed_at.iter().filter(|at| **at >= limits.head_time).count();
    assert!(late == 32 && closed_at.iter().all(|at| *at < limits.head_time + SLACK), "{late}: {closed_at:?}");
    assert_eq!(get(address, "/livez").2, "ok");
}

#[test]
fn a_head_that_drips_is_cut() {
    let address = on_tcp(&Arc::new(Fake::default()), SHORT_HEADS);
    let mut stream = TcpStream::connect(address).unwrap();
    let begun = Instant::now();
    let head = b"GET /livez HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x'));
    for byte in head {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        assert!(begun.elapsed() < SHORT.head_time + SLACK, "still open");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begun.elapsed() >= SHORT.head_time);
}

#[test]
fn an_idle_connection_is_closed_after_its_answer() {
    let address = on_tcp(&Arc::new(Fake::default()), SHORT_HEADS);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(time_until_closed(stream) < SHORT.head_time + SLACK);
}

#[test]
fn a_busy_connection_ends_too() {
    let address = on_tcp(&Arc::new(Fake::default()), SHORT);
    let mut stream = TcpStream::connect(address).unwrap();
    let begun = Instant::now();
    let mut buffer = [0; 4096];
    while stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").is_ok()
        && stream.read(&mut buffer).is_ok_and(|count| count > 0)
    {
        assert!(begun.elapsed() < SHORT.connection_time + SLACK, "still open");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begun.elapsed() >= SHORT.connection_time);
}

#[test]
fn an_answer_that_nobody_reads_ends_too() {
    // More than the kernel keeps for a connection.
    let subject = Fake { metrics: "x".repeat(64 << 20), ..Fake::default() };
    let address = on_tcp(&Arc::new(subject), Limits { connections: 1, ..SHORT });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Its place is free again.
    let deadline = Instant::now() + SHORT.connection_time + SLACK;
    loop {
        let mut other = TcpStream::connect(address).unwrap();
        let mut answer = String::new();
        let _ = other.write_all(b"GET /livez HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n");
        if other.read_to_string(&mut answer).is_ok_and(|_| answer.starts_with("HTTP/1.1 200")) {
            break;
        }
        assert!(Instant::now() < deadline, "its place is still taken");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn heads_end_at_16_kib() {
    let address = on_tcp(&Arc::new(Fake::default()), LIMITS);
    for (bytes, status) in [(8 << 10, 200), (15 << 10, 200), (17 << 10, 431), (1 << 20, 431)] {
        let mut stream = TcpStream::connect(address).unwrap();
        let start = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: ";
        let head = format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len()));
        // It may be cut while it is being written, and the cut overtake the answer.
        let _ = stream.write_all(head.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let refused = answer.is_empty() && status == 431;
        assert!(refused || answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}: {answer}");
    }
    assert_eq!(get(address, "/livez").2, "ok");
}

#[test]
fn bodies_and_nonsense_do_no_harm() {
    let address = on_tcp(&Arc::new(Fake::default()), SHORT);
    for text in [
        "POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc",
        "GET /readyz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03",
        "\0\0\0\0",
        "GET /livez\r\n\r\n",
        "GET http://[::1 HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        assert!(time_until_closed(stream) < SHORT.connection_time + SLACK, "{text:?}");
    }
    assert_eq!(get(address, "/livez").2, "ok");
}
