//! The first certificate.

use serde_json::json;
use testkit::cluster::Cluster;

use crate::fixture::{
    PATH, REGISTRATIONS, SECRET, bundle, local_names, now, prepare, register, registration, start, start_one,
    stored, trusted,
};

pub fn replicas_that_start_at_once_share_one_certificate(cluster: &Cluster) {
    prepare(cluster);
    register(cluster);
    let replicas = start(cluster, 3);
    let bundle = trusted(cluster, &replicas);
    let printed: Vec<String> = replicas.iter().map(|replica| replica.running.printed()).collect();
    assert_eq!(bundle.len(), 1, "one CA: {printed:#?}");
    let stored = stored(cluster);
    assert_eq!(stored.authorities, bundle);
    assert!(stored.previous.is_none());
    bundle.accept(stored.newest.as_ref().unwrap(), &local_names(), now()).unwrap();
    let serials: Vec<String> = replicas.iter().map(super::fixture::Replica::serial).collect();
    assert!(serials.windows(2).all(|pair| pair[0] == pair[1]), "{serials:?}");
    for replica in replicas {
        let (status, printed) = replica.running.stop();
        assert!(status.success(), "{printed}");
        assert!(!printed.contains("BEGIN") && !printed.contains("cannot"), "{printed}");
    }
}

pub fn the_names_are_those_of_the_registration(cluster: &Cluster) {
    prepare(cluster);
    let urls =
        [&*format!("https://localhost:1{PATH}"), &format!("https://127.0.0.1:1{PATH}"), "https://other/path"];
    let mut object = registration(&urls);
    object["webhooks"][1]["clientConfig"] =
        json!({"service": {"name": "hook", "namespace": "ns", "path": PATH}});
    cluster.create(REGISTRATIONS, &object);
    let replicas = start(cluster, 1);
    trusted(cluster, &replicas);
    let names = stored(cluster).newest.unwrap().names();
    assert_eq!(names, ["hook.ns.svc".to_owned(), "localhost".to_owned()].into());
    assert_eq!(bundle(cluster, 0), bundle(cluster, 1));
    assert!(bundle(cluster, 2).is_empty(), "another webhook is none of its business");
}

pub fn a_later_replica_finds_all_done(cluster: &Cluster) {
    prepare(cluster);
    register(cluster);
    let mut replicas = start(cluster, 1);
    trusted(cluster, &replicas);
    let before = cluster.get(SECRET);
    replicas.push(start_one(cluster));
    trusted(cluster, &replicas);
    assert_eq!(cluster.get(SECRET), before);
    assert_eq!(replicas[0].serial(), replicas[1].serial());
}
