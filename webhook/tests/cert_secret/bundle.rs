//! `caBundle`: kept right, whatever others do to it.

use std::time::Duration;

use testkit::{cluster::Cluster, eventually, pki};
use webhook::cert_secret::authorities::Authorities;

use crate::fixture::{
    REGISTRATION, SECRET, bundle, made, prepare, register, register_another, set_bundle, start, stored,
    trusted,
};

pub fn what_is_taken_away_is_put_back(cluster: &Cluster) {
    prepare(cluster);
    register(cluster);
    let replicas = start(cluster, 2);
    let whole = trusted(cluster, &replicas);
    for text in ["", "\n", &made(100).authorities.to_pem()] {
        set_bundle(cluster, text);
        let back = || (bundle(cluster, 0) == whole).then_some(());
        eventually(|| format!("the bundle to be whole again after {text:?}"), back);
    }
    let report = replicas[0].report();
    assert!(report.contains("[+]certificate ok"), "{report}");
}

pub fn what_others_need_stays(cluster: &Cluster) {
    prepare(cluster);
    register(cluster);
    // As cert-manager's, when its webhooks are replaced by these one by one.
    let other = Authorities::from_pem(pki::Authority::new("another's CA").pem().as_bytes());
    set_bundle(cluster, &other.to_pem());
    let replicas = start(cluster, 1);
    let both = trusted(cluster, &replicas);
    assert!(both.contain(&other) && both.len() == 2);
    assert_eq!(stored(cluster).authorities.len(), 1, "it is kept where it was, and goes nowhere else");
}

pub fn a_registration_that_comes_later_is_trusted(cluster: &Cluster) {
    prepare(cluster);
    let replicas = start(cluster, 2);
    replicas[0].running.wait_for("is not there, or asks nobody at");
    assert!(replicas[0].report().contains("[+]certificate ok"), "that is no fault");
    let before = cluster.get(SECRET);
    register(cluster);
    trusted(cluster, &replicas);
    // The first certificate was for the Service of the manifests.
    assert_ne!(cluster.get(SECRET), before);
    cluster.delete(REGISTRATION);
    register(cluster);
    trusted(cluster, &replicas);
}

pub fn another_name_takes_nothing_from_the_first(cluster: &Cluster) {
    prepare(cluster);
    register(cluster);
    let replicas = start(cluster, 2);
    trusted(cluster, &replicas);
    let serial = replicas[0].serial();
    register_another(cluster, "127.0.0.1");
    let made = || stored(cluster).newest.filter(|newest| newest.names().len() == 2);
    eventually(|| "a certificate for both names".to_owned(), made);
    // Until it is trusted everywhere the old one is shown, which works under the first name.
    trusted(cluster, &replicas);
    assert_eq!(replicas[0].serial(), serial);
}

pub fn a_name_that_nobody_accepts_is_told_and_changes_nothing(cluster: &Cluster) {
    prepare(cluster);
    register(cluster);
    let replicas = start(cluster, 2);
    let whole = trusted(cluster, &replicas);
    let before = cluster.get(SECRET);
    register_another(cluster, &format!("{}.example.com", "a".repeat(64)));
    replicas[0].running.wait_for("cannot make a certificate for");
    assert_eq!(cluster.get(SECRET), before);
    assert_eq!(bundle(cluster, 0), whole);
    assert_eq!(trusted(cluster, &replicas), whole);
}

pub fn what_nobody_misses_is_not_fought_over(cluster: &Cluster) {
    prepare(cluster);
    register(cluster);
    let replicas = start(cluster, 1);
    let more = trusted(cluster, &replicas).with(&made(100).authorities);
    set_bundle(cluster, &more.to_pem());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(bundle(cluster, 0), more, "an expired CA that somebody has in a file");
}
