//! A new certificate in the place of an old one.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use testkit::{
    balancer::{Backend, Balancer, PROPAGATION},
    cluster::Cluster,
    eventually,
    load::{Load, Plan, Report},
    process::Running,
};
use webhook::cert_secret::{pair::Pair, secret::Stored};

use crate::{
    clock,
    fixture::{
        PATH, Replica, SECRET, bundle, command, made, prepare, register, serving, start, start_one, store,
        stored, trusted,
    },
    trust,
};

pub fn a_secret_that_was_emptied_gets_back_what_it_held(cluster: &Cluster) {
    prepare(cluster);
    register(cluster);
    let replicas = start(cluster, 2);
    trusted(cluster, &replicas);
    let (before, serial) = (stored(cluster), replicas[0].serial());
    store(cluster, &Stored::default());
    let back = || (stored(cluster) == before).then_some(());
    eventually(|| "the Secret to hold what it held".to_owned(), back);
    assert_eq!(replicas[0].serial(), serial);
    assert_eq!(replicas[1].serial(), serial);
}

pub fn what_nobody_can_use_is_replaced(cluster: &Cluster) {
    prepare(cluster);
    register(cluster);
    let expired = made(91);
    let mut damaged = made(0);
    damaged.pair.key = made(0).pair.key;
    for known in [expired, damaged] {
        let broken =
            Stored { newest: Some(known.pair), previous: None, authorities: known.authorities.clone() };
        store(cluster, &broken);
        let replicas = start(cluster, 2);
        trusted(cluster, &replicas);
        assert_ne!(stored(cluster).newest, broken.newest);
        assert_eq!(replicas[0].serial(), replicas[1].serial());
    }
}

/// The requests that API servers send in the time of a `make test`, a second; with `make soak`, 2,000.
fn rate() -> u32 {
    std::env::var("WEBHOOK_LOAD").map_or(200, |rate| rate.parse().unwrap())
}

fn load(address: SocketAddr, trust: Arc<rustls::ClientConfig>) -> Load {
    let body = std::fs::read(testkit::testdata("admission.json")).unwrap();
    Load::start(&Plan {
        address,
        trust,
        path: PATH.to_owned(),
        body,
        connections: 16,
        rate: rate(),
        renewed: 8,
        renew_after: 20,
        timeout: Duration::from_secs(5),
    })
}

fn nothing_failed(what: &str, report: &Report) {
    println!(
        "{what}: {} requests, {} failed, {} sent again by Go's rule, {} connections, p99 {:?}",
        report.answered,
        report.failed(),
        report.retried,
        report.connected,
        report.percentile(99)
    );
    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(report.answered > u64::from(rate()) * 5, "{report:?}");
}

fn backend(replica: &Replica) -> Backend {
    Backend { address: replica.address, health: replica.health }
}

/// Two replicas behind one address; waits until both get connections.
fn service(replicas: &[Replica]) -> Balancer {
    let balancer = Balancer::start(PROPAGATION);
    replicas.iter().for_each(|replica| balancer.add(backend(replica)));
    let both = || (balancer.in_use().len() == replicas.len()).then_some(());
    eventually(|| "all replicas to be in use".to_owned(), both);
    balancer
}

/// Who trusts what the `caBundle` holds, five seconds late, notices nothing.
#[test]
fn renewals_under_load_fail_no_request() {
    let cluster = Cluster::fake();
    prepare(&cluster);
    register(&cluster);
    let clock = clock::Clock::default();
    let start_one = || serving(Running::start(&mut clock.replica(command(&cluster))));
    let replicas = [start_one(), start_one()];
    trusted(&cluster, &replicas);
    let (verifier, trust) = trust::of_a_late_api_server(&cluster, Duration::from_secs(5));
    let balancer = service(&replicas);
    let load = load(balancer.address(), trust);
    let rounds = std::env::var("RENEWALS").map_or(1, |rounds| rounds.parse().unwrap());
    for round in 1..=rounds {
        let (old, serials): (_, Vec<String>) =
            (stored(&cluster), replicas.iter().map(Replica::serial).collect());
        let begun = Instant::now();
        // To all of them two months pass in a moment.
        let ahead = Duration::from_secs(round * 61 * 86_400);
        verifier.clock_ahead(ahead);
        cluster.faults().clock_ahead(ahead);
        clock.set_ahead(ahead);
        cluster.change(SECRET, |secret| secret["metadata"]["labels"] = json!({"round": round.to_string()}));
        eventually(
            || "a new certificate".to_owned(),
            || (stored(&cluster).newest != old.newest).then_some(()),
        );
        let new = stored(&cluster);
        assert_eq!(new.previous, old.newest, "the one before stays beside it");
        assert_eq!(new.authorities.len(), 2, "what has expired since is gone");
        let in_bundle = || (bundle(&cluster, 0) == new.authorities).then_some(());
        eventually(|| "its CA in the bundle".to_owned(), in_bundle);
        std::thread::sleep(Duration::from_secs(20));
        assert!(
            replicas.iter().zip(&serials).all(|(replica, serial)| replica.serial() == *serial),
            "too early"
        );
        // One that starts now does not know for how long the bundle has been right.
        let fresh = start_one();
        assert_eq!(Some(fresh.serial()), serial_of(&new.previous), "shows the one before");
        let shown = || replicas.iter().all(|replica| Some(replica.serial()) == serial_of(&new.newest));
        eventually(|| "all to show the new one".to_owned(), || shown().then_some(()));
        println!("renewal {round} took {:?}", begun.elapsed());
    }
    std::thread::sleep(Duration::from_secs(1));
    nothing_failed("renewals", &load.stop());
}

fn serial_of(pair: &Option<Pair>) -> Option<String> {
    pair.as_ref()?.identity().map(|identity| identity.serial)
}

#[test]
fn a_rolling_restart_under_load_fails_no_request() {
    let cluster = Cluster::fake();
    prepare(&cluster);
    register(&cluster);
    let mut replicas = start(&cluster, 2);
    trusted(&cluster, &replicas);
    let (_, trust) = trust::of_a_late_api_server(&cluster, Duration::ZERO);
    let balancer = service(&replicas);
    let load = load(balancer.address(), trust);
    std::thread::sleep(Duration::from_secs(1));
    // As a Deployment does with maxSurge 1 and maxUnavailable 0.
    for _ in 0..2 {
        let fresh = start_one(&cluster);
        balancer.add(backend(&fresh));
        let in_use = || balancer.in_use().contains(&backend(&fresh)).then_some(());
        eventually(|| "the new one to be in use".to_owned(), in_use);
        let old = replicas.remove(0);
        let (backend, running) = (backend(&old), old.running);
        balancer.remove(backend);
        let (status, printed) = running.stop();
        assert!(status.success() && printed.contains("drained, bye"), "{printed}");
        replicas.push(fresh);
    }
    std::thread::sleep(Duration::from_secs(1));
    nothing_failed("rolling restart", &load.stop());
}
