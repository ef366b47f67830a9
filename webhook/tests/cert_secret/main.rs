//! `--cert-secret` and `--webhook-configuration`: replicas that keep their certificate in a Secret, against an API
//! server in memory always, and against a real one where there is one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bundle;
mod clock;
mod fixture;
mod renewal;
mod start;
mod trouble;
mod trust;

use testkit::cluster::Cluster;

testkit::cluster_cases! {
    start: replicas_that_start_at_once_share_one_certificate, the_names_are_those_of_the_registration,
        a_later_replica_finds_all_done;
    bundle: what_is_taken_away_is_put_back, what_others_need_stays, a_registration_that_comes_later_is_trusted,
        another_name_takes_nothing_from_the_first, a_name_that_nobody_accepts_is_told_and_changes_nothing,
        what_nobody_misses_is_not_fought_over;
    renewal: a_secret_that_was_emptied_gets_back_what_it_held, what_nobody_can_use_is_replaced;
}

/// All cases on one server, since it takes long to start; each cleans up for the next.
#[test]
fn real() {
    let Some(cluster) = Cluster::real() else {
        return testkit::skipped("cert_secret::real", "KUBEBUILDER_ASSETS is not set");
    };
    for (name, case) in CASES {
        println!("{name}");
        case(&cluster);
        fixture::clean(&cluster);
    }
}
