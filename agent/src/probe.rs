//! `apiserver-proxy-sidecar probe ready` and `probe live`: an exec probe, over the Unix socket of a running agent.
//!
//! Two instances share a node's ports for a while in a rolling update, so a probe over the node's network may ask the
//! wrong one. A socket in a volume of the Pod's own can't be anybody else's.

use std::{ffi::OsString, path::Path};

use clap::Command;
use common::{
    flags::{self, Program, Stop},
    zpages::{self, Page},
};

use crate::cli::{self, PROGRAM};

/// The word after the program's name.
pub const NAME: &str = "probe";

/// Asks, with the arguments after `probe`, and returns what to print and whether it is good.
///
/// # Errors
/// [`Stop`] when there is nothing to ask.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<(bool, String), Stop> {
    let mut args = args.into_iter();
    let page = match args.next().as_ref().and_then(|page| page.to_str()) {
        Some("ready") => Page::Ready,
        Some("live") => Page::Live,
        Some("-h" | "--help") => return Err(Stop::Asked(USAGE.to_owned())),
        other => {
            let given = other.map_or("nothing".to_owned(), |other| format!("{other:?}"));
            return Err(Stop::Mistake(format!("{given} can't be probed; {USAGE}")));
        }
    };
    let command = Command::new(PROGRAM.name).arg(cli::probe_socket());
    let program = Program { name: PROGRAM.name, env_prefix: PROGRAM.env_prefix };
    let name = OsString::from(PROGRAM.name);
    let matches = flags::parse(program, command, std::iter::once(name).chain(args))?;
    let socket = matches.get_one::<String>("probe-socket").filter(|path| !path.is_empty());
    let Some(socket) = socket else {
        return Err(Stop::Mistake(format!(
            "no --probe-socket: give the same path as to the agent, or set {}PROBE_SOCKET for both",
            PROGRAM.env_prefix
        )));
    };
    Ok(match zpages::probe(Path::new(socket), page) {
        Ok(report) => (true, report),
        Err(error) => (false, error.to_string()),
    })
}

const USAGE: &str = "usage: apiserver-proxy-sidecar probe ready|live [--probe-socket=PATH]";
