//! The variables that can be injected, sets of them, and their values. Pure.

use std::{ops::BitAnd, sync::Arc};

use common::egress::{self, Exclude, Secret};
use serde_json::{Value, json};

use crate::{
    fqdn::Fqdn,
    review::subject::{self, Subject},
};

/// A variable that this webhook can add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// `KUBERNETES_SERVICE_HOST`
    Host,
    /// `KUBERNETES_SERVICE_PORT`
    Port,
    /// `HTTP_PROXY`
    HttpProxyUpper,
    /// `http_proxy`
    HttpProxy,
    /// `HTTPS_PROXY`
    HttpsProxyUpper,
    /// `https_proxy`
    HttpsProxy,
    /// `NO_PROXY`
    NoProxyUpper,
    /// `no_proxy`
    NoProxy,
}

impl Variable {
    const ALL: [Self; 8] = [
        Self::Host,
        Self::Port,
        Self::HttpProxyUpper,
        Self::HttpProxy,
        Self::HttpsProxyUpper,
        Self::HttpsProxy,
        Self::NoProxyUpper,
        Self::NoProxy,
    ];

    /// Its name in a container's environment.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "KUBERNETES_SERVICE_HOST",
            Self::Port => "KUBERNETES_SERVICE_PORT",
            Self::HttpProxyUpper => "HTTP_PROXY",
            Self::HttpProxy => "http_proxy",
            Self::HttpsProxyUpper => "HTTPS_PROXY",
            Self::HttpsProxy => "https_proxy",
            Self::NoProxyUpper => "NO_PROXY",
            Self::NoProxy => "no_proxy",
        }
    }

    /// The variable of that name, if it is one of these.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variable| variable.name() == name)
    }

    /// Whether it tells of the corporate proxy, and not of the API server.
    #[must_use]
    pub fn is_of_proxy(self) -> bool {
        !matches!(self, Self::Host | Self::Port)
    }

    /// The key of the proxy's URL in the Secret of `credentialsSecret`; nothing for what is no URL.
    fn key(self) -> Option<&'static str> {
        match self {
            Self::HttpProxyUpper | Self::HttpProxy => Some("http"),
            Self::HttpsProxyUpper | Self::HttpsProxy => Some("https"),
            Self::Host | Self::Port | Self::NoProxyUpper | Self::NoProxy => None,
        }
    }
}

/// A set of [`Variable`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Variables(u8);

impl Variables {
    /// Adds one.
    pub fn insert(&mut self, variable: Variable) {
        self.0 |= 1 << variable as u8;
    }

    /// Whether it is in there.
    #[must_use]
    pub fn contains(self, variable: Variable) -> bool {
        self.0 & (1 << variable as u8) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These without those.
    #[must_use]
    pub fn without(self, those: Self) -> Self {
        Self(self.0 & !those.0)
    }
}

impl BitAnd for Variables {
    type Output = Self;

    /// What is in both.
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Variable> for Variables {
    fn from_iter<T: IntoIterator<Item = Variable>>(variables: T) -> Self {
        let mut set = Self::default();
        variables.into_iter().for_each(|variable| set.insert(variable));
        set
    }
}

/// A variable and what it is to be. Can be printed: values are hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub variable: Variable,
    /// Its value; nothing where a container takes it from a Secret.
    value: Option<Secret>,
    /// The entry of `env`, an EnvVar, as JSON.
    json: Secret,
}

impl Entry {
    fn with_value(variable: Variable, value: &str) -> Self {
        let value = to_the_letter(value);
        let json = json!({"name": variable.name(), "value": value}).to_string();
        Self { variable, value: Some(Secret::new(value)), json: Secret::new(json) }
    }

    /// From a Secret in the Pod's own namespace. Where that is missing, the container starts without the variable.
    fn from_secret(variable: Variable, secret: &str, key: &str) -> Self {
        let from = json!({"secretKeyRef": {"name": secret, "key": key, "optional": true}});
        let json = json!({"name": variable.name(), "valueFrom": from}).to_string();
        Self { variable, value: None, json: Secret::new(json) }
    }

    /// The entry of `env` as JSON text, passwords included.
    #[must_use]
    pub fn json(&self) -> &str {
        self.json.reveal()
    }

