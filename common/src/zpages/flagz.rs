//! `/flagz` as KEP-4828 has it, in plain text.

use std::{collections::BTreeMap, fmt::Write};

use clap::{Arg, ArgMatches, Command};

use super::statusz::WARNING;
use crate::{
    duration::GoDuration,
    flags::{REDACTED, is_secret},
    klog::push_printable,
};

/// All flags of a program and their values, those by default and by environment included.
///
/// Of a flag marked by [`flags::secret`](crate::flags::secret) the value is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flagz(BTreeMap<String, String>);

impl Flagz {
    /// The flags of `command`, as `matches` has them. Values are printed as given, the last of a flag that counts
    /// once, all with commas between them of one that is repeatable; booleans and durations as Go prints them.
    #[must_use]
    pub fn new(command: &Command, matches: &ArgMatches) -> Self {
        let flag = |arg: &Arg| Some((arg.get_long()?.to_owned(), value(arg, matches)));
        Self(command.get_arguments().filter_map(flag).collect())
    }

    /// The value of one of them, as it is printed.
    #[must_use]
    pub fn value(&self, flag: &str) -> &str {
        self.0.get(flag).map(String::as_str).unwrap_or_default()
    }

    /// The same, but for some of them, which are as in `other`.
    #[must_use]
    pub fn with(mut self, flags: &[&str], other: &Self) -> Self {
        for flag in flags {
            if let Some(value) = self.0.get_mut(*flag) {
                other.value(flag).clone_into(value);
            }
        }
        self
    }

    pub(super) fn render(&self, name: &str) -> String {
        let mut text = format!("\n{name} flags\n{WARNING}\n\n");
        for (flag, value) in &self.0 {
            // Writing to a String can't fail.
            let _ = write!(text, "{flag}=");
            push_printable(&mut text, value);
            text.push('\n');
        }
        text
    }
}

fn value(arg: &Arg, matches: &ArgMatches) -> String {
    let id = arg.get_id().as_str();
    let given: Vec<_> = matches.try_get_raw(id).ok().flatten().into_iter().flatten().collect();
    if is_secret(arg) && given.iter().any(|value| !value.is_empty()) {
        return REDACTED.to_owned();
    }
    if let Ok(Some(on)) = matches.try_get_one::<bool>(id) {
        return on.to_string();
    }
    if let Ok(Some(duration)) = matches.try_get_one::<GoDuration>(id) {
        return duration.to_string();
    }
    given.into_iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Program, boolean, parse, secret, string, value};
    use clap::ArgAction;

    fn command() -> Command {
        Command::new("prog").args([
            boolean("daemon", true, ""),
            boolean("cleanup", false, ""),
            value("sync-interval", "duration", |text: &str| text.parse::<GoDuration>(), "")
                .default_value("1m0s"),
            string("ip-address", "").action(ArgAction::Append),
            string("cert-dir", ""),
            string("log_dir", "").default_value("/var/log"),
            secret(string("token", "")),
            secret(string("password", "")),
        ])
    }

    fn flagz(args: &[&str]) -> Flagz {
        let program = Program { name: "prog", env_prefix: "FLAGZ_TEST_" };
        let args = std::iter::once("prog").chain(args.iter().copied()).map(Into::into);
        Flagz::new(&command(), &parse(program, command(), args).unwrap())
    }

    fn rendered(args: &[&str]) -> String {
        let flagz = flagz(args);
        assert!(!format!("{flagz:?}").contains("hunter2"));
        flagz.render("prog")
    }

    #[test]
    fn some_may_be_as_in_another() {
        let before = flagz(&["--cleanup", "--cert-dir=/a"]);
        let after = flagz(&["--cert-dir=/b", "--token=x"]).with(&["cleanup", "unknown"], &before);
        assert_eq!(after, flagz(&["--cleanup", "--cert-dir=/b", "--token=x"]));
    }

    #[test]
    fn it_reads_like_kubernetes() {
        let args = [
            "--ip-address=10.96.0.2,10.96.0.3",
            "--cleanup",
            "--daemon=f",
            "--sync-interval=90s",
            "--ip-address",
            "fd00::2",
            "--token=hunter2",
            "--log_dir=/a",
            "--log_dir=a\nb=c",
        ];
        assert_eq!(
            rendered(&args),
            "\n\
             prog flags\n\
             Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n\
             \n\
             cert-dir=\n\
             cleanup=true\n\
             daemon=false\n\
             ip-address=10.96.0.2,10.96.0.3,fd00::2\n\
             log_dir=a\\nb=c\n\
             password=\n\
             sync-interval=1m30s\n\
             token=REDACTED\n"
        );
    }

    #[test]
    fn defaults_are_told() {
        let text = rendered(&[]);
        for line in ["daemon=true", "cleanup=false", "sync-interval=1m0s", "log_dir=/var/log", "token="] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
