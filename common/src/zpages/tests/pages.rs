//! What the pages say.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
};

use super::{super::connection::LIMITS, Check, Fake, ask, get, on_tcp, on_unix};

#[test]
fn every_page_over_tcp() {
    let metrics = "# EOF\n".to_owned();
    let address = on_tcp(&Arc::new(Fake { metrics: metrics.clone(), ..Fake::default() }), LIMITS);
    for (path, starts, content_type) in [
        ("/livez", "ok", "text/plain; charset=utf-8"),
        ("/livez?verbose", "[+]ping ok\nlivez check passed\n", "text/plain; charset=utf-8"),
        ("/readyz", "ok", "text/plain; charset=utf-8"),
        ("/metrics", metrics.as_str(), "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("/statusz", "\nprog statusz\nWarning: ", "text/plain; charset=utf-8"),
        ("/flagz", "\nprog flags\nWarning: ", "text/plain; charset=utf-8"),
    ] {
        let (status, head, body) = get(address, path);
        assert_eq!(status, 200, "{path}");
        assert!(body.starts_with(starts), "{path}: {body}");
        let types: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("content-type: ")).collect();
        assert_eq!(types, [content_type], "{path}");
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
    }
    let statusz = get(address, "/statusz").2;
    assert!(
        statusz.contains("\nPaths: /flagz /livez /metrics /readyz /statusz\nBackend: fake\n"),
        "{statusz}"
    );
    assert!(get(address, "/flagz").2.ends_with("\n\nhost=h\n"));
}

#[test]
fn readiness_follows_the_checks() {
    let subject = Arc::new(Fake { checks: Mutex::new(vec![Check::ok("rules", "")]), ..Fake::default() });
    let address = on_tcp(&subject, LIMITS);
    let passed = "[+]rules ok\nreadyz check passed\n";
    assert_eq!(get(address, "/readyz").2, "ok");
    for query in ["verbose", "verbose=", "verbose=1", "a=b&verbose", "verbose&%ff=%"] {
        assert_eq!(get(address, &format!("/readyz?{query}")).2, passed, "{query}");
    }
    assert_eq!(get(address, "/readyz?verbosely").2, "ok");

    *subject.checks.lock().unwrap() = vec![Check::note("rules", "odd"), Check::failed("address", "gone")];
    let failed = "[!]rules: odd\n[-]address failed: gone\nreadyz check failed\n".to_owned();
    for path in ["/readyz", "/readyz?verbose"] {
        let (status, _, body) = get(address, path);
        assert_eq!((status, body), (503, failed.clone()), "{path}");
    }
    assert_eq!(get(address, "/livez").0, 200, "not ready is not dead");
    subject.checks.lock().unwrap().pop();
    assert_eq!(get(address, "/readyz").0, 200, "a note does no harm");
}

#[test]
fn the_same_over_unix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.sock");
    on_unix(&path, &Arc::new(Fake::default()), LIMITS);
    let (status, _, body) = ask(UnixStream::connect(&path).unwrap(), "GET", "/readyz?verbose");
    assert_eq!((status, body.as_str()), (200, "readyz check passed\n"));
}

#[test]
fn other_paths_and_methods() {
    let address = on_tcp(&Arc::new(Fake::default()), LIMITS);
    let other = |method, path| ask(TcpStream::connect(address).unwrap(), method, path);
    for path in ["/", "/livez/", "/readyz/x", "/nothing", "//livez", "/debug/pprof"] {
        assert_eq!(get(address, path).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "ANYTHING"] {
        let (status, head, _) = other(method, "/readyz");
        assert!(status == 405 && head.contains("allow: get,head"), "{method}: {head}");
    }
    let (status, head, body) = other("HEAD", "/readyz");
    assert!(status == 200 && head.contains("content-length: 2") && body.is_empty(), "{head}");
}

#[test]
fn a_connection_takes_several_requests() {
    let address = on_tcp(&Arc::new(Fake::default()), LIMITS);
    let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
    for _ in 0..3 {
        stream.get_mut().write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let lines: Vec<String> =
            stream.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        assert_eq!(lines[0], "HTTP/1.1 200 OK");
        let mut body = [0; 2];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"ok");
    }
}

#[test]
fn many_metrics_come_whole() {
    let metrics = "a_metric_with_a_name 1\n".repeat(100_000);
    let address = on_tcp(&Arc::new(Fake { metrics: metrics.clone(), ..Fake::default() }), LIMITS);
    assert!(get(address, "/metrics").2 == metrics);
}
