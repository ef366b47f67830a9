//! What it costs: `cargo test -p webhook --test apiserver -- --ignored --nocapture`, on a machine that does nothing
//! else.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    case::{Case, api},
    creation::Creator,
    pods,
};

const PODS: usize = 1000;
const LARGE_PODS: usize = 21;

#[test]
#[ignore = "measures, and asserts nothing"]
fn figures() {
    let Some(api) = api("figures::figures") else { return };
    let cases = ["nothing", "webhook", "policy"].map(|name| Case::new(&api, name));
    let [_, webhook, policy] = &cases;
    let replica = webhook.replica(&[]);
    webhook.register_by_url(replica.backend.address.port());
    policy.apply_policy(&[]);
    for case in [webhook, policy] {
        case.in_force();
    }
    measure("plain", &pods::generated(), PODS, &cases);
    for containers in [10, 150, 1000] {
        let mut pod = pods::large(containers);
        pod["metadata"] = json!({"generateName": "large-"});
        measure(&format!("{containers} containers"), &pod, LARGE_PODS, &cases);
    }
}

/// Creates a Pod again and again, in each case by turns.
fn measure(what: &str, pod: &Value, count: usize, cases: &[Case]) {
    let mut measured: Vec<_> = cases.iter().map(|case| (Creator::new(case, pod), Vec::new(), 0)).collect();
    for _ in 0..count {
        for (creator, times, injected) in &mut measured {
            let begin = Instant::now();
            let (_, pod) = creator.create().unwrap();
            times.push(begin.elapsed());
            *injected += usize::from(pods::has_host(&pod));
        }
    }
    for (case, (_, mut times, injected)) in cases.iter().zip(measured) {
        times.sort_unstable();
        println!(
            "{what}, {}: p50 {:?}, {injected} of {count} with the variable",
            case.name,
            times[count / 2]
        );
    }
}
