//! PROXY headers, read by those who read them in the wild.

use std::{
    fs,
    io::{Read, Write},
    process::Command,
};

use testkit::process::Running;

use crate::fixture::{Proxy, accept, dial, get, nginx, pair, program};

const HAPROXY: &str = "127.0.0.1:7001";
const NGINX: &str = "127.0.0.1:7002";
/// IPv6, IPv4, and both at one socket.
const LISTENERS: [&str; 3] = ["--listen=[::1]:8446", "--listen=127.0.0.1:8444", "--listen=[::]:8445"];
const CLIENTS: [&str; 4] = ["[::1]:8446", "127.0.0.1:8444", "127.0.0.1:8445", "[::1]:8445"];

fn haproxy(folder: &std::path::Path) -> Running {
    let config = format!(
        "defaults\n mode http\n timeout client 1m\n timeout server 1m\n timeout connect 1m\n\
         frontend all\n bind {HAPROXY} accept-proxy\n http-request return status 200 content-type text/plain \
         lf-string \"%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]\"\n"
    );
    let path = folder.join("haproxy.cfg");
    fs::write(&path, config).unwrap();
    program(Command::new("haproxy").arg("-db").arg("-f").arg(path), HAPROXY)
}

/// What a reader says of source and destination, beside what they are.
fn seen_by(clients: &[&str], more: &str) {
    for address in clients {
        let mut client = dial(address);
        let (source, destination) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let ends = format!("{} {} {} {}", source.ip(), source.port(), destination.ip(), destination.port());
        assert_eq!(get(&mut client, "/").trim_end(), format!("{ends}{more}"), "{address}");
    }
}

#[test]
fn haproxy_and_nginx_read_version_1() {
    for upstream in [HAPROXY, NGINX] {
        std::thread::spawn(move || read_by(upstream, &["--upstream-protocol=proxy-v1"], "")).join().unwrap();
    }
}

#[test]
fn haproxy_and_nginx_read_version_2() {
    for upstream in [HAPROXY, NGINX] {
        std::thread::spawn(move || read_by(upstream, &["--upstream-protocol=proxy-v2"], "")).join().unwrap();
    }
}

#[test]
fn haproxy_reads_tlvs() {
    // As many as one may have: addresses of IPv6 and the head take 52 of nginx's 4,096 bytes.
    let long = format!("--proxy-tlv=0xEA={}", "x".repeat(4044 - 3 - 3 - 12 - 3 - 3));
    let flags = [
        "--upstream-protocol=proxy-v2",
        "--proxy-tlv=0x02=shoot--a--b",
        "--proxy-tlv=0x05=hex:313233",
        &long,
    ];
    read_by(HAPROXY, &flags, " shoot--a--b 123");
}

fn read_by(upstream: &str, flags: &[&str], more: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let flags = [flags, &LISTENERS].concat();
    let (_proxy, _reader) = Proxy::start(upstream, &flags, || {
        if upstream == HAPROXY {
            return haproxy(folder);
        }
        let server = format!(
            "listen {NGINX} proxy_protocol; location / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_port \
             $proxy_protocol_server_addr $proxy_protocol_server_port\"; }}"
        );
        nginx(folder, &server, NGINX)
    });
    seen_by(&CLIENTS, more);
}

#[test]
fn the_header_waits_for_nobody() {
    for (protocol, expected) in
        [("proxy-v1", b"PROXY TCP4 1" as &[u8]), ("proxy-v2", b"\r\n\r\n\0\r\nQUIT\n")]
    {
        let flag = format!("--upstream-protocol={protocol}");
        std::thread::spawn(move || {
            let (_proxy, listener) = Proxy::before_listener(&[&flag]);
            // Silent, as a client is that waits for the server's first word.
            let (mut client, mut server) = pair(&listener);
            let mut header = [0; 12];
            server.read_exact(&mut header).unwrap();
            assert_eq!(header, expected);
            server.write_all(b"SSH-2.0").unwrap();
            let mut heard = [0; 7];
            client.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"SSH-2.0");
        })
        .join()
        .unwrap();
    }
}

#[test]
fn the_header_comes_once_and_first() {
    let (_proxy, listener) = Proxy::before_listener(&["--upstream-protocol=proxy-v1"]);
    let mut client = dial(crate::fixture::LISTEN);
    client.write_all(b"hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = String::new();
    accept(&listener).read_to_string(&mut all).unwrap();
    let port = client.local_addr().unwrap().port();
    assert_eq!(all, format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} 8443\r\nhello"));
}
