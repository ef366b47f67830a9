//! What an API server, or anybody else, posts to the webhook.

// The same checks that properties and golden files go through.
#[path = "../../../webhook/tests/pods/mod.rs"]
mod pods;

use common::egress::Config;
use serde_json::Value;
use webhook::{env::Injection, handler, review::Review, status::Refusal};

/// With everything that makes a difference to a Pod.
const PROXY: &str = "{proxy: {http: 'http://proxy', https: 'http://proxy'}, pods: {overwrite: true, exclude: {names: [a*], annotation: a=b}}}";
/// Characters: what came from outside is cut to 200, and a path into the Pod may stand before it.
const LONGEST_MESSAGE: usize = 1000;

/// A body: it gets an answer of its own, or a refusal that puts no blame on the webhook. A patch applies, adds nothing
/// but variables, and a Pod that has it gets none.
pub fn admission_review(data: &[u8]) {
    let host = "foo.bar.".parse().unwrap();
    let config = Config::parse(PROXY).expect("a configuration");
    let with_port = Injection::new(&host, Some(6443), true);
    for injection in [Injection::new(&host, None, false), with_port.with_proxy(&config), with_port] {
        match handler::review(&injection, data) {
            Ok(answer) => answered(&injection, data, &answer),
            Err(refusal) => {
                let message = refusal.message().to_owned();
                assert!(!message.is_empty() && message.chars().count() < LONGEST_MESSAGE, "{message}");
                assert_eq!(refusal, Refusal::bad_request(message));
            }
        }
    }
}

fn answered(injection: &Injection, body: &[u8], answer: &[u8]) {
    let review = Review::parse(body).expect("what is answered can be read");
    let read: Value = serde_json::from_slice(answer).expect("an answer is JSON");
    assert_eq!(read["kind"], "AdmissionReview");
    assert_eq!(read["apiVersion"], review.version.name());
    let response = &read["response"];
    assert_eq!(response["uid"], *review.request.uid);
    assert_eq!(response["allowed"], true);
    assert!(response["warnings"].is_null() || response["patch"].is_null());
    for warning in response["warnings"].as_array().into_iter().flatten() {
        assert!(warning.as_str().unwrap().chars().count() < LONGEST_MESSAGE, "{warning}");
    }
    // Numbers beyond all bounds and halves of characters are skipped where nobody reads them; serde_json's own
    // document can't hold them.
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return };
    let again = handler::review(injection, &serde_json::to_vec(&document).unwrap());
    assert_eq!(again.as_deref(), Ok(answer), "another spelling of the same document has the same answer");
    pods::assert_only_env_is_added(injection, &document);
}
