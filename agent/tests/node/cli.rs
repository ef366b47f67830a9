//! The command line, as a person meets it.

use std::collections::BTreeMap;

use testkit::{netns::Netns, process::sh};

use crate::fixture::agent;

/// `--flag` to the rest of its line, white space folded.
fn flags(text: &str) -> BTreeMap<String, String> {
    let folded = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    folded
        .filter(|line| line.starts_with('-'))
        .map(|line| {
            let line = line.strip_prefix("-v, ").unwrap_or(&line);
            let (flag, rest) = line.split_once(' ').unwrap();
            (flag.to_owned(), rest.to_owned())
        })
        .collect()
}

#[test]
fn help_reads_like_the_go_sidecars() {
    let output = agent().arg("--help").output().unwrap();
    assert!(output.status.success());
    let ours = flags(&String::from_utf8(output.stdout).unwrap());
    let seed = flags(&std::fs::read_to_string(testkit::testdata("agent/seed-help.txt")).unwrap());
    assert_eq!(seed.len(), 19);
    for (flag, words) in seed {
        let ours = ours.get(&flag).unwrap_or_else(|| panic!("{flag} is missing"));
        assert!(ours.starts_with(&words), "{flag}: {ours}, the seed has {words}");
    }
}

#[test]
fn mistakes_end_with_exit_code_2_before_anything_is_touched() {
    let _netns = Netns::enter();
    let state = || sh("ip addr; nft list ruleset; cat /proc/net/ip_tables_names");
    let before = state();
    for args in
        [&["--port=0"][..], &["--ip-address=::1"], &["--bogus"], &[], &["--ip-address=10.96.0.2", "false"]]
    {
        let output = agent().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(printed.starts_with("Error: ") && printed.lines().count() == 1, "{printed}");
    }
    assert_eq!(state(), before);
}

#[test]
fn version_is_told() {
    let output = agent().arg("--version").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && printed.starts_with("apiserver-proxy-sidecar v"), "{printed}");
}
