//! What the kernel lists of Unix sockets.

use std::collections::BTreeSet;

use agent::handover::names::{LONGEST_NAME, Name, parse_names};

/// `/proc/net/unix`, in which other processes can write what they like: each name is there as we write it, and none is
/// overlooked for what stands around it.
pub fn unix_socket_names(data: &[u8]) {
    let names = parse_names(data);
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    assert!(names.len() <= lines.len());
    for name in &names {
        let text = name.to_string();
        assert!(text.len() <= LONGEST_NAME, "{text}");
        assert_eq!(Name::read(&text).as_ref(), Some(name));
        let shown = format!("@{text}").into_bytes();
        assert!(lines.iter().any(|line| line.ends_with(&shown)));
        assert_eq!(parse_names(&shown), BTreeSet::from([name.clone()]));
    }
    let backwards: Vec<&[u8]> = lines.iter().rev().copied().collect();
    assert_eq!(parse_names(&backwards.join(&b'\n')), names, "the order does not matter");

    let ours = "apiserver-proxy-sidecar/1/00c0ffee00c0ffee/10.96.0.2/443/n/lo";
    let line = format!("\n0000000000000000: 00000002 00000000 00010000 0001 01 1 @{ours}\n");
    let with_ours: BTreeSet<Name> = names.into_iter().chain(Name::read(ours)).collect();
    assert_eq!(parse_names(&[data, line.as_bytes()].concat()), with_ours);
    assert_eq!(parse_names(&[line.as_bytes(), data].concat()), with_ours);
}
