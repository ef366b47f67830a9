//! Command lines as Go programs have them.
//!
//! clap does the parsing; this module gives it pflag's manners, so that the arguments of a running DaemonSet
//! or Deployment keep their meaning: `--flag value`, `--flag=value`, `-v 2`, `-v=2`; a boolean takes its value
//! after `=` only (`--daemon=false`, never `--daemon false`); the last of a flag given twice counts; `--help`
//! is laid out as pflag lays it out. Each flag `--some-name` is also the variable `PREFIX` + `SOME_NAME`; the
//! command line wins, and an empty variable counts as unset.
//!
//! Source: <https://pkg.go.dev/github.com/spf13/pflag>.

mod file;
mod mistake;
mod usage;

use std::{ffi::OsString, io::Write, path::Path};

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    builder::{TypedValueParser, ValueParser},
};

pub use self::file::{FromFile, key_of};
use self::{
    file::told,
    mistake::{argument_of, explain},
    usage::usage,
};
use crate::version::version;

/// Exit code for a command line that can't be understood, as Go's flag packages use it.
pub const USAGE_ERROR: u8 = 2;

/// A program as its command line knows it.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The binary's name.
    pub name: &'static str,
    /// What the environment variables start with, such as `ASP_SIDECAR_`.
    pub env_prefix: &'static str,
}

/// Why [`parse`] has no flags to give: the program is to print something and end.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Asked for (`--help`, `--version`): standard output, exit code 0.
    Asked(String),
    /// A mistake: standard error, exit code 2. One line.
    Mistake(String),
}

impl Stop {
    /// Prints the text where it belongs and returns the exit code.
    #[must_use]
    pub fn print(&self) -> u8 {
        // A closed pipe (`--help | head`) is no reason to fail.
        match self {
            Self::Asked(text) => {
                let _ = writeln!(std::io::stdout(), "{text}");
                0
            }
            Self::Mistake(text) => {
                let _ = writeln!(std::io::stderr(), "Error: {text}");
                USAGE_ERROR
            }
        }
    }
}

