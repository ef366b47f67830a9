//! Flags, the file beside them, and the configuration that they make.

mod command;
#[cfg(test)]
mod tests;
mod values;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ArgMatches;
use common::{
    duration::GoDuration,
    flags::{self, FromFile, Program, Stop, key_of},
    listen::HostPort,
    logging::LogConfig,
    reload,
    zpages::{self, Flagz},
};

use self::command::command;
pub use self::command::probe_socket;
use crate::{
    balance::Balance,
    health::{Check, HealthSettings},
    protocol::{
        Protocol,
        connect::{Authority, Connect, Header},
        tlv::{MOST_BYTES, Tlv},
    },
    resolve::Sources,
    shared::{AccessLog, Settings},
    upstream::Upstream,
};

/// Name and environment prefix.
pub const PROGRAM: Program = Program { name: "apiserver-proxy", env_prefix: "ASP_PROXY_" };

/// The flag of the file, which can't be in it.
const CONFIG: &str = "config";
/// Threads by default, at most: a node's cores are there for others.
const MOST_OWN_THREADS: usize = 4;
/// Addresses that one proxy listens on at most.
const MOST_LISTENERS: usize = 64;
/// Names and addresses of upstreams at most. Each name is looked up again and again.
const MOST_UPSTREAMS: usize = 256;

/// Everything the program was told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients come.
    pub listen: Vec<SocketAddr>,
    /// Threads that carry connections.
    pub threads: usize,
    /// Where health pages are served over TCP.
    pub health_address: Option<HostPort>,
    /// Where they are served over a Unix socket.
    pub probe_socket: Option<PathBuf>,
    /// Where endpoints come from.
    pub sources: Sources,
    /// How they are checked.
    pub health: HealthSettings,
    /// How connections are treated.
    pub settings: Settings,
    /// How long they may go on after a signal.
    pub drain_timeout: Duration,
    /// All flags, for `/flagz`.
    pub flagz: Flagz,
    /// The log.
    pub log: LogConfig,
}

/// The file of `--config`, what it holds, and what is given besides.
#[derive(Clone)]
pub struct Source {
    /// What the program was started with.
    pub line: CommandLine,
    /// Where the file is.
    pub path: PathBuf,
    /// What was in it.
    pub bytes: Vec<u8>,
}

/// What was given at the start, the environment besides.
#[derive(Debug, Clone)]
pub struct CommandLine {
    args: Vec<OsString>,
    file: Option<PathBuf>,
}

impl CommandLine {
    /// Reads the command line, program name first, as far as it says where the file is.
    ///
    /// # Errors
    /// [`Stop`] when there is nothing to run.
    pub fn new(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let args: Vec<OsString> = args.into_iter().collect();
        let matches = flags::parse(PROGRAM, command(), args.iter().cloned())?;
        let file = matches.get_one::<String>(CONFIG).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { args, file })
    }

    /// The configuration, with what the file holds.
    ///
    /// # Errors
    /// [`Stop`] when something in it is wrong.
    pub fn config(&self, bytes: &[u8]) -> Result<Config, Stop> {
        let path = self.file.as_deref().unwrap_or(Path::new(""));
        let file = FromFile::read(&command(), bytes, &[CONFIG])
            .map_err(|error| Stop::Mistake(format!("{}: {error}", path.display())))?;
        let args = self.args.iter().cloned();
        Config::from_matches(&flags::parse_with_file(PROGRAM, command(), args, path, &file)?)
    }
}

