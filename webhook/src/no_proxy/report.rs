//! What is printed. Pure.

use std::fmt;

use common::egress::{Config, Dialect, NoProxy, Proxy, ProxyUrl, Scheme, Target, Verdict, no_proxy};
use serde_json::{Value, json};

/// The configuration's list and proxies, and the hosts that were asked about.
pub(super) struct Report<'a> {
    config: &'a Config,
    no_proxy: NoProxy,
    targets: Vec<Target>,
}

impl<'a> Report<'a> {
    pub(super) fn new(config: &'a Config, targets: Vec<Target>) -> Self {
        Self { config, no_proxy: no_proxy(config), targets }
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        let list = self.no_proxy.to_string();
        let url = |url: &Option<ProxyUrl>| url.as_ref().map(ToString::to_string);
        let host = |target: &Target| {
            json!({
                "host": target.host(),
                "port": target.port(),
                "scheme": target.scheme().to_string(),
                "programs": routes(target, self.config, &list)
                    .into_iter()
                    .map(|(dialect, verdict)| program(dialect, verdict))
                    .collect::<Vec<_>>(),
            })
        };
        let Proxy { http, https, .. } = &self.config.proxy;
        let report = json!({
            "noProxy": list,
            "proxies": { "http": url(http), "https": url(https) },
            "hosts": self.targets.iter().map(host).collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }
}

fn routes<'a>(target: &Target, config: &Config, list: &'a str) -> Vec<(Dialect, Verdict<'a>)> {
    Dialect::ALL.map(|dialect| (dialect, dialect.route(target, config, list))).to_vec()
}

fn program(dialect: Dialect, verdict: Verdict) -> Value {
    let (reason, member) = match verdict {
        Verdict::Proxy => ("no member", None),
        Verdict::Member(member) => ("member", Some(member)),
        Verdict::Loopback => ("loopback", None),
        Verdict::Unread => ("unread", None),
        Verdict::NoProxy => ("no proxy", None),
    };
    json!({
        "id": dialect.id(),
        "name": dialect.to_string(),
        "proxied": verdict.is_proxy(),
        "reason": reason,
        "member": member,
    })
}

/// For people: first what there is, then the answer in one line, then why.
impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.no_proxy.to_string();
        writeln!(f, "NO_PROXY  {list}")?;
        let Proxy { http, https, .. } = &self.config.proxy;
        for (scheme, url) in [(Scheme::Http, http), (Scheme::Https, https)] {
            match url {
                Some(url) => writeln!(f, "{scheme:8}  {url}")?,
                None => writeln!(f, "{scheme:8}  no proxy")?,
            }
        }
        for target in &self.targets {
            let routes = routes(target, self.config, &list);
            writeln!(f, "\n{target}: {}", in_short(&routes))?;
            for (dialect, verdict) in &routes {
                writeln!(f, "  {dialect:21} {verdict}")?;
            }
        }
        Ok(())
    }
}

/// The answer, without those who read no variables: nothing in the file changes their way.
fn in_short(routes: &[(Dialect, Verdict)]) -> &'static str {
    let mut proxied = routes
        .iter()
        .filter(|(_, verdict)| *verdict != Verdict::Unread)
        .map(|(_, verdict)| verdict.is_proxy());
    let first = proxied.next().unwrap_or_default();
    match (proxied.all(|other| other == first), first) {
        (false, _) => "depends on the program",
        (true, true) => "through the proxy",
        (true, false) => "direct",
    }
}
