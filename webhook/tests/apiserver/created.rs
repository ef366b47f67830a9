//! Pods that are created while the webhook is registered, and what registers it.

use std::fs;

use crate::{
    case::{ADMISSION, Case, api},
    pods,
};

#[test]
fn pods_get_the_variable_and_lose_nothing() {
    let Some(api) = api("created::pods_get_the_variable_and_lose_nothing") else { return };
    let (case, cluster) = (Case::new(&api, "created"), &api.cluster);
    // In the order that the manifests advise: the registration last.
    let replica = case.replica(&[]);
    case.register_by_url(replica.backend.address.port());
    case.in_force();
    let bundle = &cluster.get(&case.registration_path())["webhooks"][0]["clientConfig"]["caBundle"];
    assert!(bundle.is_string(), "nobody else can have put it in");
    let failed_open = case.failed_open();

    let (untouched, shapes) = ("created-untouched", pods::shapes());
    case.add_namespace(untouched, Some("disable"));
    let mut created = pods::create(cluster, &case.namespace, &shapes);
    let mut stored = 0;
    for (shape, pod) in pods::create(cluster, untouched, &shapes) {
        stored += usize::from(pod.is_ok());
        let expected = pod.map(pods::injected);
        assert_eq!(created.remove(&shape).unwrap(), expected, "{shape}");
    }
    assert!(stored >= 40, "only {stored} of {} are no malformed Pods", shapes.len());

    // Its own Pods, and those of a namespace that has opted out by another value.
    case.add_namespace("created-false", Some("false"));
    for namespace in [case.name, "created-false"] {
        let pod = cluster.create(&pods::collection(namespace), &pods::plain("a"));
        assert!(!pods::has_host(&pod), "{namespace}");
    }
    assert_eq!(case.failed_open(), failed_open);
    replica.stop();
}

/// Cases narrow them down.
#[test]
fn manifests_are_taken_as_they_are() {
    let Some(api) = api("created::manifests_are_taken_as_they_are") else { return };
    for file in fs::read_dir(testkit::testdata("manifest")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let objects: Vec<serde_json::Value> =
            serde_saphyr::from_multiple(&fs::read_to_string(&path).unwrap()).unwrap();
        for object in objects {
            let resource = match object["kind"].as_str().unwrap() {
                "MutatingWebhookConfiguration" => "mutatingwebhookconfigurations",
                _ if !api.has_policies() => continue,
                "MutatingAdmissionPolicy" => "mutatingadmissionpolicies",
                "MutatingAdmissionPolicyBinding" => "mutatingadmissionpolicybindings",
                kind => panic!("{kind} in {}", path.display()),
            };
            let dry = format!("{ADMISSION}/{resource}?dryRun=All&fieldValidation=Strict");
            let (status, answer) = api.cluster.request("POST", &dry, Some(&object));
            assert_eq!(status, 201, "{}: {answer}", path.display());
        }
    }
}
