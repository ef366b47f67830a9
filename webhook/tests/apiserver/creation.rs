//! Pods created all the time, as controllers do it.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{
    cluster::token,
    eventually,
    https::{self, Connection},
};

use crate::{case::Case, pods};

/// They create at the same moment, so that the API server needs several connections to the webhook.
const THREADS: usize = 16;
/// How often each of them does: 64 Pods a second in all.
const PERIOD: Duration = Duration::from_millis(250);

/// A load that goes on until it is stopped.
pub struct Creation {
    stop: Arc<AtomicBool>,
    created: Arc<Mutex<Created>>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Created {
    pub pods: usize,
    /// Those that did not get the variable.
    pub missed: Vec<String>,
    /// What was said of those that could not be created.
    pub failed: Vec<String>,
}

impl Creation {
    pub fn start(case: &Case) -> Self {
        // That this machine has much to do is no fault of the webhook.
        case.api.cluster.change(&case.registration_path(), |registration| {
            registration["webhooks"][0]["timeoutSeconds"] = json!(30);
        });
        let (stop, created) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Created>>::default());
        let begin = Instant::now();
        let threads = (0..THREADS).map(|_| {
            let mut creator = Creator::new(case, &pods::generated());
            let (stop, created) = (Arc::clone(&stop), Arc::clone(&created));
            std::thread::spawn(move || {
                for due in (1..).map(|turn| begin + PERIOD * turn) {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let made = creator.create();
                    created.lock().unwrap().count(&made);
                }
            })
        });
        let threads = threads.collect();
        Self { stop, created, threads }
    }

    /// Waits until so many more Pods have been created.
    pub fn wait(&self, pods: usize) {
        let count = || self.created.lock().unwrap().pods;
        let enough = count() + pods;
        eventually(|| format!("{enough} Pods instead of {}", count()), || (count() >= enough).then_some(()));
    }

    /// Stops, and says what came of all.
    pub fn stop(mut self) -> Created {
        self.end();
        self.created.lock().unwrap().clone()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        self.end();
    }
}

impl Created {
    fn count(&mut self, made: &io::Result<(u16, Value)>) {
        self.pods += 1;
        match made {
            Ok((201, pod)) if pods::has_host(pod) => {}
            Ok((201, pod)) => self.missed.push(pod["metadata"]["creationTimestamp"].to_string()),
            Ok((status, answer)) => self.failed.push(format!("{status} {answer}")),
            Err(error) => self.failed.push(error.to_string()),
        }
    }
}

/// Creates one Pod after the other on one connection.
pub struct Creator {
    connection: Connection,
    request: String,
}

impl Creator {
    pub fn new(case: &Case, pod: &Value) -> Self {
        let cluster = &case.api.cluster;
        let connection = Connection::open(&https::client(cluster.ca()), cluster.address()).unwrap();
        let (path, body) = (pods::collection(&case.namespace), pod.to_string());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            token("admin"),
            body.len()
        );
        Self { connection, request }
    }

    /// The status and what was answered.
    pub fn create(&mut self) -> io::Result<(u16, Value)> {
        self.connection.send(self.request.as_bytes())?;
        let answer = self.connection.finish()?;
        Ok((answer.status, serde_json::from_slice(&answer.body)?))
    }
}
