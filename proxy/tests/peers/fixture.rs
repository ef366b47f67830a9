//! The proxy, a listener behind it, and clients.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use socket2::SockRef;
use testkit::{eventually, netns::Netns, process::Running};

/// Where the proxy listens, if nothing else is said.
pub const LISTEN: &str = "127.0.0.1:8443";
/// Nothing here takes that long unless it is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The proxy in a namespace of its own.
pub struct Proxy {
    pub running: Running,
    _netns: Netns,
}

impl Proxy {
    /// In front of an address, in the calling thread's new namespace. `prepare` may start what is behind it.
    pub fn start<T>(upstream: &str, flags: &[&str], prepare: impl FnOnce() -> T) -> (Self, T) {
        let netns = Netns::enter();
        let prepared = prepare();
        let running = launch(Command::new(env!("CARGO_BIN_EXE_apiserver-proxy")), upstream, flags);
        (Self { running, _netns: netns }, prepared)
    }

    /// In front of a listener that is the test's own.
    pub fn before_listener(flags: &[&str]) -> (Self, TcpListener) {
        let started = Self::start("127.0.0.1:6443", flags, || TcpListener::bind("127.0.0.1:6443").unwrap());
        // The one check that comes at the start.
        drop(accept(&started.1));
        started
    }

    /// Its resident memory, in KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The value of a metric, with its labels.
    pub fn metric(&self, name: &str) -> u64 {
        let answer = get(&mut TcpStream::connect("127.0.0.1:16910").unwrap(), "/metrics");
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in:\n{answer}")).parse().unwrap()
    }

    /// Waits until a metric has a value.
    #[track_caller]
    pub fn wait_for_metric(&self, name: &str, value: u64) {
        eventually(
            || format!("{name} {value}, which is {}", self.metric(name)),
            || (self.metric(name) == value).then_some(()),
        );
    }
}

/// Starts the binary by that command.
pub fn launch(mut command: Command, upstream: &str, flags: &[&str]) -> Running {
    let listens = flags.iter().any(|flag| flag.starts_with("--listen"));
    command.arg(format!("--upstream={upstream}")).args(flags);
    if !listens {
        command.arg(format!("--listen={LISTEN}"));
    }
    // Checks are connections, too, and the test's listeners count theirs: after the first the next is this far away.
    command.arg("--health-interval=1000h");
    let running = Running::start(&mut command);
    running.wait_for("accepting connections");
    running
}

/// A connection, one end of which is never waited for longer than is sane.
pub fn dial(address: &str) -> TcpStream {
    patient(TcpStream::connect(address).unwrap())
}

/// Both ends of a connection through the proxy.
pub fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = dial(LISTEN);
    (client, accept(listener))
}

/// The next connection that the proxy makes.
pub fn accept(listener: &TcpListener) -> TcpStream {
    patient(listener.accept().unwrap().0)
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Closes it by a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The body of an answer to a request over HTTP/1.0.
pub fn get(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}")).1.to_owned()
}

/// Says so many bytes back and forth.
pub fn talk(client: &mut TcpStream, server: &mut TcpStream, text: &[u8]) {
    say(client, server, text);
    say(server, client, text);
}

fn say(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    let mut heard = vec![0; text.len()];
    from.write_all(text).unwrap();
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text);
}

/// Starts a program with a file of configuration, and waits until it listens.
pub fn program(command: &mut Command, address: &str) -> Running {
    let running = Running::start(command);
    let address: SocketAddr = address.parse().unwrap();
    eventually(
        || format!("{command:?} at {address}:\n{}", running.printed()),
        || TcpStream::connect(address).ok(),
    );
    running
}

/// nginx with a server block.
pub fn nginx(folder: &Path, server: &str, address: &str) -> Running {
    let folder_name = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {folder_name}/pid; error_log stderr;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {folder_name}; proxy_temp_path {folder_name};\n\
         fastcgi_temp_path {folder_name}; uwsgi_temp_path {folder_name}; scgi_temp_path {folder_name};\n\
         server {{ {server} }} }}\n"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config).unwrap();
    program(Command::new("nginx").arg("-c").arg(path), address)
}
