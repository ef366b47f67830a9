//! The probe, and servers that let it down.

use std::{
    io::Write,
    os::unix::net::UnixListener,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    super::{Page, ProbeError, connection::LIMITS, probe, probe::probe_within},
    Check, Fake, on_unix,
};

const SHORT: Duration = Duration::from_millis(300);
const SLACK: Duration = Duration::from_secs(5);

#[test]
fn it_tells_what_the_program_tells() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.sock");
    let subject = Arc::new(Fake { checks: Mutex::new(vec![Check::ok("rules", "")]), ..Fake::default() });
    on_unix(&path, &subject, LIMITS);
    assert_eq!(probe(&path, Page::Ready).unwrap(), "[+]rules ok\nreadyz check passed\n");
    assert_eq!(probe(&path, Page::Live).unwrap(), "[+]ping ok\nlivez check passed\n");
    subject.checks.lock().unwrap().push(Check::failed("address", "gone"));
    let error = probe(&path, Page::Ready).unwrap_err();
    assert!(matches!(error, ProbeError::Unhealthy { status: 503, .. }));
    assert_eq!(error.to_string(), "[+]rules ok\n[-]address failed: gone\nreadyz check failed\n");
    assert!(probe(&path, Page::Live).is_ok());
}

#[track_caller]
fn has_no_answer(path: &Path, why: &str) {
    let begun = Instant::now();
    let error = probe_within(path, Page::Ready, SHORT).unwrap_err();
    assert!(matches!(error, ProbeError::NoAnswer { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()) && text.contains(why), "{text}");
    assert!(begun.elapsed() < SHORT + SLACK);
}

#[test]
fn nobody_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.sock");
    has_no_answer(&path, "No such file");
    drop(UnixListener::bind(&path).unwrap());
    has_no_answer(&path, "refused");
    has_no_answer(&folder.path().join("x".repeat(200)), "path must be shorter");
}

#[test]
fn a_server_that_hangs_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("probe.sock");
    let _never_accepts = UnixListener::bind(&path).unwrap();
    has_no_answer(&path, "takes too long");

    // A full queue holds up connect(2) itself.
    let path = folder.path().join("full.sock");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    has_no_answer(&path, "takes too long");
}

#[test]
fn answers_without_end_or_sense() {
    let folder = tempfile::tempdir().unwrap();
    for (name, first, rest, why) in [
        ("endless", "HTTP/1.1 200 OK\r\n\r\n", "x".repeat(4096), "longer than 65536 bytes"),
        ("dripping", "HTTP/1.1 200 OK\r\n\r\n", String::new(), "takes too long"),
        ("nonsense", "hello\r\n\r\n", "x".repeat(4096), "longer than 65536 bytes"),
    ] {
        let path = folder.path().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut result = stream.write_all(first.as_bytes());
            while result.is_ok() {
                // At least a byte, at a pace that no single read takes for too long.
                result = stream.write_all(if rest.is_empty() { b"x" } else { rest.as_bytes() });
                std::thread::sleep(Duration::from_millis(if rest.is_empty() { 100 } else { 1 }));
            }
        });
        has_no_answer(&path, why);
    }
    let path = folder.path().join("mute");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || drop(listener.accept().unwrap()));
    let error = probe_within(&path, Page::Ready, SHORT).unwrap_err();
    assert!(matches!(error, ProbeError::NoAnswer { .. }), "{error}");
}
