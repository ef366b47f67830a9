//! Flags of `node-proxy`, and the configuration they make.

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgMatches, Command};
use common::{
    duration::GoDuration,
    egress::unit_name,
    flags::{self, Program, Stop, boolean, string, value},
    listen::{self, HostPort},
    logging::{self, LogConfig},
    zpages::Flagz,
};

use crate::cli::{self as agent, PROGRAM};

/// As the command line knows it.
const NODE_PROXY: Program =
    Program { name: "apiserver-proxy-sidecar node-proxy", env_prefix: PROGRAM.env_prefix };

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Put it in place, and end.
    Apply,
    /// Take it away, and end.
    Remove,
    /// Say what differs, and end.
    Check,
    /// Put it in place, and keep it so.
    Daemon,
    /// Print a drop-in, and end.
    Print,
}

/// Everything it was told, checked.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to do.
    pub action: Action,
    /// The configuration file. Without one there are `units`, and the action is to remove.
    pub file: Option<PathBuf>,
    /// The node's file system.
    pub root: PathBuf,
    /// In the place of the file's, each once.
    pub units: Option<Vec<String>>,
    /// Restart the units that run without it.
    pub restart: bool,
    /// The longest wait before the first restart.
    pub jitter: GoDuration,
    /// How often it is looked at without an event.
    pub interval: GoDuration,
    /// Where health pages are served over TCP.
    pub health_address: Option<HostPort>,
    /// Where they are served over a Unix socket.
    pub probe_socket: Option<PathBuf>,
    /// All flags, for `/flagz`.
    pub flagz: Flagz,
    /// The log.
    pub log: LogConfig,
}

fn command() -> Command {
    Command::new(NODE_PROXY.name)
        .args([
            boolean("apply", false, "write the drop-ins, let systemd read them, and end."),
            boolean("check", false, "print what differs, passwords hidden, and end: exit code 1 if something does. Changes nothing."),
            boolean("daemon", false, "write the drop-ins, let systemd read them, and keep it so."),
            string("egress-config", "path of the configuration file: the proxy, the cluster, and which units get it.")
                .default_value(""),
            value(
                "health-bind-address",
                "string",
                listen::parse_optional,
                "[optional] address of /livez, /readyz, /metrics, /statusz and /flagz of the daemon, in plain HTTP. Empty turns it off.",
            )
            .default_value(""),
            value("print", "unit", parse_unit, "print the drop-in of a unit, password and all, and end."),
            agent::probe_socket(),
            boolean("remove", false, "remove the drop-ins, let systemd know, and end. Needs no configuration file with --units."),
            boolean("restart", false, "[optional] restart the units that run without their drop-in, or with it after --remove."),
            value("restart-jitter", "duration", |text: &str| text.parse::<GoDuration>(), "[optional] wait for a random time up to this before the first restart, so that not all nodes restart at once.")
                .default_value("1m0s"),
            string("root", "[optional] the node's file system.").default_value("/"),
            value("sync-interval", "duration", agent::parse_interval, "[optional] interval at which the daemon looks without being told of a change.")
                .default_value("1m0s"),
            value("units", "string", parse_units, "[optional] services that get the proxy, separated by commas, instead of the configuration file's (containerd,kubelet)."),
        ])
        .args(logging::basic_flags())
}

fn parse_unit(text: &str) -> Result<String, String> {
    let name = unit_name(text).ok_or_else(|| format!("{text:?} is not the name of a systemd service"))?;
    Ok(name.to_owned())
}

fn parse_units(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|word| parse_unit(word.trim())).collect::<Result<Vec<_>, _>>().map(each_once)
}

/// The same without those that were there before.
pub(super) fn each_once(units: Vec<String>) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for unit in units {
        if !once.contains(&unit) {
            once.push(unit);
        }
    }
    once
}

