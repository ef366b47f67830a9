//! Certificates: versions of TLS, clients' certificates, replacement while serving.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use testkit::{
    eventually,
    https::{self, Connection},
    pki::Authority,
};

use crate::fixture::{PATH, project, serve, serve_from};

#[test]
fn only_tls_1_2_and_1_3() {
    let serving = serve(&[]);
    for (version, works) in [("1.1", false), ("1.2", true), ("1.3", true)] {
        let curled =
            serving.post_seed(&["--tlsv1.0", "--tls-max", version, "--ciphers", "DEFAULT@SECLEVEL=0"]);
        assert_eq!(curled.status == 200, works, "TLS {version}: {curled:?}");
    }
}

#[test]
fn the_certificate_made_in_memory_is_trusted_through_its_printed_ca() {
    let running = testkit::process::Running::start(&mut crate::fixture::webhook());
    let line = running.wait_for("] serving");
    let address = testkit::process::field(&line, "address");
    // It comes by another pipe than the log.
    running.wait_for("LS0t");
    let printed = running.printed();
    let (_, rest) = printed.split_once("-----BEGIN CERTIFICATE-----").unwrap();
    let (pem, rest) = rest.split_once("-----END CERTIFICATE-----").unwrap();
    let authority = format!("-----BEGIN CERTIFICATE-----{pem}-----END CERTIFICATE-----\n");
    let mut connection = Connection::open(&https::client(&authority), address).unwrap();
    assert_eq!(connection.post(PATH, b"{}").unwrap().status, 400);

    let bundle = rest.lines().find(|line| line.starts_with("LS0t")).unwrap();
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, bundle).unwrap();
    assert_eq!(String::from_utf8(decoded).unwrap(), authority, "the caBundle is the same CA");
}

#[test]
fn clients_show_a_certificate_where_they_must() {
    let serving = serve(&["--client-ca-name=ca.crt"]);
    assert_ne!(serving.post_seed(&[]).exit, 0, "without one there is no answer");
    let pair = |name: &str, authority: &Authority| {
        let folder = serving.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        authority.issue(7).write(&folder);
        (folder.join("tls.crt").display().to_string(), folder.join("tls.key").display().to_string())
    };
    let (certificate, key) = pair("good", &serving.authority);
    assert_eq!(serving.post_seed(&["--cert", &certificate, "--key", &key]).status, 200);
    let other = Authority::new("another CA");
    let (wrong, wrong_key) = pair("wrong", &other);
    assert_ne!(serving.post_seed(&["--cert", &wrong, "--key", &wrong_key]).exit, 0);

    // The CA that clients are measured by is replaced like the certificate.
    let both = format!("{}{}", serving.authority.pem(), other.pem());
    std::fs::write(serving.folder.path().join("ca.crt"), both).unwrap();
    let accepted = || serving.post_seed(&["--cert", &wrong, "--key", &wrong_key]).status == 200;
    eventually(|| "the new client CA".to_owned(), || accepted().then_some(()));
    assert_eq!(serving.post_seed(&["--cert", &certificate, "--key", &key]).status, 200);
}

#[test]
fn files_are_replaced_by_rename_and_in_place() {
    let serving = serve(&[]);
    let config = https::client(serving.authority.pem());
    let shows = |serial| Connection::open(&config, serving.address).unwrap().shows_serial(serial);
    assert!(shows(1));
    let next = serving.authority.issue(2);
    next.write(serving.folder.path());
    eventually(|| "serial 2, written in place".to_owned(), || shows(2).then_some(()));
    let beside = tempfile::tempdir_in(serving.folder.path()).unwrap();
    serving.authority.issue(3).write(beside.path());
    for name in ["tls.key", "tls.crt"] {
        std::fs::rename(beside.path().join(name), serving.folder.path().join(name)).unwrap();
    }
    eventually(|| "serial 3, renamed".to_owned(), || shows(3).then_some(()));
}

