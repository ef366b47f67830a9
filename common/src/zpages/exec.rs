//! `PROGRAM probe ready` and `PROGRAM probe live`: an exec probe, over the Unix socket of a running one.
//!
//! Two instances share a node's ports for a while in a rolling update, so a probe over the node's network may ask the
//! wrong one. A socket in a volume of the Pod's own can't be anybody else's.

use std::{ffi::OsString, io::Write};

use clap::{Arg, Command};

use super::{Page, place, probe};
use crate::flags::{self, Program, Stop};

/// The word after the program's name.
pub const PROBE: &str = "probe";

/// Asks, with the arguments after `probe`, prints the answer, and gives the exit code. `socket` is the program's flag
/// `--probe-socket`, whose value is a [`place`].
#[must_use]
pub fn exec_probe(program: Program, socket: Arg, args: impl IntoIterator<Item = OsString>) -> u8 {
    match ask(program, socket, args) {
        // Whoever asked may have closed the pipe already.
        Ok((true, report)) => {
            let _ = writeln!(std::io::stdout(), "{}", report.trim_end());
            0
        }
        Ok((false, report)) => {
            let _ = writeln!(std::io::stderr(), "{}", report.trim_end());
            1
        }
        Err(stop) => stop.print(),
    }
}

/// Asks, and returns what to print and whether it is good.
fn ask(
    program: Program,
    socket: Arg,
    args: impl IntoIterator<Item = OsString>,
) -> Result<(bool, String), Stop> {
    let usage = || format!("usage: {} {PROBE} ready|live [--probe-socket=PATH]", program.name);
    let mut args = args.into_iter();
    let page = match args.next().as_ref().and_then(|page| page.to_str()) {
        Some("ready") => Page::Ready,
        Some("live") => Page::Live,
        Some("-h" | "--help") => return Err(Stop::Asked(usage())),
        other => {
            let given = other.map_or("nothing".to_owned(), |other| format!("{other:?}"));
            return Err(Stop::Mistake(format!("{given} can't be probed; {}", usage())));
        }
    };
    let name = socket.get_id().to_string();
    let with_name = std::iter::once(OsString::from(program.name)).chain(args);
    let matches = flags::parse(program, Command::new(program.name).arg(socket), with_name)?;
    let socket = matches.get_one::<String>(&name).and_then(|socket| place(socket, program.name));
    let Some(socket) = socket else {
        return Err(Stop::Mistake(format!(
            "no --probe-socket: give the same path as to the program that runs, or set {}PROBE_SOCKET for both",
            program.env_prefix
        )));
    };
    Ok(match probe(&socket, page) {
        Ok(report) => (true, report),
        Err(error) => (false, error.to_string()),
    })
}
