//! Asks `/etc/hosts` and DNS for the addresses of a name. Each time anew, what the files say included: there are a few
//! questions a minute, and nothing is kept between them.

use std::{path::Path, time::Duration};

use common::files;
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RecordType,
};

use super::{
    files::{Resolv, hosts},
    known::{Answer, Looked},
};

/// How long all questions for a name may take together.
const PATIENCE: Duration = Duration::from_secs(20);
/// When `/etc/hosts` is read again.
const HOSTS_TTL: Duration = Duration::from_secs(10);
/// The longest of these files that is read, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// What there is to know of a name now.
pub async fn look_up(name: &str) -> Looked {
    // The files are small, and not worth a thread. One that is missing or odd is empty, as for the C library.
    let text = |path: &str| {
        let bytes = files::read(Path::new(path), LONGEST).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let known = hosts(&text("/etc/hosts"), name);
    if !known.is_empty() {
        let of = |is_wanted: fn(&std::net::IpAddr) -> bool| {
            let addresses: Vec<_> = known.iter().copied().filter(is_wanted).collect();
            if addresses.is_empty() { Answer::Nothing } else { Answer::Found(addresses, HOSTS_TTL) }
        };
        return [of(std::net::IpAddr::is_ipv4), of(std::net::IpAddr::is_ipv6)];
    }
    let resolv = Resolv::read(&text("/etc/resolv.conf"));
    let asked = tokio::time::timeout(PATIENCE, ask_all(&resolv, name)).await;
    asked.unwrap_or_else(|_| failed(format!("no answer within {} s", PATIENCE.as_secs())))
}

fn failed(why: String) -> Looked {
    [Answer::Failed(why.clone()), Answer::Failed(why)]
}

/// Asks for each full name that is meant, up to the first that has addresses.
async fn ask_all(resolv: &Resolv, name: &str) -> Looked {
    let resolver = match resolver(resolv) {
        Ok(resolver) => resolver,
        Err(error) => return failed(error.to_string()),
    };
    let mut why = None;
    for candidate in resolv.candidates(name) {
        let looked: Looked = tokio::join!(
            ask(&resolver, &candidate, RecordType::A),
            ask(&resolver, &candidate, RecordType::AAAA)
        )
        .into();
        for answer in &looked {
            match answer {
                Answer::Found(..) => return looked,
                Answer::Failed(error) => why = why.or_else(|| Some(error.clone())),
                Answer::Nothing => {}
            }
        }
    }
    why.map_or([Answer::Nothing, Answer::Nothing], failed)
}

fn resolver(resolv: &Resolv) -> Result<TokioResolver, NetError> {
    let servers = resolv.servers.iter().map(|address| NameServerConfig::udp_and_tcp(*address)).collect();
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = resolv.timeout;
    options.attempts = resolv.attempts;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    builder.build()
}

async fn ask(resolver: &TokioResolver, name: &str, of: RecordType) -> Answer {
    let lookup = match resolver.lookup(name, of).await {
        Ok(lookup) => lookup,
        Err(error) if error.is_no_records_found() => return Answer::Nothing,
        Err(error) => return Answer::Failed(error.to_string()),
    };
    // Those of aliases on the way count as well.
    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    let addresses: Vec<_> = lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
    match addresses.is_empty() {
        true => Answer::Nothing,
        false => Answer::Found(addresses, Duration::from_secs(ttl.into())),
    }
}
