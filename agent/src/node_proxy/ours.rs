//! Whether a drop-in is one that this program would write. Pure.
//!
//! `http-proxy.conf` is a name that people choose too. What has other settings in it is theirs: it is neither written
//! over nor removed.
//!
//! Source: systemd.syntax(7) for lines and quotes, `Environment=` in systemd.exec(5).

/// The variables that are ours, whoever wrote them.
const NAMES: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"];

/// The number of the first line, from 1, that says something else than a drop-in of ours may: blank lines, comments,
/// `[Service]`, and `Environment=` with assignments to the six variables, quoted in any way.
#[must_use]
pub fn foreign_line(text: &str) -> Option<usize> {
    let (mut whole, mut began) = (String::new(), None);
    for (number, line) in (1..).zip(text.lines()) {
        // Within a continued line too.
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let first = *began.get_or_insert(number);
        match line.strip_suffix('\\') {
            Some(line) => {
                whole.push_str(line);
                whole.push(' ');
            }
            None => {
                whole.push_str(line);
                if !is_ours(&whole) {
                    return Some(first);
                }
                whole.clear();
                began = None;
            }
        }
    }
    began.filter(|_| !is_ours(&whole))
}

fn is_ours(line: &str) -> bool {
    let line = line.trim();
    if line.is_empty() || line == "[Service]" {
        return true;
    }
    let Some(("Environment", value)) = line.split_once('=').map(|(key, value)| (key.trim_end(), value))
    else {
        return false;
    };
    // An empty one takes away what the unit itself sets.
    let ours = |word: &String| word.split_once('=').is_some_and(|(name, _)| NAMES.contains(&name));
    words(value).is_some_and(|words| !words.is_empty() && words.iter().all(ours))
}

/// The words of a value, without quotes and with escapes as they stand; nothing if a quote is not closed.
fn words(value: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().extend([c, chars.next()?]),
            ('"' | '\'', None) => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::egress::environment_line;
    use proptest::prelude::*;

    #[test]
    fn the_six_variables_alone_are_ours() {
        for (text, line) in [
            ("", None),
            ("\n# a comment\n; another\n[Service]\n", None),
            ("[Service]\nEnvironment=\"HTTP_PROXY=http://a b\"\n", None),
            ("[Service]\n  Environment = 'NO_PROXY=a,b' \"https_proxy=x\" no_proxy=", None),
            ("[Service]\r\nEnvironment=http_proxy=x\r\n", None),
            ("Environment=HTTP_PROXY=a \\\n# in between\n  NO_PROXY=b\n", None),
            ("Environment=NO_PROXY=a\\\n\n", None),
            ("Environment=\"HTTPS_PROXY=a\\\"b\"\n", None),
            ("[Service]\nEnvironment=\"HTTP_PROXY=x\" \"FOO=y\"\n", Some(2)),
            ("[Service]\nEnvironment=ALL_PROXY=x\n", Some(2)),
            ("[Service]\nEnvironment=\n", Some(2)),
            ("[Service]\nEnvironment=HTTP_PROXY\n", Some(2)),
            ("[Service]\nEnvironment=\"HTTP_PROXY=x\n", Some(2)),
            ("[Service]\nEnvironment=HTTP_PROXY=x\nRestart=no\n", Some(3)),
            ("\n[Unit]\n", Some(2)),
            ("[Service]\nEnvironmentFile=/etc/proxy\n", Some(2)),
            ("Environment=HTTP_PROXY=a \\\nFOO=b\n", Some(1)),
            ("Environment=HTTP_PROXY=a \\\nExecStart=/x", Some(1)),
            ("Environment=HTTP_PROXY=a\\", None),
            ("\u{0}", Some(1)),
        ] {
            assert_eq!(foreign_line(text), line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_we_write_is_ours(value in "\\PC{0,30}", name in 0..6_usize) {
            let line = environment_line(NAMES[name], &value);
            prop_assert_eq!(foreign_line(&line), None, "{}", line);
        }

        #[test]
        fn no_text_breaks_it(text in "(Environment=|[\"'\\\\ =#\n]|HTTP_PROXY|a){0,30}") {
            let _ = foreign_line(&text);
        }
    }
}