impl Options {
    /// Reads the command line, the sub-command's name first, and the environment.
    ///
    /// # Errors
    /// [`Stop`] when there is nothing to run.
    pub fn from_command_line(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let matches = flags::parse(NODE_PROXY, command(), args)?;
        let missing = |name: &str| Stop::Mistake(format!("flag --{name} has no value"));
        let duration = |name: &str| matches.get_one::<GoDuration>(name).copied().ok_or_else(|| missing(name));
        let path = |name| matches.get_one::<String>(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let options = Self {
            action: action(&matches)?,
            file: path("egress-config"),
            root: path("root").ok_or_else(|| missing("root"))?,
            units: matches.get_one::<Vec<String>>("units").cloned(),
            restart: on(&matches, "restart"),
            jitter: duration("restart-jitter")?,
            interval: duration("sync-interval")?,
            health_address: matches.get_one::<Option<HostPort>>("health-bind-address").cloned().flatten(),
            probe_socket: path("probe-socket"),
            flagz: Flagz::new(&command(), &matches),
            log: LogConfig::from_matches(
                PROGRAM.name,
                &matches,
                flags::unknown_variables(NODE_PROXY, &command()),
            ),
        };
        if options.file.is_none() && !(options.action == Action::Remove && options.units.is_some()) {
            let without = if options.action == Action::Remove { ", or --units" } else { "" };
            return Err(Stop::Mistake(format!(
                "required flag \"--egress-config\" not set{without}; it can also be set by {}EGRESS_CONFIG",
                NODE_PROXY.env_prefix
            )));
        }
        Ok(options)
    }
}

fn on(matches: &ArgMatches, name: &str) -> bool {
    matches.get_one::<bool>(name).copied().unwrap_or_default()
}

fn action(matches: &ArgMatches) -> Result<Action, Stop> {
    let flags = [
        ("--apply", Action::Apply, on(matches, "apply")),
        ("--remove", Action::Remove, on(matches, "remove")),
        ("--check", Action::Check, on(matches, "check")),
        ("--daemon", Action::Daemon, on(matches, "daemon")),
        ("--print UNIT", Action::Print, matches.contains_id("print")),
    ];
    let names = flags.each_ref().map(|(name, ..)| *name).join(", ");
    let given: Vec<(&str, Action)> =
        flags.into_iter().filter(|(.., given)| *given).map(|(name, action, _)| (name, action)).collect();
    match given.as_slice() {
        [(_, action)] => Ok(action.clone()),
        [] => Err(Stop::Mistake(format!("what is to be done? Give one of {names}"))),
        several => {
            let given: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            Err(Stop::Mistake(format!("{} exclude each other; give one of {names}", given.join(" and "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, Stop> {
        Options::from_command_line(std::iter::once("node-proxy").chain(args.iter().copied()).map(Into::into))
    }

    #[test]
    fn defaults_touch_no_unit() {
        let options = options(&["--apply", "--egress-config=/x"]).unwrap();
        assert_eq!((options.action, options.root), (Action::Apply, "/".into()));
        assert!(!options.restart && options.units.is_none() && options.probe_socket.is_none());
        assert_eq!(
            (options.jitter.to_string(), options.interval.to_string()),
            ("1m0s".into(), "1m0s".into())
        );
    }

    #[test]
    fn units_are_named_once_and_without_their_ending() {
        let options = options(&["--remove", "--units=b.service, a,b", "--print="]);
        assert!(options.is_err());
        let options = self::options(&["--remove", "--units=b.service, a,b"]).unwrap();
        assert_eq!(options.units.unwrap(), ["b", "a"]);
        assert_eq!(options.file, None);
    }

    #[test]
    fn mistakes_are_named() {
        for (args, expected) in [
            (
                &["--egress-config=/x"][..],
                "what is to be done? Give one of --apply, --remove, --check, --daemon, --print UNIT",
            ),
            (
                &["--egress-config=/x", "--apply", "--daemon"],
                "--apply and --daemon exclude each other; give one of --apply, --remove, --check, --daemon, --print UNIT",
            ),
            (
                &["--apply"],
                "required flag \"--egress-config\" not set; it can also be set by ASP_SIDECAR_EGRESS_CONFIG",
            ),
            (
                &["--remove"],
                "required flag \"--egress-config\" not set, or --units; it can also be set by ASP_SIDECAR_EGRESS_CONFIG",
            ),
            (
                &["--check", "--units=a"],
                "required flag \"--egress-config\" not set; it can also be set by ASP_SIDECAR_EGRESS_CONFIG",
            ),
            (
                &["--remove", "--units=../x"],
                "invalid argument \"../x\" for \"--units\" flag: \"../x\" is not the name of a systemd service",
            ),
            (
                &["--daemon", "--egress-config=/x", "--sync-interval=0"],
                "invalid argument \"0\" for \"--sync-interval\" flag: the interval must be above 0",
            ),
        ] {
            assert_eq!(options(args).unwrap_err(), Stop::Mistake(expected.to_owned()));
        }
    }
}
