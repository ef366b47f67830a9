//! The list of hosts that are reached without the proxy, and the environment made of it.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use ipnet::IpNet;

use super::{
    config::{ApiServer, Config, Dialects},
    secret::Secret,
};

/// What `NO_PROXY` says: members in order, each once, none empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoProxy(Vec<String>);

impl NoProxy {
    /// The members, in order.
    #[must_use]
    pub fn members(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for NoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

/// Makes the list: cluster domain, Services, Pods, API server, the user's own, `svc`, `127.0.0.1`, `localhost`; then
/// `::1` and `.svc` where the cluster has IPv6 or dialects are wide.
///
/// What comes twice stays where it came first; case makes no difference. A named API server stands there with and
/// without its trailing dot: the webhook tells Pods the one with it, and most programs compare to the letter.
#[must_use]
pub fn no_proxy(config: &Config) -> NoProxy {
    let cluster = &config.cluster;
    let mut members = vec![cluster.domain.clone()];
    members.extend(cluster.service_cidrs.iter().chain(&cluster.pod_cidrs).map(IpNet::to_string));
    for server in &cluster.api_servers {
        match server {
            ApiServer::Address(address) => members.push(address.to_string()),
            ApiServer::Name(name) => members.extend([name.clone(), format!("{name}.")]),
        }
    }
    members.extend(config.proxy.no_proxy.iter().cloned());
    members.extend(["svc", "127.0.0.1", "localhost"].map(str::to_owned));
    if config.dialects == Dialects::Wide || has_ipv6(config) {
        members.extend(["::1", ".svc"].map(str::to_owned));
    }
    let mut seen = BTreeSet::new();
    members.retain(|member| seen.insert(member.to_ascii_lowercase()));
    NoProxy(members)
}

fn has_ipv6(config: &Config) -> bool {
    let cluster = &config.cluster;
    let cidrs = cluster.service_cidrs.iter().chain(&cluster.pod_cidrs);
    cidrs.into_iter().any(|cidr| matches!(cidr, IpNet::V6(_)))
        || cluster.api_servers.iter().any(|server| matches!(server, ApiServer::Address(IpAddr::V6(_))))
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Such as `https_proxy`.
    pub name: &'static str,
    /// With the password.
    pub value: Secret,
}

/// The environment in its order: for each of `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` that has a value, the name in
/// upper case and in lower case. Some programs read only the one (curl: `http_proxy`), some only the other.
#[must_use]
pub fn variables(config: &Config) -> Vec<Variable> {
    let url = |url: &Option<super::ProxyUrl>| url.as_ref().map(|url| Secret::new(url.reveal()));
    let values = [
        ("HTTP_PROXY", "http_proxy", url(&config.proxy.http)),
        ("HTTPS_PROXY", "https_proxy", url(&config.proxy.https)),
        ("NO_PROXY", "no_proxy", Some(Secret::new(no_proxy(config).to_string()))),
    ];
    values
        .into_iter()
        .filter_map(|(upper, lower, value)| {
            value.map(|value| [upper, lower].map(|name| (name, value.clone())))
        })
        .flatten()
        .map(|(name, value)| Variable { name, value })
        .collect()
}
