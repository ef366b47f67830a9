//! EndpointSlices, as an API server lists and watches them. Pure.
//!
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>, and for watches
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde::Deserialize;

/// As many slices as are kept: the Service of the API servers has two, one for each family.
const MOST_SLICES: usize = 128;
/// Addresses that are kept of a slice; the API allows as many endpoints.
const MOST_ADDRESSES: usize = 1000;

/// The slices of a Service, up to a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slices {
    /// From where a watch goes on.
    pub version: String,
    slices: BTreeMap<String, Vec<SocketAddr>>,
}

/// Why a watch can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The version is too old.
    #[error("the version is too old, list again")]
    Gone,
    /// The API server said so.
    #[error("the watch was ended: {0}")]
    Told(String),
    /// Not what was asked for.
    #[error("not an EndpointSlice, or a watch's event of one: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    kind: String,
    metadata: Metadata,
    items: Option<Vec<Slice>>,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: Slice,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    resource_version: String,
}

/// A slice; in an event of an error a Status.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Slice {
    #[serde(default)]
    metadata: Metadata,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
    code: Option<u32>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Endpoint {
    addresses: Option<Vec<String>>,
    conditions: Option<Conditions>,
}

#[derive(Deserialize)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Deserialize)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
}

impl Slices {
    /// Those of a list.
    ///
    /// # Errors
    /// When it is none.
    pub fn list(bytes: &[u8]) -> Result<Self, Ended> {
        let list: List = parse(bytes)?;
        if list.metadata.resource_version.is_empty() || !matches!(&*list.kind, "" | "EndpointSliceList") {
            return Err(Ended::Malformed(format!("a list of kind {:?} without a version", list.kind)));
        }
        let mut slices = Self { version: list.metadata.resource_version, slices: BTreeMap::new() };
        list.items.into_iter().flatten().for_each(|slice| slices.put(slice));
        Ok(slices)
    }

    /// Takes a line of a watch.
    ///
    /// # Errors
    /// When the watch is over.
    pub fn event(&mut self, line: &[u8]) -> Result<(), Ended> {
        let Event { r#type, object } = parse(line)?;
        let version = object.metadata.resource_version.clone();
        match r#type.as_str() {
            "ADDED" | "MODIFIED" => self.put(object),
            "DELETED" => drop(self.slices.remove(&object.metadata.name)),
            "BOOKMARK" => {}
            "ERROR" if object.code == Some(410) => return Err(Ended::Gone),
            "ERROR" => {
                let said = object.message.unwrap_or_else(|| "it does not say why".to_owned());
                return Err(Ended::Told(said));
            }
            other => return Err(Ended::Malformed(format!("an event of type {:?}", brief(other)))),
        }
        if !version.is_empty() {
            self.version = version;
        }
        Ok(())
    }

    fn put(&mut self, slice: Slice) {
        let name = slice.metadata.name.clone();
        if self.slices.len() < MOST_SLICES || self.slices.contains_key(&name) {
            self.slices.insert(name, addresses(slice));
        }
    }

    /// The addresses in all of them.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = self.slices.values().flatten().copied().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Ended> {
    serde_json::from_slice(bytes).map_err(|error| Ended::Malformed(error.to_string()))
}

