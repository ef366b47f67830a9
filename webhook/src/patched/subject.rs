//! Which Pod a review is about. Pure.
//!
//! Whatever is not there, or not of the expected shape, is left out.

use serde::de::{IgnoredAny, MapAccess};

use super::{LONGEST_LABEL, LONGEST_NAME, printable};
use crate::json::{Key, Lenient, List, Node, Text};

/// What identifies a Pod, as it is told. Without a name there is what the API server will make one from.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Subject {
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) generate_name: Option<String>,
    /// `KIND/NAME` of its controller, else of its first owner.
    pub(super) owner: Option<String>,
}

impl Subject {
    /// Reads the body of a review.
    pub(super) fn of(body: &[u8]) -> Self {
        let review = serde_json::from_slice::<Lenient<Review>>(body).unwrap_or_default();
        let Review { request } = value(review).unwrap_or_default();
        let Request { namespace, object } = request.unwrap_or_default();
        let Object { metadata } = object.unwrap_or_default();
        let metadata = metadata.unwrap_or_default();
        let told = |name: Option<Text>| {
            let name = name.map(|Text(name)| name).filter(|name| !name.is_empty())?;
            Some(printable(&name, LONGEST_NAME))
        };
        let name = told(metadata.name);
        Self {
            namespace: told(namespace).or_else(|| told(metadata.namespace)),
            generate_name: told(metadata.generate_name).filter(|_| name.is_none()),
            name,
            owner: metadata.owners.and_then(|List(owners)| owner(&owners)),
        }
    }
}

fn owner(owners: &[Owner]) -> Option<String> {
    let controller = owners.iter().find(|owner| matches!(owner.controller, Some(Flag(true))));
    let owner = controller.or(owners.first())?;
    let told = |text: &Option<Text>, longest| {
        printable(text.as_ref().map(|Text(text)| text.as_str()).unwrap_or_default(), longest)
    };
    Some(format!("{}/{}", told(&owner.kind, LONGEST_LABEL), told(&owner.name, LONGEST_NAME)))
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

    fn of(namespace: &str, metadata: &str) -> [Option<String>; 4] {
        let body = format!(
            r#"{{"request":{{"uid":"u",{namespace}"object":{{"spec":{{}},"metadata":{metadata}}},"oldObject":{{"metadata":{{"name":"old"}}}}}}}}"#
        );
        let Subject { namespace, name, generate_name, owner } = Subject::of(body.as_bytes());
        [namespace, name, generate_name, owner]
    }

    #[test]
    fn a_pod_is_told_by_what_it_has() {
        let owner = |kind: &str, more: &str| format!(r#"{{"kind":"{kind}","name":"n"{more}}}"#);
        let owners =
            |owners: &[String]| format!(r#"{{"name":"p","ownerReferences":[{}]}}"#, owners.join(","));
        let (first, second) = (owner("Node", ""), owner("Job", r#","controller":true"#));
        let third = owner("Set", r#","controller":false"#);
        for (namespace, metadata, told) in [
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
            let told = told.map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()));
            assert_eq!(of(namespace, metadata), told, "{namespace} {metadata}");
        }
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
            assert_eq!(of(r#""namespace":[],"#, metadata), [const { None }; 4], "{metadata}");
        }
        for body in ["", "null", "[]", "{", r#"{"request":7}"#, r#"{"request":{"object":""}}"#] {
            assert_eq!(Subject::of(body.as_bytes()), Subject::default(), "{body}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn any_name_is_one_short_line(name in ".{0,400}") {
            let name = serde_json::Value::from(name);
            let metadata = format!(r#"{{"name":{name},"ownerReferences":[{{"kind":{name},"name":{name}}}]}}"#);
            for told in of(&format!(r#""namespace":{name},"#), &metadata).into_iter().flatten() {
                prop_assert!(told.len() < 400 && told.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn any_bytes_are_a_subject_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Subject::of(&bytes), Subject::default());
        }
    }

    #[test]
    fn names_are_bounded() {
        let long = "x".repeat(100_000);
        let metadata = format!(
            r#"{{"name":"{long}","ownerReferences":[{{"kind":"{long}","name":"\n{long}","controller":7}}]}}"#
        );
        let [namespace, name, _, owner] = of(&format!(r#""namespace":"{long}","#), &metadata);
        assert!([namespace.unwrap().len(), name.unwrap().len()] == [256, 256]);
        let owner = owner.unwrap();
        assert!(owner.len() == 66 + 1 + 256 && owner.contains(r"/\nx"), "{owner}");
    }
}