#[test]
fn a_broken_replacement_keeps_the_last_good_one_and_is_told() {
    let serving = serve(&[]);
    let config = https::client(serving.authority.pem());
    let certificate = serving.folder.path().join("tls.crt");
    let good = std::fs::read(&certificate).unwrap();
    let write = |text: &str| std::fs::write(&certificate, text).unwrap();
    let others = serving.authority.issue(9).certificate;
    for (reason, text) in [
        ("no certificate", Some("nonsense")),
        ("does not belong to", Some(&*others)),
        ("cannot read", None),
        ("no certificate", Some("")),
    ] {
        text.map_or_else(|| std::fs::remove_file(&certificate).unwrap(), write);
        let report = eventually(
            || serving.health("/readyz?verbose").body,
            || Some(serving.health("/readyz?verbose")).filter(|report| report.body.contains(reason)),
        );
        assert_eq!(report.status, 200, "still ready");
        assert!(Connection::open(&config, serving.address).unwrap().shows_serial(1));
    }
    assert_eq!(serving.running.printed().matches("last good one stays in use").count(), 4, "one line each");
    std::fs::write(&certificate, good).unwrap();
    let fine = || serving.health("/readyz?verbose").body.contains("[+]certificate ok");
    eventually(|| "no trouble any more".to_owned(), || fine().then_some(()));
}

#[test]
fn a_certificate_out_of_its_time_is_told_and_replaces_none_that_is_good() {
    let serving = serve(&[]);
    let config = https::client(serving.authority.pem());
    serving.authority.issue_until(2, 2020).write(serving.folder.path());
    serving.running.wait_for("not replaced, the last good one stays in use");
    assert!(serving.health("/readyz?verbose").body.contains("[!]certificate: serial 01"));
    assert!(Connection::open(&config, serving.address).unwrap().shows_serial(1));
    serving.authority.issue(3).write(serving.folder.path());
    serving.running.wait_for("certificate: all is well again");
    assert!(Connection::open(&config, serving.address).unwrap().shows_serial(3));

    let (authority, folder) = (Authority::new("test CA"), tempfile::tempdir().unwrap());
    authority.issue_until(1, 2020).write(folder.path());
    let serving = serve_from(authority, folder, &[]);
    serving.running.wait_for("the certificate has expired");
    assert_eq!(serving.health("/readyz").status, 200, "failurePolicy decides, not the probe");
    serving.authority.issue(2).write(serving.folder.path());
    serving.running.wait_for("certificate: all is well again");
}

#[test]
fn a_pipe_in_the_place_of_a_file_holds_nothing_up() {
    let serving = serve(&[]);
    let key = serving.folder.path().join("tls.key");
    std::fs::remove_file(&key).unwrap();
    testkit::process::sh(&format!("mkfifo {}", key.display()));
    serving.running.wait_for("not a regular file");
    let (status, _) = serving.running.stop();
    assert!(status.success());
}

/// As kubelet does it, under load: three new certificates, a broken set in between, and not one failed request.
#[test]
fn swaps_under_load_fail_no_request() {
    let (authority, folder) = (Authority::new("test CA"), tempfile::tempdir().unwrap());
    project(folder.path(), 1, |fresh| authority.issue(1).write(fresh));
    let serving = serve_from(authority, folder, &[]);
    let config = https::client(serving.authority.pem());
    let body = Arc::new(std::fs::read(testkit::testdata("admission.json")).unwrap());
    let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (config, body, address) = (Arc::clone(&config), Arc::clone(&body), serving.address);
            let (stop, requests) = (Arc::clone(&stop), Arc::clone(&requests));
            std::thread::spawn(move || {
                let mut connection = Connection::open(&config, address).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    // Half of the clients stay connected, half connect anew each time.
                    if client % 2 == 0 {
                        connection = Connection::open(&config, address).unwrap();
                    }
                    assert_eq!(connection.post(PATH, &body).unwrap().status, 200);
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let shows = |serial| Connection::open(&config, serving.address).unwrap().shows_serial(serial);
    for serial in 2..=4_u32 {
        let swapped = Instant::now();
        project(serving.folder.path(), serial, |fresh| serving.authority.issue(serial.into()).write(fresh));
        eventually(|| format!("serial {serial}"), || shows(serial.into()).then_some(()));
        println!("serial {serial} was in use after {} ms", swapped.elapsed().as_millis());
        if serial == 2 {
            project(serving.folder.path(), 99, |fresh| {
                serving.authority.issue(99).write(fresh);
                std::fs::write(fresh.join("tls.key"), serving.authority.issue(98).key).unwrap();
            });
            serving.running.wait_for("last good one stays in use");
            assert!(shows(2));
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("no request failed"));
    let requests = requests.load(Ordering::Relaxed);
    println!("{requests} requests, none failed");
    assert!(requests > 100);
}
