//! A certificate that is renewed while Pods are created.

use std::time::SystemTime;

use testkit::{
    balancer::{Balancer, PROPAGATION},
    eventually,
    https::{self, Connection},
};
use webhook::cert_secret::{clock::Clocks, decide::SETTLE, pair, secret::Stored};

use crate::{
    case::{Case, Replica, api},
    creation::Creation,
    rollout,
};

const DAY: i64 = 86_400;

#[test]
fn no_pod_is_missed_while_the_certificate_is_renewed() {
    let Some(api) = api("renewal::no_pod_is_missed_while_the_certificate_is_renewed") else { return };
    let case = Case::new(&api, "renewal");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let aged = {
        let then = i64::try_from(now).unwrap() - 61 * DAY;
        pair::make(&["localhost".to_owned()].into(), Clocks { server: then, own: then }).unwrap()
    };
    let old = https::client(&aged.authorities.to_pem());
    let stored = Stored { newest: Some(aged.pair), previous: None, authorities: aged.authorities };
    api.cluster.change(&case.secret_path(), |secret| stored.write(secret));

    let balancer = Balancer::start(PROPAGATION);
    case.register_by_url(balancer.address().port());
    let replicas = [rollout::add(&case, &balancer), rollout::add(&case, &balancer)];
    case.in_force();
    let failed_open = case.failed_open();
    let shows_old = |replica: &Replica| Connection::open(&old, replica.backend.address).is_ok();
    assert!(replicas.iter().all(shows_old), "the new certificate is shown before it is trusted");

    let creation = Creation::start(&case);
    std::thread::sleep(SETTLE);
    for replica in &replicas {
        eventually(|| "the new certificate".to_owned(), || (!shows_old(replica)).then_some(()));
    }
    creation.wait(100);
    // The API server keeps its connections while it can.
    let [one, other] = replicas;
    rollout::remove(one, &balancer);
    let before = other.patched();
    creation.wait(100);
    let created = creation.stop();
    println!("{} Pods", created.pods);
    assert!(created.failed.is_empty() && created.missed.is_empty(), "{created:?}");
    assert!(other.patched() > before);
    assert_eq!((case.failed_open(), balancer.refused()), (failed_open, 0));
}
