//! Ends and resets are carried as what they are.

use std::{
    io::{self, ErrorKind::ConnectionReset, Read, Write},
    net::{Shutdown, TcpStream},
};

use testkit::{eventually, process::sh};

use crate::fixture::{LISTEN, Proxy, dial, pair, reset, talk};

/// Fills what lies between the two, until nothing more is taken.
fn stuff(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let (piece, mut silent) = (vec![7; 1 << 20], 0);
    while silent < 20 {
        match stream.write(&piece) {
            Ok(_) => silent = 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                silent += 1;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
}

#[track_caller]
fn hears_reset(stream: &TcpStream) {
    let error = eventually(|| "a reset".to_owned(), || stream.take_error().unwrap());
    assert!(matches!(error.kind(), ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
}

/// With the client first and with the server first, so many times each; all connections have ended then.
fn each_way(times: usize, ending: impl Fn(TcpStream, TcpStream)) {
    let (proxy, listener) = Proxy::before_listener(&[]);
    for client_first in [true, false].repeat(times) {
        let (client, server) = pair(&listener);
        if client_first { ending(client, server) } else { ending(server, client) }
    }
    proxy.wait_for_metric("apiserver_proxy_connections_open", 0);
}

#[test]
fn each_half_ends_for_itself() {
    let (proxy, listener) = Proxy::before_listener(&[]);
    for client_first in [true, false] {
        let (client, server) = pair(&listener);
        let (mut first, mut second) = if client_first { (client, server) } else { (server, client) };
        talk(&mut first, &mut second, b"hello");
        first.write_all(b"the last").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        second.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "the last");
        // The other way goes on as long as it likes.
        for _ in 0..100 {
            second.write_all(&[1; 10_000]).unwrap();
            first.read_exact(&mut [0; 10_000]).unwrap();
        }
        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
    }
    proxy.wait_for_metric("apiserver_proxy_connections_total{result=\"ok\"}", 2);
    proxy.wait_for_metric("apiserver_proxy_connections_open", 0);
}

#[test]
fn resets_are_carried() {
    let (proxy, listener) = Proxy::before_listener(&[]);
    for result in ["client_error", "upstream_error"] {
        let (client, server) = pair(&listener);
        let (mut first, mut second) =
            if result == "client_error" { (client, server) } else { (server, client) };
        talk(&mut first, &mut second, b"hello");
        reset(first);
        assert_eq!(second.read(&mut [0]).unwrap_err().kind(), ConnectionReset, "{result}");
        proxy.wait_for_metric(&format!("apiserver_proxy_connections_total{{result=\"{result}\"}}"), 1);
    }
    proxy.wait_for_metric("apiserver_proxy_connections_open", 0);
}

#[test]
fn resets_are_carried_while_bytes_wait() {
    each_way(1, |mut first, second| {
        // The other side does not read.
        stuff(&mut first);
        reset(first);
        hears_reset(&second);
    });
}

#[test]
fn resets_are_carried_after_an_end() {
    each_way(1, |first, mut second| {
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
        reset(first);
        // It says nothing, so that nothing but the reset itself can tell.
        hears_reset(&second);
    });
}

#[test]
fn who_is_gone_altogether_resets_what_still_comes() {
    each_way(1, |first, mut second| {
        drop(first);
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
        // As without a proxy: the first write is taken, and answered by a reset.
        second.write_all(b"anybody there?").unwrap();
        hears_reset(&second);
    });
}

#[test]
fn a_client_that_leaves_before_there_is_an_endpoint_is_let_go() {
    let silence = "ip addr add 10.9.0.2/32 dev lo && iptables-nft -A INPUT -d 10.9.0.2 -j DROP";
    let (proxy, _) = Proxy::start("10.9.0.2:443", &["--connect-timeout=10m"], || sh(silence));
    let client = dial(LISTEN);
    proxy.wait_for_metric("apiserver_proxy_connections_open", 1);
    reset(client);
    proxy.wait_for_metric("apiserver_proxy_connections_total{result=\"client_error\"}", 1);
    proxy.wait_for_metric("apiserver_proxy_connections_open", 0);
}

#[test]
fn no_endpoint_is_a_reset() {
    // Nobody listens there.
    let (proxy, ()) = Proxy::start("127.0.0.1:6443", &[], || ());
    assert_eq!(dial(LISTEN).read(&mut [0]).unwrap_err().kind(), ConnectionReset);
    proxy.wait_for_metric("apiserver_proxy_connections_total{result=\"unreachable\"}", 1);
}

#[test]
fn the_last_bytes_before_a_reset_arrive() {
    each_way(100, |mut first, mut second| {
        // An answer to a request that was not read to its end: both come at once.
        first.write_all(b"last").unwrap();
        reset(first);
        let mut last = [0; 4];
        second.read_exact(&mut last).unwrap();
        assert_eq!(&last, b"last");
        hears_reset(&second);
    });
}
