//! What a policy does, in CEL. Each text is one expression.
//!
//! Values are literals of maps, with `dyn` where their types differ: the API server takes no mixed ones otherwise. A
//! list of one element and a macro over it stand for a variable of its own, which CEL does not have.

use common::egress::{Exclude, Pattern};
use serde_json::Value;

use super::values::quoted;
use crate::env::{Entry, Injection};

/// The variables that the mutations share, name and expression.
pub(super) fn variables(injection: &Injection) -> Vec<(&'static str, String)> {
    // The environment of a running container can't be changed.
    let created = |list| {
        format!("request.operation == \"CREATE\" && has(object.spec.{list}) ? object.spec.{list} : []")
    };
    let mut variables =
        vec![("initContainers", created("initContainers")), ("containers", created("containers"))];
    if injection.ephemeral_containers {
        variables.extend([
            (
                "ephemeralContainers",
                "has(object.spec.ephemeralContainers) ? object.spec.ephemeralContainers : []".to_owned(),
            ),
            (
                "oldNames",
                "oldObject != null && has(oldObject.spec.ephemeralContainers)
        ? oldObject.spec.ephemeralContainers.map(c, c.name) : []"
                    .to_owned(),
            ),
        ]);
    }
    variables.extend(injection.exclude().and_then(excluded).map(|excluded| ("excluded", excluded)));
    variables
}

/// Whether a Pod gets nothing of the proxy; nothing where that is true of none.
fn excluded(exclude: &Exclude) -> Option<String> {
    let namespaces = (!exclude.namespaces.is_empty()).then(|| {
        format!("(has(request.namespace) ? request.namespace : \"\").matches({})", regex(&exclude.namespaces))
    });
    let names = (!exclude.names.is_empty()).then(|| {
        format!(
            "(has(object.metadata.name) && object.metadata.name != \"\" ? object.metadata.name
          : has(object.metadata.generateName) ? object.metadata.generateName : \"\").matches({})",
            regex(&exclude.names)
        )
    });
    let annotation = exclude.annotation.as_ref().map(|(key, value)| {
        let (key, value) = (quoted(key), quoted(value));
        format!(
            "has(object.metadata.annotations) && {key} in object.metadata.annotations &&
        object.metadata.annotations[{key}] == {value}"
        )
    });
    let all: Vec<_> = [namespaces, names, annotation].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(" ||\n        "))
}

/// One expression for all patterns, in quotes.
fn regex(patterns: &[Pattern]) -> String {
    let one = |pattern: &Pattern| {
        let mut text = String::new();
        for c in pattern.as_str().chars() {
            match c {
                '*' => text.push_str(".*"),
                '?' => text.push('.'),
                // RE2 takes a backslash before nothing else.
                c if c.is_ascii_punctuation() && c != '-' => text.extend(['\\', c]),
                c => text.push(c),
            }
        }
        text
    };
    quoted(&format!("^({})$", patterns.iter().map(one).collect::<Vec<_>>().join("|")))
}

/// Adds one variable to all containers that lack it, and replaces it where that is wanted.
pub(super) fn mutation(entry: &Entry, injection: &Injection) -> String {
    let unless = match injection.exclude().and_then(excluded) {
        Some(_) if entry.variable.is_of_proxy() => "!variables.excluded && ",
        _ => "",
    };
    let new = format!("{unless}!(c.name in variables.oldNames) && ");
    let mut lists = vec![("initContainers", unless), ("containers", unless)];
    if injection.ephemeral_containers {
        lists.push(("ephemeralContainers", &*new));
    }
    let overwrite = injection.overwrite().contains(entry.variable);
    let parts = lists.into_iter().flat_map(|(list, condition)| {
        let replaced = overwrite.then(|| replaced(entry, list, condition));
        std::iter::once(added(entry, list, condition)).chain(replaced)
    });
    parts.collect::<Vec<_>>().join(" +\n")
}

fn added(entry: &Entry, list: &str, condition: &str) -> String {
    let (name, value) = (quoted(entry.variable.name()), literal(&entry.to_value()));
    format!(
        "          variables.{list}.transformList(i, c,
            {condition}!(has(c.env) && c.env.exists(e, e.name == {name})),
            has(c.env) && c.env.size() > 0
              ? JSONPatch{{
                  op: \"add\", path: \"/spec/{list}/\" + string(i) + \"/env/-\",
                  value: {value}
                }}
              : JSONPatch{{
                  op: \"add\", path: \"/spec/{list}/\" + string(i) + \"/env\",
                  value: [{value}]
                }}
          )"
    )
}

/// Of entries with the same name the last one counts for kubelet.
fn replaced(entry: &Entry, list: &str, condition: &str) -> String {
    let (name, value) = (quoted(entry.variable.name()), literal(&entry.to_value()));
    let other = entry.plain().map_or_else(String::new, |plain| {
        format!(" && (!has(last.value) || last.value != {})", quoted(plain.reveal()))
    });
    format!(
        "          variables.{list}.transformList(i, c,
            {condition}has(c.env) && [c.env.filter(e, e.name == {name})].exists(same,
              same.size() > 0 && [same[same.size() - 1]].exists(last, !has(last.valueFrom){other})),
            JSONPatch{{
              op: \"replace\",
              path: \"/spec/{list}/\" + string(i) + \"/env/\" +
                string([c.env.transformList(j, e, e.name == {name}, j)].map(at, at[at.size() - 1])[0]),
              value: {value}
            }}
          )"
    )
}

/// A value as a literal, all of whose maps are of one type.
fn literal(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    let mixed = !fields.values().all(Value::is_string);
    let field = |(key, value): (&String, &Value)| match mixed {
        true => format!("{}: dyn({})", quoted(key), literal(value)),
        false => format!("{}: {}", quoted(key), literal(value)),
    };
    format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_are_one_expression() {
        let patterns = ["kube-*", "a.b?", "c", "é_|"].map(Pattern::new);
        assert_eq!(regex(&patterns), r#""^(kube-.*|a\\.b.|c|é\\_\\|)$""#);
    }

    #[test]
    fn literals_are_of_one_type() {
        for (value, expected) in [
            (json!({"name": "A", "value": "\"\\\u{e9}"}), r#"{"name": "A", "value": "\"\\é"}"#),
            (
                json!({"name": "A", "valueFrom": {"secretKeyRef": {"key": "http", "optional": true}}}),
                r#"{"name": dyn("A"), "valueFrom": dyn({"secretKeyRef": dyn({"key": dyn("http"), "optional": dyn(true)})})}"#,
            ),
        ] {
            assert_eq!(literal(&value), expected);
        }
    }
}
