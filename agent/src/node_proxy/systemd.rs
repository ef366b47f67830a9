//! systemd, over D-Bus: asked how a unit runs, told to read its files anew, and to restart a unit.
//!
//! Source: org.freedesktop.systemd1(5).

use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use common::duration::GoDuration;
use nix::fcntl::OFlag;
use tokio::{net::UnixStream, time::timeout};
use zbus::{Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant, Structure, connection::Builder};

use super::{error::FileError, plan::Run, private, tree::Root};

/// The bus, and systemd's own socket, which is there before the bus and without one. Below the root.
const BUS: &str = "run/dbus/system_bus_socket";
const PRIVATE: &str = "run/systemd/private";

const CONNECT_TIME: Duration = Duration::from_secs(5);
const CALL_TIME: Duration = Duration::from_secs(30);
/// A unit may take that long to stop and start.
const JOB_TIME: Duration = Duration::from_secs(180);
const JOB_INTERVAL: Duration = Duration::from_millis(200);

const NAME: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// Why systemd did not do what it was to.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// A socket can't be looked at.
    #[error(transparent)]
    Socket(#[from] FileError),
    /// Nobody answers as it should be.
    #[error("cannot connect to systemd through {path}: {cause}{}", connect_advice(cause))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the library said.
        cause: String,
    },
    /// It refused.
    #[error("systemd did not {what}: {cause}")]
    Call {
        /// What was asked for.
        what: String,
        /// What the library said.
        cause: String,
    },
    /// It takes too long.
    #[error("systemd did not {what} within {}", GoDuration(*limit))]
    Late {
        /// What was asked for.
        what: String,
        /// How long we waited.
        limit: Duration,
    },
    /// It has been told, and still does not have it.
    #[error("systemd does not read {path}; is --root the file system that it sees?")]
    Ignored {
        /// The drop-in.
        path: PathBuf,
    },
    /// A unit was restarted, and does not run.
    #[error("{unit}.service is {state} after its restart; see journalctl -u {unit}")]
    NotRunning {
        /// Without `.service`.
        unit: String,
        /// What systemd calls it.
        state: String,
    },
}

fn connect_advice(cause: &str) -> &'static str {
    match cause.to_ascii_lowercase() {
        cause if cause.contains("refused") => {
            "; nobody listens there: is the socket's folder mounted, rather than the socket, which is made anew?"
        }
        cause if cause.contains("denied") => {
            "; in a container, AppArmor or SELinux may be in the way (appArmorProfile: Unconfined)"
        }
        _ => "",
    }
}

/// A connection to systemd.
#[derive(Debug)]
pub struct Systemd {
    connection: Connection,
    /// Whom to call on a bus.
    destination: Option<&'static str>,
}

/// A unit as systemd knows it.
#[derive(Debug, Clone)]
pub struct Unit {
    path: OwnedObjectPath,
    /// There is such a unit on this node.
    pub exists: bool,
    /// Its files have changed since systemd read them. Not said of a drop-in whose folder is new.
    pub needs_reload: bool,
    /// The drop-ins that it has read, by their paths.
    pub drop_ins: Vec<String>,
    /// How it runs.
    pub run: Run,
}

impl Unit {
    /// Whether systemd has yet to read the drop-in of a unit that there is.
    #[must_use]
    pub fn lacks(&self, drop_in: &str) -> bool {
        self.exists && !self.drop_ins.iter().any(|there| there == drop_in)
    }
}

