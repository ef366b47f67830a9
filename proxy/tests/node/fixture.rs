//! What every test needs: the binary, servers behind it, and clients.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use testkit::{
    eventually,
    netns::Netns,
    process::{Running, sh},
};

/// Where the proxy listens.
pub const LISTEN: &str = "10.96.0.2:443";
/// Nothing here takes that long unless it is wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The binary: the one that was built with the tests, or that which `PROXY_BINARY` names.
pub fn binary() -> Command {
    let built = || env!("CARGO_BIN_EXE_apiserver-proxy").into();
    Command::new(std::env::var_os("PROXY_BINARY").unwrap_or_else(built))
}

/// It, listening on [`LISTEN`].
pub fn proxy(args: &[&str]) -> Command {
    let mut command = binary();
    command.arg(format!("--listen={LISTEN}")).args(args);
    command
}

/// A program in a PID namespace of its own, as in a container: others have no number there.
pub fn apart(program: &Command) -> Command {
    let mut apart = Command::new("unshare");
    apart.args(["--pid", "--fork", "--kill-child"]).arg(program.get_program()).args(program.get_args());
    apart
}

/// Puts the address in place that the agent would have put there.
pub fn with_address() {
    sh("ip addr add 10.96.0.2/32 dev lo");
}

/// Has the kernel make room for descriptors before there are many, since it may take long in the midst, where a test would
/// wait for its own server (`make_room` in `descriptors.rs` has the story).
pub fn make_room() {
    drop(rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 4096));
}

/// A namespace with the address, and a server `one` at 127.0.0.1:6443.
pub fn scene() -> Netns {
    let netns = Netns::enter();
    with_address();
    server("one", "127.0.0.1:6443");
    netns
}

/// Starts it, and waits until it accepts connections.
pub fn start(args: &[&str]) -> Running {
    let running = Running::start(&mut proxy(args));
    running.wait_for("accepting connections");
    running
}

/// A server that tells its name, one line, and then says back what it hears. It lives as long as the test's process.
pub fn server(name: &'static str, address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let _ = writeln!(stream, "{name}");
                let mut back = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
        }
    });
}

/// A connection through the proxy.
pub struct Client(pub TcpStream);

impl Client {
    /// Only the connection.
    pub fn connect() -> Self {
        Self::to(LISTEN.parse().unwrap())
    }

    /// The same, to a port of 127.0.0.1.
    pub fn at(port: u16) -> Self {
        Self::to(([127, 0, 0, 1], port).into())
    }

    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// And the server's name.
    #[track_caller]
    pub fn greeted() -> (Self, String) {
        let mut client = Self::connect();
        let name = client.line().unwrap();
        (client, name)
    }

    /// One line from the server, without its end.
    pub fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            self.0.read_exact(&mut byte)?;
            if byte == *b"\n" {
                return Ok(String::from_utf8(line).unwrap());
            }
            line.extend(byte);
        }
    }

    /// Whether the server says back what it is told.
    pub fn echoes(&mut self, text: &str) -> std::io::Result<()> {
        let said = format!("{text}\n").into_bytes();
        self.0.write_all(&said)?;
        // At once, not byte by byte: there are tests that do this often.
        let mut heard = vec![0; said.len()];
        self.0.read_exact(&mut heard)?;
        if heard == said {
            Ok(())
        } else {
            let heard = String::from_utf8_lossy(&heard);
            Err(std::io::Error::other(format!("{heard:?} came back for {text:?}")))
        }
    }

    /// Whether it is over, with an end or a reset.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.read(&mut [0]), Ok(1..))
    }
}

/// A health page: its status and its text.
pub fn page(path: &str) -> (u16, String) {
    let address: SocketAddr = "127.0.0.1:16910".parse().unwrap();
    let mut stream = eventually(|| "the health pages".to_owned(), || TcpStream::connect(address).ok());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The value of a metric, with its labels.
pub fn metric(name: &str) -> u64 {
    let (_, text) = page("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}
