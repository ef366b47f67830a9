//! Programs that read `NO_PROXY`, started with one list and asked about one URL after the other.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use testkit::{process::sh, recorder::Recorder, testdata};

/// All programs, by the names that they have in `testdata/egress/dialects.tsv`.
pub const ALL: [&str; 6] = ["curl", "wget", "requests", "urllib", "net-http", "open-uri"];

/// The dialect of the version that is installed, by its id.
pub fn dialect(program: &str) -> &'static str {
    let version = |command: &str| -> (u32, u32) {
        let printed = sh(command);
        let mut words = printed.split_whitespace();
        let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap();
        let mut parts = version.split('.').map(|part| part.parse().unwrap());
        (parts.next().unwrap(), parts.next().unwrap())
    };
    let newest = |known: &[((u32, u32), &'static str)], version| {
        known.iter().rev().find(|(since, _)| *since <= version).unwrap().1
    };
    match program {
        "curl" => newest(
            &[((0, 0), "curl-7.85"), ((7, 86), "curl-7.86"), ((8, 18), "curl-8.18")],
            version("curl --version"),
        ),
        "requests" => newest(
            &[((0, 0), "requests-2.33"), ((2, 34), "requests-2.34")],
            version("/usr/bin/python3 -c 'import requests; print(requests.__version__)'"),
        ),
        "wget" => "wget",
        "urllib" => "urllib",
        "net-http" => "net-http",
        "open-uri" => "open-uri",
        _ => panic!("{program}"),
    }
}

/// A program with its environment.
pub enum Program {
    /// Has to be started for each URL.
    Once(&'static [&'static str], Vec<(String, String)>),
    /// Takes one after the other.
    Loop(Child, ChildStdin, Lines<BufReader<ChildStdout>>),
}

impl Program {
    pub fn start(program: &str, environment: Vec<(String, String)>) -> Self {
        let (interpreter, script) = match program {
            "curl" => {
                return Self::Once(&["curl", "-q", "-g", "-s", "-m", "3", "-o", "/dev/null"], environment);
            }
            "wget" => {
                let words =
                    &["wget", "--no-config", "--no-hsts", "-q", "-T", "3", "-t", "1", "-O", "/dev/null"];
                return Self::Once(words, environment);
            }
            "requests" | "urllib" => ("/usr/bin/python3", format!("with-{program}.py")),
            "net-http" | "open-uri" => ("/usr/bin/ruby", format!("with-{program}.rb")),
            _ => panic!("{program}"),
        };
        let mut child = with(Command::new(interpreter), environment)
            .arg(testdata("egress/ask").join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{interpreter}: {error}"));
        let (ask, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self::Loop(child, ask, BufReader::new(answers).lines())
    }

    /// Has it ask for this URL, whatever comes of it.
    pub fn ask(&mut self, url: &str) {
        match self {
            Self::Once(words, environment) => {
                let output =
                    with(Command::new(words[0]), environment.clone()).args(&words[1..]).arg(url).output();
                output.unwrap_or_else(|error| panic!("{}: {error}", words[0]));
            }
            Self::Loop(_, ask, answers) => {
                writeln!(ask, "{url}").unwrap();
                let line = answers.next().unwrap_or_else(|| panic!("the program ended at {url}"));
                assert_eq!(line.unwrap(), "over", "{url}");
            }
        }
    }

    /// Has it ask, and returns whether the proxy heard of it.
    pub fn comes_to(&mut self, proxy: &Recorder, url: &str) -> bool {
        self.ask(url);
        !proxy.take().is_empty()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Self::Loop(child, ..) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Nothing of our own environment but the path: there may be a proxy in it. No authorities: to read them takes more time
/// than everything else, and nobody gets far enough to need them.
fn with(mut command: Command, environment: Vec<(String, String)>) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").envs(environment);
    command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/dev/null");
    command
}