impl Systemd {
    /// Connects to the bus, or to systemd's own socket where there is no bus; nothing where there is neither.
    ///
    /// # Errors
    /// When there is a socket, and nobody answers.
    pub async fn connect(root: &Root) -> Result<Option<Self>, SystemdError> {
        let mut failed = None;
        for (path, destination) in [(BUS, Some(NAME)), (PRIVATE, None)] {
            let Some(socket) = root.open_below(path, OFlag::O_PATH)? else { continue };
            let connected = timeout(CONNECT_TIME, open(socket, destination.is_some())).await;
            match connected.unwrap_or_else(|_| Err(format!("no answer within {}", GoDuration(CONNECT_TIME))))
            {
                Ok(connection) => return Ok(Some(Self { connection, destination })),
                // A bus that is down may leave its socket behind.
                Err(cause) => {
                    failed.get_or_insert(SystemdError::Connect { path: root.shown(path), cause });
                }
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Makes systemd read all units' files anew.
    ///
    /// # Errors
    /// When it refuses, or takes too long.
    pub async fn reload(&self) -> Result<(), SystemdError> {
        self.call("reload its units", MANAGER_PATH, MANAGER, "Reload", &()).await?;
        Ok(())
    }

    /// Asks how a unit is, given without `.service`.
    ///
    /// # Errors
    /// When it refuses, or takes too long.
    pub async fn unit(&self, unit: &str) -> Result<Unit, SystemdError> {
        let name = format!("{unit}.service");
        let what = format!("load {name}");
        let message = self.call(&what, MANAGER_PATH, MANAGER, "LoadUnit", &(&name,)).await?;
        let path = path_in(&message, &what)?;
        let load_state: String = self.get(&path, UNIT, "LoadState").await?;
        let exists = load_state == "loaded";
        let run = Run {
            state: self.get(&path, UNIT, "ActiveState").await?,
            active_enter: self.get(&path, UNIT, "ActiveEnterTimestamp").await?,
            main_start: self.get(&path, SERVICE, "ExecMainStartTimestamp").await?,
            main_pid: self.get(&path, SERVICE, "MainPID").await?,
        };
        let drop_ins = self.get(&path, UNIT, "DropInPaths").await?;
        let needs_reload = self.get(&path, UNIT, "NeedDaemonReload").await?;
        Ok(Unit { path, exists, needs_reload, drop_ins, run })
    }

    /// Restarts a unit, and waits until it runs again. Returns how it runs then.
    ///
    /// # Errors
    /// When it refuses, or the unit does not run afterwards, or that takes too long.
    pub async fn restart(&self, unit: &str) -> Result<Run, SystemdError> {
        let before = self.unit(unit).await?;
        let what = format!("restart {unit}.service");
        let name = format!("{unit}.service");
        let message = self.call(&what, MANAGER_PATH, MANAGER, "RestartUnit", &(&name, "replace")).await?;
        let job = path_in(&message, &what)?;
        let id: u32 = job.as_str().rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or_default();
        let began = Instant::now();
        while self.job(&before.path).await? == id {
            if began.elapsed() > JOB_TIME {
                return Err(SystemdError::Late { what, limit: JOB_TIME });
            }
            tokio::time::sleep(JOB_INTERVAL).await;
        }
        let after = self.unit(unit).await?.run;
        match after.is_active() && after.began() != before.run.began() {
            true => Ok(after),
            false if after.is_active() => {
                Err(SystemdError::Call { what, cause: "its job was cancelled".to_owned() })
            }
            false => Err(SystemdError::NotRunning { unit: unit.to_owned(), state: after.state }),
        }
    }

    /// The number of a unit's job; 0 for none.
    async fn job(&self, unit: &OwnedObjectPath) -> Result<u32, SystemdError> {
        let job: Structure<'static> = self.get(unit, UNIT, "Job").await?;
        Ok(job.fields().first().and_then(|id| id.downcast_ref().ok()).unwrap_or_default())
    }

    /// One property at a time: among all of a unit's there is its environment, and in that the password.
    async fn get<T>(&self, path: &OwnedObjectPath, interface: &str, property: &str) -> Result<T, SystemdError>
    where
        T: TryFrom<OwnedVariant>,
    {
        let what = format!("tell {property} of {path}");
        let message = self
            .call(&what, path.as_str(), "org.freedesktop.DBus.Properties", "Get", &(interface, property))
            .await?;
        let value = message.body().deserialize::<OwnedVariant>().ok();
        value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| unexpected(&what))
    }

    async fn call<B>(
        &self,
        what: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, SystemdError>
    where
        B: serde::Serialize + DynamicType,
    {
        let call = self.connection.call_method(self.destination, path, Some(interface), method, body);
        match timeout(CALL_TIME, call).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) => Err(SystemdError::Call { what: what.to_owned(), cause: error.to_string() }),
            Err(_) => Err(SystemdError::Late { what: what.to_owned(), limit: CALL_TIME }),
        }
    }
}

/// Through the descriptor: a path could lead out of the root, or be too long for a socket.
async fn open(socket: OwnedFd, bus: bool) -> Result<Connection, String> {
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let stream = UnixStream::connect(path).await.map_err(|error| error.to_string())?;
    if !bus {
        return private::connect(stream).await;
    }
    let stream = stream.into_std().map_err(|error| error.to_string())?;
    Builder::unix_stream(stream).build().await.map_err(|error| error.to_string())
}

fn path_in(message: &Message, what: &str) -> Result<OwnedObjectPath, SystemdError> {
    message.body().deserialize().map_err(|_| unexpected(what))
}

fn unexpected(what: &str) -> SystemdError {
    SystemdError::Call {
        what: what.to_owned(),
        cause: "its answer has another form than expected".to_owned(),
    }
}
