//! JSON that may have any shape.
//!
//! A Pod that a webhook sees may be malformed, or newer than the webhook. [`Lenient`] reads the parts of a
//! document that matter in one pass, and remembers where the shape was not the expected one instead of failing.
//! What is no JSON, or has a key twice that is read, does fail.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// How deep a document may be nested; deeper ones are refused before they are parsed.
pub const MAX_DEPTH: usize = 128;

/// Whether arrays and objects are nested deeper than `limit`. Needs no stack.
///
/// The usual review has not as many opening brackets in all, and to count them, a register full at a time, is many
/// times faster than to tell which of them stand in a text.
#[must_use]
pub fn deeper_than(limit: usize, text: &str) -> bool {
    let count = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    let opening: usize =
        text.as_bytes().chunks(usize::from(u8::MAX)).map(|chunk| usize::from(count(chunk))).sum();
    opening > limit && nested_deeper_than(limit, text)
}

fn nested_deeper_than(limit: usize, text: &str) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if depth > limit {
            return true;
        }
    }
    false
}

/// Where a document has another shape than expected: a path and what is there, such as
/// `spec.containers[0].env is a string, not a list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl Malformed {
    /// The same, seen from one level up.
    #[must_use]
    pub fn under(self, parent: impl fmt::Display) -> Self {
        let dot = if self.0.starts_with([' ', '[']) { "" } else { "." };
        Self(format!("{parent}{dot}{}", self.0))
    }
}

/// A value that may be absent or null (`Ok(None)`), or of another shape (`Err`).
#[derive(Debug, Clone, PartialEq)]
pub struct Lenient<T>(pub Result<Option<T>, Malformed>);

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Self(Ok(None))
    }
}

/// Something that is expected to be a text, a boolean, a list or an object: override that method.
pub trait Node<'de>: Sized {
    /// What is expected, in words: `a list`.
    const EXPECTED: &'static str;

    /// Reads a text.
    fn text(_: &str) -> Option<Self> {
        None
    }

    /// Takes true or false.
    fn boolean(_: bool) -> Option<Self> {
        None
    }

    /// Reads a list. All of it must be consumed.
    ///
    /// # Errors
    /// When it is no JSON, or has a key twice.
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Lenient<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(wrong::<Self>("a list"))
    }

    /// Reads an object. All of it must be consumed.
    ///
    /// # Errors
    /// When it is no JSON, or has a key twice.
    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Lenient<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(wrong::<Self>("an object"))
    }
}

fn wrong<'de, T: Node<'de>>(what: &str) -> Lenient<T> {
    Lenient(Err(Malformed(format!(" is {what}, not {}", T::EXPECTED))))
}

impl<'de, T: Node<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyShape(PhantomData))
    }
}

struct AnyShape<T>(PhantomData<T>);

