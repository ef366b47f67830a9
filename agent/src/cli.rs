//! Flags, and the configuration they make. Flags, words and defaults are those of the Go sidecar.

use std::{ffi::OsString, num::NonZeroU16, path::PathBuf};

use clap::{Arg, ArgMatches, Command, builder::PossibleValuesParser};
use common::{
    duration::GoDuration,
    flags::{self, Program, Stop, boolean, string, value},
    listen::{self, HostPort},
    logging::{self, LogConfig},
    zpages::{self, Flagz},
};

use crate::{
    rules::detect::Choice,
    wanted::{InterfaceName, LocalAddress, Wanted},
};

/// Name and environment prefix. The prefix is none that a Service's name could produce: kubelet sets
/// `NAME_PORT=tcp://…` for every Service.
pub const PROGRAM: Program = Program { name: "apiserver-proxy-sidecar", env_prefix: "ASP_SIDECAR_" };

/// Addresses one agent takes at most. Each costs five rules, and each rule a check.
const MOST_ADDRESSES: usize = 64;

/// Everything the program was told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What to keep in place.
    pub wanted: Wanted,
    /// An identical address that is there already becomes ours.
    pub adopt: bool,
    /// Remove it on exit.
    pub cleanup: bool,
    /// Keep running.
    pub daemon: bool,
    /// Time between two cycles, above 0.
    pub sync_interval: GoDuration,
    /// How rules are kept.
    pub rules_backend: Choice,
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
    Command::new(PROGRAM.name)
        .args([
            boolean(
                "adopt",
                true,
                "[optional] indicates if an identical address that is there already becomes the sidecar's own, to be removed by --cleanup.",
            ),
            boolean(
                "cleanup",
                false,
                "[optional] indicates whether created interface and iptables should be removed on exit.",
            ),
            value(
                "health-bind-address",
                "string",
                listen::parse_optional,
                "[optional] address of /livez, /readyz, /metrics, /statusz and /flagz, in plain HTTP, such as 127.0.0.1:9441. Empty turns it off.",
            )
            .default_value(""),
            boolean("daemon", true, "[optional] indicates if the sidecar should run as a daemon"),
            value(
                "interface",
                "string",
                |text: &str| text.parse::<InterfaceName>(),
                "[optional] name of the interface to add address to.",
            )
            .default_value("lo"),
            value(
                "ip-address",
                "string",
                parse_addresses,
                "ip-address on which the proxy is listening. Several: repeat the flag, or separate them by commas.",
            )
            .action(clap::ArgAction::Append)
            .required(true),
            probe_socket(),
            value("port", "string", parse_port, "[optional] port on which the proxy is listening.").default_value("443"),
            value(
                "rules-backend",
                "string",
                PossibleValuesParser::new(Choice::VALUES),
                "[optional] what iptables rules are set up with: auto, iptables, iptables-legacy, iptables-nft or nftables (a table of its own, no program needed). auto does as the node does.",
            )
            .default_value("auto"),
            boolean("setup-iptables", false, "[optional] indicates whether iptables rules should be setup."),
            value("sync-interval", "duration", parse_interval, "[optional] interval to check for iptables rules.")
                .default_value("1m0s"),
        ])
        .args(logging::basic_flags())
        .args(logging::klog_flags())
}

/// Of the program, and of its `probe`.
pub fn probe_socket() -> Arg {
    string("probe-socket", "[optional] path of a Unix socket with the same pages, for `apiserver-proxy-sidecar probe ready` (or live), as an exec probe. Empty turns it off.")
        .default_value("")
}

fn parse_addresses(text: &str) -> Result<Vec<LocalAddress>, String> {
    let parse = |word: &str| word.parse().map_err(|error| format!("{word:?} is {error}"));
    text.split(',').map(parse).collect()
}

fn parse_port(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| "not a port; a number from 1 to 65535 is".to_owned())
}

pub(crate) fn parse_interval(text: &str) -> Result<GoDuration, String> {
    match text.parse::<GoDuration>() {
        Ok(interval) if interval.0.is_zero() => Err("the interval must be above 0".to_owned()),
        Ok(interval) => Ok(interval),
        Err(error) => Err(error.to_string()),
    }
}

