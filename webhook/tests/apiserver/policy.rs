//! The policy instead of the webhook.

use crate::{
    case::{Case, api},
    debugged::debug,
    pods,
};

#[test]
fn the_policy_makes_the_webhooks_pods() {
    let test = "policy::the_policy_makes_the_webhooks_pods";
    let Some(api) = api(test) else { return };
    if !api.has_policies() {
        return testkit::skipped(
            &format!("apiserver::{test}"),
            "no MutatingAdmissionPolicy before Kubernetes 1.36",
        );
    }
    let cluster = &api.cluster;
    let cases = [
        ("policy", "policy-webhook", &[][..]),
        ("policy-port", "policy-port-webhook", &["--apiserver-port=6443"]),
        ("policy-off", "policy-off-webhook", &["--inject-ephemeral-containers=false"]),
    ];
    // All at once, since a policy takes seconds to be in force.
    let cases = cases.map(|(policy, webhook, args)| {
        let (policy, webhook) = (Case::new(&api, policy), Case::new(&api, webhook));
        policy.apply_policy(args);
        let replica = webhook.replica(args);
        webhook.register_by_url(replica.backend.address.port());
        (policy, webhook, replica)
    });
    let shapes = pods::shapes();
    for (policy, webhook, _replica) in cases {
        let both = [&policy, &webhook];
        let [by_policy, by_webhook] = both.map(|case| {
            case.in_force();
            pods::create(cluster, &case.namespace, &shapes)
        });
        for (shape, pod) in by_policy {
            assert_eq!(pod, by_webhook[&shape], "{shape}, {}", policy.name);
        }
        let [by_policy, by_webhook] = both.map(|case| {
            cluster.create(&pods::collection(&case.namespace), &pods::plain("debugged"));
            debug(cluster, &case.namespace, "debugged")
        });
        assert_eq!(by_policy, by_webhook, "{}", policy.name);
    }
}