impl Config {
    /// Reads the command line, program name first, the file that it names, and the environment.
    ///
    /// # Errors
    /// [`Stop`] when there is nothing to run.
    pub fn from_command_line(
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<(Self, Option<Source>), Stop> {
        let line = CommandLine::new(args)?;
        let Some(path) = line.file.clone() else { return Ok((line.config(&[])?, None)) };
        let bytes = reload::read_now(&path)
            .map_err(|error| Stop::Mistake(format!("cannot read {} (--config): {error}", path.display())))?;
        Ok((line.config(&bytes)?, Some(Source { line, path, bytes })))
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, Stop> {
        let missing = |flag: &str| Stop::Mistake(format!("flag --{flag} has no value"));
        let time = |flag: &str| {
            matches.get_one::<GoDuration>(flag).map(|duration| duration.0).ok_or_else(|| missing(flag))
        };
        let number = |flag: &str| matches.get_one::<u64>(flag).copied();
        let on = |flag: &str| matches.get_one::<bool>(flag).copied().unwrap_or_default();
        let text = |flag: &str| matches.get_one::<String>(flag).map(String::as_str).unwrap_or_default();
        let listen = listen(matches)?;
        let idle_timeout = time("idle-timeout")?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = number("threads").and_then(|threads| usize::try_from(threads).ok());
        let sources = Sources {
            upstreams: upstreams(matches, on("discover"))?,
            discover: on("discover"),
            state_dir: Some(text("state-dir")).filter(|path| !path.is_empty()).map(PathBuf::from),
            own: listen.clone(),
        };
        Ok(Self {
            listen,
            threads: threads.unwrap_or(cores.min(MOST_OWN_THREADS)),
            health_address: matches.get_one::<Option<HostPort>>("health-bind-address").cloned().flatten(),
            probe_socket: zpages::place(text("probe-socket"), PROGRAM.name),
            sources,
            health: HealthSettings {
                kind: Check::from_value(text("health-check")).ok_or_else(|| missing("health-check"))?,
                sni: Some(text("health-sni").to_owned()).filter(|name| !name.is_empty()),
                interval: time("health-interval")?,
                timeout: time("health-timeout")?,
            },
            settings: Settings {
                protocol: protocol(matches)?,
                balance: Balance::from_value(text("balance")).ok_or_else(|| missing("balance"))?,
                connect_timeout: time("connect-timeout")?,
                idle_timeout: (!idle_timeout.is_zero()).then_some(idle_timeout),
                user_timeout: time("tcp-user-timeout")?,
                keepalive: time("keepalive")?,
                max_connections: number("max-connections").ok_or_else(|| missing("max-connections"))?,
                close_on_unhealthy: on("close-on-unhealthy"),
                access_log: match text("access-log") {
                    "errors" => AccessLog::Errors,
                    "all" => AccessLog::All,
                    _ => AccessLog::Off,
                },
            },
            drain_timeout: time("drain-timeout")?,
            flagz: Flagz::new(&command(), matches),
            log: LogConfig::from_matches(
                PROGRAM.name,
                matches,
                flags::unknown_variables(PROGRAM, &command()),
            ),
        })
    }

    /// The keys of what another configuration has otherwise and only a restart can change.
    #[must_use]
    pub fn takes_a_restart(&self, other: &Self) -> Vec<String> {
        let is_other = |flag: &&&str| self.flagz.value(flag) != other.flagz.value(flag);
        FIXED.iter().filter(is_other).map(|flag| key_of(flag)).collect()
    }

    /// What is in force when this one follows another while the program runs: what only a restart can change is as it was.
    #[must_use]
    pub fn following(self, before: &Self) -> Self {
        Self {
            sources: Sources { upstreams: self.sources.upstreams, ..before.sources.clone() },
            health: self.health,
            settings: self.settings,
            drain_timeout: self.drain_timeout,
            flagz: self.flagz.with(&FIXED, &before.flagz),
            ..before.clone()
        }
    }
}

/// What only a restart changes.
const FIXED: [&str; 8] =
    ["discover", "health-bind-address", "listen", "log-format", "probe-socket", "state-dir", "threads", "v"];

fn listen(matches: &ArgMatches) -> Result<Vec<SocketAddr>, Stop> {
    let mut listen: Vec<SocketAddr> = Vec::new();
    for address in matches.get_many::<Vec<SocketAddr>>("listen").into_iter().flatten().flatten() {
        if !listen.contains(address) {
            listen.push(*address);
        }
    }
    let mistake = match listen.len() {
        0 => format!(
            "required flag \"--listen\" not set; it can also be set by {}LISTEN, or in the file of --config",
            PROGRAM.env_prefix
        ),
        count if count > MOST_LISTENERS => {
            format!("{count} addresses for \"--listen\" flag: at most {MOST_LISTENERS}")
        }
        _ => match listen.iter().find(|address| is_covered(**address, &listen)) {
            Some(address) => {
                format!(
                    "{address} for \"--listen\" flag: another one of them takes all addresses of that port"
                )
            }
            None => return Ok(listen),
        },
    };
    Err(Stop::Mistake(mistake))
}

/// Whether another of them is for all addresses of that port, this one included.
fn is_covered(address: SocketAddr, all: &[SocketAddr]) -> bool {
    all.iter()
        .filter(|other| **other != address && other.port() == address.port())
        .any(|other| other.ip().is_unspecified() && (other.is_ipv6() || address.is_ipv4()))
}

fn upstreams(matches: &ArgMatches, discover: bool) -> Result<Vec<Upstream>, Stop> {
    let mut upstreams: Vec<Upstream> = Vec::new();
    for upstream in matches.get_many::<Vec<Upstream>>("upstream").into_iter().flatten().flatten() {
        if !upstreams.contains(upstream) {
            upstreams.push(upstream.clone());
        }
    }
    match upstreams.len() {
        0 if !discover => Err(Stop::Mistake(
            "no endpoint can be known: give --upstream=HOST:PORT, or --discover, or both".to_owned(),
        )),
        count if count > MOST_UPSTREAMS => {
            Err(Stop::Mistake(format!("{count} upstreams for \"--upstream\" flag: at most {MOST_UPSTREAMS}")))
        }
        _ => Ok(upstreams),
    }
}

fn protocol(matches: &ArgMatches) -> Result<Protocol, Stop> {
    let name = matches.get_one::<String>("upstream-protocol").map(String::as_str).unwrap_or_default();
    let tlvs: Vec<Tlv> = matches.get_many("proxy-tlv").into_iter().flatten().cloned().collect();
    let headers: Vec<Header> = matches.get_many("connect-header").into_iter().flatten().cloned().collect();
    let target = matches.get_one::<Authority>("connect-target").cloned();
    let mistake = |text: String| Err(Stop::Mistake(text));
    for (flag, given, needed) in [
        ("proxy-tlv", !tlvs.is_empty(), "proxy-v2"),
        ("connect-target", target.is_some(), "http-connect"),
        ("connect-header", !headers.is_empty(), "http-connect"),
    ] {
        if given && name != needed {
            return mistake(format!("--{flag} is for --upstream-protocol={needed}, and that is {name:?}"));
        }
    }
    Ok(match (name, target) {
        ("proxy-v1", _) => Protocol::ProxyV1,
        ("proxy-v2", _) => {
            let bytes: usize = tlvs.iter().map(Tlv::len).sum();
            if bytes > MOST_BYTES {
                return mistake(format!(
                    "{bytes} bytes of TLVs for \"--proxy-tlv\" flag: at most {MOST_BYTES} together"
                ));
            }
            Protocol::ProxyV2(tlvs)
        }
        ("http-connect", Some(target)) => Protocol::HttpConnect(Connect { target, headers }),
        ("http-connect", None) => {
            return mistake("--upstream-protocol=http-connect needs --connect-target=HOST:PORT".to_owned());
        }
        _ => Protocol::Tcp,
    })
}
