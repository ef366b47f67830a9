//! What is counted, as a scraper sees it.

use std::collections::BTreeMap;

use testkit::{
    eventually,
    https::{self, Connection, post_head},
    pki::Authority,
};

use crate::fixture::{PATH, Serving, project, serve, serve_from};

const PREFIX: &str = "apiserver_proxy_pod_webhook_";

/// One metric, by its name without the prefix, labels and all.
fn metric(serving: &Serving, name: &str) -> f64 {
    let text = serving.health("/metrics").body;
    let value =
        text.lines().find_map(|line| line.strip_prefix(PREFIX)?.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}

/// All of `requests_total` but what is 0: `CREATE patched` and so on.
fn requests(serving: &Serving) -> BTreeMap<String, u32> {
    let text = serving.health("/metrics").body;
    let lines = text.lines().filter_map(|line| line.strip_prefix(PREFIX)?.strip_prefix("requests_total{"));
    let counted = lines.map(|line| {
        let (labels, count) = line.rsplit_once("} ").unwrap();
        let names: Vec<&str> = labels.split('"').skip(1).step_by(2).collect();
        (names.join(" "), count.parse().unwrap())
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn requests_are_counted_by_operation_and_outcome() {
    let serving = serve(&["--max-request-bytes=1048576"]);
    assert_eq!(requests(&serving), BTreeMap::new());
    let config = https::client(serving.authority.pem());
    let connection = || Connection::open(&config, serving.address).unwrap();
    let mut kept = connection();
    let mut expected = BTreeMap::<String, u32>::new();
    let mut expect = |labels: &str| *expected.entry(labels.to_owned()).or_default() += 1;
    for (case, labels) in [
        ("seed", "CREATE patched"),
        ("recorded-create-pods-plain", "CREATE patched"),
        ("present-with-value", "CREATE unchanged"),
        ("no-containers", "CREATE unchanged"),
        ("label-disable", "CREATE skipped"),
        ("recorded-create-pods-opted-out", "CREATE skipped"),
        ("mirror-pod", "CREATE skipped"),
        ("binding", "CREATE skipped"),
        ("other-kind", "CREATE skipped"),
        ("object-null", "CREATE skipped"),
        ("containers-not-a-list", "CREATE skipped"),
        ("ephemeral-update", "UPDATE patched"),
        ("ephemeral-opted-out", "UPDATE skipped"),
        ("update", "UPDATE skipped"),
        ("update-status", "UPDATE skipped"),
        ("delete", "DELETE skipped"),
        ("delete-of-another-kind", "DELETE skipped"),
        ("connect", "CONNECT skipped"),
        ("operation-absent", "other skipped"),
        ("operation-unknown", "other skipped"),
    ] {
        let review = std::fs::read(testkit::testdata("admission").join(case).join("review.json")).unwrap();
        assert_eq!(kept.post(PATH, &review).unwrap().status, 200, "{case}");
        expect(labels);
    }
    for (path, body, status) in [
        (PATH, &b""[..], 400),
        (PATH, b"not json", 400),
        (PATH, b"{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}", 400),
        ("/webhook/other", b"{}", 404),
        (PATH, &vec![b' '; 1_048_577], 413),
    ] {
        assert_eq!(connection().post(path, body).unwrap().status, status);
        expect("other invalid");
    }
    assert_eq!(serving.curl(PATH, &["-X", "PUT"]).status, 405);
    expect("other invalid");
    assert_eq!(serving.curl(PATH, &["-H", "Content-Type: text/plain", "-d", "{}"]).status, 415);
    expect("other invalid");
    assert_eq!(serving.post_seed(&["--http2"]).status, 200);
    expect("CREATE patched");

    assert_eq!(requests(&serving), expected);
    let all = f64::from(expected.values().sum::<u32>());
    assert_eq!(metric(&serving, "request_duration_seconds_count"), all);
    assert_eq!(metric(&serving, "request_duration_seconds_bucket{le=\"10.0\"}"), all);
    let sum = metric(&serving, "request_duration_seconds_sum");
    assert!(sum > 0.0 && sum < all, "{sum} s");
    assert_eq!(metric(&serving, "in_flight"), 0.0);
    assert_eq!(metric(&serving, "requests_total{operation=\"other\",outcome=\"shed\"}"), 0.0);
}

#[test]
fn a_request_is_in_flight_while_its_body_comes() {
    let serving = serve(&[]);
    let config = https::client(serving.authority.pem());
    let review = std::fs::read(testkit::testdata("admission.json")).unwrap();
    let wait_for = |count: f64| {
        let there = || (metric(&serving, "in_flight") == count).then_some(());
        eventually(|| format!("{count} in flight, not {}", metric(&serving, "in_flight")), there);
    };
    let begun = || {
        let mut connection = Connection::open(&config, serving.address).unwrap();
        connection.send(post_head(PATH, review.len()).as_bytes()).unwrap();
        connection
    };
    let (mut one, other) = (begun(), begun());
    wait_for(2.0);
    one.send(&review).unwrap();
    assert_eq!(one.finish().unwrap().status, 200);
    wait_for(1.0);
    drop(other);
    wait_for(0.0);
    let expected = [("CREATE patched".to_owned(), 1), ("other invalid".to_owned(), 1)];
    assert_eq!(requests(&serving), BTreeMap::from(expected), "who leaves is counted too");
}

#[test]
fn certificates_are_told_with_their_time_and_their_replacement() {
    let (authority, folder) = (Authority::new("test CA"), tempfile::tempdir().unwrap());
    let write = |serial: u64, year: i32| {
        let certificate = authority.issue_until(serial, year);
        move |folder: &std::path::Path| certificate.write(folder)
    };
    project(folder.path(), 1, write(1, 2049));
    let path = folder.path().to_owned();
    let serving = serve_from(Authority::new("another"), folder, &[]);
    let reloads = || {
        ["success", "failure"]
            .map(|result| metric(&serving, &format!("certificate_reload_total{{result=\"{result}\"}}")))
    };
    let wait_for = |count: [f64; 2]| {
        eventually(|| format!("{count:?}, not {:?}", reloads()), || (reloads() == count).then_some(()));
    };
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    // 2049-12-31T00:00:00Z.
    let expected = 2_524_521_600.0 - now;
    let left = metric(&serving, "certificate_expiry_seconds");
    assert!((left - expected).abs() < 60.0, "{left} s, not {expected}");
    assert_eq!(reloads(), [0.0, 0.0]);

    project(&path, 2, |folder| {
        for name in ["tls.crt", "tls.key"] {
            std::fs::write(folder.join(name), "broken").unwrap();
        }
    });
    wait_for([0.0, 1.0]);
    // It is tried again each second.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(reloads(), [0.0, 1.0], "one replacement, one failure");
    project(&path, 3, write(2, 2048));
    wait_for([1.0, 1.0]);
    assert!(metric(&serving, "certificate_expiry_seconds") < left - 300.0 * 86400.0);
    std::fs::remove_file(path.join("..data")).unwrap();
    wait_for([1.0, 2.0]);
}
