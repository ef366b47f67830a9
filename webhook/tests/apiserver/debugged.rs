//! Debug containers.

use serde_json::{Value, json};
use testkit::cluster::Cluster;

use crate::{
    case::{Api, Case, api},
    pods,
};

/// Adds debug containers to a Pod that is there: one, another one, two more. They are as they are stored.
pub fn debug(cluster: &Cluster, namespace: &str, name: &str) -> Value {
    let path = format!("{}/{name}", pods::collection(namespace));
    let (subresource, before) = (format!("{path}/ephemeralcontainers"), cluster.get(&path));
    let patch = json!({"spec": {"ephemeralContainers": [{"name": "one", "image": "i"}]}});
    let (status, pod) = cluster.request("PATCH", &subresource, Some(&patch));
    assert_eq!(status, 200, "{pod}");
    let first = &pod["spec"]["ephemeralContainers"][0];

    let more = [
        vec![json!({"name": "two", "image": "i", "env": [{"name": "A", "value": "1"}]})],
        vec![
            json!({"name": "three", "image": "i", "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "stays"}]}),
            json!({"name": "four", "image": "i", "env": [], "targetContainerName": "a"}),
        ],
    ];
    for more in more {
        cluster.change(&subresource, |pod| {
            pod["spec"]["ephemeralContainers"].as_array_mut().unwrap().extend(more.clone());
        });
    }
    let after = cluster.get(&path);
    assert_eq!(after["spec"]["ephemeralContainers"][0], *first, "the first one stays");
    assert_eq!(after["spec"]["containers"], before["spec"]["containers"], "they run");
    after["spec"]["ephemeralContainers"].clone()
}

#[test]
fn new_debug_containers_get_the_variable() {
    let Some(api) = api("debugged::new_debug_containers_get_the_variable") else { return };
    let (on, off) = (Case::new(&api, "debugged"), Case::new(&api, "debugged-off"));
    let create = |case: &Case, pod| api.cluster.create(&pods::collection(&case.namespace), &pod);
    create(&on, pods::plain("early"));
    let replicas = [on.replica(&[]), off.replica(&["--inject-ephemeral-containers=false"])];
    for (case, replica) in [&on, &off].into_iter().zip(&replicas) {
        case.register_by_url(replica.backend.address.port());
        case.in_force();
        create(case, pods::plain("web"));
    }
    let mut opted_out = pods::plain("opted-out");
    opted_out["metadata"]["labels"] = json!({pods::INJECT: "disable"});
    create(&on, opted_out);

    let host = json!({"name": "KUBERNETES_SERVICE_HOST", "value": "foo.bar."});
    let (a, stays) =
        (json!({"name": "A", "value": "1"}), json!({"name": "KUBERNETES_SERVICE_HOST", "value": "stays"}));
    let with = [json!([host]), json!([a, host]), json!([stays]), json!([host])];
    let without = [json!(null), json!([a]), json!([stays]), json!(null)];
    for (case, pod, expected) in
        [(&on, "web", &with), (&on, "early", &with), (&on, "opted-out", &without), (&off, "web", &without)]
    {
        let stored = debug(&api.cluster, &case.namespace, pod);
        assert_eq!(environments(&stored), *expected, "{} {pod}", case.name);
    }
    debug_by_kubectl(&api, &on.namespace, &host);
}

fn environments(containers: &Value) -> Vec<Value> {
    containers.as_array().unwrap().iter().map(|container| container["env"].clone()).collect()
}

/// As a person does it.
fn debug_by_kubectl(api: &Api, namespace: &str, host: &Value) {
    let Some(mut kubectl) = api.kubectl() else {
        return testkit::skipped("apiserver::debugged by kubectl", "no kubectl in KUBEBUILDER_ASSETS");
    };
    kubectl.args(["debug", "web", "--namespace", namespace, "--image=i", "--container=five", "--", "true"]);
    let output = kubectl.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pod = api.cluster.get(&format!("{}/web", pods::collection(namespace)));
    let five = &pod["spec"]["ephemeralContainers"][4];
    assert_eq!((&five["name"], &five["env"]), (&json!("five"), &json!([host])));
}
