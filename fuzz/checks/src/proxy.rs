//! What upstreams and API servers say to the data plane, the file that it keeps, and that of its configuration.

use std::ffi::OsString;

use proxy::{
    cli::CommandLine,
    discover::{
        kept,
        slices::{Ended, Slices},
    },
    protocol::{
        Protocol,
        connect::{Answer, LONGEST_HEAD, answer},
    },
};

/// An answer to CONNECT: it is the same in pieces, and its end is within what came.
pub fn connect_answer(data: &[u8]) {
    let whole = answer(data);
    if let Answer::Open(length) = whole {
        assert!(length <= data.len());
        // What comes after the head belongs to the connection, whatever it is.
        assert_eq!(answer(&data[..length]), whole);
        assert!(data[..length].ends_with(b"\n"));
    }
    if let Answer::Refused(status) = whole {
        assert!((300..=999).contains(&status), "{status}");
    }
    // More bytes never take a decision back.
    for cut in [data.len() / 3, data.len() / 2, data.len().saturating_sub(1)] {
        let part = answer(&data[..cut]);
        if data.len() <= LONGEST_HEAD && part != Answer::Partial {
            assert_eq!(part, whole, "{cut}");
        }
    }
}

/// A list of EndpointSlices, or a watch of them line by line: what is kept is bounded, and a watch that can't go on
/// changes nothing.
pub fn endpoint_slices(data: &[u8]) {
    if let Ok(slices) = Slices::list(data) {
        assert!(!slices.version.is_empty());
        let _ = slices.addresses();
    }
    let mut slices = Slices::default();
    for line in data.split(|byte| *byte == b'\n') {
        let before = slices.clone();
        match slices.event(line) {
            Ok(()) => assert!(slices.addresses().iter().all(|address| address.port() > 0)),
            Err(Ended::Gone | Ended::Told(_) | Ended::Malformed(_)) => assert_eq!(slices, before),
        }
    }
}

/// The file with the last endpoints: what is read is written the same.
pub fn kept_endpoints(data: &[u8]) {
    if let Ok(endpoints) = kept::read(data) {
        assert_eq!(kept::read(&kept::written(&endpoints)).unwrap(), endpoints);
    }
}

/// The file of `--config`: what is read is within the bounds, asks for nothing more than its CONNECT, and tells no value
/// of a header, which may be a password.
pub fn proxy_config(data: &[u8]) {
    let args = ["apiserver-proxy", "--config=proxy.yaml", "--listen=10.96.0.2:443"].map(OsString::from);
    let Ok(line) = CommandLine::new(args) else { panic!("these flags are right") };
    let Ok(config) = line.config(data) else { return };
    assert!(line.config(data).is_ok_and(|again| config.takes_a_restart(&again).is_empty()));
    assert!(config.sources.discover || !config.sources.upstreams.is_empty());
    assert!(config.sources.upstreams.len() <= 256 && (1..=64).contains(&config.threads));
    assert!(config.settings.max_connections > 0);
    let waits = [
        config.settings.connect_timeout,
        config.settings.user_timeout,
        config.settings.keepalive,
        config.health.interval,
        config.health.timeout,
    ];
    assert!(waits.iter().all(|wait| !wait.is_zero()), "{waits:?}");
    let Protocol::HttpConnect(connect) = &config.settings.protocol else { return };
    let request = String::from_utf8(connect.request()).unwrap();
    let (head, rest) = request.split_once("\r\n\r\n").unwrap();
    let lines: Vec<&str> = head.split("\r\n").collect();
    assert!(rest.is_empty() && lines.iter().all(|line| !line.contains(['\r', '\n'])), "{request:?}");
    assert!(lines[0].starts_with("CONNECT ") && lines[1].starts_with("Host: "), "{request:?}");
    assert_eq!(lines.len(), 2 + connect.headers.len());
    let (text, shown) = (String::from_utf8_lossy(data), format!("{config:?}"));
    for line in &lines[2..] {
        let (_, value) = line.split_once(": ").unwrap();
        // What is said elsewhere as well is no secret.
        let is_said = lines[1].contains(value) || text.matches(value).count() != 1;
        assert!(is_said || value.len() < 12 || !shown.contains(value), "{shown}");
    }
}
