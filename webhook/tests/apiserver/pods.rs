//! Pods of all shapes, and what has to become of them.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};
use testkit::cluster::Cluster;

pub const INJECT: &str = "apiserver-proxy.networking.gardener.cloud/inject";
const HOST: (&str, &str) = ("KUBERNETES_SERVICE_HOST", "foo.bar.");
const PORT: &str = "KUBERNETES_SERVICE_PORT";

pub fn collection(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

pub fn plain(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "i"}]}})
}

/// One as a ReplicaSet's controller makes it.
pub fn generated() -> Value {
    let mut pod = plain("");
    pod["metadata"] = json!({
        "generateName": "web-5d4f8c7b9-",
        "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9"},
        "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9",
            "uid": "5f3c7c0e-8f0e-4f6e-9c39-2d0c9d1f6a11", "controller": true, "blockOwnerDeletion": true,
        }],
    });
    pod
}

/// One with so many containers.
pub fn large(containers: usize) -> Value {
    let containers = (0..containers).map(|index| {
        let env = [json!({"name": "A", "value": "1"}), json!({"name": "B", "value": "2"})];
        // One after the other: no list, an empty one, one entry, two.
        let mut container = json!({"name": format!("c{index}"), "image": "i"});
        if index % 4 > 0 {
            container["env"] = json!(env[..index % 4 - 1]);
        }
        container
    });
    let containers: Vec<Value> = containers.collect();
    json!({"metadata": {"name": "large"}, "spec": {"containers": containers}})
}

/// Does its first container have the variable?
pub fn has_host(pod: &Value) -> bool {
    has(&pod["spec"]["containers"][0], HOST.0)
}

fn has(container: &Value, name: &str) -> bool {
    container["env"].as_array().is_some_and(|env| env.iter().any(|entry| entry["name"] == name))
}

/// A new Pod, as stored where nobody touches it, with the variable in each container that lacks it.
pub fn injected(mut pod: Value) -> Value {
    let opted_out = ["disable", "f", "F", "FALSE", "false", "False", "0"];
    let label = pod["metadata"]["labels"][INJECT].as_str();
    if label.is_some_and(|label| opted_out.contains(&label))
        || pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string()
    {
        return pod;
    }
    let (name, value) = HOST;
    for list in ["initContainers", "containers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if !has(container, name) {
                let env = container.as_object_mut().unwrap().entry("env").or_insert_with(|| json!([]));
                env.as_array_mut().unwrap().push(json!({"name": name, "value": value}));
            }
        }
    }
    pod
}

/// Tries to create all of them. What is stored, without what the server made up; the status where it was refused.
pub fn create(
    cluster: &Cluster,
    namespace: &str,
    pods: &BTreeMap<String, Value>,
) -> BTreeMap<String, Result<Value, u16>> {
    let create = |(shape, pod): (&String, &Value)| {
        let (status, made) = cluster.request("POST", &collection(namespace), Some(pod));
        if status != 201 {
            return (shape.clone(), Err(status));
        }
        let name = made["metadata"]["name"].as_str().unwrap();
        (shape.clone(), Ok(sent(&cluster.get(&format!("{}/{name}", collection(namespace))))))
    };
    pods.iter().map(create).collect()
}

/// A Pod without what the server made up.
fn sent(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod.as_object_mut().unwrap().remove("status");
    let metadata = pod["metadata"].as_object_mut().unwrap();
    for key in ["creationTimestamp", "managedFields", "namespace", "resourceVersion", "uid"] {
        metadata.remove(key);
    }
    if metadata.contains_key("generateName") {
        metadata.remove("name");
    }
    pod
}

/// Pods of all shapes, by a name: those of `testdata/admission`, malformed ones as well, and some more.
pub fn shapes() -> BTreeMap<String, Value> {
    let mut shapes: BTreeMap<_, _> =
        more().into_iter().map(|pod| (pod["metadata"]["name"].as_str().unwrap().to_owned(), pod)).collect();
    shapes.insert("generated".to_owned(), generated());
    for case in fs::read_dir(testkit::testdata("admission")).unwrap() {
        let folder = case.unwrap();
        let review = fs::read(folder.path().join("review.json")).unwrap();
        let mut request = serde_json::from_slice::<Value>(&review).unwrap()["request"].take();
        let mut pod = request["object"].take();
        if request["operation"] != "CREATE" || pod["kind"] != "Pod" {
            continue;
        }
        let name = folder.file_name().into_string().unwrap();
        let mut metadata = pod["metadata"].as_object().cloned().unwrap_or_default();
        metadata.retain(|key, _| !["managedFields", "namespace"].contains(&key.as_str()));
        if !metadata.contains_key("generateName") {
            metadata.insert("name".to_owned(), json!(name));
        }
        pod["metadata"] = json!(metadata);
        pod.as_object_mut().unwrap().remove("status");
        shapes.insert(name, pod);
    }
    shapes
}

/// What is new in Kubernetes, what old types lose, and what is odd.
fn more() -> Vec<Value> {
    let host = |value: &str| json!({"name": HOST.0, "value": value});
    let pod = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let mut mirror =
        pod("mirror", json!({"nodeName": "node-1", "containers": [{"name": "a", "image": "i"}]}));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "e5b1"});
    vec![
        large(150),
        mirror,
        pod(
            "sidecar",
            json!({
                "initContainers": [
                    {"name": "s", "image": "i", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["x"]}}},
                    {"name": "i", "image": "i", "env": [host("")]},
                ],
                "containers": [{"name": "a", "image": "i"}],
            }),
        ),
        pod(
            "resources",
            json!({
                "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "1"}},
                "containers": [{
                    "name": "a", "image": "i",
                    "resources": {"requests": {"cpu": "50m"}},
                    "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
                }],
            }),
        ),
        pod(
            "restarts",
            json!({"restartPolicy": "Never", "containers": [{
                "name": "a", "image": "i", "restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
            }]}),
        ),
        pod(
            "windows",
            json!({
                "os": {"name": "windows"},
                "securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}},
                "containers": [{"name": "a", "image": "i"}],
            }),
        ),
        pod(
            "volumes",
            json!({
                "hostUsers": false,
                "schedulingGates": [{"name": "example.com/gate"}],
                "volumes": [{"name": "v", "image": {"reference": "i"}}],
                "containers": [{"name": "a", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            }),
        ),
        // The API server takes these, and keeps them.
        pod(
            "twice",
            json!({"containers": [
                {"name": "a", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
                {"name": "b", "image": "i", "env": [host("a"), {"name": "A", "value": "1"}, host("b")]},
            ]}),
        ),
        pod(
            "port",
            json!({"containers": [
                {"name": "a", "image": "i", "env": [{"name": PORT, "value": "1"}]},
                {"name": "b", "image": "i", "env": [{"name": "A", "value": "$(KUBERNETES_SERVICE_HOST)"}]},
                {"name": "c", "image": "i", "env": [{"name": PORT, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, host("x")]},
            ]}),
        ),
    ]
}
