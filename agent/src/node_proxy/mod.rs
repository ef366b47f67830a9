//! `apiserver-proxy-sidecar node-proxy`: tells a node's services the corporate proxy, by systemd drop-ins.
//!
//! What a drop-in says comes from `common::egress`; this puts it in its place on a node, lets systemd read it, and on
//! request restarts the units that still run without it. It does that once ([`cli::Action::Apply`]) or keeps it so
//! ([`daemon`]); it also takes it away, and says what differs.
//!
//! - [`cli`]: what to do. [`source`]: the configuration file.
//! - [`tree`], [`files`]: the host's `/etc/systemd/system`. [`systemd`], [`private`]: its D-Bus. [`watch`]: its inotify.
//! - [`ours`], [`diff`], [`plan`]: what is decided, without any of them.
//! - [`keep`]: one round of it all, [`outcome`]: what came of it. [`remove`]: the way back. [`daemon`], [`status`], [`metrics`]: many.
//!
//! A restart of kubelet is the worst that this can do to a node, so it keeps no state but what the node has: a drop-in
//! is in force for a unit that began to run after the file's time. A killed run is made good by the next one.

pub mod cli;
pub mod daemon;
pub mod diff;
pub mod error;
pub mod files;
pub mod keep;
pub mod metrics;
pub mod ours;
pub mod outcome;
pub mod plan;
pub mod private;
pub mod remove;
pub mod source;
pub mod status;
pub mod systemd;
pub mod tree;
pub mod watch;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use caps::CapsHashSet;
use common::version::version;
use nix::sys::stat::{Mode, umask};

use self::{
    cli::{Action, Options},
    keep::Keeper,
    outcome::{Outcome, Reach},
    source::{BadSource, Source, Wanted},
    tree::Tree,
};
use crate::{privileges, runtime};

/// The word after the program's name.
pub const NAME: &str = "node-proxy";

/// Why it ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The runtime or the signal handlers could not be set up.
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] BadSource),
    /// The root can't be used.
    #[error(transparent)]
    Root(#[from] error::FileError),
    /// Not everything is as it was to be.
    #[error("{0}")]
    Undone(String),
    /// Standard output takes nothing.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// `--check`, which has printed what differs.
    #[error("not in place: {0}")]
    Differs(String),
}

/// Runs it with the arguments from the sub-command's name on.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::from_command_line(args) {
        Ok(options) => options,
        Err(stop) => return ExitCode::from(stop.print()),
    };
    if let Err(error) = options.log.init() {
        eprintln!("Error: {error}");
        return ExitCode::FAILURE;
    }
    // A new folder has to be one that can be entered, without a privilege too.
    umask(Mode::from_bits_truncate(0o022));
    // There is no other thread yet. All that is touched belongs to root, which needs no capability for it.
    privileges::drop_all_but(&CapsHashSet::new());
    runtime::run(run(&options), Failed::Start)
}

async fn run(options: &Options) -> Result<(), Failed> {
    if options.action == Action::Remove {
        let units = source::units_to_remove(options)?;
        return remove::remove(options, &units).await;
    }
    // The command line has seen to it that there is one.
    let file = options.file.clone().unwrap_or_default();
    let source = Source::load(file.clone(), options.units.clone())?;
    match options.action {
        Action::Print => print(source.wanted().text.reveal()),
        Action::Check => check(&Tree::open(&options.root)?, source.wanted()),
        Action::Daemon => {
            start(options, &source.wanted().units);
            daemon::run(options, file, source).await.map_err(Failed::Start)
        }
        Action::Apply | Action::Remove => {
            start(options, &source.wanted().units);
            apply(options, source.wanted()).await
        }
    }
}

fn start(options: &Options, units: &[String]) {
    let (root, units) = (options.root.display(), units.join(","));
    tracing::info!(version = version(), action = ?options.action, %root, units, restart = options.restart, "starting");
}

/// Rounds until there is nothing left to wait for, and no more: a second restart would be one for nothing.
async fn apply(options: &Options, wanted: &Wanted) -> Result<(), Failed> {
    let tree = Tree::open(&options.root)?;
    let mut keeper = Keeper::new(options.restart, options.jitter.0, options.interval.0);
    let mut written = 0;
    let outcome = loop {
        let outcome = keeper.round(&tree, wanted).await;
        written += outcome.written;
        match outcome.again {
            Some(wait) if outcome.restarted.is_empty() && outcome.restart_failed.is_none() => {
                tokio::time::sleep(wait).await;
            }
            _ => break outcome,
        }
    };
    finish(options, outcome, written)
}

fn finish(options: &Options, outcome: Outcome, written: usize) -> Result<(), Failed> {
    if let Some(problem) = outcome.problem() {
        return Err(Failed::Undone(problem));
    }
    without_systemd(options, &outcome.systemd)?;
    if !outcome.due.is_empty() {
        tell_due(&outcome.due);
    }
    let restarted = outcome.restarted.join(",");
    tracing::info!(written, restarted, "in place");
    Ok(())
}

/// It is no failure where nothing is to be restarted: in the build of an image, before the first boot.
fn without_systemd(options: &Options, systemd: &Reach) -> Result<(), Failed> {
    if *systemd != Reach::Absent {
        return Ok(());
    }
    let root = options.root.display();
    if options.restart {
        return Err(Failed::Undone(format!("nothing was restarted: {}", status::NO_SYSTEMD)));
    }
    tracing::warn!("no systemd at {root}: what was changed takes effect when it reads its units");
    Ok(())
}

fn tell_due(due: &[String]) {
    let due = due.join(", ");
    tracing::info!(
        "these units run without their drop-in, and have it once they are restarted (--restart): {due}"
    );
}

fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failed::Output)
}

fn check(tree: &Tree, wanted: &Wanted) -> Result<(), Failed> {
    let (mut printed, mut problems) = (String::new(), Vec::new());
    for unit in &wanted.units {
        let path = tree.path(unit).display().to_string();
        let found = match tree.look(unit) {
            Ok(found) => found,
            Err(error) => {
                problems.push(error.to_string());
                continue;
            }
        };
        let differs = match &found {
            None => Some("it is not there".to_owned()),
            Some(found) => found.differs(&wanted.text),
        };
        let Some(differs) = differs else { continue };
        let there = found.as_ref().map(|found| found.text.reveal());
        if there != Some(wanted.text.reveal()) {
            printed.push_str(&diff::diff(&path, there, wanted.text.reveal()));
        }
        problems.push(format!("{path}: {differs}"));
    }
    if problems.is_empty() {
        return print(&format!("in place: {}\n", wanted.units.join(", ")));
    }
    print(&printed)?;
    Err(Failed::Differs(problems.join(" | ")))
}
