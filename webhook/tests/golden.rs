//! The contract by example: each folder of `testdata/admission` has a `review.json`, the `answer.json` that it
//! gets, and in `args` the flags that it needs beyond `--apiserver-fqdn=foo.bar.`, with paths that begin at the
//! repository's root.
//!
//! `UPDATE_GOLDEN=1 cargo test -p webhook --test golden` writes the answers anew; look at the difference.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod pods;

use std::{ffi::OsString, fs, path::Path};

use serde_json::{Value, json};
use webhook::{cli::Config, egress, env::Injection};

fn injection(folder: &Path) -> Injection {
    let more = fs::read_to_string(folder.join("args")).unwrap_or_default();
    let args = ["prog", "--apiserver-fqdn=foo.bar."].into_iter().chain(more.lines());
    let config = Config::from_command_line(args.map(OsString::from)).unwrap();
    match config.egress_config {
        None => config.injection,
        Some(path) => {
            config.injection.with_proxy(&egress::load(&testkit::testdata("..").join(path)).unwrap())
        }
    }
}

/// The response, with the patch decoded.
fn readable(mut answer: Value) -> Value {
    if let Some(patch) = pods::decoded_patch(&answer) {
        answer["response"]["patch"] = patch;
    }
    answer
}

#[test]
fn every_case_gets_its_answer() {
    let folders = fs::read_dir(testkit::testdata("admission")).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = folders.collect();
    cases.sort();
    assert!(cases.len() >= 60, "only {} cases found", cases.len());
    let mut wrong = Vec::new();
    for folder in cases {
        let (body, injection) = (fs::read(folder.join("review.json")).unwrap(), injection(&folder));
        let answer = readable(pods::answer(&injection, &body));
        let golden = folder.join("answer.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, serde_json::to_string_pretty(&answer).unwrap() + "\n").unwrap();
        }
        let expected: Value = serde_json::from_slice(&fs::read(&golden).unwrap()).unwrap();
        if answer != expected {
            wrong.push(format!("{}: {answer:#}", folder.display()));
        }
        let review: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["response"]["uid"], review["request"]["uid"], "{}", folder.display());
        assert_eq!(answer["apiVersion"], review["apiVersion"]);
        assert_eq!(answer["response"]["allowed"], true);
        pods::assert_only_env_is_added(&injection, &review);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_seeds_request_gets_the_seeds_patch() {
    let body = fs::read(testkit::testdata("admission.json")).unwrap();
    let answer = pods::answer(&injection(Path::new("/nowhere")), &body);
    let entry = json!([{"name": "KUBERNETES_SERVICE_HOST", "value": "foo.bar."}]);
    let expected = json!([
        {"op": "add", "path": "/spec/initContainers/0/env", "value": entry},
        {"op": "add", "path": "/spec/containers/0/env", "value": entry},
    ]);
    assert_eq!(pods::decoded_patch(&answer), Some(expected));
}
