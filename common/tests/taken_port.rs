//! A port that another program has, and what the log says of it. In a program of its own: the log is the process's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use clap::Command;
use common::zpages::{Check, Flagz, Subject, encode, registry, router, serve_tcp};
use prometheus_client::registry::Registry;
use tracing_subscriber::fmt::MakeWriter;

const PATIENCE: Duration = Duration::from_secs(30);

struct Program(Registry);

impl Subject for Program {
    fn checks(&self) -> Vec<Check> {
        vec![Check::ok("ping", "")]
    }

    fn metrics(&self) -> String {
        encode(&self.0)
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Lines of this level that hold the text.
    fn count(&self, level: &str, text: &str) -> usize {
        self.text().lines().filter(|line| line.contains(level) && line.contains(text)).count()
    }
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_taken_port_is_waited_for() {
    let log = Log::default();
    tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).init();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    std::thread::spawn(move || {
        let command = Command::new("prog");
        let flagz = Flagz::new(&command, &command.clone().try_get_matches_from(["prog"]).unwrap());
        let pages = router("prog", &flagz, Arc::new(Program(registry("prog"))));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve_tcp(address.to_string().parse().unwrap(), pages));
    });
    eventually("a line", || log.count("WARN", "Address already in use") == 1);
    // Long enough for a second try.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(log.count("", ""), 1, "one line only: {}", log.text());
    drop(taken);

    eventually("the port", || TcpStream::connect(address).is_ok());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("prog_build_info{version="), "{answer}");
    assert_eq!(log.count("INFO", &format!("served address={address}")), 1, "{}", log.text());
    assert_eq!(log.count("", ""), 2, "one line more: {}", log.text());
}
