//! The way to the API server that tells of endpoints.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, bail};
use axum::http::Method;
use common::apiserver::{Answer, Ask, Server};
use tokio::{net::TcpStream, time::timeout};

use super::Place;
use crate::{
    connect::{connect, tune},
    counters::Counters,
    endpoint::Occupied,
    greet::greet,
    resolve::{dns, known::Known, local::is_local, merge::is_own},
    shared::Shared,
};

/// As it names itself to API servers.
const PROGRAM: &str = "apiserver-proxy";

/// Asks for a path: through the endpoints, or where there is none that answers, directly. Says which endpoint it was.
pub(super) async fn ask(
    shared: &Shared,
    place: &Place,
    path: &str,
) -> anyhow::Result<(Answer, Option<Occupied>)> {
    let server = Server::find("to ask for endpoints (--discover)").await?;
    let ask = || Ask { program: PROGRAM, method: Method::GET, path, body: Vec::new() };
    let through = async {
        let (stream, occupied) = through_endpoints(shared).await?;
        anyhow::Ok((server.ask_over(stream, ask()).await?, Some(occupied)))
    };
    let why = match through.await {
        Ok(answered) => return Ok(answered),
        Err(why) => why,
    };
    let directly = async {
        let stream = directly(shared, place, &server).await?;
        anyhow::Ok((server.ask_over(stream, ask()).await?, None))
    };
    directly.await.with_context(|| format!("neither through an endpoint ({why:#}) nor directly"))
}

async fn through_endpoints(shared: &Shared) -> anyhow::Result<(TcpStream, Occupied)> {
    let settings = shared.settings.load_full();
    let mut random = fastrand::Rng::new();
    // Its words have the cause in them already.
    let connected = connect(shared, &Counters::default(), &settings, &mut random)
        .await
        .map_err(|error| error.to_string());
    let (mut stream, occupied) = connected.map_err(anyhow::Error::msg)?;
    let greeting = settings.protocol.greeting(None);
    let greeted = timeout(settings.connect_timeout, greet(&mut stream, &greeting, &settings.protocol)).await;
    let early = greeted.context("no answer to CONNECT in time")??;
    // TLS begins with the client.
    if !early.is_empty() {
        bail!("{} says something before it is asked", occupied.endpoint().address);
    }
    Ok((stream, occupied))
}

/// To where the configuration says, unless that is ourselves.
async fn directly(shared: &Shared, place: &Place, server: &Server) -> anyhow::Result<TcpStream> {
    let (host, settings) = (server.host(), shared.settings.load_full());
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => {
            let mut known = Known::default();
            let _ = known.take(dns::look_up(host).await);
            known.addresses().collect()
        }
    };
    if addresses.is_empty() {
        bail!("DNS has no address for {host}");
    }
    let mut last = anyhow::anyhow!(
        "{host}:{} is where this program listens itself, and no other endpoint is known; give one by --upstream",
        server.port()
    );
    let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, server.port()));
    for address in addresses.filter(|address| !is_own(*address, &place.own, is_local)) {
        match timeout(settings.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                tune(&stream, &settings);
                return Ok(stream);
            }
            Ok(Err(error)) => {
                last = anyhow::Error::new(error).context(format!("cannot connect to {address}"))
            }
            Err(_) => last = anyhow::anyhow!("cannot connect to {address}: no answer in time"),
        }
    }
    Err(last)
}