/// A flag with a value. `kind` is the word that `--help` shows for it (pflag's type name).
pub fn value<P>(name: &'static str, kind: &'static str, parser: P, help: &'static str) -> Arg
where
    P: TypedValueParser + Send + Sync + 'static,
{
    Arg::new(name)
        .long(name)
        .value_name(kind)
        .help(help)
        .value_parser(ValueParser::new(parser))
        .action(ArgAction::Set)
        .allow_hyphen_values(true)
}

/// A flag whose value is any text.
pub fn string(name: &'static str, help: &'static str) -> Arg {
    value(name, "string", clap::builder::StringValueParser::new(), help)
}

/// A boolean flag with Go's spellings (`strconv.ParseBool`).
pub fn boolean(name: &'static str, default: bool, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .action(ArgAction::Set)
        .value_parser(parse_bool)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value(if default { "true" } else { "false" })
}

/// Marks a flag whose value nobody is to see: neither `/flagz` nor an error message has it.
#[must_use]
pub fn secret(arg: Arg) -> Arg {
    // clap's own word for it; `--help` shows no values of the environment anyway.
    arg.hide_env_values(true)
}

/// Whether [`secret`] marked it.
pub(crate) fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

/// What is shown in the place of a secret.
pub(crate) const REDACTED: &str = "REDACTED";

fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

/// Parses the process's arguments, `args` with the program's name first.
///
/// # Errors
/// [`Stop`] when there is nothing to run: help, version, or a mistake (which names flag and value).
pub fn parse<I>(program: Program, command: Command, args: I) -> Result<ArgMatches, Stop>
where
    I: IntoIterator<Item = OsString>,
{
    parse_with_file(program, command, args, Path::new(""), &FromFile::default())
}

/// The same with a file beside it: the command line counts before the file, and the file before the environment.
///
/// # Errors
/// As [`parse`]; a mistake in the file is named with its place.
pub fn parse_with_file<I>(
    program: Program,
    command: Command,
    args: I,
    path: &Path,
    file: &FromFile,
) -> Result<ArgMatches, Stop>
where
    I: IntoIterator<Item = OsString>,
{
    parse_with_env(program, command, args, (path, file), |name| std::env::var_os(name))
}

fn parse_with_env<I>(
    program: Program,
    command: Command,
    args: I,
    (path, file): (&Path, &FromFile),
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<ArgMatches, Stop>
where
    I: IntoIterator<Item = OsString>,
{
    let mut command = command
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(Arg::new("help").short('h').long("help").action(ArgAction::SetTrue).hide(true))
        .arg(
            Arg::new("version").long("version").help("print the version and exit").action(ArgAction::SetTrue),
        );
    command.build();

    let args: Vec<OsString> = args.into_iter().skip(1).collect();
    if let Some(stop) = asked_for(program, &command, &args) {
        return Err(stop);
    }
    let from_env = environment(program, &command, |flag| is_given(&args, flag) || file.has(flag), env);
    let from_file = file.args(|flag| is_given(&args, flag));
    let with_file = from_file.iter().map(|(_, arg)| arg.clone()).chain(args);
    let with_env = from_env.iter().map(|(_, arg)| arg.clone()).chain(with_file);
    command.clone().try_get_matches_from(with_env).map_err(|error| {
        let mistake = explain(program, &command, &error);
        let named = argument_of(&error).unwrap_or_default();
        let variable = from_env.iter().find(|(_, arg)| *arg == named);
        let setting = from_file.iter().find(|(_, arg)| *arg == named);
        Stop::Mistake(match (variable, setting) {
            (Some((variable, _)), _) => format!("{mistake} (set by {variable})"),
            (None, Some((text, _))) => told(path, text, mistake),
            (None, None) => mistake,
        })
    })
}

/// `--help` and `--version` work whatever else is there or missing.
fn asked_for(program: Program, command: &Command, args: &[OsString]) -> Option<Stop> {
    args.iter().find_map(|arg| match arg.to_str()? {
        "--help" | "-h" => Some(Stop::Asked(usage(program, command))),
        "--version" | "--version=true" => Some(Stop::Asked(format!("{} {}", program.name, version()))),
        _ => None,
    })
}

/// Whether a flag is among the arguments.
fn is_given(args: &[OsString], flag: &str) -> bool {
    args.iter().filter_map(|arg| arg.to_str()).any(|arg| {
        arg.strip_prefix("--").is_some_and(|arg| arg.split('=').next() == Some(flag))
            || (flag.len() == 1 && !arg.starts_with("--") && arg.starts_with(&format!("-{flag}")))
    })
}

/// What the environment sets and nothing else does, as arguments (`--flag=value`) beside the
/// variable's name.
fn environment(
    program: Program,
    command: &Command,
    given: impl Fn(&str) -> bool,
    env: impl Fn(&str) -> Option<OsString>,
) -> Vec<(String, OsString)> {
    let settable = command.get_arguments().filter_map(Arg::get_long).filter(|name| !is_meta(name));
    settable
        .filter(|name| !given(name))
        .filter_map(|name| {
            let variable = variable(program, name);
            let value = env(&variable).filter(|value| !value.is_empty())?;
            let mut arg = OsString::from(format!("--{name}="));
            arg.push(value);
            Some((variable, arg))
        })
        .collect()
}

fn is_meta(name: &str) -> bool {
    matches!(name, "help" | "version")
}

fn variable(program: Program, flag: &str) -> String {
    format!("{}{}", program.env_prefix, flag.replace('-', "_").to_ascii_uppercase())
}

/// Variables of the program's prefix that set no flag: most likely typing errors, worth a warning.
#[must_use]
pub fn unknown_variables(program: Program, command: &Command) -> Vec<String> {
    let known: Vec<String> =
        command.get_arguments().filter_map(Arg::get_long).map(|name| variable(program, name)).collect();
    let mut unknown: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(program.env_prefix) && !known.contains(name))
        .collect();
    unknown.sort();
    unknown
}

#[cfg(test)]
mod tests;
