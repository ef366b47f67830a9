//! Endpoints from EndpointSlices, of an API server that comes and goes.

use std::{fs, path::Path, process::Command};

use proxy::{protocol::Protocol, resolve::Sources};
use serde_json::{Value, json};
use testkit::{cluster::Cluster, netns::Netns, process::Running};

use crate::proxy::{Proxy, no_checks, upstreams};

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
/// In whose environment the child's state is.
const STATE: &str = "ENDPOINTS_STATE_DIR";
const UPSTREAM: &str = "ENDPOINTS_UPSTREAM";
const LISTEN: &str = "ENDPOINTS_LISTEN";

/// The child of the tests below, a process since the environment is one's: a proxy that discovers, and prints what it
/// has.
#[test]
fn child() {
    let Some(state) = std::env::var_os(STATE) else { return };
    tracing_subscriber::fmt().with_ansi(false).init();
    let upstream = std::env::var(UPSTREAM).unwrap();
    let upstreams = if upstream.is_empty() { Vec::new() } else { upstreams(&[&upstream]).upstreams };
    let sources = Sources { upstreams, discover: true, state_dir: Some(state.into()), ..Sources::default() };
    let listen = std::env::var(LISTEN).unwrap().parse().unwrap();
    let proxy = Proxy::listen(listen, sources, Protocol::Tcp, no_checks());
    let mut last = None;
    loop {
        // Well or not: what comes and goes is looked at here.
        let now = proxy.endpoints().replace('!', "");
        if last.as_ref() != Some(&now) {
            println!("now <{now}>");
            last = Some(now);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn start(cluster: &Cluster, state: &Path, listen: &str, upstream: &str) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["discovery::child", "--exact", "--nocapture"]);
    command.env("KUBECONFIG", cluster.kubeconfig("webhook")).env(STATE, state);
    command.env(LISTEN, listen).env(UPSTREAM, upstream);
    Running::start(&mut command)
}

fn slice(cluster: &Cluster, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "https", "port": cluster.address().port(), "protocol": "TCP"}],
    })
}

fn put(cluster: &Cluster, addresses: &[&str]) {
    let (status, body) =
        cluster.request("PUT", &format!("{SLICES}/kubernetes"), Some(&slice(cluster, addresses)));
    assert_eq!(status, 200, "{body}");
}

/// A cluster whose Service has that address.
fn cluster() -> Cluster {
    let cluster = Cluster::fake();
    cluster.allow("webhook", &["list", "watch"], "discovery.k8s.io", "endpointslices", &[]);
    cluster.create(SLICES, &slice(&cluster, &["127.0.0.1"]));
    cluster
}

#[test]
fn endpoints_follow_the_slices_whatever_happens_to_the_watch() {
    let _netns = Netns::enter();
    let (cluster, state) = (cluster(), tempfile::tempdir().unwrap());
    let port = cluster.address().port();
    let proxy = start(&cluster, state.path(), "127.0.0.1:0", "");
    proxy.wait_for(&format!("now <127.0.0.1:{port}>"));
    put(&cluster, &["127.0.0.1", "10.0.0.2"]);
    proxy.wait_for(&format!("now <10.0.0.2:{port} 127.0.0.1:{port}>"));
    cluster.faults().cut_watches();
    put(&cluster, &["127.0.0.1", "10.0.0.3"]);
    proxy.wait_for(&format!("now <10.0.0.3:{port} 127.0.0.1:{port}>"));
    cluster.faults().outage(true);
    cluster.forget_history();
    cluster.faults().outage(false);
    put(&cluster, &["127.0.0.1", "10.0.0.4"]);
    proxy.wait_for(&format!("now <10.0.0.4:{port} 127.0.0.1:{port}>"));
    // An empty list is nothing to go by.
    put(&cluster, &[]);
    put(&cluster, &["127.0.0.1"]);
    proxy.wait_for(&format!("now <127.0.0.1:{port}>"));
    let printed = proxy.printed();
    let empty = printed.matches("now <>").count();
    assert!(empty <= 1, "only before the first: {printed}");
    cluster.faults().fail("webhook", SLICES, 3, 500);
    cluster.faults().cut_watches();
    put(&cluster, &["127.0.0.1", "10.0.0.6"]);
    proxy.wait_for(&format!("now <10.0.0.6:{port} 127.0.0.1:{port}>"));
}

#[test]
fn a_start_while_the_api_server_is_away_has_what_was_kept() {
    let _netns = Netns::enter();
    let (cluster, state) = (cluster(), tempfile::tempdir().unwrap());
    let (port, file) = (cluster.address().port(), state.path().join("endpoints.json"));
    put(&cluster, &["127.0.0.1", "10.0.0.2"]);
    let both = format!("now <10.0.0.2:{port} 127.0.0.1:{port}>");
    let proxy = start(&cluster, state.path(), "127.0.0.1:0", "");
    proxy.wait_for(&both);
    testkit::eventually(|| "a file".to_owned(), || file.exists().then_some(()));
    drop(proxy);
    cluster.faults().outage(true);
    let proxy = start(&cluster, state.path(), "127.0.0.1:0", "");
    proxy.wait_for(&both);
    drop(proxy);
    // Whatever else is in there is not used, and does no harm.
    fs::write(&file, vec![0xff; 100_000]).unwrap();
    let proxy = start(&cluster, state.path(), "127.0.0.1:0", "");
    proxy.wait_for("now <>");
    cluster.faults().outage(false);
    proxy.wait_for(&both);
    testkit::eventually(
        || "a file that can be read".to_owned(),
        || fs::read_to_string(&file).is_ok_and(|text| text.contains("10.0.0.2")).then_some(()),
    );
}

#[test]
fn never_through_ourselves() {
    let _netns = Netns::enter();
    let (cluster, state) = (cluster(), tempfile::tempdir().unwrap());
    let port = cluster.address().port();
    // The advertised address is the one that we listen on ourselves, as with Gardener.
    put(&cluster, &["127.0.0.2"]);
    let own = format!("127.0.0.2:{port}");
    let proxy = start(&cluster, state.path(), &own, "");
    testkit::eventually(
        || "a watch".to_owned(),
        || (cluster.faults().count("webhook", "watch", SLICES) > 0).then_some(()),
    );
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(proxy.printed().matches("now <").count(), 1, "{}", proxy.printed());
    put(&cluster, &["127.0.0.2", "127.0.0.1"]);
    proxy.wait_for(&format!("now <127.0.0.1:{port}>"));
    drop(proxy);
    // With an upstream beside it that one is the way.
    put(&cluster, &["127.0.0.2"]);
    let proxy = start(&cluster, &state.path().join("none"), &own, &format!("127.0.0.1:{port}"));
    proxy.wait_for(&format!("now <127.0.0.1:{port}>"));
}