    /// The same, read.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::from_str(self.json()).unwrap_or_default()
    }

    /// Its value as it stands in a Pod, where a container does not take it from a Secret.
    #[must_use]
    pub fn plain(&self) -> Option<&Secret> {
        self.value.as_ref()
    }
}

/// A value of `env` of which kubelet makes just this. It takes `$(NAME)` for a reference and `$$` for a dollar, and a
/// password may have both in it. What comes from a Secret is not looked at.
fn to_the_letter(value: &str) -> String {
    value.replace('$', "$$")
}

/// What every container is to have. Can be printed: values are hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// In the order in which they are added.
    pub entries: Arc<[Entry]>,
    /// Which variables these are.
    all: Variables,
    /// Plain values of these are replaced where they are there.
    overwrite: Variables,
    /// Pods that get nothing of the proxy.
    exclude: Option<Exclude>,
    /// Ephemeral containers too.
    pub ephemeral_containers: bool,
}

impl Injection {
    /// The API server's name, and its port if one is given.
    #[must_use]
    pub fn new(host: &Fqdn, port: Option<u16>, ephemeral_containers: bool) -> Self {
        let host = Entry::with_value(Variable::Host, host.as_str());
        let port = port.map(|port| Entry::with_value(Variable::Port, &port.to_string()));
        let entries: Arc<[Entry]> = std::iter::once(host).chain(port).collect();
        let all = entries.iter().map(|entry| entry.variable).collect();
        Self { entries, all, overwrite: Variables::default(), exclude: None, ephemeral_containers }
    }

    /// The same, and the corporate proxy.
    #[must_use]
    pub fn with_proxy(&self, config: &egress::Config) -> Self {
        let of_proxy =
            egress::variables(config).into_iter().filter_map(|egress::Variable { name, value }| {
                let variable = Variable::from_name(name)?;
                Some(match (&config.pods.credentials_secret, variable.key()) {
                    (Some(secret), Some(key)) => Entry::from_secret(variable, secret, key),
                    _ => Entry::with_value(variable, value.reveal()),
                })
            });
        let entries: Arc<[Entry]> = self.entries.iter().cloned().chain(of_proxy).collect();
        let all: Variables = entries.iter().map(|entry| entry.variable).collect();
        let overwrite = if config.pods.overwrite { all.without(self.all) } else { Variables::default() };
        let exclude = Some(config.pods.exclude.clone());
        Self { entries, all, overwrite, exclude, ephemeral_containers: self.ephemeral_containers }
    }

    /// What the containers of a Pod are to have. `body` is that of the review, which tells more of the Pod, if that
    /// matters.
    #[must_use]
    pub fn wanted(&self, namespace: Option<&str>, body: &[u8]) -> Variables {
        let excluded = |exclude: &Exclude| {
            exclude.covers_namespace(namespace.unwrap_or_default())
                || (!exclude.names.is_empty() && exclude.covers_name(Subject::of(body).name_or_prefix()))
                || exclude
                    .annotation
                    .as_ref()
                    .is_some_and(|(key, value)| subject::has_annotation(body, key, value))
        };
        if !self.exclude.as_ref().is_some_and(excluded) {
            return self.all;
        }
        let of_proxy = self.entries.iter().map(|entry| entry.variable).filter(|it| it.is_of_proxy());
        self.all.without(of_proxy.collect())
    }

    /// Pods that get nothing of the proxy.
    #[must_use]
    pub fn exclude(&self) -> Option<&Exclude> {
        self.exclude.as_ref()
    }

    /// Those whose plain values are replaced.
    #[must_use]
    pub fn overwrite(&self) -> Variables {
        self.overwrite
    }

    /// What a variable is to be.
    #[must_use]
    pub fn entry(&self, variable: Variable) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.variable == variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injection(rest: &str) -> Injection {
        let file = format!("proxy: {{http: 'http://me:hunter2@proxy:3128', noProxy: corp}}\n{rest}");
        let config = egress::Config::parse(&file).unwrap();
        Injection::new(&"foo.bar.".parse().unwrap(), None, true).with_proxy(&config)
    }

