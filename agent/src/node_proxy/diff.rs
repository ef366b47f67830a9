//! What `--check` prints. Pure.

use common::egress::masked;

/// How a file differs from what is wanted, as `diff -u` has it, with passwords hidden. Lines that differ in what is
/// hidden alone look alike, and stand there all the same.
#[must_use]
pub fn diff(path: &str, there: Option<&str>, wanted: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (there.unwrap_or_default().lines().collect(), wanted.lines().collect());
    let pairs = || old.iter().zip(&new);
    let before = pairs().take_while(|(old, new)| old == new).count();
    let shorter = old.len().min(new.len());
    let after = old.iter().rev().zip(new.iter().rev()).take(shorter - before);
    let after = after.take_while(|(old, new)| old == new).count();
    let changed = |lines: &[&str]| before..lines.len() - after;
    let (gone, come) = (changed(&old), changed(&new));
    let from = if there.is_some() { path } else { "/dev/null" };
    let first = |lines: &[&str]| if lines.is_empty() { 0 } else { 1 };
    let mut text = format!(
        "--- {from}\n+++ {path} (wanted)\n@@ -{},{} +{},{} @@\n",
        first(&old),
        old.len(),
        first(&new),
        new.len()
    );
    let mut push = |mark: char, lines: &[&str]| {
        for line in lines {
            text.push(mark);
            text.push_str(&hidden(line));
            text.push('\n');
        }
    };
    push(' ', new.get(..before).unwrap_or_default());
    push('-', old.get(gone).unwrap_or_default());
    push('+', new.get(come).unwrap_or_default());
    push(' ', new.get(new.len() - after..).unwrap_or_default());
    text
}

/// A line without a password. What has an escape in it may have the `@` behind a password written as one, or a
/// password that goes on in the next line: nothing of its value is shown. Nor is a terminal told what to do.
fn hidden(line: &str) -> String {
    let shown = match line.split_once('=') {
        Some((key, _)) if line.contains('\\') => format!("{key}=***"),
        None if line.contains('\\') => "***".to_owned(),
        _ => masked(line),
    };
    shown.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &str =
        "[Service]\nEnvironment=\"HTTP_PROXY=http://me:new@host\"\nEnvironment=\"NO_PROXY=a\"\n";

    #[test]
    fn lines_that_differ_in_their_password_alone_are_shown_without_it() {
        let there = WANTED.replace("new", "old");
        assert_eq!(
            diff("/x", Some(&there), WANTED),
            "--- /x\n+++ /x (wanted)\n@@ -1,3 +1,3 @@\n [Service]\n\
             -Environment=\"HTTP_PROXY=http://***@host\"\n\
             +Environment=\"HTTP_PROXY=http://***@host\"\n \
             Environment=\"NO_PROXY=a\"\n"
        );
    }

    #[test]
    fn what_is_missing_and_what_is_too_much() {
        let all = diff("/x", None, WANTED);
        assert!(all.starts_with("--- /dev/null\n+++ /x (wanted)\n@@ -0,0 +1,3 @@\n+[Service]\n+"), "{all}");
        let more = format!("{WANTED}Environment=\"no_proxy=a\"\n");
        assert!(
            diff("/x", Some(&more), WANTED)
                .ends_with(" Environment=\"NO_PROXY=a\"\n-Environment=\"no_proxy=a\"\n")
        );
        assert!(diff("/x", Some("a\na\na\n"), "a\na\n").ends_with("@@ -1,3 +1,2 @@\n a\n a\n-a\n"));
        assert!(diff("/x", Some(""), "").ends_with("@@ -0,0 +0,0 @@\n"));
    }

    #[test]
    fn no_password_of_somebody_elses_style_is_shown() {
        for line in [
            "Environment=HTTP_PROXY=me:SECRET@host",
            "Environment='HTTP_PROXY=me:SE@CRET@host' NO_PROXY=x",
            "Environment=\"http_proxy=http://me:SECRET\\x40host\"",
            "Environment=http_proxy=http://me:SECRET\\",
            "SECRET\\",
            "#Environment=HTTP_PROXY=http://me:SECRET@host",
            "Environment=https_proxy=HTTPS://me:SECRET@host",
        ] {
            let shown = diff("/x", Some(line), WANTED);
            assert!(
                !shown.contains("SECRET") && !shown.contains("CRET") && !shown.contains("new"),
                "{shown}"
            );
        }
        assert!(diff("/x", Some("a\u{1b}[2Jb"), "").contains("-a?[2Jb"));
    }
}
