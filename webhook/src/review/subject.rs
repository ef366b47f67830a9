//! Which Pod a review is about. Pure.
//!
//! A review is decided on without any of this, so it is read only when somebody asks. Whatever is not there, or not of
//! the expected shape, is left out.

use serde::de::{IgnoredAny, MapAccess};

use crate::json::{Key, Lenient, List, Node, Text};

/// What identifies a Pod, as it came; of any length, with anything in it.
#[derive(Debug, Default, PartialEq)]
pub struct Subject {
    /// Of the request, else of the Pod.
    pub namespace: Option<String>,
    /// Never empty.
    pub name: Option<String>,
    /// Where there is no name: what the API server will make one from.
    pub generate_name: Option<String>,
    /// Kind and name of its controller, else of its first owner.
    pub owner: Option<(String, String)>,
    annotations: Vec<(String, String)>,
}

impl Subject {
    /// Reads the body of a review.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let review = serde_json::from_slice::<Lenient<Review>>(body).unwrap_or_default();
        let Review { request } = value(review).unwrap_or_default();
        let Request { namespace, object } = request.unwrap_or_default();
        let Object { metadata } = object.unwrap_or_default();
        let metadata = metadata.unwrap_or_default();
        let name = text(metadata.name);
        Self {
            namespace: text(namespace).or_else(|| text(metadata.namespace)),
            generate_name: text(metadata.generate_name).filter(|_| name.is_none()),
            name,
            owner: metadata.owners.and_then(|List(owners)| owner(owners)),
            annotations: metadata.annotations.map(|Annotations(annotations)| annotations).unwrap_or_default(),
        }
    }

    /// Its name, or as much of it as is known before it is created; empty where nothing is.
    #[must_use]
    pub fn name_or_prefix(&self) -> &str {
        self.name.as_deref().or(self.generate_name.as_deref()).unwrap_or_default()
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.iter().find(|(there, _)| there == key).map(|(_, value)| value.as_str())
    }
}

fn text(text: Option<Text>) -> Option<String> {
    text.map(|Text(text)| text).filter(|text| !text.is_empty())
}

fn owner(owners: Vec<Owner>) -> Option<(String, String)> {
    let controller = owners.iter().position(|owner| matches!(owner.controller, Some(Flag(true))));
    let owner = owners.into_iter().nth(controller.unwrap_or(0))?;
    Some((text(owner.kind).unwrap_or_default(), text(owner.name).unwrap_or_default()))
}

fn value<T>(Lenient(value): Lenient<T>) -> Option<T> {
    value.ok().flatten()
}

struct Flag(bool);

impl Node<'_> for Flag {
    const EXPECTED: &'static str = "a boolean";

    fn boolean(flag: bool) -> Option<Self> {
        Some(Self(flag))
    }
}

struct Annotations(Vec<(String, String)>);

impl<'de> Node<'de> for Annotations {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        let mut annotations = Vec::new();
        while let Some((Key(key), text)) = object.next_entry::<Key<'de>, Lenient<Text>>()? {
            annotations.extend(value(text).map(|Text(text)| (key.into_owned(), text)));
        }
        Ok(Lenient(Ok(Some(Self(annotations)))))
    }
}

