//! YAML with the place of each value, and errors in our own words.
//!
//! [`read`] gives a [`Field`], of which one takes what is expected there. The library's errors quote the file, and the
//! file may have a password in it: of them only kind and place get through.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::egress::shown;

/// What is wrong with the configuration, and where: `line 7, column 12: cluster.podCIDRs: …`.
///
/// Holds no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", self.place())]
pub struct ConfigError {
    /// Counted from 1; 0 where it is not known.
    pub line: u64,
    /// Counted from 1; 0 where it is not known.
    pub column: u64,
    /// The way to the key, with dots: `cluster.podCIDRs`. Empty for what is no YAML at all.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

impl ConfigError {
    fn new(at: Location, key: &str, problem: impl Into<String>) -> Self {
        Self { line: at.line(), column: at.column(), key: key.to_owned(), problem: problem.into() }
    }

    fn place(&self) -> String {
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        match self.line {
            0 => key,
            line => format!("line {line}, column {}: {key}", self.column),
        }
    }
}

/// A value, wherever it stands. No `Debug`: it may be a password.
enum Node {
    Nothing,
    Flag(bool),
    /// As it reads in decimal.
    Number(String),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

/// A value, its key and its place.
pub struct Field {
    key: String,
    node: Spanned<Node>,
}

/// The keys below a key, until they are taken.
pub struct Section {
    key: String,
    at: Location,
    entries: Vec<(Spanned<String>, Spanned<Node>)>,
}

/// A text that has its key and its place. No `Debug`: it may be a password.
#[derive(Clone)]
pub struct Text {
    key: String,
    at: Location,
    text: String,
}

/// The bytes of a file, as the text that they must be.
///
/// # Errors
/// With the place of the first that is not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, ConfigError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count();
        ConfigError {
            line: lines as u64 + 1,
            column: column as u64 + 1,
            key: String::new(),
            problem: "not a text in UTF-8".to_owned(),
        }
    })
}

/// Reads a whole file.
///
/// # Errors
/// When it is no YAML.
pub fn read(text: &str) -> Result<Field, ConfigError> {
    // A long text must not become a thousand of them.
    let few = serde_saphyr::alias_limits! { max_total_replayed_events: 100 };
    // Each level takes some of the stack.
    let flat = serde_saphyr::budget! { max_depth: 16 };
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        alias_limits: few,
        budget: flat,
    };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(node) => Ok(Field { key: String::new(), node }),
        Err(error) => Err(in_our_words(&error)),
    }
}

fn in_our_words(error: &serde_saphyr::Error) -> ConfigError {
    use serde_saphyr::Error as E;
    let (key, problem) = match error.without_snippet() {
        E::DuplicateMappingKey { key: Some(key), .. } => (shown(key), "stands there twice"),
        E::DuplicateMappingKey { .. } => (String::new(), "a key stands there twice"),
        E::MultipleDocuments { .. } => (String::new(), "only one document is expected"),
        E::UnknownAnchor { .. } => {
            (String::new(), "an alias without an anchor; write what begins with * in quotes")
        }
        E::Budget { .. } => (String::new(), "too large for a configuration"),
        E::AliasReplayLimitExceeded { .. } => (String::new(), "too many aliases for a configuration"),
        _ => (
            String::new(),
            "not valid YAML; indent with blanks, and write a text with special characters in it in single quotes",
        ),
    };
    ConfigError::new(error.location().unwrap_or(Location::UNKNOWN), &key, problem)
}

impl Field {
    /// The keys below it, which must all be among these.
    ///
    /// # Errors
    /// When it has none, or others.
    pub fn section(self, known: &[&str]) -> Result<Section, ConfigError> {
        let section = self.keys(|| format!("expected keys: {}", known.join(", ")))?;
        match section.entries.iter().find(|(key, _)| !known.contains(&key.value.as_str())) {
            Some((key, _)) => {
                let problem = format!("unknown key {}; known are {}", shown(&key.value), known.join(", "));
                Err(ConfigError::new(key.referenced, &section.key, problem))
            }
            None => Ok(section),
        }
    }

    /// The keys below it, whatever they are.
    ///
    /// # Errors
    /// When it has none.
    pub fn entries(self) -> Result<Section, ConfigError> {
        self.keys(|| "expected keys".to_owned())
    }

    fn keys(self, problem: impl Fn() -> String) -> Result<Section, ConfigError> {
        let at = self.node.referenced;
        match self.node.value {
            Node::Map(entries) => Ok(Section { key: self.key, at, entries }),
            Node::Nothing => Ok(Section { key: self.key, at, entries: Vec::new() }),
            _ => Err(ConfigError::new(at, &self.key, problem())),
        }
    }

