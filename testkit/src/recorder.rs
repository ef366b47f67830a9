//! A server that lets nobody through, and remembers who came: as a proxy, or in the place of a host.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What its clients asked for. Serves as long as the process lives, in the network namespace of who started it.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    heard: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Serves at this address.
    ///
    /// # Panics
    /// When it is taken, or there is none such.
    #[must_use]
    pub fn start(address: &str) -> Self {
        let recorder = Self::default();
        recorder.also_at(address);
        recorder
    }

    /// Serves at one more.
    ///
    /// # Panics
    /// As [`Recorder::start`] does.
    pub fn also_at(&self, address: &str) {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let recorder = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let recorder = recorder.clone();
                // A client that goes away early has been heard all the same.
                std::thread::spawn(move || recorder.answer(stream));
            }
        });
    }

    /// The first line of each request since the last time; `TLS` for what speaks that. A client that has its answer has
    /// been heard.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().expect("no thread panics"))
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut head = Vec::new();
        let mut part = [0; 4096];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.first() != Some(&0x16) {
            match stream.read(&mut part)? {
                0 => break,
                length => head.extend_from_slice(&part[..length]),
            }
        }
        let line = match head.first() {
            Some(0x16) => "TLS".to_owned(),
            _ => String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned(),
        };
        self.heard.lock().expect("no thread panics").push(line);
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }
}
