//! What is said of a command line that can't be understood.

use std::ffi::OsString;

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{Program, REDACTED, is_secret, variable};

/// The argument that a validation error is about, as `--flag=value`.
pub(super) fn argument_of(error: &clap::Error) -> Option<OsString> {
    let flag = long_name(&context(error, ContextKind::InvalidArg)?);
    let value = context(error, ContextKind::InvalidValue)?;
    Some(format!("{flag}={value}").into())
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// `-v, --v <Level>` or `--port <string>` to `--v` or `--port`.
fn long_name(shown: &str) -> String {
    let words = shown.split([' ', '=', '[', ',']);
    words.into_iter().find(|word| word.starts_with("--")).unwrap_or(shown).to_owned()
}

/// One line for a mistake, in pflag's words where it has them.
pub(super) fn explain(program: Program, command: &Command, error: &clap::Error) -> String {
    let flag = context(error, ContextKind::InvalidArg).map(|shown| long_name(&shown)).unwrap_or_default();
    let given = context(error, ContextKind::InvalidValue).unwrap_or_default();
    let why = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let secret = |arg: &Arg| is_secret(arg) && arg.get_long() == flag.strip_prefix("--");
    // The parser's own words may hold the value too.
    let (given, why) = match command.get_arguments().any(secret) && !given.is_empty() {
        true => (REDACTED.to_owned(), String::new()),
        false => (given, why),
    };
    match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') && !flag.starts_with("--") => {
            format!("unknown flag: {flag}; flags are written with two dashes, see {} --help", program.name)
        }
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let hint = context(error, ContextKind::SuggestedArg)
                .map(|known| format!(", did you mean {}?", long_name(&known)))
                .unwrap_or_else(|| format!("; see {} --help", program.name));
            format!("unknown flag: {flag}{hint}")
        }
        ErrorKind::UnknownArgument => format!(
            "unexpected argument {flag:?}: flags are written --flag=value, and a boolean's value always after \
             the equals sign (--flag=false)"
        ),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if given.is_empty() && why.is_empty() => {
            format!("flag needs a value: {flag}")
        }
        ErrorKind::InvalidValue => {
            let accepted = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) => format!(": accepted are {}", values.join(", ")),
                _ => String::new(),
            };
            format!("invalid argument {given:?} for {flag:?} flag{accepted}")
        }
        ErrorKind::ValueValidation => format!("invalid argument {given:?} for {flag:?} flag{why}"),
        ErrorKind::MissingRequiredArgument => {
            let variable = variable(program, flag.trim_start_matches('-'));
            format!("required flag {flag:?} not set; it can also be set by {variable}")
        }
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}
