//! `caBundle`: kept right, whatever others do to it.

use testkit::{cluster::Cluster, eventually, pki};
use webhook::cert_secret::authorities::Authorities;

use crate::fixture::{
    REGISTRATION, SECRET, bundle, made, prepare, register, set_bundle, start, stored, trusted,
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
