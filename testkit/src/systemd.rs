//! A real systemd, as the first process of namespaces of its own, with a file system of its own.
//!
//! `/usr` is the machine's, read-only; everything else is empty but for what is written here. It starts in about two
//! seconds and ends, with all that it started and mounted, when it is dropped or the test ends in any other way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::Pid;

use crate::{
    eventually,
    process::{Running, sh, try_sh},
};

/// Makes the file system, and becomes systemd. `$1` is an empty folder, `$2` is `bus` if a bus is wanted.
const BOOT: &str = r#"
set -eu
export PATH="$PATH:/usr/sbin:/sbin"
root=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p usr etc/systemd/system etc/dbus-1 run tmp var proc sys dev root
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
mount --rbind -o ro /usr usr
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
# Of the first version of cgroups where the machine has it, else of the second.
mount -t tmpfs tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
if ! mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd 2>/dev/null; then
    umount sys/fs/cgroup
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
mount -t tmpfs -o mode=755 tmpfs run
echo root:x:0:0:root:/root:/bin/sh >etc/passwd
echo root:x:0: >etc/group
: >etc/machine-id
for unit in containerd kubelet; do
    printf '[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sh -c "env -0 > /run/env.%s; exec sleep infinity"\n' \
        $unit >etc/systemd/system/$unit.service
done
wants="containerd.service kubelet.service"
if [ "$2" = bus ]; then
    wants="$wants dbus.socket"
    printf '[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\n' \
        >etc/systemd/system/dbus.socket
    # As Debian's, but for its user: in a user namespace there may be root alone.
    sed 's/<user>.*<.user>//; s/<servicehelper>.*//; s/<includedir>system.d/<includedir>\/usr\/share\/dbus-1\/system.d/' \
        /usr/share/dbus-1/system.conf >etc/dbus-1/test.conf
    printf '[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\nNotifyAccess=main\nExecStart=/usr/bin/dbus-daemon --config-file=/etc/dbus-1/test.conf --address=systemd: --nofork --nopidfile --systemd-activation\n' \
        >etc/systemd/system/dbus.service
    wants="$wants dbus.service"
fi
printf '[Unit]\nDefaultDependencies=no\nWants=%s\n' "$wants" >etc/systemd/system/test.target
exec env -i container=test PATH=/usr/bin:/usr/sbin chroot "$root" /lib/systemd/systemd \
    --unit=test.target --log-target=console --log-level=info --show-status=no
"#;

/// A running systemd.
#[derive(Debug)]
pub struct Systemd {
    /// Killed, it takes everything with it.
    unshare: Running,
    /// systemd, seen from here.
    pid: Pid,
    /// Where its root is mounted in its own mount namespace.
    mounted: tempfile::TempDir,
}

impl Systemd {
    /// Starts one, with the units `containerd` and `kubelet`, which write their environment to `/run/env.UNIT`, and
    /// with systemd's own socket only.
    ///
    /// # Panics
    /// When that is not permitted, or it does not come up.
    #[must_use]
    pub fn boot() -> Self {
        Self::start("private")
    }

    /// The same with a system bus.
    ///
    /// # Panics
    /// When that is not permitted, or it does not come up.
    #[must_use]
    pub fn boot_with_bus() -> Self {
        let booted = Self::start("bus");
        let socket = booted.path("/run/dbus/system_bus_socket");
        eventually(|| "the bus".to_owned(), || socket.exists().then_some(()));
        // It answers once it knows systemd.
        let asked = "busctl --system call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.DBus.Peer Ping";
        eventually(
            || format!("systemd on the bus: {}", booted.unshare.printed()),
            || booted.try_run(asked).status.success().then_some(()),
        );
        booted
    }

    fn start(bus: &str) -> Self {
        let mounted = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("setpriv");
        // Ends with the thread that starts it, however that ends.
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--net",
            "--ipc",
            "--uts",
        ]);
        command.args(["--cgroup", "--kill-child", "sh", "-c", BOOT, "sh"]).arg(mounted.path()).arg(bus);
        let unshare = Running::start(&mut command);
        let child = || {
            let children = try_sh(&format!("pgrep --parent {}", unshare.pid())).stdout;
            String::from_utf8_lossy(&children).trim().parse().ok().map(Pid::from_raw)
        };
        let pid = eventually(|| format!("systemd: {}", unshare.printed()), child);
        let booted = Self { unshare, pid, mounted };
        eventually(
            || format!("systemd to be up: {}", booted.unshare.printed()),
            || ["containerd", "kubelet"].iter().all(|unit| booted.environment(unit).is_some()).then_some(()),
        );
        booted
    }

    /// Its root, as it is seen from here: what a container would have as `/host`.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }

    /// A path of its own, as it is seen from here.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// A command in its mount and process namespaces, where its root is at [`Systemd::mounted`] and the machine's own
    /// files are beside it: as in a container with the node's files mounted. Unlike [`Systemd::root`], that path needs
    /// no privilege over its processes.
    #[must_use]
    pub fn beside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.pid)).args(["--mount", "--pid", "--"]);
        command
    }

    /// Where its root is for [`Systemd::beside`].
    #[must_use]
    pub fn mounted(&self) -> &Path {
        self.mounted.path()
    }

    fn nsenter(&self, command: &str) -> String {
        let command = command.replace('\'', r"'\''");
        format!(
            "nsenter --target={} --mount --pid --net --ipc --uts --cgroup --root --wd=/ sh -c '{command}'",
            self.pid
        )
    }

    /// Runs a shell command in it, and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        sh(&self.nsenter(command))
    }

    /// The same, whatever comes of it.
    #[must_use]
    pub fn try_run(&self, command: &str) -> std::process::Output {
        try_sh(&self.nsenter(command))
    }

    /// A property of a unit.
    ///
    /// # Panics
    /// When systemd does not tell.
    #[track_caller]
    pub fn property(&self, unit: &str, property: &str) -> String {
        self.run(&format!("systemctl show --value -p {property} {unit}.service")).trim_end().to_owned()
    }

    /// The environment that a unit was started with, as it wrote it; nothing if it has not.
    #[must_use]
    pub fn environment(&self, unit: &str) -> Option<Vec<String>> {
        let bytes =
            fs::read(self.path(&format!("/run/env.{unit}"))).ok().filter(|bytes| bytes.ends_with(&[0]))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Some(text.split_terminator('\0').map(ToOwned::to_owned).collect())
    }

    /// When it last read its units, in its own count of time.
    #[must_use]
    pub fn units_read(&self) -> String {
        self.run("systemctl show --value -p UnitsLoadStartTimestampMonotonic").trim_end().to_owned()
    }
}
