//! What may be in the Secret and in the registration that the webhook keeps: others can write both.

use std::sync::OnceLock;

use serde_json::Value;
use webhook::cert_secret::{
    clock::Clocks,
    decide::{Seen, Verdict},
    pair::{self, Known},
    registration,
    secret::Stored,
};

const NOW: Clocks = Clocks { server: 1_800_000_000, own: 1_800_000_000 };

/// Made once: it takes far longer than what is checked.
fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| pair::make(&["hook.ns.svc".to_owned()].into(), NOW).unwrap())
}

/// A Secret: what is decided to be stored is kept from then on, and what cannot be used is never shown.
pub fn certificate_secret(data: &[u8]) {
    let Ok(mut secret) = serde_json::from_slice::<Value>(data) else { return };
    let (stored, names) = (Stored::read(&secret), known().pair.names());
    for shown in [None, Some(known())] {
        let seen = Seen { stored: &stored, shown, names: &names, now: NOW };
        if let Some(pair) = seen.show(None) {
            assert!(seen.is_accepted_somewhere(pair));
        }
        let wanted = match seen.verdict() {
            Verdict::Keep => continue,
            Verdict::Store(wanted, _) => wanted,
            Verdict::Make(..) => seen.with(known().clone()),
        };
        if !secret.is_object() {
            continue;
        }
        wanted.write(&mut secret);
        let read = Stored::read(&secret);
        assert_eq!(read, wanted);
        let seen = Seen { stored: &read, shown, names: &names, now: NOW };
        assert_eq!(seen.verdict(), Verdict::Keep);
    }
}

/// A MutatingWebhookConfiguration: it is mended once, and nothing else in it changes.
pub fn webhook_registration(data: &[u8]) {
    let Ok(before) = serde_json::from_slice::<Value>(data) else { return };
    let wanted = &known().authorities;
    let Some(mut after) = registration::corrected(&before, wanted, NOW.earlier()) else { return };
    assert!(!registration::names(&before).is_empty());
    assert_eq!(registration::names(&before), registration::names(&after));
    assert_eq!(registration::corrected(&after, wanted, NOW.earlier()), None);
    let pairs = before["webhooks"].as_array().unwrap().iter().zip(after["webhooks"].as_array_mut().unwrap());
    for (before, after) in pairs {
        match before.get("clientConfig").and_then(|client| client.get("caBundle")) {
            Some(bundle) => after["clientConfig"]["caBundle"] = bundle.clone(),
            None => {
                let client = after.get_mut("clientConfig").and_then(Value::as_object_mut);
                client.map(|client| client.remove("caBundle"));
            }
        }
    }
    assert_eq!(before, after);
}
