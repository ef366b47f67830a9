//! `apiserver-proxy-pod-webhook no-proxy explain HOST…`: does a host go through the proxy, and why? Reads the
//! configuration's file and prints; nothing is looked up, connected to or changed.

mod report;

use std::{ffi::OsString, path::Path};

use clap::{Arg, ArgAction, Command, builder::PossibleValuesParser};
use common::{
    egress::{Target, masked},
    flags::{self, Program, Stop, string, value},
};

use self::report::Report;
use crate::{cli::PROGRAM, egress};

/// The word after the program's name.
pub const NAME: &str = "no-proxy";

const EXPLAIN: &str = "apiserver-proxy-pod-webhook no-proxy explain HOST…";

const USAGE: &str = "usage: apiserver-proxy-pod-webhook no-proxy explain HOST… --config FILE [--output text|json]; a HOST is \
                     host, host:port, [::1]:port or a URL";

/// Why there is nothing to print.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Help, or a mistake on the command line.
    Stop(Stop),
    /// The file can't be used. One line.
    File(String),
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// Makes what the arguments after `no-proxy` ask for.
///
/// # Errors
/// [`Refusal`] when there is nothing to print.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<String, Refusal> {
    let mut args = args.into_iter();
    match args.next().as_ref().map(|word| word.to_string_lossy()).as_deref() {
        Some("explain") => explain(args),
        Some("-h" | "--help") => Err(Stop::Asked(USAGE.to_owned()).into()),
        None => Err(mistake(USAGE)),
        Some(other) => Err(mistake(format!("{other:?} is nothing that no-proxy does; {USAGE}"))),
    }
}

fn explain(args: impl Iterator<Item = OsString>) -> Result<String, Refusal> {
    let program = Program { name: EXPLAIN, env_prefix: PROGRAM.env_prefix };
    let matches = flags::parse(program, command(), std::iter::once(OsString::from(EXPLAIN)).chain(args))?;
    let hosts = matches.get_many("HOST").into_iter().flatten();
    let targets: Vec<Target> = hosts.map(|host: &String| target(host)).collect::<Result<_, _>>()?;
    if targets.is_empty() {
        return Err(mistake(format!("no host is given; {USAGE}")));
    }
    let file: &String = matches.get_one("egress-config").ok_or_else(|| mistake(USAGE))?;
    let config = egress::load(Path::new(file)).map_err(Refusal::File)?;
    let report = Report::new(&config, targets);
    let as_json = matches.get_one::<String>("output").is_some_and(|output| output == "json");
    Ok(if as_json { report.json() } else { report.to_string() })
}

fn command() -> Command {
    Command::new(EXPLAIN).args([
        Arg::new("HOST").num_args(1..).action(ArgAction::Append),
        string("egress-config", "egress-config is the file that says which proxy there is, as the webhook has it. --config is the same.")
            .alias("config")
            .required(true),
        value("output", "string", PossibleValuesParser::new(["text", "json"]), "[optional] output is text for people or json for programs.")
            .default_value("text"),
    ])
}

/// Not by clap, whose errors would show what is in a URL.
fn target(host: &str) -> Result<Target, Refusal> {
    host.parse().map_err(|error| mistake(format!("{:?} is {error}", masked(host))))
}

fn mistake(text: impl Into<String>) -> Refusal {
    Refusal::Stop(Stop::Mistake(text.into()))
}
