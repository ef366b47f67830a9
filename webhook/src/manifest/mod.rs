//! `apiserver-proxy-pod-webhook manifest webhook` and `manifest policy`: the registration, printed. Pure, but for
//! the files of `--ca-bundle-file` and `--egress-config`.
//!
//! The first tells the API server to ask the webhook, the second has the API server do the same by itself. Both
//! take the same Pods and give the same Pods back. What is printed is ready for `kubectl apply`: values are
//! validated, and the same arguments always print the same text.

mod cel;
mod policy;
mod values;
mod webhook;

use std::ffi::OsString;

use clap::{Arg, ArgMatches, Command};
use common::flags::{self, Program, Stop, value};

use crate::{cli::PROGRAM, inject::OPTED_OUT, names::Subdomain, review::pod::INJECT_LABEL};
use values::quoted;

/// The word after the program's name.
pub const NAME: &str = "manifest";

const USAGE: &str = "usage: apiserver-proxy-pod-webhook manifest webhook|policy [flags]; \
                     --help after either word lists its flags";

/// What both objects are called, and the webhook in the first, which needs three labels at least.
const DEFAULT_NAME: &str = "apiserver-proxy.networking.gardener.cloud";

/// Makes what the arguments after `manifest` ask for.
///
/// # Errors
/// [`Stop`] when there is nothing to print.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<String, Stop> {
    let mut args = args.into_iter();
    match args.next().as_ref().and_then(|word| word.to_str()) {
        Some("webhook") => {
            let name = "apiserver-proxy-pod-webhook manifest webhook";
            webhook::print(&parse(name, webhook::command(), args)?)
        }
        Some("policy") => {
            policy::print(&parse("apiserver-proxy-pod-webhook manifest policy", policy::command(), args)?)
        }
        Some("-h" | "--help") => Err(Stop::Asked(USAGE.to_owned())),
        None => Err(Stop::Mistake(USAGE.to_owned())),
        Some(other) => Err(Stop::Mistake(format!("{other:?} is no manifest; {USAGE}"))),
    }
}

fn parse(
    name: &'static str,
    command: Command,
    args: impl Iterator<Item = OsString>,
) -> Result<ArgMatches, Stop> {
    let program = Program { name, env_prefix: PROGRAM.env_prefix };
    flags::parse(program, command, std::iter::once(OsString::from(name)).chain(args))
}

/// `--name`
fn name_flag(help: &'static str) -> Arg {
    value("name", "string", |text: &str| text.parse::<Subdomain>(), help).default_value(DEFAULT_NAME)
}

/// The value of a flag that has one by default.
fn given<'a, T: Clone + Send + Sync + 'static>(matches: &'a ArgMatches, name: &str) -> Result<&'a T, Stop> {
    matches.get_one(name).ok_or_else(|| Stop::Mistake(format!("flag --{name} has no value")))
}

/// The label's values that mean no, quoted, with commas between.
fn opted_out() -> String {
    OPTED_OUT.map(quoted).join(", ")
}

/// An entry of `matchExpressions` that selects all that has not opted out.
fn not_opted_out() -> String {
    format!(
        "        - key: {INJECT_LABEL}
          operator: NotIn
          values: [{}]
",
        opted_out()
    )
}

/// The requests that matter, as entries of `rules` or `resourceRules`.
fn rules(ephemeral_containers: bool) -> String {
    let rule = |operation, resource| {
        format!(
            "      - apiGroups: [\"\"]
        apiVersions: [v1]
        operations: [{operation}]
        resources: [{resource}]
        scope: Namespaced
"
        )
    };
    let mut rules = rule("CREATE", "pods");
    if ephemeral_containers {
        rules += &rule("UPDATE", "pods/ephemeralcontainers");
    }
    rules
}
