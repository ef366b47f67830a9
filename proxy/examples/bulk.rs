//! Two ends that copy nothing, so that what lies between them is all that is measured:
//! `bulk receive ADDRESS` and `bulk send ADDRESS CONNECTIONS SECONDS`, which prints bits a second.
//!
//! The sender sends the pages of a file in memory (sendfile(2)); the receiver lets the kernel drop what came
//! (MSG_TRUNC, tcp(7)), and tells how much at the end.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create, sendfile},
    net::{RecvFlags, recv},
};

const PIECE: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["receive", address] => {
            for stream in TcpListener::bind(address)?.incoming() {
                let stream = stream?;
                thread::spawn(move || receive(&stream));
            }
            Ok(())
        }
        ["send", address, connections, seconds] => {
            let time = Duration::from_secs(seconds.parse()?);
            let senders: Vec<_> = (0..connections.parse()?)
                .map(|_| {
                    let stream = TcpStream::connect(address);
                    thread::spawn(move || send(stream?, time))
                })
                .collect();
            let mut rate = 0.0;
            for sender in senders {
                rate += sender.join().map_err(|_| "a sender panicked")??;
            }
            println!("{rate}");
            Ok(())
        }
        _ => Err("receive ADDRESS, or send ADDRESS CONNECTIONS SECONDS".into()),
    }
}

/// To the sender's end; tells it how many bytes there were.
fn receive(mut stream: &TcpStream) -> io::Result<()> {
    let (mut place, mut received) = (vec![0; PIECE], 0_u64);
    loop {
        match recv(stream, place.as_mut_slice(), RecvFlags::TRUNC)? {
            (_, 0) => return stream.write_all(&received.to_be_bytes()),
            (_, length) => received += length as u64,
        }
    }
}

/// Bits a second.
fn send(mut stream: TcpStream, time: Duration) -> io::Result<f64> {
    let file = memfd_create("bulk", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, PIECE as u64)?;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let mut from = 0;
        while from < PIECE as u64 {
            sendfile(&stream, &file, Some(&mut from), PIECE)?;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    let mut received = [0; 8];
    stream.read_exact(&mut received)?;
    Ok(u64::from_be_bytes(received) as f64 * 8.0 / begun.elapsed().as_secs_f64())
}
