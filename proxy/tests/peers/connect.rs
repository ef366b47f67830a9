//! HTTP CONNECT, through a real proxy and hostile ones.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::fixture::{LISTEN, Proxy, accept, dial, get, nginx, pair, program, reset, talk};

const GARDENER: &str = "X-Gardener-Destination: outbound|443||kube-apiserver.shoot--a--b.svc.cluster.local";
const REQUEST: &str = "CONNECT kube-apiserver:443 HTTP/1.1\r\nHost: kube-apiserver:443\r\n\
    X-Gardener-Destination: outbound|443||kube-apiserver.shoot--a--b.svc.cluster.local\r\n\r\n";

/// In front of a listener that speaks CONNECT, or should.
fn before_listener(more: &[&str]) -> (Proxy, TcpListener) {
    let header = format!("--connect-header={GARDENER}");
    let flags = ["--upstream-protocol=http-connect", "--connect-target=kube-apiserver:443", &header];
    Proxy::before_listener(&[&flags, more].concat())
}

fn read_request(server: &mut TcpStream) {
    let mut request = [0; REQUEST.len()];
    server.read_exact(&mut request).unwrap();
    assert_eq!(std::str::from_utf8(&request).unwrap(), REQUEST);
}

#[test]
fn tinyproxy_lets_it_through() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let flags = ["--upstream-protocol=http-connect", "--connect-target=127.0.0.1:7004"];
    let header = format!("--connect-header={GARDENER}");
    let (_proxy, _programs) = Proxy::start("127.0.0.1:7003", &[&flags[..], &[&header]].concat(), || {
        let path = folder.join("tinyproxy.conf");
        let config =
            "Port 7003\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nAllow 127.0.0.1\nConnectPort 7004\n";
        fs::write(&path, config).unwrap();
        let server = "listen 127.0.0.1:7004; location / { return 200 \"$remote_addr $request_uri\"; }";
        let tinyproxy = program(Command::new("tinyproxy").arg("-d").arg("-c").arg(path), "127.0.0.1:7003");
        (tinyproxy, nginx(folder, server, "127.0.0.1:7004"))
    });
    for _ in 0..10 {
        assert_eq!(get(&mut dial(LISTEN), "/readyz"), "127.0.0.1 /readyz");
    }
}

#[test]
fn what_follows_the_head_is_kept() {
    let (_proxy, listener) = before_listener(&[]);
    let (mut client, mut server) = pair(&listener);
    client.write_all(b"early").unwrap();
    read_request(&mut server);
    // In pieces, and with the beginning of the connection's own bytes.
    for piece in [&b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2"[..], b"00 OK\r\nA: b\r\n", b"\r\nSSH", b"-2.0"]
    {
        server.write_all(piece).unwrap();
        server.flush().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut heard = [0; 7];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"SSH-2.0");
    let mut heard = [0; 5];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"early");
    talk(&mut client, &mut server, b"and so on");
}

#[test]
fn other_answers_end_the_client() {
    let (proxy, listener) = before_listener(&[]);
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(10_000));
    let line = "HTTP/1.1 200 ".to_owned() + &"x".repeat(100_000);
    for (turn, answer) in [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nforbidden",
        "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "HTTP/1.0 503 Service Unavailable\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        // HTTP/2: a SETTINGS frame.
        "\0\0\0\u{4}\0\0\0\0\0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\u{15}\u{3}\u{1}\0\u{2}\u{2}\u{46}",
        "",
        "HTTP/1.1 200 OK\r\nno end",
        &endless,
        &line,
    ]
    .into_iter()
    .enumerate()
    {
        let (mut client, mut server) = pair(&listener);
        read_request(&mut server);
        // It may be closed before all is written.
        let _ = server.write_all(answer.as_bytes());
        let _ = server.shutdown(std::net::Shutdown::Write);
        let heard = client.read(&mut [0]);
        assert!(heard.is_err(), "{heard:?} after {answer:.40?}");
        proxy.wait_for_metric("apiserver_proxy_connections_total{result=\"refused\"}", turn as u64 + 1);
    }
    proxy.wait_for_metric("apiserver_proxy_connections_open", 0);
}

#[test]
fn a_silent_answer_ends_the_client() {
    let (_proxy, listener) = before_listener(&["--connect-timeout=200ms"]);
    let (mut client, mut server) = pair(&listener);
    read_request(&mut server);
    server.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
    assert!(client.read(&mut [0]).is_err());
    assert!(matches!(server.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn a_client_that_leaves_takes_the_request_with_it() {
    let (proxy, listener) = before_listener(&["--connect-timeout=10m"]);
    let client = dial(LISTEN);
    let mut server = accept(&listener);
    read_request(&mut server);
    reset(client);
    assert!(matches!(server.read(&mut [0]), Ok(0) | Err(_)));
    proxy.wait_for_metric("apiserver_proxy_connections_total{result=\"client_error\"}", 1);
}
