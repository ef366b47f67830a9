//! The load, against a server that closes connections in every way.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use testkit::{
    balancer::{Backend, Balancer},
    eventually, https,
    load::{Load, Plan, Report},
    pki::Authority,
};

type Stream = StreamOwned<ServerConnection, TcpStream>;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// Serves each connection so, in a thread of its own.
fn serve(authority: &Authority, each: fn(&mut Stream)) -> SocketAddr {
    let certificate = authority.issue(1);
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            std::thread::spawn(move || each(&mut StreamOwned::new(connection, stream)));
        }
    });
    address
}

/// Reads one request, and answers it.
fn answer(stream: &mut Stream, answer: &str) -> bool {
    let (mut read, mut bytes) = (Vec::new(), [0; 4096]);
    while !read.ends_with(b"\r\n\r\n{}") {
        match stream.read(&mut bytes) {
            Ok(length @ 1..) => read.extend_from_slice(bytes.get(..length).unwrap()),
            _ => return false,
        }
    }
    stream.write_all(answer.as_bytes()).is_ok() && stream.flush().is_ok()
}

fn plan(authority: &Authority, address: SocketAddr) -> Plan {
    Plan {
        address,
        trust: https::client(authority.pem()),
        path: "/".to_owned(),
        body: b"{}".to_vec(),
        connections: 4,
        rate: 200,
        renewed: 0,
        renew_after: 0,
        timeout: Duration::from_secs(10),
    }
}

/// Sends until so many have been answered or have failed.
fn run(plan: &Plan, enough: u64) -> Report {
    let load = Load::start(plan);
    let done = || (load.report().answered + load.report().failed() >= enough).then_some(());
    eventually(|| format!("{enough} requests"), done);
    load.stop()
}

#[test]
fn connections_are_kept() {
    let authority = Authority::new("load");
    let address = serve(&authority, |stream| while answer(stream, OK) {});
    let report = run(&Plan { rate: 2000, ..plan(&authority, address) }, 1000);
    assert_eq!((report.failed(), report.retried, report.connected), (0, 0, 4), "{:?}", report.failures);
    let [half, most, all] = [50, 99, 100].map(|percent| report.percentile(percent));
    assert!(Duration::ZERO < half && half <= most && most <= all);
}

#[test]
fn some_connections_are_renewed() {
    let authority = Authority::new("load");
    let address = serve(&authority, |stream| while answer(stream, OK) {});
    let report = run(&Plan { renewed: 2, renew_after: 5, ..plan(&authority, address) }, 100);
    assert_eq!(report.failed(), 0, "{:?}", report.failures);
    // Half of the requests are on the renewed ones.
    assert!((10..=15).contains(&report.connected), "{report:?}");
}

#[test]
fn an_announced_end_costs_no_request() {
    let authority = Authority::new("load");
    let address = serve(&authority, |stream| _ = answer(stream, OK) && answer(stream, LAST));
    let report = run(&plan(&authority, address), 100);
    assert_eq!((report.failed(), report.retried), (0, 0), "{:?}", report.failures);
    assert!(report.connected >= report.answered / 2);
}

#[test]
fn a_connection_that_ended_while_idle_costs_no_request() {
    let authority = Authority::new("load");
    let address = serve(&authority, |stream| _ = answer(stream, OK));
    let report = run(&Plan { rate: 40, ..plan(&authority, address) }, 20);
    assert_eq!(report.failed(), 0, "{:?}", report.failures);
    assert_eq!(report.connected, report.answered);
}

#[test]
fn a_request_that_was_written_is_lost_with_its_connection() {
    let authority = Authority::new("load");
    let address = serve(&authority, |stream| _ = answer(stream, OK) && answer(stream, ""));
    let report = run(&plan(&authority, address), 100);
    let reasons: Vec<_> = report.failures.keys().collect();
    assert!(reasons.iter().all(|reason| reason.starts_with("lost: ")), "{reasons:?}");
    assert!(report.failed() >= 48 && report.answered >= 48, "{report:?}");
}

#[test]
fn other_failures_have_their_reasons() {
    let authority = Authority::new("load");
    let address = serve(&authority, |stream| while answer(stream, BUSY) {});
    let reasons = |report: Report| report.failures.into_keys().collect::<Vec<_>>();
    assert_eq!(reasons(run(&plan(&authority, address), 10)), ["status 503"]);

    let silent = serve(&authority, |stream| while answer(stream, "") {});
    let impatient = Plan { timeout: Duration::from_millis(100), ..plan(&authority, silent) };
    assert_eq!(reasons(run(&impatient, 10)), ["timed out"]);

    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = reasons(run(&plan(&authority, gone), 10));
    assert!(refused.iter().all(|reason| reason.starts_with("connect: ")), "{refused:?}");

    let stranger = plan(&Authority::new("another"), address);
    let untrusted = reasons(run(&stranger, 10));
    assert!(untrusted.iter().all(|reason| reason.starts_with("handshake: ")), "{untrusted:?}");
}

#[test]
fn a_load_through_a_balancer() {
    let authority = Authority::new("load");
    let health = TcpListener::bind("127.0.0.1:0").unwrap();
    let ready = health.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in health.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let balancer = Balancer::start(Duration::ZERO);
    for _ in 0..2 {
        let address = serve(&authority, |stream| while answer(stream, OK) {});
        balancer.add(Backend { address, health: ready });
    }
    eventually(|| "both".to_owned(), || (balancer.in_use().len() == 2).then_some(()));
    let fast = Plan { connections: 16, rate: 2000, ..plan(&authority, balancer.address()) };
    let report = run(&Plan { renewed: 4, renew_after: 50, ..fast }, 4000);
    assert_eq!((report.failed(), balancer.refused()), (0, 0), "{:?}", report.failures);
}
