//! Replicas that are replaced while Pods are created.

use std::collections::VecDeque;

use testkit::{
    balancer::{Balancer, PROPAGATION},
    eventually,
};

use crate::{
    case::{Case, Replica, api},
    creation::Creation,
};

/// Adds a replica that gets connections when this returns.
pub fn add(case: &Case, balancer: &Balancer) -> Replica {
    let replica = case.replica(&[]);
    balancer.add(replica.backend);
    let used = || balancer.in_use().contains(&replica.backend).then_some(());
    eventually(|| "a new replica to be used".to_owned(), used);
    replica
}

/// Removes a replica as the deletion of its Pod does: the Service and the process learn of it at the same time.
pub fn remove(replica: Replica, balancer: &Balancer) {
    balancer.remove(replica.backend);
    replica.stop();
}

#[test]
fn no_pod_is_missed_while_all_replicas_are_replaced() {
    let Some(api) = api("rollout::no_pod_is_missed_while_all_replicas_are_replaced") else { return };
    let case = Case::new(&api, "rollout");
    let balancer = Balancer::start(PROPAGATION);
    case.register_by_service(balancer.address().port());
    let mut replicas: VecDeque<Replica> = (0..2).map(|_| add(&case, &balancer)).collect();
    case.in_force();
    let failed_open = case.failed_open();

    let creation = Creation::start(&case);
    let mut patched = Vec::new();
    for _ in 0..2 {
        creation.wait(100);
        // As a Deployment with maxSurge 1 and maxUnavailable 0.
        replicas.push_back(add(&case, &balancer));
        let old = replicas.pop_front().unwrap();
        patched.push(old.patched());
        remove(old, &balancer);
    }
    creation.wait(100);
    let created = creation.stop();
    patched.extend(replicas.iter().map(Replica::patched));
    println!("{} Pods; the replicas have patched {patched:?}", created.pods);
    assert!(created.failed.is_empty() && created.missed.is_empty(), "{created:?}");
    assert_eq!((case.failed_open(), balancer.refused()), (failed_open, 0));
    assert!(patched.iter().all(|patched| *patched > 0), "a replica was not asked: {patched:?}");
}
