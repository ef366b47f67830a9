//! Flags, and the configuration they make. Flags, words and defaults are those of the Go webhook.

mod source;
mod values;

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgMatches, Command};
use common::{
    duration::GoDuration,
    flags::{self, Program, Stop, boolean, string, value},
    listen::{self, HostPort},
    logging::{self, LogConfig},
    zpages::Flagz,
};

pub use self::source::CertificateSource;
use self::values::{parse_budget, parse_count, parse_duration, parse_size};
use crate::{certificates::seconds_since_1970, env::Injection, fqdn::Fqdn, overload::Limits};

/// Name and environment prefix. The prefix is not the program's name: for a Service of that name kubelet would
/// set `APISERVER_PROXY_POD_WEBHOOK_PORT=tcp://…`.
pub const PROGRAM: Program = Program { name: "apiserver-proxy-pod-webhook", env_prefix: "ASP_WEBHOOK_" };

/// Everything the program was told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// What to add to containers, the corporate proxy aside.
    pub injection: Injection,
    /// The API server's name, which is in there.
    pub apiserver_fqdn: Fqdn,
    /// Where the corporate proxy is told.
    pub egress_config: Option<PathBuf>,
    /// Where the certificate comes from.
    pub certificates: CertificateSource,
    /// What measures the certificate of a Secret, in seconds since 1970.
    pub clock: fn() -> i64,
    /// A name or an address; empty for all addresses.
    pub host: String,
    /// 0 for any that is free.
    pub port: u16,
    /// Where the health port is, if there is to be one.
    pub health_address: Option<HostPort>,
    /// How much may be going on at once.
    pub limits: Limits,
    /// How long to go on serving after a signal.
    pub shutdown_delay: GoDuration,
    /// All flags, for `/flagz`.
    pub flagz: Flagz,
    /// The log.
    pub log: LogConfig,
}

fn command() -> Command {
    Command::new(PROGRAM.name)
        .args([
            apiserver_fqdn(),
            apiserver_port(),
            egress_config(),
            value(
                "health-bind-address",
                "string",
                listen::parse_optional,
                "[optional] health-bind-address is the address of /livez, /readyz, /metrics, /statusz and /flagz, in plain HTTP. Empty turns it off.",
            )
            .default_value(":9440"),
            string("host", "[optional] host is the address that the server will listen on. Defaults to \"\" - all addresses.")
                .default_value(""),
            inject_ephemeral_containers(),
            value("max-buffered-bytes", "int", parse_budget, "[optional] max-buffered-bytes is the memory for the bodies of all requests at once, a sixteenth of it for those of up to 64 KiB. A request waits for its part until shortly before its timeout. At least max-request-bytes; with less than twice that, long bodies are read one at a time.")
                .default_value("67108864"),
            value("max-in-flight", "int", parse_count, "[optional] max-in-flight is the number of requests that are read and answered at once. Others wait for their turn until shortly before their timeout.")
                .default_value("256"),
            value("max-request-bytes", "int", parse_size, "[optional] max-request-bytes is the length of the longest request that is read.")
                .default_value("16777216"),
            value("port", "int", |text: &str| text.parse::<u16>().map_err(|_| "not a port; a number from 0 to 65535 is"), "[optional] port is the port number that the server will serve.")
                .default_value("9443"),
            value("shutdown-delay", "duration", parse_duration, "[optional] shutdown-delay is how long the server goes on serving after SIGTERM, while it is taken out of its Service.")
                .default_value("5s"),
        ])
        .args(source::flags())
        .args(logging::basic_flags())
}

/// `--apiserver-fqdn`
pub(crate) fn apiserver_fqdn() -> Arg {
    value(
        "apiserver-fqdn",
        "string",
        |text: &str| text.parse::<Fqdn>(),
        "apiserver-fqdn is the fully qualified domain name of the Kube-API Server e.g. example.com.",
    )
    .required(true)
}

/// `--apiserver-port`
pub(crate) fn apiserver_port() -> Arg {
    value(
        "apiserver-port",
        "int",
        parse_port,
        "[optional] apiserver-port is the port of the Kube-API Server. If set, KUBERNETES_SERVICE_PORT is added too.",
    )
}

/// `--egress-config`
pub(crate) fn egress_config() -> Arg {
    string(
        "egress-config",
        "[optional] egress-config is the file that tells the corporate proxy. If set, HTTP_PROXY, HTTPS_PROXY and NO_PROXY are added too, in capitals and in small letters. Read again when it changes.",
    )
}

/// The file of [`egress_config`].
pub(crate) fn egress_file(matches: &ArgMatches) -> Option<PathBuf> {
    matches.get_one::<String>("egress-config").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// `--inject-ephemeral-containers`
pub(crate) fn inject_ephemeral_containers() -> Arg {
    boolean(
        "inject-ephemeral-containers",
        true,
        "[optional] inject-ephemeral-containers indicates whether debug containers get the variables too.",
    )
}

pub(crate) fn parse_port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("not a port; a number from 1 to 65535 is"),
    }
}