    /// The items of a list.
    ///
    /// # Errors
    /// When it is something else.
    pub fn items(self) -> Result<Vec<Field>, ConfigError> {
        match self.node.value {
            Node::List(items) => {
                Ok(items.into_iter().map(|node| Field { key: self.key.clone(), node }).collect())
            }
            _ => Err(ConfigError::new(self.node.referenced, &self.key, "expected a list")),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(self) -> Result<bool, ConfigError> {
        match self.node.value {
            Node::Flag(value) => Ok(value),
            _ => Err(ConfigError::new(self.node.referenced, &self.key, "expected true or false")),
        }
    }

    /// One text.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text(self) -> Result<Text, ConfigError> {
        let (at, key) = (self.node.referenced, self.key);
        match self.node.value {
            Node::Text(text) => Ok(Text { key, at, text }),
            Node::Number(_) | Node::Flag(_) => {
                Err(ConfigError::new(at, &key, "expected a text; write it in quotes"))
            }
            _ => Err(ConfigError::new(at, &key, "expected a text")),
        }
    }

    /// The way to it, with dots.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whatever has no further keys below it, as text; or a list of such.
    ///
    /// # Errors
    /// When it is something else.
    pub fn values(self) -> Result<Vec<Text>, ConfigError> {
        let Self { key, node } = self;
        let text = match node.value {
            Node::List(items) => {
                let one = |node: Spanned<Node>| match node.value {
                    Node::List(_) => {
                        Err(ConfigError::new(node.referenced, &key, "expected no list in a list"))
                    }
                    _ => Self { key: key.clone(), node }.values(),
                };
                return items.into_iter().map(one).collect::<Result<Vec<_>, _>>().map(|all| all.concat());
            }
            Node::Text(text) | Node::Number(text) => text,
            Node::Flag(value) => value.to_string(),
            Node::Nothing => return Err(ConfigError::new(node.referenced, &key, "expected a value")),
            Node::Map(_) => {
                let problem = "expected a value, not keys; write a text with \": \" in it in quotes";
                return Err(ConfigError::new(node.referenced, &key, problem));
            }
        };
        Ok(vec![Text { key, at: node.referenced, text }])
    }

    /// One text or a list of them.
    ///
    /// # Errors
    /// When it is something else.
    pub fn texts(self) -> Result<Vec<Text>, ConfigError> {
        match self.node.value {
            Node::List(_) => self.items()?.into_iter().map(Field::text).collect(),
            _ => Ok(vec![self.text()?]),
        }
    }
}

impl Section {
    /// What stands under a key; nothing if there is no such key, or nothing after it.
    pub fn take(&mut self, key: &str) -> Option<Field> {
        let at = self.entries.iter().position(|(name, _)| name.value == key)?;
        let (name, node) = self.entries.swap_remove(at);
        let empty = matches!(node.value, Node::Nothing);
        (!empty).then(|| Field { key: self.below(&name.value), node })
    }

    /// All that have something after them, in the order of the file.
    #[must_use]
    pub fn fields(self) -> Vec<Field> {
        let there = self.entries.iter().map(|(name, _)| self.below(&name.value)).collect::<Vec<_>>();
        let fields = there.into_iter().zip(self.entries).map(|(key, (_, node))| Field { key, node });
        fields.filter(|field| !matches!(field.node.value, Node::Nothing)).collect()
    }

    fn below(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) }
    }

    /// The same for keys that have keys below: none is as good as an empty one.
    ///
    /// # Errors
    /// When it is something else, or holds others.
    pub fn section(&mut self, key: &str, known: &[&str]) -> Result<Section, ConfigError> {
        match self.take(key) {
            Some(field) => field.section(known),
            None => Ok(Self { key: self.below(key), at: self.at, entries: Vec::new() }),
        }
    }

    /// Something is wrong with the section as a whole.
    pub fn wrong(&self, problem: &str) -> ConfigError {
        ConfigError::new(self.at, &self.key, problem)
    }
}

impl Text {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A part of it, in the same place.
    pub fn part(&self, text: &str) -> Self {
        Self { key: self.key.clone(), at: self.at, text: text.to_owned() }
    }

    /// Something is wrong with it that can be said without quoting it.
    pub fn wrong(&self, problem: impl Into<String>) -> ConfigError {
        ConfigError::new(self.at, &self.key, problem)
    }

    /// It isn't what was expected.
    pub fn is_not(&self, expected: &str) -> ConfigError {
        self.wrong(format!("{} is not {expected}", shown(&self.text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(yaml: &str) -> Result<Vec<(String, Vec<String>)>, String> {
        let fields =
            read(yaml).and_then(|file| file.section(&["a", "b"])).map_err(|error| error.to_string())?;
        let one = |field: Field| {
            let key = field.key().to_owned();
            let texts = field.values().map_err(|error| error.to_string())?;
            Ok((key, texts.iter().map(|text| text.as_str().to_owned()).collect()))
        };
        fields.fields().into_iter().map(one).collect()
    }

    #[test]
    fn values_are_what_has_no_keys_below() {
        let expected = |key: &str, values: &[&str]| {
            (key.to_owned(), values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            values("b: [1, true, x, -2.5]\na: 10000\n"),
            Ok(vec![expected("b", &["1", "true", "x", "-2.5"]), expected("a", &["10000"])])
        );
        assert_eq!(values("a:\nb: []\n"), Ok(vec![expected("b", &[])]));
        for (yaml, error) in [
            (
                "a:\n- b: 1\n",
                "line 2, column 3: a: expected a value, not keys; write a text with \": \" in it in quotes",
            ),
            ("a: [[1]]\n", "line 1, column 5: a: expected no list in a list"),
            ("a:\n-\n", "line 2, column 2: a: expected a value"),
            ("c: 1\n", "line 1, column 1: unknown key \"c\"; known are a, b"),
        ] {
            assert_eq!(values(yaml), Err(error.to_owned()), "{yaml}");
        }
    }
}
