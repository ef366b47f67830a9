//! All flags.

use clap::{Arg, ArgAction, Command, builder::PossibleValuesParser};
use common::{
    flags::{boolean, secret, string, value},
    listen, logging,
};

use super::{PROGRAM, values};
use crate::{
    balance::Balance,
    health::Check,
    protocol::{
        connect::{Authority, Header},
        tlv::Tlv,
    },
};

const PROTOCOLS: [&str; 4] = ["tcp", "proxy-v1", "proxy-v2", "http-connect"];
const ACCESS_LOGS: [&str; 3] = ["off", "errors", "all"];
/// More threads than that carry no more.
const MOST_THREADS: u64 = 64;
const MOST_CONNECTIONS: u64 = 1_000_000;

fn one_of(name: &'static str, values: impl Into<PossibleValuesParser>, help: &'static str) -> Arg {
    value(name, "string", values.into(), help)
}

/// `--probe-socket`, also for `probe`.
pub fn probe_socket() -> Arg {
    string("probe-socket", "[optional] where `apiserver-proxy probe ready` (or live) asks, as an exec probe: the path of a Unix socket, or @NAME for an abstract one; @ alone is a name for this container. Empty turns it off.")
        .default_value("@")
}

pub(super) fn command() -> Command {
    Command::new(PROGRAM.name)
        .args(connections())
        .args(upstreams())
        .args(process())
        .args(logging::basic_flags())
}

fn connections() -> [Arg; 9] {
    [
        value("listen", "string", values::addresses, "address and port to listen on, such as 10.96.0.2:443, whether the node has it already or not. Several: repeat the flag, or separate them by commas.")
            .action(ArgAction::Append),
        value("max-connections", "int", clap::value_parser!(u64).range(1..=MOST_CONNECTIONS), "[optional] connections at once; with more, accepting pauses.")
            .default_value("10000"),
        value("connect-timeout", "duration", values::above_zero, "[optional] within which an endpoint has to be found for a connection; and an answer to CONNECT to come.")
            .default_value("5s"),
        value("idle-timeout", "duration", values::duration, "[optional] after which a connection on which nothing moves is closed; 0 for never.")
            .default_value("0s"),
        value("tcp-user-timeout", "duration", values::user_timeout, "[optional] how long what was sent may stay unacknowledged.")
            .default_value("30s"),
        value("keepalive", "duration", values::keepalive, "[optional] after how long of silence, and how often, the other side is asked whether it is there.")
            .default_value("15s"),
        value("drain-timeout", "duration", values::duration, "[optional] how long connections may go on after SIGTERM.")
            .default_value("30s"),
        boolean("close-on-unhealthy", true, "[optional] indicates if connections to an endpoint that has failed are closed while another one is healthy."),
        one_of("access-log", ACCESS_LOGS, "[optional] which connections get a line in the log: off, errors or all.")
            .default_value("off"),
    ]
}

fn upstreams() -> [Arg; 12] {
    [
        value("upstream", "string", values::upstreams, "HOST:PORT of API servers; every address of a name is an endpoint. Several: repeat the flag, or separate them by commas.")
            .action(ArgAction::Append),
        boolean("discover", false, "[optional] indicates if endpoints are also taken from the cluster's own EndpointSlice kubernetes."),
        string("state-dir", "[optional] folder where the last known list of --discover is kept, for a start while the API server is away.")
            .default_value(""),
        one_of("upstream-protocol", PROTOCOLS, "[optional] what upstreams are spoken to with: tcp, proxy-v1, proxy-v2 or http-connect.")
            .default_value("tcp"),
        value("proxy-tlv", "string", |text: &str| text.parse::<Tlv>(), "[optional] TLV for proxy-v2, such as 0xEA=text or 0xEA=hex:0123. Repeatable.")
            .action(ArgAction::Append),
        value("connect-target", "string", |text: &str| text.parse::<Authority>(), "host:port that http-connect asks for."),
        // Such as Proxy-Authorization.
        secret(value("connect-header", "string", |text: &str| text.parse::<Header>(), "[optional] header for http-connect, such as \"X-Gardener-Destination: outbound|443||kube-apiserver.NAMESPACE.svc.cluster.local\". Repeatable."))
            .action(ArgAction::Append),
        one_of("balance", Balance::VALUES, "[optional] how connections are spread: least-connections or round-robin.")
            .default_value("least-connections"),
        one_of("health-check", Check::VALUES, "[optional] how endpoints are checked: tcp (a connect), tls (a handshake) or https (GET /readyz).")
            .default_value("tcp"),
        value("health-sni", "string", values::server_name, "[optional] server name for tls and https; the upstream's own if empty.")
            .default_value(""),
        value("health-interval", "duration", values::above_zero, "[optional] time between two checks of an endpoint.")
            .default_value("10s"),
        value("health-timeout", "duration", values::above_zero, "[optional] time for one check.").default_value("1s"),
    ]
}

fn process() -> [Arg; 4] {
    [
        string("config", "[optional] YAML file with the same settings, keys in camelCase, read again when it changes. The command line counts before it, and it before the environment.")
            .default_value(""),
        value("threads", "int", clap::value_parser!(u64).range(1..=MOST_THREADS), "[optional] threads that carry connections (default: as many as there are cores, at most 4)"),
        value("health-bind-address", "string", listen::parse_optional, "[optional] address of /livez, /readyz, /metrics, /statusz and /flagz, in plain HTTP. Empty turns it off.")
            .default_value("127.0.0.1:16910"),
        probe_socket(),
    ]
}