impl Config {
    /// Reads the command line, program name first, and the environment.
    ///
    /// # Errors
    /// [`Stop`] when there is nothing to run.
    pub fn from_command_line(args: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let matches = flags::parse(PROGRAM, command(), args)?;
        Self::from_matches(&matches)
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, Stop> {
        let missing = |name: &str| Stop::Mistake(format!("flag --{name} has no value"));
        let text = |name| matches.get_one::<String>(name).cloned().unwrap_or_default();
        let host = matches.get_one::<Fqdn>("apiserver-fqdn").ok_or_else(|| missing("apiserver-fqdn"))?;
        let ephemeral = matches.get_one::<bool>("inject-ephemeral-containers").copied().unwrap_or(true);
        let size = |name| matches.get_one::<usize>(name).copied().ok_or_else(|| missing(name));
        let limits = Limits {
            request_bytes: size("max-request-bytes")?,
            in_flight: size("max-in-flight")?,
            buffered_bytes: size("max-buffered-bytes")?,
        };
        if limits.buffered_bytes < limits.request_bytes {
            return Err(Stop::Mistake(format!(
                "invalid argument \"{}\" for \"--max-buffered-bytes\" flag: less than --max-request-bytes ({}), so the longest request could never be read; raise it, or lower --max-request-bytes",
                limits.buffered_bytes, limits.request_bytes
            )));
        }
        Ok(Self {
            injection: Injection::new(host, matches.get_one("apiserver-port").copied(), ephemeral),
            apiserver_fqdn: host.clone(),
            egress_config: egress_file(matches),
            certificates: source::from_matches(matches)?,
            clock: seconds_since_1970,
            host: text("host"),
            port: *matches.get_one("port").ok_or_else(|| missing("port"))?,
            health_address: matches.get_one::<Option<HostPort>>("health-bind-address").cloned().flatten(),
            limits,
            shutdown_delay: *matches.get_one("shutdown-delay").ok_or_else(|| missing("shutdown-delay"))?,
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
    fn defaults_are_the_go_webhooks() {
        let config = config(&["--apiserver-fqdn=foo.bar."]).unwrap();
        assert_eq!((config.host.as_str(), config.port), ("", 9443));
        assert_eq!(config.certificates, CertificateSource::InMemory);
        assert_eq!(config.health_address, Some(":9440".parse().unwrap()));
        let limits = Limits { request_bytes: 16 << 20, in_flight: 256, buffered_bytes: 64 << 20 };
        assert_eq!((config.limits, config.egress_config), (limits, None));
        assert_eq!(config.shutdown_delay.to_string(), "5s");
        assert_eq!(config.injection.entries.len(), 1);
    }

    #[test]
    fn files_are_in_the_folder() {
        let config = config(&[
            "--apiserver-fqdn=foo.bar.",
            "--cert-dir=/c",
            "--client-ca-name=ca.crt",
            "--apiserver-port=443",
        ]);
        let config = config.unwrap();
        let CertificateSource::Files(files) = config.certificates else { panic!("no files") };
        assert_eq!(files.to_string(), "/c/tls.crt and /c/tls.key and /c/ca.crt");
        assert_eq!(config.injection.entries.len(), 2);
    }

    #[test]
    fn mistakes_name_flag_and_value() {
        for (args, expected) in [
            (
                &["--apiserver-fqdn=10.0.0.1"][..],
                r#"invalid argument "10.0.0.1" for "--apiserver-fqdn" flag: an IP address; the proxy that Pods are sent to finds the API server by name, so give a name"#,
            ),
            (
                &["--apiserver-fqdn=foo.bar.", "--client-ca-name=ca.crt"],
                r#"invalid argument "ca.crt" for "--client-ca-name" flag: it names a file in --cert-dir, which is not set"#,
            ),
            (
                &["--apiserver-fqdn=foo.bar.", "--apiserver-port=0"],
                r#"invalid argument "0" for "--apiserver-port" flag: not a port; a number from 1 to 65535 is"#,
            ),
            (
                &["--apiserver-fqdn=foo.bar.", "--max-request-bytes=1"],
                r#"invalid argument "1" for "--max-request-bytes" flag: not a number of bytes from 1024 to 1073741824"#,
            ),
            (
                &["--apiserver-fqdn=foo.bar.", "--max-in-flight=0"],
                r#"invalid argument "0" for "--max-in-flight" flag: not a number from 1 to 1000000"#,
            ),
            (
                &["--apiserver-fqdn=foo.bar.", "--max-buffered-bytes=16777215"],
                r#"invalid argument "16777215" for "--max-buffered-bytes" flag: less than --max-request-bytes (16777216), so the longest request could never be read; raise it, or lower --max-request-bytes"#,
            ),
        ] {
            assert_eq!(config(args).unwrap_err(), Stop::Mistake(expected.to_owned()));
        }
    }
}
