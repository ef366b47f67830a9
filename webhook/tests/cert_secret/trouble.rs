//! What is missing, forbidden, away or against it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use testkit::{
    cluster::Cluster,
    eventually,
    process::{Running, sh},
};

use crate::fixture::{
    REGISTRATION, SECRET, SECRETS, bundle, command, prepare, register, serving, set_bundle, start, start_one,
    stored, trusted,
};

#[test]
fn without_a_way_to_the_api_server_the_start_ends_with_the_reason() {
    let cluster = Cluster::fake();
    for (kubeconfig, reason) in [
        (None, "this is not a Pod with the token of a service account, and KUBECONFIG is not set"),
        (Some("/none"), "cannot use KUBECONFIG=/none"),
    ] {
        let mut command = command(&cluster);
        match kubeconfig {
            Some(path) => command.env("KUBECONFIG", path),
            None => command.env_remove("KUBECONFIG"),
        };
        let (status, printed) = Running::start(&mut command).wait();
        assert_eq!(status.code(), Some(1), "{printed}");
        assert!(printed.lines().last().unwrap().contains(reason), "{printed}");
    }
}

#[test]
fn what_is_missing_at_the_start_is_told_and_waited_for() {
    let forbidden = Cluster::fake();
    let away = Cluster::fake();
    prepare(&away);
    away.faults().outage(true);
    let empty = Cluster::fake();
    empty.allow("webhook", &["get", "update", "watch"], "", "secrets", &["hook"]);
    let reasons = [
        "cannot read Secret default/hook: secrets \"hook\" is forbidden: User \"webhook\" cannot get",
        "cannot read Secret default/hook: cannot connect to 127.0.0.1",
        "there is no Secret default/hook",
    ];
    let clusters = [forbidden, away, empty];
    let running: Vec<_> = clusters.iter().map(|cluster| Running::start(&mut command(cluster))).collect();
    for (running, reason) in running.iter().zip(reasons) {
        running.wait_for(reason);
        assert!(!running.printed().contains("] serving"));
    }
    let [forbidden, away, empty] = &clusters;
    prepare(forbidden);
    away.faults().outage(false);
    empty.create(SECRETS, &json!({"metadata": {"name": "hook"}}));
    running.into_iter().for_each(|running| drop(serving(running)));
}

#[test]
fn a_replica_without_a_certificate_says_so_and_ends_when_it_is_told_to() {
    let cluster = Cluster::fake();
    let mut command = command(&cluster);
    let health = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    command.arg(format!("--health-bind-address={health}"));
    let running = Running::start(&mut command);
    running.wait_for("cannot read Secret");
    let get = |path| sh(&format!("curl -sS -w ' %{{http_code}}' http://{health}{path}"));
    let report = get("/readyz?verbose");
    assert!(report.contains("[-]certificate failed: none yet: cannot read Mut"), "{report}");
    assert!(report.ends_with(" 503") && get("/livez").ends_with(" 200"));
    let (status, printed) = running.stop();
    assert!(status.success() && printed.contains("ending before there was a certificate"), "{printed}");
}

#[test]
fn without_permission_for_the_registration_the_certificate_works() {
    let cluster = Cluster::fake();
    cluster.create(SECRETS, &json!({"metadata": {"name": "hook"}}));
    cluster.allow("webhook", &["get", "update", "watch"], "", "secrets", &["hook"]);
    register(&cluster);
    let replica = start_one(&cluster);
    replica.running.wait_for("cannot read MutatingWebhookConfiguration hook");
    let report = replica.report();
    assert!(report.contains("[!]certificate: serial") && report.contains("readyz check passed"), "{report}");
    let verbs = ["get", "update", "watch"];
    cluster.allow(
        "webhook",
        &verbs,
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        &["hook"],
    );
    replica.running.wait_for("all is well again");
    trusted(&cluster, &[replica]);
}

#[test]
fn an_api_server_that_is_away_changes_nothing() {
    let cluster = Cluster::fake();
    prepare(&cluster);
    register(&cluster);
    let replicas = start(&cluster, 2);
    let whole = trusted(&cluster, &replicas);
    let serial = replicas[0].serial();
    cluster.faults().outage(true);
    for replica in &replicas {
        replica.running.wait_for("cannot read Secret default/hook");
        assert!(replica.is_trusted_by(&whole));
    }
    cluster.faults().outage(false);
    for replica in &replicas {
        replica.running.wait_for("all is well again");
        assert_eq!(replica.serial(), serial);
    }
    // Whatever it answers.
    for code in [429, 500, 503] {
        cluster.faults().fail("webhook", "/api", 3, code);
        set_bundle(&cluster, "");
        let back = || (bundle(&cluster, 0) == whole).then_some(());
        eventually(|| format!("the bundle to be whole after {code}"), back);
    }
    cluster.faults().cut_watches();
    cluster.forget_history();
    set_bundle(&cluster, "");
    eventually(|| "the bundle to be whole again".to_owned(), || (bundle(&cluster, 0) == whole).then_some(()));
}

