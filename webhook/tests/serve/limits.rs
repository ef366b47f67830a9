//! Bodies that are too long, clients that are too slow.

use std::{
    io::Write,
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use testkit::{
    eventually,
    https::{self, Connection, post_head},
};

use crate::fixture::{PATH, serve};

const JSON: &str = "Content-Type: application/json";

/// A review of about that many bytes.
pub fn review_of(bytes: usize) -> String {
    let seed = std::fs::read_to_string(testkit::testdata("admission.json")).unwrap();
    seed.replace("\"app\": \"web\"", &format!("\"app\": \"web\", \"long\": \"{}\"", "x".repeat(bytes)))
}

#[test]
fn bodies_up_to_the_limit_are_answered_and_longer_ones_refused() {
    let serving = serve(&["--max-request-bytes=1048576"]);
    let file = serving.folder.path().join("body");
    let post = |bytes: usize, more: &[&str]| {
        std::fs::write(&file, review_of(bytes)).unwrap();
        let body = format!("@{}", file.display());
        let mut args = vec!["-H", JSON, "--data-binary", &body];
        args.extend(more);
        serving.curl(PATH, &args).status
    };
    for version in ["--http1.1", "--http2"] {
        assert_eq!(post(1_000_000, &[version]), 200);
        assert_eq!(post(1_048_576, &[version]), 413);
        assert_eq!(post(1_048_576, &[version, "-H", "Expect:"]), 413, "without asking first");
        assert_eq!(post(1_048_576, &[version, "-H", "Transfer-Encoding: chunked"]), 413, "without a length");
    }
    assert_eq!(serving.post_seed(&[]).status, 200);
}

#[test]
fn an_endless_body_is_not_kept() {
    let serving = serve(&[]);
    let before = serving.resident();
    let url = format!("https://localhost:{}{PATH}", serving.address.port());
    let mut curl = Command::new("curl")
        .args([
            "-sk",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            JSON,
            "-H",
            "Expect:",
            "-T",
            "-",
            "-X",
            "POST",
            &url,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = curl.stdin.take().unwrap();
    let chunk = vec![b' '; 1 << 20];
    // The refusal comes after 16 MiB; from then on nobody reads.
    let sent = (0..200).take_while(|_| stdin.write_all(&chunk).is_ok()).count();
    drop(stdin);
    let output = curl.wait_with_output().unwrap();
    assert!(sent < 100, "{sent} MiB were taken");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "413");
    let grown = serving.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more than before");
}

#[test]
fn a_body_in_pieces_of_one_byte_costs_no_more_than_its_length() {
    let serving = serve(&[]);
    let before = serving.resident();
    let mut connection = Connection::open(&https::client(serving.authority.pem()), serving.address).unwrap();
    connection
        .send(
            format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
                .as_bytes(),
        )
        .unwrap();
    let chunks = b"1\r\n \r\n".repeat(10_000);
    for _ in 0..200 {
        connection.send(&chunks).unwrap();
    }
    let grown = serving.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for two million");
    connection.send(b"0\r\n\r\n").unwrap();
    assert_eq!(connection.finish().unwrap().status, 400, "two million spaces are no review");
}

/// Whoever reaches the port can cause these; a log that grows with them fills a disk, or blocks the server.
#[test]
fn odd_clients_do_not_fill_the_log() {
    let serving = serve(&[]);
    let before = serving.running.printed().lines().count();
    for n in 0..100 {
        // No TLS; an address as a name in the handshake; a CA that is not trusted; a path that is not there.
        let mut stream = TcpStream::connect(serving.address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        if n % 10 == 0 {
            let address = format!("https://{}/", serving.address);
            let curl = |args: &[&str]| {
                Command::new("curl").args(["-s", "-o", "/dev/null"]).args(args).arg(&address).status()
            };
            curl(&["-k"]).unwrap();
            curl(&[]).unwrap();
        }
    }
    let lines = serving.running.printed().lines().count() - before;
    assert!(lines < 30, "{lines} lines: {}", serving.running.printed());
}

/// A client that does not stop at the refusal.
#[test]
fn a_refused_body_is_taken_in_for_a_moment_only() {
    let serving = serve(&["--max-request-bytes=1048576"]);
    let mut connection = Connection::open(&https::client(serving.authority.pem()), serving.address).unwrap();
    connection.send(post_head(PATH, 1 << 40).as_bytes()).unwrap();
    let megabyte = vec![b' '; 1 << 20];
    let sent = (0..200).take_while(|_| connection.send(&megabyte).is_ok()).count();
    assert!(sent < 50, "{sent} MiB were taken");
}

#[test]
fn half_open_connections_are_dropped_and_hold_nobody_up() {
    let serving = serve(&[]);
    let before = serving.descriptors();
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(serving.address).unwrap()).collect();
    let garbage: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect(serving.address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(serving.post_seed(&[]).status, 200);
    }
    // The handshake has five seconds.
    let left = || serving.descriptors() <= before + 1;
    eventually(|| format!("{} descriptors", serving.descriptors()), || left().then_some(()));
    drop((silent, garbage));
}

#[test]
fn a_client_that_goes_away_in_the_middle_harms_nobody() {
    let serving = serve(&[]);
    let config = https::client(serving.authority.pem());
    let before = serving.descriptors();
    for _ in 0..50 {
        let mut connection = Connection::open(&config, serving.address).unwrap();
        connection.send(post_head(PATH, 1000).as_bytes()).unwrap();
        connection.send(b"{\"kind\":").unwrap();
    }
    eventually(
        || "no descriptors left over".to_owned(),
        || (serving.descriptors() <= before + 1).then_some(()),
    );
    assert_eq!(serving.post_seed(&[]).status, 200);
}

#[test]
fn requests_in_pieces_are_put_together() {
    let serving = serve(&[]);
    let body = std::fs::read(testkit::testdata("admission.json")).unwrap();
    let mut connection = Connection::open(&https::client(serving.authority.pem()), serving.address).unwrap();
    connection.send(post_head(PATH, body.len()).as_bytes()).unwrap();
    for piece in body.chunks(97) {
        connection.send(piece).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(connection.finish().unwrap().status, 200);
}
