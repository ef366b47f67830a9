//! Registrations of a webhook that gives no answer. Nothing of it may keep a Pod from being created.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use testkit::{balancer::Balancer, eventually};

use crate::{
    case::{Case, Replica, api},
    pods,
};

/// Less than the API server's own default, more than the manifest's on a machine that is busy.
const LONGEST: Duration = Duration::from_secs(8);

#[test]
fn pods_are_created_without_the_webhook() {
    let Some(api) = api("unreachable::pods_are_created_without_the_webhook") else { return };
    // Behind a Service without endpoints, at an address where nobody answers, and with a certificate of another CA.
    let nobody = Balancer::start(Duration::ZERO);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let untrusted = Replica::untrusted();
    for (name, port) in [
        ("unreachable", nobody.address().port()),
        ("silent", silent.local_addr().unwrap().port()),
        ("untrusted", untrusted.backend.address.port()),
    ] {
        let case = Case::new(&api, name);
        case.register_by_url(port);
        let create = || api.cluster.create(&pods::collection(&case.namespace), &pods::generated());
        let asked = || {
            create();
            (case.failed_open() > 0).then_some(())
        };
        eventually(|| format!("{name} to be asked"), asked);

        let before = case.failed_open();
        for _ in 0..3 {
            let begin = Instant::now();
            let pod = create();
            let time = begin.elapsed();
            assert!(!pods::has_host(&pod) && time < LONGEST, "{name}: {time:?} {pod}");
        }
        assert_eq!(case.failed_open(), before + 3, "{name}");
    }
}
