//! For the moment: `apiserver-proxy LISTEN UPSTREAM…`, to measure the data path.

use std::{sync::Arc, time::Duration};

use proxy::{
    balance::Balance,
    endpoint::Endpoints,
    listen,
    protocol::Protocol,
    shared::{AccessLog, Settings, Shared},
    worker,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().ok_or("no address")?.parse()?;
    let upstreams = args.map(|arg| arg.parse()).collect::<Result<Vec<std::net::SocketAddr>, _>>()?;
    let settings = Settings {
        protocol: Protocol::Tcp,
        balance: Balance::LeastConnections,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: None,
        user_timeout: Duration::from_secs(30),
        keepalive: Duration::from_secs(15),
        max_connections: 10_000,
        close_on_unhealthy: true,
        access_log: AccessLog::Off,
    };
    let listener = listen::bind(address)?;
    let (inboxes, outboxes): (Vec<_>, Vec<_>) =
        (0..2).map(|_| tokio::sync::mpsc::unbounded_channel()).unzip();
    let shared = Shared::new(settings, Endpoints::default().update(upstreams), inboxes);
    let threads: Vec<_> = outboxes
        .into_iter()
        .enumerate()
        .map(|(number, inbox)| {
            let (shared, listener) = (Arc::clone(&shared), listener.try_clone());
            std::thread::spawn(move || worker::run(&shared, number, vec![listener?], inbox))
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}
