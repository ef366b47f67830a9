//! Checks, and how `/readyz?verbose` prints them.

use std::fmt::Write;

use crate::klog::push_printable;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// A word, such as `certificate`.
    pub name: &'static str,
    /// What was found.
    pub outcome: Outcome,
}

/// What a check found. The texts are for a person, and each is printed on one line; empty for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be: `[+]name ok: text`.
    Ok(String),
    /// Not ready: `[-]name failed: text`.
    Failed(String),
    /// Not as it should be, and ready all the same: `[!]name: text`.
    Note(String),
}

impl Check {
    /// As it should be.
    pub fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok(text.into()) }
    }

    /// What makes the program unready.
    pub fn failed(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Failed(text.into()) }
    }

    /// What a person should know.
    pub fn note(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Note(text.into()) }
    }
}

/// Whether the program is ready, and all checks, one a line, with the verdict below.
pub(super) fn report(checks: &[Check]) -> (bool, String) {
    let mut report = String::new();
    for Check { name, outcome } in checks {
        let (mark, verdict, text) = match outcome {
            Outcome::Ok(text) => ('+', " ok", text),
            Outcome::Failed(text) => ('-', " failed", text),
            Outcome::Note(text) => ('!', "", text),
        };
        // Writing to a String can't fail.
        let _ = write!(report, "[{mark}]{name}{verdict}");
        if !text.is_empty() {
            report.push_str(": ");
            push_printable(&mut report, text);
        }
        report.push('\n');
    }
    let ready = !checks.iter().any(|check| matches!(check.outcome, Outcome::Failed(_)));
    report.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
    (ready, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_read_like_kubernetes() {
        let (fine, told) = (Check::ok("rules", ""), Check::note("certificate", "serial 01; not replaced"));
        let good = (true, "[+]rules ok\n[!]certificate: serial 01; not replaced\nreadyz check passed\n");
        assert_eq!(report(&[fine.clone(), told]), (good.0, good.1.to_owned()));
        let failed = Check::failed("address", "10.96.0.2/32 is missing");
        let bad = (false, "[+]rules ok\n[-]address failed: 10.96.0.2/32 is missing\nreadyz check failed\n");
        assert_eq!(report(&[fine, failed]), (bad.0, bad.1.to_owned()));
        assert_eq!(report(&[]), (true, "readyz check passed\n".to_owned()));
    }

    #[test]
    fn texts_cannot_forge_a_line() {
        let (_, text) = report(&[Check::ok("a", "x\n[-]b failed"), Check::failed("b", "")]);
        assert_eq!(text, "[+]a ok: x\\n[-]b failed\n[-]b failed\nreadyz check failed\n");
    }
}