    #[test]
    fn a_set_has_room_for_all() {
        let all: Variables = Variable::ALL.into_iter().collect();
        assert!(Variable::ALL.into_iter().all(|variable| all.contains(variable)));
        for (place, variable) in Variable::ALL.into_iter().enumerate() {
            assert_eq!(variable as usize, place);
            assert_eq!(Variable::from_name(variable.name()), Some(variable));
            assert!(!all.without([variable].into_iter().collect()).contains(variable));
        }
    }

    #[test]
    fn each_pair_is_there_if_it_has_a_value() {
        let injection = injection("");
        let names: Vec<_> = injection.entries.iter().map(|entry| entry.variable.name()).collect();
        let proxy = ["HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"];
        assert_eq!(names, [&["KUBERNETES_SERVICE_HOST"][..], &proxy].concat());
        let list = "cluster.local,corp,svc,127.0.0.1,localhost";
        assert_eq!(injection.entries[3].to_value(), json!({"name": "NO_PROXY", "value": list}));
        assert!(!format!("{injection:?}").contains("hunter2"), "{injection:?}");
    }

    /// What kubelet makes of a value where no variable has a value: of two dollars one, and all else stays.
    fn as_kubelet(value: &str) -> String {
        let (mut made, mut chars) = (String::new(), value.chars().peekable());
        while let Some(c) = chars.next() {
            assert!(c != '$' || chars.next_if_eq(&'$').is_some(), "a reference in {value}");
            made.push(c);
        }
        made
    }

    #[test]
    fn kubelet_gives_containers_what_the_file_says() {
        for url in ["http://me:$$a$(HOME)$@proxy", "http://me:$$$@proxy", "http://proxy"] {
            let config = egress::Config::parse(&format!("proxy: {{http: '{url}'}}")).unwrap();
            let injection = Injection::new(&"foo.bar.".parse().unwrap(), None, true).with_proxy(&config);
            let entry = injection.entry(Variable::HttpProxy).unwrap();
            let in_pod = entry.to_value()["value"].as_str().unwrap().to_owned();
            assert_eq!(as_kubelet(&in_pod), url);
            // Or `overwrite` would replace it again and again.
            assert_eq!(entry.plain().unwrap().reveal(), in_pod);
        }
    }

    #[test]
    fn urls_can_come_from_a_secret() {
        let injection = injection("pods: {credentialsSecret: {name: egress}}");
        let reference = json!({"name": "egress", "key": "http", "optional": true});
        let expected = json!({"name": "http_proxy", "valueFrom": {"secretKeyRef": reference}});
        assert_eq!(injection.entries[2].to_value(), expected);
        assert!(injection.entries.iter().all(|entry| !entry.json().contains("hunter2")));
        assert!(injection.entries[4].json().contains("cluster.local"));
    }

    #[test]
    fn exclusions_are_for_the_proxy_alone() {
        let rest = "pods: {exclude: {namespaces: [kube-*], names: [capi-*], annotation: a/b=c}}";
        let injection = injection(rest);
        let host: Variables = [Variable::Host].into_iter().collect();
        for (namespace, metadata, excluded) in [
            (Some("kube-system"), r#"{"name":"x"}"#, true),
            (Some("shop"), r#"{"name":"capi-x"}"#, true),
            (Some("shop"), r#"{"generateName":"capi-x-"}"#, true),
            (Some("shop"), r#"{"name":"x","generateName":"capi-x-"}"#, false),
            (Some("shop"), r#"{"name":"x","annotations":{"a/b":"c"}}"#, true),
            (Some("shop"), r#"{"name":"x","annotations":{"a/b":"d","c":7}}"#, false),
            (Some("shop"), r#"{"name":"x","annotations":{"a\/b":"\u0063"}}"#, true),
            (None, r#"{"name":"x"}"#, false),
        ] {
            let body = format!(r#"{{"request":{{"object":{{"metadata":{metadata}}}}}}}"#);
            let wanted = injection.wanted(namespace, body.as_bytes());
            assert_eq!(wanted, if excluded { host } else { injection.all }, "{namespace:?} {metadata}");
        }
        // The default, which does not look at the Pod.
        let injection = self::injection("");
        assert_eq!(injection.wanted(Some("kube-system"), b""), host);
        assert_eq!(injection.wanted(Some("kube-systems"), b""), injection.all);
    }
}
