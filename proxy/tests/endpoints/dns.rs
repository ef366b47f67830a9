//! A DNS server, and the files that say where it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{mount::MsFlags, sys::signal::Signal};
use tempfile::TempDir;
use testkit::{netns::Netns, process::Running};

/// A namespace with files of its own, and dnsmasq when it is started. It answers for `example`, and for nothing else.
pub struct Dns {
    _netns: Netns,
    folder: TempDir,
    running: Option<Running>,
}

impl Dns {
    /// Without a server yet.
    pub fn enter() -> Self {
        let netns = Netns::enter();
        let folder = tempfile::tempdir().unwrap();
        let dns = Self { _netns: netns, folder, running: None };
        fs::write(dns.path("records"), "").unwrap();
        for (name, text) in [
            ("hosts", ""),
            ("resolv.conf", "nameserver 127.0.0.1\nsearch a.example example\noptions timeout:1 attempts:1\n"),
        ] {
            fs::write(dns.path(name), text).unwrap();
            let (of, to) = (dns.path(name), Path::new("/etc").join(name));
            let none: Option<&str> = None;
            nix::mount::mount(Some(&of), &to, none, MsFlags::MS_BIND, none).unwrap();
        }
        dns
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Begins to answer, each with that TTL.
    pub fn start(&mut self, ttl: u32) {
        let records = self.path("records");
        let mut command = Command::new("dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root"]);
        command.args(["--no-resolv", "--no-hosts", "--local=/example/", "--listen-address=127.0.0.1"]);
        command.args(["--bind-interfaces", "--log-facility=-", "--log-queries"]);
        command.arg(format!("--addn-hosts={}", records.display())).arg(format!("--local-ttl={ttl}"));
        let running = Running::start(&mut command);
        running.wait_for("read ");
        self.running = Some(running);
    }

    /// No longer answers.
    pub fn stop(&mut self) {
        drop(self.running.take());
    }

    /// The questions of so far.
    pub fn log(&self) -> String {
        self.running.as_ref().map(Running::printed).unwrap_or_default()
    }

    /// Lines of `address name`.
    pub fn answer(&self, records: &str) {
        fs::write(self.path("records"), records).unwrap();
        if let Some(running) = &self.running {
            running.signal(Signal::SIGHUP);
        }
    }

    /// What `/etc/hosts` says.
    pub fn hosts(&self, text: &str) {
        // In place, since it is mounted.
        fs::write(self.path("hosts"), text).unwrap();
    }
}