fn brief(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Where the slice's endpoints may be reached that are ready, or don't say.
fn addresses(slice: Slice) -> Vec<SocketAddr> {
    let Some(port) = port(slice.ports.as_deref().unwrap_or_default()) else { return Vec::new() };
    let is_ready = |endpoint: &Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let ready = slice.endpoints.into_iter().flatten().filter(is_ready);
    // A name (`addressType: FQDN`) is none of an API server's.
    let parsed = ready.flat_map(|endpoint| endpoint.addresses.unwrap_or_default());
    let parsed = parsed.filter_map(|address| address.parse::<IpAddr>().ok());
    parsed.map(|address| SocketAddr::new(address, port)).take(MOST_ADDRESSES).collect()
}

/// That of HTTPS, or the only one there is.
fn port(ports: &[Port]) -> Option<u16> {
    let mut tcp = ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let https = tcp.clone().find(|port| port.name.as_deref() == Some("https"));
    let only = || tcp.next().filter(|_| tcp.next().is_none());
    https.or_else(only)?.port.filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, version: u32, rest: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},"addressType":"IPv4",{rest}}}"#
        )
    }

    fn event(what: &str, object: &str) -> String {
        format!(r#"{{"type":"{what}","object":{object}}}"#)
    }

    fn texts(slices: &Slices) -> String {
        slices.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_list_as_an_api_server_has_it() {
        let bytes = std::fs::read(testkit::testdata("proxy/endpointslices/list.json")).unwrap();
        let slices = Slices::list(&bytes).unwrap();
        assert_eq!(slices.version, "20481");
        assert_eq!(texts(&slices), "10.0.0.11:6443 10.0.0.12:6443 [fd00::11]:6443");
    }

    #[test]
    fn a_watch_as_an_api_server_has_it() {
        let bytes = std::fs::read(testkit::testdata("proxy/endpointslices/watch.jsonl")).unwrap();
        let mut slices = Slices::default();
        let mut seen = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let came = slices.event(line);
            seen.push((texts(&slices), slices.version.clone(), came));
        }
        let seen: Vec<_> =
            seen.iter().map(|(texts, version, came)| (&**texts, &**version, came.clone())).collect();
        assert_eq!(
            seen,
            [
                ("10.0.0.11:6443", "20481", Ok(())),
                ("10.0.0.11:6443 10.0.0.13:6443", "20490", Ok(())),
                ("10.0.0.11:6443 10.0.0.13:6443", "20777", Ok(())),
                ("", "20801", Ok(())),
                ("", "20801", Err(Ended::Gone)),
            ]
        );
    }

    #[test]
    fn which_endpoints_and_which_port() {
        for (rest, expected) in [
            (r#""endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":1}]"#, "10.0.0.1:1"),
            (
                r#""endpoints":[{"addresses":["10.0.0.1"],"conditions":{}}],"ports":[{"port":1}]"#,
                "10.0.0.1:1",
            ),
            (
                r#""endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":null}}],"ports":[{"port":1}]"#,
                "10.0.0.1:1",
            ),
            (
                r#""endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":false}},{"addresses":null}],"ports":[{"port":1}]"#,
                "",
            ),
            (
                r#""endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"name":"a","port":1},{"name":"https","port":2}]"#,
                "10.0.0.1:2",
            ),
            (r#""endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"name":"a","port":1},{"port":2}]"#, ""),
            (
                r#""endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"protocol":"UDP","port":1},{"name":"x","port":2}]"#,
                "10.0.0.1:2",
            ),
            (r#""endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":0}]"#, ""),
            (r#""endpoints":[{"addresses":["10.0.0.1"]}],"ports":[{"port":null}]"#, ""),
            (r#""endpoints":[{"addresses":["10.0.0.1"]}],"ports":null"#, ""),
            (r#""endpoints":null,"ports":[{"port":1}]"#, ""),
            (r#""endpoints":[{"addresses":["api.example","10.0.0.1"]}],"ports":[{"port":1}]"#, "10.0.0.1:1"),
        ] {
            let mut slices = Slices::default();
            slices.event(event("ADDED", &slice("a", 1, rest)).as_bytes()).unwrap();
            assert_eq!(texts(&slices), expected, "{rest}");
        }
    }

    #[test]
    fn what_is_none_ends_the_watch_or_the_list() {
        for line in [
            "",
            "{",
            "null",
            "{}",
            "[]",
            "\u{1}",
            r#"{"type":"ADDED"}"#,
            r#"{"type":"WHAT","object":{}}"#,
            r#"{"type":"ADDED","object":{"ports":[{"port":65536}]}}"#,
            r#"{"type":"ADDED","object":{"ports":[{"port":-1}]}}"#,
        ] {
            let ended = Slices::default().event(line.as_bytes());
            assert!(matches!(ended, Err(Ended::Malformed(_))), "{line}: {ended:?}");
        }
        let told = event("ERROR", r#"{"kind":"Status","code":500,"message":"etcd is away"}"#);
        assert_eq!(Slices::default().event(told.as_bytes()), Err(Ended::Told("etcd is away".to_owned())));
        for list in
            ["", "{}", r#"{"metadata":{}}"#, r#"{"kind":"Status","metadata":{"resourceVersion":"1"}}"#]
        {
            assert!(matches!(Slices::list(list.as_bytes()), Err(Ended::Malformed(_))), "{list}");
        }
        let empty = Slices::list(br#"{"metadata":{"resourceVersion":"1"},"items":null}"#).unwrap();
        assert!(empty.addresses().is_empty());
    }

    #[test]
    fn however_much_comes_little_is_kept() {
        let mut slices = Slices::default();
        let endpoints: Vec<String> = (0..2000_u32)
            .map(|number| format!(r#"{{"addresses":["{}"]}}"#, std::net::Ipv4Addr::from(number + 1)))
            .collect();
        let rest = format!(r#""endpoints":[{}],"ports":[{{"port":1}}]"#, endpoints.join(","));
        slices.event(event("ADDED", &slice("big", 1, &rest)).as_bytes()).unwrap();
        assert_eq!(slices.addresses().len(), MOST_ADDRESSES);
        for number in 0..1000 {
            slices
                .event(event("ADDED", &slice(&format!("s{number}"), 1, r#""ports":[]"#)).as_bytes())
                .unwrap();
        }
        assert_eq!(slices.slices.len(), MOST_SLICES);
    }
}
