//! The configuration file, read and checked.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    compose::{Variable, variables},
    names::{self, is_member, is_name, is_object, unit_name},
    pattern::Pattern,
    url::ProxyUrl,
};
use crate::yaml::{self, ConfigError, Field, Section, Text};

/// The longest value of a variable, in bytes. Linux starts no program with one of 128 KiB (`MAX_ARG_STRLEN` in
/// execve(2)), and each container of a Pod, which etcd takes up to 1.5 MB of, gets `NO_PROXY` twice.
const LONGEST_VALUE: usize = 32 * 1024;

/// All that the file says. Can be printed: the proxies' passwords are hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `proxy`.
    pub proxy: Proxy,
    /// `cluster`.
    pub cluster: Cluster,
    /// `pods`.
    pub pods: Pods,
    /// `nodes`.
    pub nodes: Nodes,
    /// `dialects`.
    pub dialects: Dialects,
}

/// The proxies, at least one of them, and what the user wants kept off them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// For `http://`.
    pub http: Option<ProxyUrl>,
    /// For `https://`.
    pub https: Option<ProxyUrl>,
    /// The user's own members of `NO_PROXY`: addresses, CIDRs, names.
    pub no_proxy: Vec<String>,
}

/// What must never go through the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Without a trailing dot; `cluster.local` if the file says nothing.
    pub domain: String,
    /// Of Services.
    pub service_cidrs: Vec<IpNet>,
    /// Of Pods.
    pub pod_cidrs: Vec<IpNet>,
    /// Where the API server is reached.
    pub api_servers: Vec<ApiServer>,
}

/// Where an API server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiServer {
    /// At an address.
    Address(IpAddr),
    /// By a name, here without its trailing dot.
    Name(String),
}

/// What Pods get, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pods {
    /// Whether a plain value that is there is replaced.
    pub overwrite: bool,
    /// Pods that get nothing.
    pub exclude: Exclude,
    /// The Secret in the Pod's own namespace that the values are taken from.
    pub credentials_secret: Option<String>,
}

/// Pods that get nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclude {
    /// `kube-system` if the file says nothing.
    pub namespaces: Vec<Pattern>,
    /// Of Pods.
    pub names: Vec<Pattern>,
    /// A key and a value.
    pub annotation: Option<(String, String)>,
}

/// Which of a node's services get the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// Without `.service`; `containerd` and `kubelet` if the file says nothing.
    pub units: Vec<String>,
}

/// Whether `NO_PROXY` is made for programs of all kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialects {
    /// As short as can be.
    #[default]
    Narrow,
    /// With `::1` and `.svc`.
    Wide,
}

impl Config {
    /// Reads what a file holds.
    ///
    /// # Errors
    /// As [`Config::parse`]; also where it is not UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        Self::parse(yaml::text(bytes)?)
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line and key, and without any password.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut file = yaml::read(text)?.section(&["proxy", "cluster", "pods", "nodes", "dialects"])?;
        let mut section = file.section("proxy", &["http", "https", "noProxy"])?;
        let config = Self {
            proxy: proxy(&mut section)?,
            cluster: cluster(file.section("cluster", &["domain", "serviceCIDRs", "podCIDRs", "apiServer"])?)?,
            pods: pods(file.section("pods", &["overwrite", "exclude", "credentialsSecret"])?)?,
            nodes: Nodes {
                units: match file.section("nodes", &["units"])?.take("units") {
                    Some(field) => units(field)?,
                    None => vec!["containerd".to_owned(), "kubelet".to_owned()],
                },
            },
            dialects: file.take("dialects").map(dialects).transpose()?.unwrap_or_default(),
        };
        match variables(&config).iter().find(|variable| variable.value.reveal().len() > LONGEST_VALUE) {
            Some(Variable { name, value }) => Err(section.wrong(&format!(
                "{name} would be {} bytes long; {LONGEST_VALUE} are the most",
                value.reveal().len()
            ))),
            None => Ok(config),
        }
    }
}

impl Exclude {
    /// Whether all Pods of a namespace get nothing.
    #[must_use]
    pub fn covers_namespace(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|pattern| pattern.matches(namespace))
    }

    /// Whether a Pod of that name gets nothing.
    #[must_use]
    pub fn covers_name(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
    }
}

