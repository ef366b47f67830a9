//! What no log, metric, page or error may show.

use std::fmt;

const HIDDEN: &str = "***";
const SCHEMES: [&str; 3] = ["http://", "https://", "socks5://"];

/// A text with a password in it. `Debug` and `Display` hide all of it; only [`Secret::reveal`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text from now on.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the one place that it is meant for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The same text with what stands before the last `@` of each line hidden, but for a scheme or a variable's name.
///
/// For texts that we did not write, such as the drop-in that a diff compares with: it hides too much rather than
/// too little.
#[must_use]
pub fn masked(text: &str) -> String {
    text.split_inclusive('\n').map(masked_line).collect()
}

fn masked_line(line: &str) -> String {
    let Some((before, host)) = line.rsplit_once('@') else { return line.to_owned() };
    let lower = before.to_ascii_lowercase();
    let schemes = SCHEMES.iter().filter_map(|scheme| lower.find(scheme).map(|at| at + scheme.len()));
    let kept = schemes.min().or_else(|| before.find('=').map(|at| at + 1)).unwrap_or(0);
    format!("{}{HIDDEN}@{host}", before.get(..kept).unwrap_or_default())
}

/// A value for an error's text: short, quoted, and without what looks like a password.
pub(crate) fn shown(value: &str) -> String {
    const LONGEST: usize = 80;
    let value = match value.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => value.to_owned(),
    };
    let short: String = value.chars().take(LONGEST).collect();
    let dots = if short.len() < value.len() { "…" } else { "" };
    format!("{:?}", short + dots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)), "*** *** Some(\n    ***,\n)");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn masks_what_stands_before_a_host() {
        for (text, expected) in [
            ("http://me:pw@host:3128", "http://***@host:3128"),
            ("HTTPS://me:p@w@host", "HTTPS://***@host"),
            ("Environment=\"A=http://me:pw@host\"\n+x\n", "Environment=\"A=http://***@host\"\n+x\n"),
            ("http_proxy=me:pw@host", "http_proxy=***@host"),
            ("me:pw@host", "***@host"),
            ("http://host:3128", "http://host:3128"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn values_in_errors_are_short_and_have_no_password() {
        assert_eq!(shown("a b"), "\"a b\"");
        assert_eq!(shown("http://me:pw\nx@host"), "\"***@host\"");
        assert_eq!(shown(&"é".repeat(200)), format!("\"{}…\"", "é".repeat(80)));
    }

    proptest! {
        #[test]
        fn no_password_gets_through_a_mask(before in "[ -~]{0,20}", password in "[A-Z]{8,12}", after in "[ -~]{0,20}") {
            let text = format!("{before}http://me:{password}@host{after}");
            prop_assert!(!masked(&text).contains(&password), "{}", masked(&text));
            prop_assert!(!shown(&text).contains(&password));
        }
    }
}
