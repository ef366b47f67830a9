//! A node with a real systemd, a configuration, and the program.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use testkit::{eventually, process::Running, systemd::Systemd};

/// The password of [`CONFIG`], which nobody is to see.
pub const PASSWORD: &str = "mySuperSecretPassword";

/// The seed's configuration.
pub fn seed(file: &str) -> String {
    let folder = testkit::testdata("egress/seed");
    fs::read_to_string(folder.join(file)).unwrap()
}

/// A command for the program.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apiserver-proxy-sidecar"));
    command.arg("node-proxy");
    command
}

pub struct Node {
    pub systemd: Systemd,
    pub folder: tempfile::TempDir,
}

impl Node {
    pub fn boot() -> Self {
        Self::with(Systemd::boot())
    }

    pub fn with(systemd: Systemd) -> Self {
        let node = Self { systemd, folder: tempfile::tempdir().unwrap() };
        node.configure(&seed("config.yaml"));
        node
    }

    /// Where the configuration is.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("egress.yaml")
    }

    pub fn configure(&self, text: &str) {
        fs::write(self.config(), text).unwrap();
    }

    /// A unit's drop-in.
    pub fn drop_in(&self, unit: &str) -> PathBuf {
        self.systemd.path(&format!("/etc/systemd/system/{unit}.service.d/http-proxy.conf"))
    }

    pub fn text(&self, unit: &str) -> String {
        fs::read_to_string(self.drop_in(unit)).unwrap()
    }

    pub fn inode(&self, unit: &str) -> u64 {
        fs::metadata(self.drop_in(unit)).unwrap().ino()
    }

    /// Beside the node, as in a container with its files mounted.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_with(&[], args)
    }

    /// The same with words before the program.
    pub fn command_with(&self, before: &[&str], args: &[&str]) -> Command {
        let inner = self.command_at(self.systemd.mounted(), args);
        let mut command = self.systemd.beside();
        command.args(before).arg(inner.get_program()).args(inner.get_args());
        command
    }

    /// With another root.
    pub fn command_at(&self, root: &Path, args: &[&str]) -> Command {
        let mut command = program();
        command.arg(format!("--root={}", root.display())).arg("--restart-jitter=0");
        command.arg(format!("--egress-config={}", self.config().display())).args(args);
        command
    }

    /// Runs the program to its end, and returns its exit code and what it printed.
    pub fn run(&self, args: &[&str]) -> (i32, String) {
        let (status, printed) = Running::start(&mut self.command(args)).wait();
        (status.code().unwrap_or_else(|| panic!("{status}: {printed}")), printed)
    }

    /// The same, and it is to end well.
    #[track_caller]
    pub fn done(&self, args: &[&str]) -> String {
        let (code, printed) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {printed}");
        printed
    }

    /// The same, and it is to fail with these words.
    #[track_caller]
    pub fn fails(&self, args: &[&str], words: &str) -> String {
        let (code, printed) = self.run(args);
        assert!(code == 1 && printed.contains(words), "{args:?}: {code}: {printed}");
        printed
    }

    /// The process of a unit.
    pub fn pid(&self, unit: &str) -> String {
        self.systemd.property(unit, "MainPID")
    }

    /// The proxy variables that a unit was started with, sorted.
    pub fn variables(&self, unit: &str) -> Vec<String> {
        let mut all = self.systemd.environment(unit).unwrap_or_default();
        all.retain(|variable| variable.to_ascii_lowercase().split('=').next().unwrap().ends_with("_proxy"));
        all.sort();
        all
    }

    /// Waits until a unit, which may have been started just now, has written that it was started with these alone.
    #[track_caller]
    pub fn runs_with(&self, unit: &str, variables: &[String]) {
        let told = || format!("{unit} to run with {variables:?}, it has {:?}", self.variables(unit));
        eventually(told, || (self.variables(unit) == variables).then_some(()));
    }

    /// All that is in a unit's folder.
    pub fn entries(&self, unit: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.drop_in(unit).parent().unwrap()) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The six variables of a drop-in's text without anything that is escaped, sorted.
pub fn variables_of(text: &str) -> Vec<String> {
    let line = |line: &str| line.strip_prefix("Environment=\"")?.strip_suffix('"').map(ToOwned::to_owned);
    let mut variables: Vec<String> = text.lines().filter_map(line).collect();
    variables.sort();
    variables
}
