//! A running webhook, and curl.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;
use testkit::{
    pki::Authority,
    process::{Running, field},
};

/// Where to post.
pub const PATH: &str = "/webhook/pod-apiserver-env";

/// A command for the webhook's binary, on ports that are free.
pub fn webhook() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-pod-webhook"));
    command.args([
        "--apiserver-fqdn=foo.bar.",
        "--host=localhost",
        "--port=0",
        "--health-bind-address=127.0.0.1:0",
    ]);
    command
}

/// A webhook that serves, with a certificate of a CA of the test's own.
pub struct Serving {
    pub running: Running,
    pub address: SocketAddr,
    pub health: SocketAddr,
    pub authority: Authority,
    pub folder: TempDir,
}

/// Starts one; its certificate has the serial number 1.
pub fn serve(args: &[&str]) -> Serving {
    let (authority, folder) = (Authority::new("test CA"), tempfile::tempdir().unwrap());
    authority.issue(1).write(folder.path());
    std::fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
    serve_from(authority, folder, args)
}

/// Starts one with the certificates that are in the folder.
pub fn serve_from(authority: Authority, folder: TempDir, args: &[&str]) -> Serving {
    let running = Running::start(webhook().args(args).arg("--cert-dir").arg(folder.path()));
    let line = running.wait_for("] serving");
    Serving { address: field(&line, "address"), health: field(&line, "health"), running, authority, folder }
}

impl Serving {
    /// Runs curl against a path of the webhook, with the test's CA.
    pub fn curl(&self, path: &str, args: &[&str]) -> Curled {
        let url = format!("https://localhost:{}{path}", self.address.port());
        curl(Command::new("curl").arg("--cacert").arg(self.folder.path().join("ca.crt")).args(args).arg(url))
    }

    /// Posts `testdata/admission.json` as the seed does.
    pub fn post_seed(&self, args: &[&str]) -> Curled {
        let body = format!("@{}", testkit::testdata("admission.json").display());
        let mut all = vec!["-H", "Content-Type: application/json", "-d", &body];
        all.extend(args);
        self.curl(PATH, &all)
    }

    /// Gets a path of the health port.
    pub fn health(&self, path: &str) -> Curled {
        curl(Command::new("curl").arg(format!("http://{}{path}", self.health)))
    }

    /// Bytes of memory that are resident.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// Bytes of memory that were resident at most.
    pub fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, kind: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.running.pid())).unwrap().count()
    }
}

/// What curl saw.
#[derive(Debug)]
pub struct Curled {
    /// Its exit code; 0 where it got an answer.
    pub exit: i32,
    /// The HTTP status, 0 where there was none.
    pub status: u16,
    /// `1.1` or `2`
    pub version: String,
    /// The body, with the headers before it where `-i` was given.
    pub body: String,
}

fn curl(command: &mut Command) -> Curled {
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "60",
        "--write-out",
        "\n%{http_code} %{http_version}",
    ]);
    let Output { status, stdout, stderr } = command.output().expect("curl");
    let printed = String::from_utf8_lossy(&stdout).into_owned();
    let (body, figures) = printed.rsplit_once('\n').unwrap_or(("", &printed));
    let (code, version) = figures.split_once(' ').unwrap_or(("0", ""));
    let body = if status.success() { body.to_owned() } else { String::from_utf8_lossy(&stderr).into_owned() };
    Curled {
        exit: status.code().unwrap_or(-1),
        status: code.parse().unwrap_or(0),
        version: version.to_owned(),
        body,
    }
}

/// Puts a set of files into place as kubelet does: a new folder, then the symlink `..data` swapped by a rename.
/// The folder's files are links through `..data`.
pub fn project(folder: &Path, generation: u32, write: impl FnOnce(&Path)) {
    let fresh = folder.join(format!("..2026_{generation}"));
    std::fs::create_dir(&fresh).unwrap();
    write(&fresh);
    let (data, swap) = (folder.join("..data"), folder.join("..data_tmp"));
    std::os::unix::fs::symlink(fresh.file_name().unwrap(), &swap).unwrap();
    let old = std::fs::read_link(&data).ok();
    std::fs::rename(&swap, &data).unwrap();
    for file in std::fs::read_dir(&fresh).unwrap() {
        let name = file.unwrap().file_name();
        let link = folder.join(&name);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(&name), link).unwrap();
        }
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(folder.join(old)).unwrap();
    }
}
