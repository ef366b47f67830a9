//! The drop-in that gives a systemd service the proxy, for `/etc/systemd/system/UNIT.service.d/http-proxy.conf`.
//!
//! Source: `Environment=` in systemd.exec(5), quoting in systemd.syntax(7), specifiers in systemd.unit(5).

use std::fmt::Write as _;

use super::{compose::variables, config::Config, secret::Secret};

/// The whole text of the file. There is a password in it: mode 0600.
#[must_use]
pub fn drop_in(config: &Config) -> Secret {
    let mut text = "[Service]\n".to_owned();
    for variable in variables(config) {
        text.push_str(&environment_line(variable.name, variable.value.reveal()));
    }
    Secret::new(text)
}

/// One line that sets one variable, such that systemd reads the very value that went in.
///
/// In double quotes, systemd undoes C's escapes and expands `%`; `$` means nothing to it. A control character is
/// written as an escape, so that no value can begin a line of its own (systemd then refuses the variable).
#[must_use]
pub fn environment_line(name: &str, value: &str) -> String {
    let mut line = format!("Environment=\"{name}=");
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            '%' => line.push_str("%%"),
            '\n' => line.push_str("\\n"),
            c if c.is_ascii_control() => {
                // Writing to a String does not fail.
                let _ = write!(line, "\\x{:02x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push_str("\"\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What systemd makes of such a line, by its manual pages: quotes off, escapes undone, then specifiers.
    fn as_systemd(line: &str) -> Option<String> {
        let quoted = line.strip_prefix("Environment=\"")?.strip_suffix("\"\n")?;
        let (mut unquoted, mut chars) = (String::new(), quoted.chars());
        while let Some(c) = chars.next() {
            match c {
                '"' | '\n' => return None,
                '\\' => match chars.next()? {
                    'n' => unquoted.push('\n'),
                    'x' => {
                        let digits: String = chars.by_ref().take(2).collect();
                        unquoted.push(char::from(u8::from_str_radix(&digits, 16).ok()?));
                    }
                    c @ ('"' | '\\') => unquoted.push(c),
                    _ => return None,
                },
                c => unquoted.push(c),
            }
        }
        let expanded = unquoted.replace("%%", "\0");
        (!expanded.contains('%') && !unquoted.contains('\0')).then(|| expanded.replace('\0', "%"))
    }

    #[test]
    fn what_systemd_takes_for_itself_is_escaped() {
        for (value, line) in [
            ("http://me:p%40w@proxy", "Environment=\"A=http://me:p%%40w@proxy\"\n"),
            ("a b'c$d${e}", "Environment=\"A=a b'c$d${e}\"\n"),
            (r#"a"b\c"#, "Environment=\"A=a\\\"b\\\\c\"\n"),
            ("a\nExecStart=/x\t", "Environment=\"A=a\\nExecStart=/x\\x09\"\n"),
            ("é", "Environment=\"A=é\"\n"),
        ] {
            assert_eq!(environment_line("A", value), line);
        }
    }

    proptest! {
        #[test]
        fn systemd_reads_what_went_in(value in "([ -~\n\té]|%%|\\\\n|\\\\\"){0,30}") {
            let line = environment_line("A", &value);
            prop_assert_eq!(as_systemd(&line), Some(format!("A={value}")));
            prop_assert_eq!(line.lines().count(), 1);
        }
    }
}
