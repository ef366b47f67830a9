//! Names with `*` and `?` in them, as Kyverno's policies have them.

/// A name in which `*` stands for anything and `?` for one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Any text is a pattern.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name fits. Takes at most the product of both lengths.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut name) = (self.0.chars(), name.chars());
        // Where to go on if what follows the last star does not fit: one character later.
        let mut retry = None;
        loop {
            let (mut pattern_next, mut name_next) = (pattern.clone(), name.clone());
            match (pattern_next.next(), name_next.next()) {
                (Some('*'), _) => {
                    retry = Some((pattern_next.clone(), name.clone()));
                    pattern = pattern_next;
                }
                (None, None) => return true,
                (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                    (pattern, name) = (pattern_next, name_next);
                }
                _ => {
                    let Some((after_star, mut from)) = retry else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (pattern, name) = (after_star.clone(), from.clone());
                    retry = Some((after_star, from));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, fits) in [
            ("capi-*", "capi-controller", true),
            ("capi-*", "capi-", true),
            ("capi-*", "capi", false),
            ("dex-k8s-*", "my-dex-k8s-x", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*ab*ab", "xabyab", true),
            ("*ab*ab", "xab", false),
            ("**a", "aaa", true),
            ("a*b*c", "a-b-b-cc", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), fits, "{pattern} {name}");
        }
    }

    /// The obvious way, which takes exponential time.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], _) => name.is_empty(),
            ([b'*', rest @ ..], _) => slowly(rest, name) || (!name.is_empty() && slowly(pattern, &name[1..])),
            ([p, rest @ ..], [n, name @ ..]) => (*p == b'?' || p == n) && slowly(rest, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn as_the_obvious_way(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            prop_assert_eq!(Pattern::new(&*pattern).matches(&name), slowly(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
