//! One line in the log for each Pod that is patched, at `-v 2`:
//!
//! ```text
//! I1120 19:37:45.123456       1 mod.rs:45] pod patched namespace=shop generate_name=web-5d4- owner=ReplicaSet/web-5d4 containers=init,app
//! ```
//!
//! Who it is about and which containers, never what is in their environment. All of it comes from whoever makes the
//! Pod: anything but printable ASCII is escaped, and everything is cut to the length that Kubernetes allows.

use tracing::Level;

use crate::{
    inject::Change,
    review::{Review, pod::PodSpec, subject::Subject},
};

/// The longest name of an object.
const LONGEST_NAME: usize = 253;
/// The longest name of a container, and longer than any kind's.
const LONGEST_LABEL: usize = 63;
/// How many containers are named.
const MOST_CONTAINERS: usize = 10;

/// Writes the line. Where nobody reads it, this costs the question whether somebody does.
///
/// `body` is what `review` was read from: names are no concern of a review's, so they are looked for only now.
pub fn tell(review: &Review<'_>, changes: &[Change], body: &[u8]) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    let subject = Subject::of(body);
    let name = |name: &Option<String>| name.as_deref().map(|name| printable(name, LONGEST_NAME));
    let spec =
        review.request.object.0.as_ref().ok().and_then(Option::as_ref).and_then(|pod| pod.spec.as_ref());
    tracing::debug!(
        namespace = name(&subject.namespace),
        name = name(&subject.name),
        generate_name = name(&subject.generate_name),
        owner = subject.owner.as_ref().map(owner),
        containers = spec.map(|spec| containers(spec, changes)),
        "pod patched"
    );
}

fn owner((kind, name): &(String, String)) -> String {
    format!("{}/{}", printable(kind, LONGEST_LABEL), printable(name, LONGEST_NAME))
}

/// The names of the containers that are changed, in that order: `init,app`; of more than [`MOST_CONTAINERS`] the
/// first, and how many are left out: `a,b,…,+7`.
fn containers(spec: &PodSpec, changes: &[Change]) -> String {
    let mut changed: Vec<_> = changes.iter().map(|change| (change.list, change.index)).collect();
    // Changes of one container follow each other.
    changed.dedup();
    let left_out = changed.len().saturating_sub(MOST_CONTAINERS);
    let names = changed.iter().take(MOST_CONTAINERS).map(|(list, index)| {
        let container = list.of(spec).get(usize::from(*index));
        let name = container.map(|container| container.name.as_str()).unwrap_or_default();
        // No Pod is created with such a container.
        if name.is_empty() { format!("{}[{index}]", list.name()) } else { printable(name, LONGEST_LABEL) }
    });
    let left_out = (left_out > 0).then(|| format!("+{left_out}"));
    names.chain(left_out).collect::<Vec<_>>().join(",")
}

/// A text on one line, in ASCII, and not much longer than `longest`.
fn printable(text: &str, longest: usize) -> String {
    let mut printable = String::new();
    for c in text.chars() {
        if printable.len() >= longest {
            return printable + "...";
        }
        if c == ' ' || c.is_ascii_graphic() {
            printable.push(c)
        } else {
            printable.extend(c.escape_default())
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{env::Injection, inject};

    #[test]
    fn containers_are_named_in_the_order_of_the_patch() {
        let many =
            |count: usize| (0..count).map(|n| format!(r#"{{"name":"c{n}"}}"#)).collect::<Vec<_>>().join(",");
        let long = "x".repeat(100);
        for (spec, named) in [
            (r#"{"containers":[{"name":"app"}],"initContainers":[{"name":"init"}]}"#.to_owned(), "init,app"),
            (
                r#"{"containers":[{"name":"has","env":[{"name":"KUBERNETES_SERVICE_HOST"},{"name":"KUBERNETES_SERVICE_PORT"}]},{"name":"app"}]}"#
                    .to_owned(),
                "app",
            ),
            (r#"{"containers":[{"name":"a","env":[]},{"name":"b"}]}"#.to_owned(), "a,b"),
            (r#"{"containers":[{},{"name":""}]}"#.to_owned(), "containers[0],containers[1]"),
            (r#"{"ephemeralContainers":[{"name":"a\nb\u202e"}]}"#.to_owned(), r"a\nb\u{202e}"),
            (format!(r#"{{"containers":[{}]}}"#, many(10)), "c0,c1,c2,c3,c4,c5,c6,c7,c8,c9"),
            (format!(r#"{{"containers":[{}]}}"#, many(17)), "c0,c1,c2,c3,c4,c5,c6,c7,c8,c9,+7"),
            (format!(r#"{{"containers":[{{"name":"{long}"}}]}}"#), &format!("{}...", "x".repeat(63))),
        ] {
            let body = format!(
                r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","object":{{"spec":{spec}}}}}}}"#
            );
            let review = Review::parse(body.as_bytes()).unwrap();
            let injection = Injection::new(&"foo.bar.".parse().unwrap(), Some(443), true);
            let decision = inject::decide(&review.request, &injection, body.as_bytes());
            let inject::Decision::Patch(changes) = decision else {
                panic!("no patch for {spec}")
            };
            let pod = review.request.object.0.unwrap().unwrap();
            assert_eq!(containers(&pod.spec.unwrap(), &changes), named, "{spec}");
        }
    }

    #[test]
    fn a_container_with_several_changes_is_named_once() {
        let config = r#"{proxy: {http: "http://proxy"}, pods: {overwrite: true}}"#;
        let injection = Injection::new(&"foo.bar.".parse().unwrap(), None, true)
            .with_proxy(&common::egress::Config::parse(config).unwrap());
        let env = r#"[{"name":"HTTP_PROXY","value":"x"},{"name":"no_proxy","value":"y"}]"#;
        let body = format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","object":{{"spec":{{"containers":[{{"name":"a","env":{env}}},{{"name":"b"}}]}}}}}}}}"#
        );
        let review = Review::parse(body.as_bytes()).unwrap();
        let inject::Decision::Patch(changes) = inject::decide(&review.request, &injection, body.as_bytes())
        else {
            panic!("no patch")
        };
        assert_eq!(changes.len(), 4);
        let pod = review.request.object.0.unwrap().unwrap();
        assert_eq!(containers(&pod.spec.unwrap(), &changes), "a,b");
    }

    #[test]
    fn what_is_hostile_stays_short_and_on_its_line() {
        assert_eq!(printable("web-5d4", 253), "web-5d4");
        assert_eq!(printable("a b\r\n\u{1b}[31m\0é", 253), r"a b\r\n\u{1b}[31m\u{0}\u{e9}");
        assert_eq!(printable(&"x".repeat(253), 253), "x".repeat(253));
        assert!(printable(&"x".repeat(10_000_000), 253).len() == 256);
        assert!(printable(&"\u{10ffff}".repeat(10_000_000), 253).len() < 270);
        let owner = owner(&("x".repeat(1000), format!("\n{}", "x".repeat(1000))));
        assert!(owner.len() == 66 + 1 + 256 && owner.contains(r"/\nx"), "{owner}");
    }
}
