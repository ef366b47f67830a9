//! Which Pod a review is about. Pure.
//!
//! A review is decided on without any of this, so it is read only when somebody asks. Whatever is not there, or not of
//! the expected shape, is left out.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

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
        }
    }

    /// Its name, or as much of it as is known before it is created; empty where nothing is.
    #[must_use]
    pub fn name_or_prefix(&self) -> &str {
        self.name.as_deref().or(self.generate_name.as_deref()).unwrap_or_default()
    }
}

/// Whether the Pod that the body of a review is about has an annotation with that value. Keeps none of them: there may
/// be millions.
#[must_use]
pub fn has_annotation(body: &[u8], key: &str, value: &str) -> bool {
    let way = ["request", "object", "metadata", "annotations", key];
    let has = Has { way: &way, text: value };
    has.deserialize(&mut serde_json::Deserializer::from_slice(body)).unwrap_or_default()
}

/// Whether there is a certain text at the end of a way of keys.
struct Has<'a> {
    way: &'a [&'a str],
    text: &'a str,
}

impl<'de> DeserializeSeed<'de> for Has<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Has<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        Ok(self.way.is_empty() && text == self.text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<bool, A::Error> {
        let next = self.way.split_first();
        let mut has = false;
        while let Some(Key(key)) = object.next_key()? {
            match next {
                Some((wanted, way)) if key == *wanted => {
                    has = object.next_value_seed(Has { way, text: self.text })?;
                }
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(has)
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
});
node!(Owner { "kind" => kind: Text, "name" => name: Text, "controller" => controller: Flag, });

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(namespace: &str, metadata: &str) -> String {
        format!(
            r#"{{"request":{{"uid":"u",{namespace}"object":{{"spec":{{}},"metadata":{metadata}}},"oldObject":{{"metadata":{{"name":"old"}}}}}}}}"#
        )
    }

    fn of(namespace: &str, metadata: &str) -> Subject {
        Subject::of(body(namespace, metadata).as_bytes())
    }

    fn told(namespace: &str, metadata: &str) -> [String; 4] {
        let Subject { namespace, name, generate_name, owner } = of(namespace, metadata);
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
    fn annotations_are_found_by_key_and_value() {
        for (metadata, has) in [
            (r#"{"annotations":{"x":"y","a/b":"c"},"name":"p"}"#, true),
            (r#"{"annotations":{"\u0061/b":"\u0063"}}"#, true),
            (r#"{"annotations":{"a/b":"d","c":"c"}}"#, false),
            (r#"{"annotations":{"a/b":7}}"#, false),
            (r#"{"annotations":{"a/b":{"a/b":"c"}}}"#, false),
            (r#"{"annotations":["a/b","c"]}"#, false),
            (r#"{"annotations":"c"}"#, false),
            (r#"{"labels":{"a/b":"c"},"annotations":null}"#, false),
            ("true", false),
            ("1.5", false),
        ] {
            let body = body("", metadata);
            assert_eq!(has_annotation(body.as_bytes(), "a/b", "c"), has, "{metadata}");
        }
        assert!(!has_annotation(b"{", "a/b", "c"));
    }

    #[test]
    fn what_is_malformed_is_left_out() {
        for metadata in [
            "7",
            "[]",
            r#"{"name":{"a":[true]},"generateName":false,"namespace":[1.5],"ownerReferences":"x"}"#,
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
            prop_assert!(!has_annotation(&bytes, "a", "b"));
        }
    }
}