impl<'de, T: Node<'de>> Visitor<'de> for AnyShape<T> {
    type Value = Lenient<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Lenient<T>, E> {
        Ok(Lenient::default())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Lenient<T>, E> {
        Ok(T::boolean(flag).map_or_else(|| wrong("a boolean"), |value| Lenient(Ok(Some(value)))))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Lenient<T>, E> {
        Ok(wrong("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Lenient<T>, E> {
        Ok(wrong("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Lenient<T>, E> {
        Ok(wrong("a number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Lenient<T>, E> {
        Ok(T::text(text).map_or_else(|| wrong("a string"), |value| Lenient(Ok(Some(value)))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Lenient<T>, A::Error> {
        T::list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Lenient<T>, A::Error> {
        T::object(object)
    }
}

/// A struct that is read from an object only. What serde derives would take a list as well.
#[derive(Debug, PartialEq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectOnly(PhantomData))
    }
}

struct ObjectOnly<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectOnly<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(Object)
    }
}

/// A key, borrowed from the document where it has no escapes.
#[derive(Deserialize)]
pub struct Key<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Reads the value of a key that counts once.
///
/// # Errors
/// When the key was there before, or the value is no JSON.
pub fn once<'de, A, T>(object: &mut A, slot: &mut Option<Lenient<T>>, key: &str) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    T: Node<'de>,
{
    let value = object.next_value()?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(A::Error::custom(format_args!("duplicate key {key:?}"))),
    }
}

/// The value of a key: nothing where it is absent or null.
///
/// # Errors
/// [`Malformed`], with the key's name in its path.
pub fn field<T>(slot: Option<Lenient<T>>, key: &str) -> Result<Option<T>, Malformed> {
    slot.unwrap_or_default().0.map_err(|malformed| malformed.under(key))
}

/// The beginning of a text that came from outside, for a message.
#[must_use]
pub fn brief(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// A text, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl Node<'_> for Text {
    const EXPECTED: &'static str = "a string";

    fn text(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
}

/// Entries that a [`List`] may have. No Pod that fits etcd has as many containers, and each may cost an answer
/// a hundred times its own length.
pub const MAX_ENTRIES: usize = 10_000;

/// A list of nodes, none of them null, of [`MAX_ENTRIES`] at most.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T>(pub Vec<T>);

impl<'de, T: Node<'de>> Node<'de> for List<T> {
    const EXPECTED: &'static str = "a list";

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Lenient<Self>, A::Error> {
        let mut values = Ok(Vec::new());
        let mut index = 0_usize;
        while let Some(Lenient(value)) = list.next_element::<Lenient<T>>()? {
            let value = value
                .and_then(|value| value.ok_or_else(|| Malformed(format!(" is null, not {}", T::EXPECTED))));
            match (&mut values, value) {
                (Ok(_), _) if index == MAX_ENTRIES => {
                    values = Err(Malformed(format!(" has more than {MAX_ENTRIES} entries")));
                }
                (Ok(values), Ok(value)) => values.push(value),
                (Ok(_), Err(malformed)) => values = Err(malformed.under(format_args!("[{index}]"))),
                (Err(_), _) => {}
            }
            index += 1;
        }
        Ok(Lenient(values.map(|values| Some(Self(values)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_that_of_brackets_outside_strings() {
        for (text, depth) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a":[{}]}"#, 3),
            ("[[],[],[]]", 2),
            (r#"["[[[[\"[[[\\"]"#, 1),
            ("]]]][", 1),
            (r#"["[[["#, 1),
        ] {
            assert!(!deeper_than(depth, text), "{text} is not deeper than {depth}");
            assert!(depth == 0 || deeper_than(depth - 1, text), "{text} is deeper than {}", depth - 1);
        }
        assert!(deeper_than(MAX_DEPTH, &"[".repeat(1_000_000)));
        // More brackets than levels, in and out of texts, over the pieces that they are counted in.
        assert!(!deeper_than(MAX_DEPTH, &r#"[{"[":"{"}],"#.repeat(1000)));
        let far = format!("{}{}", " ".repeat(1000), "{".repeat(MAX_DEPTH));
        assert!(!deeper_than(MAX_DEPTH, &far) && deeper_than(MAX_DEPTH, &format!("{far}[")));
    }

    #[test]
    fn shapes_are_told_with_their_path() {
        let read = |text: &str| serde_json::from_str::<Lenient<List<List<Text>>>>(text).unwrap().0;
        assert_eq!(read("null"), Ok(None));
        assert_eq!(read(r#"[["a"],[]]"#), Ok(Some(List(vec![List(vec![Text("a".into())]), List(vec![])]))));
        for (text, told) in [
            ("true", " is a boolean, not a list"),
            ("-1", " is a number, not a list"),
            ("1.5", " is a number, not a list"),
            (r#""x""#, " is a string, not a list"),
            (r#"{"a":[1]}"#, " is an object, not a list"),
            (r#"[["a", 7, null], 8]"#, "[0][1] is a number, not a string"),
            (r#"[[], null]"#, "[1] is null, not a list"),
        ] {
            assert_eq!(read(text), Err(Malformed(told.to_owned())), "{text}");
        }
    }
}