#[test]
fn at_rest_nothing_is_written_and_little_is_read() {
    let cluster = Cluster::fake();
    prepare(&cluster);
    register(&cluster);
    let replicas = start(&cluster, 2);
    trusted(&cluster, &replicas);
    std::thread::sleep(Duration::from_secs(1));
    let (writes, requests) = (cluster.faults().writes("webhook"), cluster.faults().seen().len());
    assert!((2..=6).contains(&writes), "{writes} writes by two replicas");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(cluster.faults().writes("webhook"), writes);
    assert_eq!(cluster.faults().seen().len(), requests, "{:?}", cluster.faults().seen());
}

#[test]
fn who_keeps_changing_it_back_is_told_and_not_fought_without_end() {
    let cluster = Arc::new(Cluster::fake());
    prepare(&cluster);
    register(&cluster);
    let replicas = start(&cluster, 2);
    let whole = trusted(&cluster, &replicas);
    let stop = Arc::new(AtomicBool::new(false));
    let gitops = {
        let (cluster, stop) = (Arc::clone(&cluster), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                if !bundle(&cluster, 0).is_empty() {
                    set_bundle(&cluster, "");
                    rounds += 1;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            rounds
        })
    };
    for replica in &replicas {
        replica.running.wait_for("somebody changes MutatingWebhookConfiguration hook back again and again");
        assert!(replica.report().contains("[!]certificate"), "{}", replica.report());
    }
    let begun = cluster.faults().count("webhook", "update", REGISTRATION);
    std::thread::sleep(Duration::from_secs(10));
    let more = cluster.faults().count("webhook", "update", REGISTRATION) - begun;
    assert!(more <= 20, "{more} writes in ten seconds");
    stop.store(true, Ordering::Relaxed);
    println!("{} rounds", gitops.join().unwrap());
    eventually(|| "the bundle to be whole again".to_owned(), || (bundle(&cluster, 0) == whole).then_some(()));
    let told = replicas[0].running.printed();
    assert_eq!(told.matches("] certificate: ").count(), 1, "one line: {told}");
}

#[test]
fn what_else_is_in_the_objects_stays() {
    let cluster = Cluster::fake();
    prepare(&cluster);
    register(&cluster);
    cluster.change(SECRET, |secret| {
        secret["metadata"]["labels"] = json!({"a": "b"});
        secret["data"] = json!({"other": "b3RoZXI="});
        secret["future"] = json!(1);
    });
    cluster.change(REGISTRATION, |registration| registration["webhooks"][0]["future"] = json!({"x": [1]}));
    let replicas = start(&cluster, 1);
    trusted(&cluster, &replicas);
    assert!(stored(&cluster).newest.is_some());
    let secret = cluster.get(SECRET);
    assert_eq!(
        (&secret["metadata"]["labels"]["a"], &secret["data"]["other"]),
        (&json!("b"), &json!("b3RoZXI="))
    );
    assert_eq!(secret["future"], 1);
    assert_eq!(cluster.get(REGISTRATION)["webhooks"][0]["future"], json!({"x": [1]}));
}

#[test]
fn what_can_be_watched_and_not_read_is_not_asked_for_without_end() {
    let cluster = Cluster::fake();
    cluster.create(SECRETS, &json!({"metadata": {"name": "hook"}}));
    cluster.allow("webhook", &["get", "update", "watch"], "", "secrets", &["hook"]);
    cluster.allow(
        "webhook",
        &["watch", "update"],
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        &["hook"],
    );
    register(&cluster);
    let _replica = start_one(&cluster);
    let before = cluster.faults().seen().len();
    std::thread::sleep(Duration::from_secs(3));
    let more = cluster.faults().seen().len() - before;
    assert!(more < 25, "{more} requests in three seconds");
}

#[test]
fn without_the_secret_the_bundle_is_kept() {
    let cluster = Cluster::fake();
    prepare(&cluster);
    register(&cluster);
    let replicas = start(&cluster, 1);
    trusted(&cluster, &replicas);
    cluster.delete(SECRET);
    replicas[0].running.wait_for("there is no Secret default/hook");
    set_bundle(&cluster, "");
    trusted(&cluster, &replicas);
}