fn proxy(section: &mut Section) -> Result<Proxy, ConfigError> {
    let url = |field: Field| {
        let text = field.text()?;
        ProxyUrl::parse(text.as_str()).map_err(|error| text.wrong(error.to_string()))
    };
    let http = section.take("http").map(url).transpose()?;
    let https = section.take("https").map(url).transpose()?;
    if http.is_none() && https.is_none() {
        return Err(section.wrong("no proxy is named; give http, https or both"));
    }
    let mut no_proxy = Vec::new();
    for text in list(section.take("noProxy"))? {
        for member in text.as_str().split(',').map(str::trim).filter(|member| !member.is_empty()) {
            if !is_member(member) {
                let hint = if member == "*" { "; to use no proxy at all, leave it out" } else { "" };
                let expected =
                    format!("an address, a CIDR or a name, such as example.com or 10.0.0.0/8{hint}");
                // A URL with a comma in its password is cut in two, and only the last part has the @.
                let whole = text.as_str().contains('@');
                return Err(if whole { text.is_not(&expected) } else { text.part(member).is_not(&expected) });
            }
            no_proxy.push(member.to_owned());
        }
    }
    Ok(Proxy { http, https, no_proxy })
}

fn cluster(mut section: Section) -> Result<Cluster, ConfigError> {
    let cidrs = |field: Option<Field>| field.map_or(Ok(Vec::new()), |field| each(field, cidr));
    Ok(Cluster {
        domain: match section.take("domain") {
            Some(field) => name(&field.text()?)?,
            None => "cluster.local".to_owned(),
        },
        service_cidrs: cidrs(section.take("serviceCIDRs"))?,
        pod_cidrs: cidrs(section.take("podCIDRs"))?,
        api_servers: section.take("apiServer").map_or(Ok(Vec::new()), |field| each(field, api_server))?,
    })
}

fn pods(mut section: Section) -> Result<Pods, ConfigError> {
    let mut exclude = section.section("exclude", &["namespaces", "names", "annotation"])?;
    let patterns = |field| each(field, |text| Ok(Pattern::new(text.as_str())));
    Ok(Pods {
        overwrite: section.take("overwrite").map_or(Ok(false), Field::flag)?,
        exclude: Exclude {
            namespaces: match exclude.take("namespaces") {
                Some(field) => patterns(field)?,
                None => vec![Pattern::new("kube-system")],
            },
            names: exclude.take("names").map_or(Ok(Vec::new()), patterns)?,
            annotation: exclude.take("annotation").map(annotation).transpose()?,
        },
        credentials_secret: match section.take("credentialsSecret") {
            Some(field) => credentials_secret(field)?,
            None => None,
        },
    })
}

fn list(field: Option<Field>) -> Result<Vec<Text>, ConfigError> {
    field.map_or(Ok(Vec::new()), Field::texts)
}

fn each<T>(field: Field, read: impl Fn(&Text) -> Result<T, ConfigError>) -> Result<Vec<T>, ConfigError> {
    field.texts()?.iter().map(read).collect()
}

fn cidr(text: &Text) -> Result<IpNet, ConfigError> {
    names::cidr(text.as_str()).ok_or_else(|| text.is_not("a CIDR, such as 10.96.0.0/12"))
}

fn name(text: &Text) -> Result<String, ConfigError> {
    let name = text.as_str().strip_suffix('.').unwrap_or(text.as_str());
    if is_name(name) { Ok(name.to_owned()) } else { Err(text.is_not("a DNS name")) }
}

fn api_server(text: &Text) -> Result<ApiServer, ConfigError> {
    match text.as_str().parse() {
        Ok(address) => Ok(ApiServer::Address(address)),
        Err(_) => name(text)
            .map(ApiServer::Name)
            .map_err(|_| text.is_not("an address or a DNS name; leave out scheme and port")),
    }
}

/// Each once, in order.
fn units(field: Field) -> Result<Vec<String>, ConfigError> {
    let mut units = each(field, unit)?;
    let mut seen = BTreeSet::new();
    units.retain(|unit| seen.insert(unit.clone()));
    Ok(units)
}

fn unit(text: &Text) -> Result<String, ConfigError> {
    let name = unit_name(text.as_str()).ok_or_else(|| text.is_not("the name of a systemd service"))?;
    Ok(name.to_owned())
}

fn annotation(field: Field) -> Result<(String, String), ConfigError> {
    let text = field.text()?;
    match text.as_str().split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(text.is_not("an annotation's key and value, written key=value")),
    }
}

fn credentials_secret(field: Field) -> Result<Option<String>, ConfigError> {
    let mut section = field.section(&["name"])?;
    let text = section.take("name").ok_or_else(|| section.wrong("the Secret's name is missing"))?.text()?;
    if is_object(text.as_str()) {
        Ok(Some(text.as_str().to_owned()))
    } else {
        Err(text.is_not("the name of a Secret"))
    }
}

fn dialects(field: Field) -> Result<Dialects, ConfigError> {
    let text = field.text()?;
    match text.as_str() {
        "narrow" => Ok(Dialects::Narrow),
        "wide" => Ok(Dialects::Wide),
        _ => Err(text.is_not("one of narrow, wide")),
    }
}
