//! What holds for any Pod, and for any bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod pods;

use common::egress::Config;
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value, json};
use webhook::{env::Injection, handler};

fn injection(port: bool) -> Injection {
    Injection::new(&"foo.bar.".parse().unwrap(), port.then_some(6443), true)
}

/// Each kind of configuration that makes a difference.
fn injections() -> impl Strategy<Value = Injection> {
    let with_proxy = |port, pods: &str| {
        let file = format!("{{proxy: {{http: 'http://p:1', https: 'http://me:pw@p:2'}}, pods: {pods}}}");
        injection(port).with_proxy(&Config::parse(&file).unwrap())
    };
    prop::sample::select(vec![
        injection(false),
        injection(true),
        with_proxy(false, "{}"),
        with_proxy(true, "{overwrite: true}"),
        with_proxy(false, "{overwrite: true, credentialsSecret: {name: egress}}"),
        with_proxy(false, "{overwrite: true, exclude: {names: [x], annotation: a=b}}"),
    ])
}

/// Any JSON, a few levels deep.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(|number| Value::from(f64::from(number))),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn env_entry() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        3 => "[A-Z_]{1,10}",
        1 => Just("KUBERNETES_SERVICE_HOST".to_owned()),
        1 => Just("KUBERNETES_SERVICE_PORT".to_owned()),
        4 => prop::sample::select(vec!["HTTP_PROXY", "https_proxy", "NO_PROXY"]).prop_map(str::to_owned),
    ];
    let value = option::of(prop_oneof![Just(json!("x")), Just(json!("http://p:1")), anything()]);
    let from = option::weighted(0.3, anything());
    (name, value, from, option::of(anything())).prop_map(|(name, value, from, more)| {
        let given = [("value", value), ("valueFrom", from)];
        let given = given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let always = [("name".to_owned(), json!(name)), ("more".to_owned(), json!(more))];
        Value::Object(always.into_iter().chain(given).collect())
    })
}

fn container() -> impl Strategy<Value = Value> {
    let env =
        option::of(prop_oneof![1 => Just(Value::Null), 4 => vec(env_entry(), 0..5).prop_map(Value::from)]);
    ("[a-z]{1,8}", env, anything()).prop_map(|(name, env, future)| {
        let mut container = Map::from_iter([("name".into(), name.into()), ("future".into(), future)]);
        env.map(|env| container.insert("env".into(), env));
        Value::Object(container)
    })
}

fn review() -> impl Strategy<Value = Value> {
    let list = || option::of(vec(container(), 0..4));
    (list(), list(), list(), list(), anything(), any::<bool>()).prop_map(
        |(init, containers, ephemeral, old, future, debugging)| {
            let pod = |ephemeral| {
                json!({"metadata": {"name": "x", "future": future}, "future": future, "spec": {
                    "initContainers": init, "containers": containers, "ephemeralContainers": ephemeral, "future": future,
                }})
            };
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
                "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "operation": if debugging { "UPDATE" } else { "CREATE" },
                "subResource": debugging.then_some("ephemeralcontainers"),
                "object": pod(&ephemeral), "oldObject": debugging.then(|| pod(&old)),
            }})
        },
    )
}

/// Sixteen megabytes that would cost a gigabyte if they were taken at face value.
#[test]
fn hostile_reviews_cost_little() {
    let review = |object: String| {
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","object":{object}}}}}"#
        )
    };
    let many = |list: &str, entry: &str, count: usize| {
        format!(r#"{{"spec":{{"{list}":[{}]}}}}"#, vec![entry; count].join(","))
    };
    let warning = |body: String| {
        let answer = pods::answer(&injection(false), body.as_bytes());
        answer["response"]["warnings"][0].as_str().map(ToOwned::to_owned)
    };
    let containers = review(many("containers", "{}", 4_000_000));
    assert!(warning(containers).unwrap().contains("object.spec.containers has more than 10000 entries"));
    let long = "x".repeat(5_000_000);
    let other_kind = review("{}".into()).replace("\"Pod\"", &format!("{long:?}"));
    assert!(warning(other_kind).unwrap().len() < 300);
    let refusal =
        handler::review(&injection(false), format!(r#"{{"request":{long:?}}}"#).as_bytes()).unwrap_err();
    assert!(refusal.message().len() < 300, "{}", refusal.message().len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_patch_only_adds_env_and_a_second_run_gives_none(review in review(), injection in injections()) {
        pods::assert_only_env_is_added(&injection, &review);
    }

    #[test]
    fn every_container_of_a_new_pod_has_the_variable_afterwards(review in review(), injection in injections()) {
        prop_assume!(review["request"]["operation"] == "CREATE");
        let body = serde_json::to_vec(&review).unwrap();
        let (answer, wanted) = (pods::answer(&injection, &body), injection.wanted(None, &body));
        let mut pod = review["request"]["object"].clone();
        if let Some(patch) = pods::decoded_patch(&answer) {
            json_patch::patch(&mut pod, &serde_json::from_value::<json_patch::Patch>(patch).unwrap()).unwrap();
        }
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for container in pod["spec"][list].as_array().into_iter().flatten() {
                let env = container["env"].as_array().unwrap();
                for entry in injection.entries.iter().filter(|entry| wanted.contains(entry.variable)) {
                    let last = env.iter().rfind(|there| there["name"] == entry.variable.name()).unwrap();
                    let may_stay = !injection.overwrite().contains(entry.variable) || !last["valueFrom"].is_null();
                    prop_assert!(may_stay || last["value"] == entry.to_value()["value"], "{}", last);
                }
            }
        }
    }

    #[test]
    fn any_object_is_allowed(object in anything(), old in anything()) {
        let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "object": object, "oldObject": old,
        }});
        let answer = pods::answer(&injection(true), &serde_json::to_vec(&review).unwrap());
        prop_assert_eq!(&answer["response"]["allowed"], true);
    }

    #[test]
    fn any_bytes_get_an_answer_or_a_refusal(body in vec(any::<u8>(), 0..200)) {
        let _ = handler::review(&injection(true), &body);
    }

    #[test]
    fn a_cut_review_is_refused(review in review(), cut in 0.0..1.0_f64) {
        let body = serde_json::to_vec(&review).unwrap();
        let length = (body.len() as f64 * cut) as usize;
        prop_assert!(handler::review(&injection(true), &body[..length]).is_err());
    }
}
