//! What the MutatingWebhookConfiguration says of this webhook, and its `caBundle`. Pure, on the JSON as it came:
//! fields that a later Kubernetes adds stay.

use std::collections::BTreeSet;

use axum::http::Uri;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::authorities::Authorities;
use crate::handler::PATH;

/// The names under which API servers reach this webhook: those of the Services, and of the URLs. Webhooks with another
/// path are none of its business.
#[must_use]
pub fn names(registration: &Value) -> BTreeSet<String> {
    clients(registration).filter_map(name).collect()
}

fn clients(registration: &Value) -> impl Iterator<Item = &Value> {
    let webhooks = registration.get("webhooks").and_then(Value::as_array);
    webhooks.into_iter().flatten().filter_map(|webhook| webhook.get("clientConfig"))
}

/// The same with all of `wanted` in each `caBundle`, where one lacks some. Of what else is there whatever has not expired
/// stays, so that nothing that works now stops working: somebody put it there, and replicas of another make may still
/// need it. Where nothing is missing nothing is tidied up, for somebody may have it in a file, and put it back.
#[must_use]
pub fn corrected(registration: &Value, wanted: &Authorities, now: i64) -> Option<Value> {
    let mut corrected = registration.clone();
    let webhooks = corrected.get_mut("webhooks").and_then(Value::as_array_mut)?;
    let mut changed = false;
    for client in webhooks.iter_mut().filter_map(|webhook| webhook.get_mut("clientConfig")) {
        if name(client).is_none() {
            continue;
        }
        let there = bundle(client);
        if !there.contain(wanted)
            && let Some(client) = client.as_object_mut()
        {
            let right = wanted.with(&there.unexpired(now));
            client.insert("caBundle".to_owned(), Value::String(STANDARD.encode(right.to_pem())));
            changed = true;
        }
    }
    changed.then_some(corrected)
}

/// The name that an API server expects in the certificate, where it is this webhook that is asked.
fn name(client: &Value) -> Option<String> {
    if let Some(service) = client.get("service") {
        let text = |key| service.get(key).and_then(Value::as_str);
        let name = format!("{}.{}.svc", text("name")?, text("namespace")?);
        return (text("path")? == PATH).then_some(name);
    }
    let url: Uri = client.get("url")?.as_str()?.parse().ok()?;
    let host = url.host().filter(|_| url.path() == PATH)?;
    // A final dot is no part of the name that Go compares (`VerifyHostname` in crypto/x509).
    Some(host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_owned())
}

fn bundle(client: &Value) -> Authorities {
    let text = client.get("caBundle").and_then(Value::as_str).unwrap_or_default();
    Authorities::from_pem(&STANDARD.decode(text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cert_secret::{clock::Clocks, pair::make};

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    fn service(path: &str, bundle: &str) -> Value {
        json!({"name": "w", "future": true, "clientConfig": {
            "caBundle": STANDARD.encode(bundle),
            "service": {"name": "hook", "namespace": "ns", "path": path, "port": 443},
        }})
    }

    fn registration(webhooks: &[Value]) -> Value {
        json!({"metadata": {"resourceVersion": "7"}, "webhooks": webhooks})
    }

    fn authorities(begins: i64) -> Authorities {
        make(&["a.b.svc".to_owned()].into(), Clocks { server: begins, own: begins }).unwrap().authorities
    }

    #[test]
    fn names_are_those_that_api_servers_use() {
        let url = |url: &str| json!({"clientConfig": {"url": format!("{url}{PATH}")}});
        for (webhooks, expected) in [
            (vec![service(PATH, "")], vec!["hook.ns.svc"]),
            (vec![service(PATH, ""), service("/other", "")], vec!["hook.ns.svc"]),
            (vec![service("/other", "")], vec![]),
            (vec![url("https://10.0.0.1:9443"), url("https://[fd00::1]")], vec!["10.0.0.1", "fd00::1"]),
            (vec![url("https://hook.example.com:9443")], vec!["hook.example.com"]),
            (vec![url("https://hook.example.com.:9443")], vec!["hook.example.com"]),
            (vec![json!({"clientConfig": {"url": "https://a.b/else"}}), json!({}), json!(1)], vec![]),
            (vec![json!({"clientConfig": {"service": {"path": PATH}}})], vec![]),
            (vec![json!({"clientConfig": {"url": "::"}}), json!({"clientConfig": []})], vec![]),
        ] {
            let names: Vec<String> = names(&registration(&webhooks)).into_iter().collect();
            assert_eq!(names, expected, "{webhooks:?}");
        }
        assert!(names(&json!({"webhooks": "none"})).is_empty());
    }

    #[test]
    fn a_bundle_that_holds_all_is_left_alone() {
        let (new, old) = (authorities(NOW), authorities(NOW - DAY));
        let both = new.with(&old);
        for (bundle, wanted) in [
            (both.to_pem(), &both),
            (both.to_pem(), &old),
            (format!("{}{}", old.to_pem(), new.to_pem()), &both),
            (format!("# a comment\n{}\n\n", both.to_pem()), &both),
            (both.with(&authorities(NOW - 100 * DAY)).to_pem(), &both),
        ] {
            let there = registration(&[service(PATH, &bundle)]);
            assert_eq!(corrected(&there, wanted, NOW), None, "{bundle}");
        }
        assert_eq!(corrected(&registration(&[service("/other", "")]), &both, NOW), None);
        assert_eq!(corrected(&json!({}), &both, NOW), None);
    }

    #[test]
    fn what_is_missing_is_added_and_what_expired_goes() {
        let (new, old, expired) = (authorities(NOW), authorities(NOW - DAY), authorities(NOW - 100 * DAY));
        for (bundle, expected) in [
            (String::new(), new.clone()),
            ("\n".to_owned(), new.clone()),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), new.clone()),
            (old.to_pem(), new.with(&old)),
            (expired.with(&old).to_pem(), new.with(&old)),
        ] {
            let there = registration(&[service(PATH, &bundle), service("/other", "")]);
            let after = corrected(&there, &new, NOW).unwrap();
            assert_eq!(super::bundle(&after["webhooks"][0]["clientConfig"]), expected, "{bundle}");
            assert_eq!(after["webhooks"][0]["future"], true);
            assert_eq!(after["webhooks"][1], service("/other", ""), "another webhook");
            assert_eq!(corrected(&after, &new, NOW), None, "once is enough");
        }
    }
}