impl Config {
    /// Reads the command line, program name first, and the environment.
    ///
    /// # Errors
    /// [`Stop`] when there is nothing to run.
    pub fn from_command_line(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let matches = flags::parse(PROGRAM, command(), args)?;
        let config = Self::from_matches(&matches)?;
        Ok(config)
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, Stop> {
        let mut addresses: Vec<LocalAddress> = Vec::new();
        for address in matches.get_many::<Vec<LocalAddress>>("ip-address").into_iter().flatten().flatten() {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if addresses.len() > MOST_ADDRESSES {
            let count = addresses.len();
            return Err(Stop::Mistake(format!(
                "{count} addresses for \"--ip-address\" flag: at most {MOST_ADDRESSES}"
            )));
        }
        let on = |name| matches.get_one::<bool>(name).copied().unwrap_or_default();
        let missing = |name: &str| Stop::Mistake(format!("flag --{name} has no value"));
        let interface = matches.get_one::<InterfaceName>("interface").ok_or_else(|| missing("interface"))?;
        let port = matches.get_one::<NonZeroU16>("port").ok_or_else(|| missing("port"))?;
        let interval =
            matches.get_one::<GoDuration>("sync-interval").ok_or_else(|| missing("sync-interval"))?;
        let backend = matches.get_one::<String>("rules-backend").and_then(|value| Choice::from_value(value));
        Ok(Self {
            wanted: Wanted::new(interface.clone(), addresses, *port, on("setup-iptables")),
            adopt: on("adopt"),
            cleanup: on("cleanup"),
            daemon: on("daemon"),
            sync_interval: *interval,
            rules_backend: backend.ok_or_else(|| missing("rules-backend"))?,
            health_address: matches.get_one::<Option<HostPort>>("health-bind-address").cloned().flatten(),
            probe_socket: matches
                .get_one::<String>("probe-socket")
                .and_then(|text| zpages::place(text, PROGRAM.name)),
            flagz: Flagz::new(&command(), matches),
            log: LogConfig::from_matches(
                PROGRAM.name,
                matches,
                flags::unknown_variables(PROGRAM, &command()),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Result<Config, Stop> {
        let args = std::iter::once("prog").chain(args.iter().copied());
        Config::from_command_line(args.map(OsString::from))
    }

    #[test]
    fn defaults_are_the_go_sidecars() {
        let config = config(&["--ip-address=10.96.0.2"]).unwrap();
        assert_eq!(config.wanted.interface.as_str(), "lo");
        assert_eq!(config.wanted.addresses, ["10.96.0.2".parse().unwrap()]);
        assert!(config.wanted.rules.is_empty() && config.daemon && !config.cleanup);
        assert_eq!(config.sync_interval.to_string(), "1m0s");
        assert_eq!(config.rules_backend, Choice::Auto);
    }

    #[test]
    fn addresses_add_up_and_count_once() {
        let config =
            config(&["--ip-address=10.96.0.2,fd00::2", "--ip-address", "10.96.0.2", "--setup-iptables"])
                .unwrap();
        let shown: Vec<String> = config.wanted.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.96.0.2/32", "fd00::2/128"]);
        assert_eq!(config.wanted.rules.len(), 10);
    }

    #[test]
    fn mistakes_name_flag_and_value() {
        let many =
            format!("--ip-address={}", (1..=65).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(","));
        for (args, expected) in [
            (
                &["--ip-address=127.0.0.1"][..],
                r#"invalid argument "127.0.0.1" for "--ip-address" flag: "127.0.0.1" is a loopback address; give a unicast address that the proxy can have for itself"#,
            ),
            (
                &["--ip-address=10.0.0.1,,10.0.0.2"],
                r#"invalid argument "10.0.0.1,,10.0.0.2" for "--ip-address" flag: "" is not an IP address; write one such as 10.96.0.2 or fd00::2, without a prefix length"#,
            ),
            (
                &["--ip-address=10.0.0.1", "--port=0"],
                r#"invalid argument "0" for "--port" flag: not a port; a number from 1 to 65535 is"#,
            ),
            (
                &["--ip-address=10.0.0.1", "--sync-interval=0s"],
                r#"invalid argument "0s" for "--sync-interval" flag: the interval must be above 0"#,
            ),
            (
                &["--ip-address=10.0.0.1", "--sync-interval=60"],
                r#"invalid argument "60" for "--sync-interval" flag: not a duration; write a number and a unit (ns, us, ms, s, m, h), such as 30s or 1m0s"#,
            ),
            (
                &["--ip-address=10.0.0.1", "--interface=a/b"],
                r#"invalid argument "a/b" for "--interface" flag: not a device name; Linux takes 1 to 15 bytes without '/', ':' or white space, such as lo"#,
            ),
            (&[many.as_str()], r#"65 addresses for "--ip-address" flag: at most 64"#),
        ] {
            assert_eq!(config(args).unwrap_err(), Stop::Mistake(expected.to_owned()));
        }
    }
}
