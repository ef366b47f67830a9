//! The pages over real sockets. The server runs as in the agent, on one thread; clients are blocking ones.

mod hostile;
mod listeners;
mod pages;
mod probe;

use std::{
    future::Future,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use clap::Command;

use super::{
    Check, Flagz, Subject,
    connection::{Limits, accept},
    router, unix,
};

/// A program that says what it is told to.
#[derive(Default)]
struct Fake {
    checks: Mutex<Vec<Check>>,
    metrics: String,
}

impl Subject for Fake {
    fn checks(&self) -> Vec<Check> {
        self.checks.lock().unwrap().clone()
    }

    fn metrics(&self) -> String {
        self.metrics.clone()
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        vec![("Backend", "fake".to_owned())]
    }
}

fn pages(subject: &Arc<Fake>) -> axum::Router {
    let command = Command::new("prog").arg(crate::flags::string("host", "").default_value("h"));
    let matches = command.clone().try_get_matches_from(["prog"]).unwrap();
    router("prog", &Flagz::new(&command, &matches), Arc::clone(subject) as Arc<dyn Subject>)
}

/// Runs a future on a thread of its own, with a runtime like the agent's.
fn in_background<F: Future + 'static>(future: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future());
    });
}

/// Serves on a port that is free.
fn on_tcp(subject: &Arc<Fake>, limits: Limits) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    let pages = pages(subject);
    in_background(async move || {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        tell.send(listener.local_addr().unwrap()).unwrap();
        accept(listener, pages, limits).await
    });
    told.recv().unwrap()
}

/// Serves on a Unix socket.
fn on_unix(path: &Path, subject: &Arc<Fake>, limits: Limits) {
    let (tell, told) = mpsc::channel();
    let (path, pages) = (path.to_owned(), pages(subject));
    in_background(async move || {
        let listener = unix::bind(&path).await.unwrap();
        tell.send(()).unwrap();
        accept(listener, pages, limits).await
    });
    told.recv().unwrap();
}

/// Sends a request, and gives status, headers (lower case) and body of the answer.
fn ask(mut stream: impl Read + Write, method: &str, path: &str) -> (u16, String, String) {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    ask(TcpStream::connect(address).unwrap(), "GET", path)
}

/// Waits until the other side has closed, and says for how long.
fn time_until_closed(mut stream: impl Read) -> Duration {
    let begun = Instant::now();
    let mut buffer = [0; 4096];
    // A reset is a close as well.
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    begun.elapsed()
}
