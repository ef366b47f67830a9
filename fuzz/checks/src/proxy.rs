//! What upstreams and API servers say to the data plane, and the file that it keeps.

use proxy::{
    discover::{
        kept,
        slices::{Ended, Slices},
    },
    protocol::connect::{Answer, LONGEST_HEAD, answer},
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