/// A struct whose fields are the keys of an object that are looked at.
macro_rules! node {
    ($name:ident { $($key:literal => $field:ident: $type:ty,)* }) => {
        #[derive(Default)]
        struct $name { $($field: Option<$type>,)* }

        impl<'de> Node<'de> for $name {
            const EXPECTED: &'static str = "an object";

            fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
                let mut node = Self::default();
                while let Some(Key(key)) = object.next_key()? {
                    match &*key {
                        $($key => node.$field = value(object.next_value()?),)*
                        _ => drop(object.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Lenient(Ok(Some(node))))
            }
        }
    };
}

node!(Review { "request" => request: Request, });
node!(Request { "namespace" => namespace: Text, "object" => object: Object, });
node!(Object { "metadata" => metadata: Metadata, });
node!(Metadata {
    "namespace" => namespace: Text,
    "name" => name: Text,
    "generateName" => generate_name: Text,
    "ownerReferences" => owners: List<Owner>,
    "annotations" => annotations: Annotations,
});
node!(Owner { "kind" => kind: Text, "name" => name: Text, "controller" => controller: Flag, });

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(namespace: &str, metadata: &str) -> Subject {
        let body = format!(
            r#"{{"request":{{"uid":"u",{namespace}"object":{{"spec":{{}},"metadata":{metadata}}},"oldObject":{{"metadata":{{"name":"old"}}}}}}}}"#
        );
        Subject::of(body.as_bytes())
    }

    fn told(namespace: &str, metadata: &str) -> [String; 4] {
        let Subject { namespace, name, generate_name, owner, .. } = of(namespace, metadata);
        let owner = owner.map(|(kind, name)| format!("{kind}/{name}"));
        [namespace, name, generate_name, owner].map(Option::unwrap_or_default)
    }

    #[test]
    fn a_pod_is_told_by_what_it_has() {
        let owner = |kind: &str, more: &str| format!(r#"{{"kind":"{kind}","name":"n"{more}}}"#);
        let owners =
            |owners: &[String]| format!(r#"{{"name":"p","ownerReferences":[{}]}}"#, owners.join(","));
        let (first, second) = (owner("Node", ""), owner("Job", r#","controller":true"#));
        let third = owner("Set", r#","controller":false"#);
        for (namespace, metadata, expected) in [
            (r#""namespace":"shop","#, r#"{"name":"p","namespace":"other"}"#, ["shop", "p", "", ""]),
            ("", r#"{"name":"p","namespace":"other"}"#, ["other", "p", "", ""]),
            ("", r#"{"name":"p","generateName":"p-"}"#, ["", "p", "", ""]),
            ("", r#"{"name":"","generateName":"p-"}"#, ["", "", "p-", ""]),
            ("", &owners(&[]), ["", "p", "", ""]),
            ("", &owners(std::slice::from_ref(&first)), ["", "p", "", "Node/n"]),
            ("", &owners(&[third.clone(), second, first.clone()]), ["", "p", "", "Job/n"]),
            ("", &owners(&[third, first]), ["", "p", "", "Set/n"]),
            ("", &owners(&["{}".to_owned()]), ["", "p", "", "/"]),
            ("", "null", [""; 4]),
        ] {
            assert_eq!(told(namespace, metadata), expected, "{namespace} {metadata}");
        }
    }

    #[test]
    fn annotations_are_found_by_their_key() {
        let subject = of("", r#"{"annotations":{"a/b":"c","n":7,"\u0061":"\u0062"},"generateName":"p-"}"#);
        assert_eq!(
            ["a/b", "n", "a", "c"].map(|key| subject.annotation(key)),
            [Some("c"), None, Some("b"), None]
        );
        assert_eq!(subject.name_or_prefix(), "p-");
    }

    #[test]
    fn what_is_malformed_is_left_out() {
        for metadata in [
            "7",
            "[]",
            r#"{"name":{"a":[true]},"generateName":false,"namespace":[1.5],"ownerReferences":"x","annotations":[7]}"#,
            r#"{"ownerReferences":[null]}"#,
            r#"{"ownerReferences":[{"kind":"Job"},7]}"#,
        ] {
            assert_eq!(of(r#""namespace":[],"#, metadata), Subject::default(), "{metadata}");
        }
        for body in ["", "null", "[]", "{", r#"{"request":7}"#, r#"{"request":{"object":""}}"#] {
            assert_eq!(Subject::of(body.as_bytes()), Subject::default(), "{body}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn any_bytes_are_a_subject_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Subject::of(&bytes), Subject::default());
        }
    }
}
