//! What connections cost on which nothing moves.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fixture::{Proxy, pair, talk};

/// Pairs; each takes two descriptors here and two of the proxy's. `IDLE_PAIRS` in the environment for more.
fn pairs() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let most = limit.maximum.map_or(10_000, |most| most as usize / 2 - 500);
    let wanted = std::env::var("IDLE_PAIRS").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(5_000).min(most)
}

#[test]
fn thousands_are_small_and_all_of_them_work() {
    let (proxy, listener) = Proxy::before_listener(&["--threads=2"]);
    let (mut client, mut server) = pair(&listener);
    talk(&mut client, &mut server, b"hello");
    let (before, count) = (proxy.memory(), pairs());
    let mut all: Vec<_> = (0..count)
        .map(|_| {
            let (mut client, mut server) = pair(&listener);
            talk(&mut client, &mut server, b"hello");
            (client, server)
        })
        .collect();
    let each = (proxy.memory() - before) * 1024 / count as u64;
    println!("{count} pairs, {each} bytes of resident memory for each");
    // Unoptimized; what ships is measured by `make bench`.
    assert!(each < 6_000, "{each} bytes a pair");
    for (client, server) in &mut all {
        talk(client, server, b"still there?");
    }
    proxy.wait_for_metric("apiserver_proxy_connections_open", count as u64 + 1);
    drop(all);
    proxy.wait_for_metric("apiserver_proxy_connections_open", 1);
}
