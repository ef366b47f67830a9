//! The corporate proxy, from `--egress-config`: a file that is read again every second.
//!
//! What the file means is [`common::egress`]'s business. A file that breaks while the webhook runs changes nothing: what
//! is injected stays what the last good one said.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::{ArcSwap, Guard};
use common::{
    egress::{Config, Dialect, Target, no_proxy},
    reload::{self, Look, Problem, Reload},
};

use crate::{env::Injection, fqdn::Fqdn, metrics::Metrics};

/// What is injected, for as long as nothing else is.
#[derive(Debug)]
pub struct Egress {
    current: ArcSwap<Injection>,
    /// What the file says in one line, where there is one.
    summary: Option<ArcSwap<String>>,
    problem: Problem,
}

impl Egress {
    /// Without a proxy: this and nothing else, for ever.
    #[must_use]
    pub fn none(injection: Injection) -> Self {
        Self {
            current: ArcSwap::from_pointee(injection),
            summary: None,
            problem: Problem::none("egress configuration"),
        }
    }

    /// What a request that comes now gets.
    #[must_use]
    pub fn injection(&self) -> Guard<Arc<Injection>> {
        self.current.load()
    }

    /// For a person: what is in use, and what is wrong with the file, if something is. Nothing without a file.
    #[must_use]
    pub fn describe(&self) -> Option<(String, Option<String>)> {
        let summary = self.summary.as_ref()?.load();
        Some((summary.as_ref().clone(), self.problem.now()))
    }
}

/// The file, and what is made of it.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// What Pods get besides.
    base: Injection,
    /// What the proxy must not be used for.
    host: Fqdn,
    reload: Reload<Config>,
}

impl File {
    /// Reads the file, which [`File::watch`] then goes on with.
    ///
    /// # Errors
    /// When it can't be read, or can't be meant; with line and key, without any password.
    pub async fn load(path: PathBuf, base: Injection, host: Fqdn) -> Result<(Egress, Self), String> {
        let config = read(&path).await?;
        let egress = Egress {
            current: ArcSwap::from_pointee(base.with_proxy(&config)),
            summary: Some(ArcSwap::from_pointee(summary(&config))),
            ..Egress::none(base.clone())
        };
        tracing::info!(file = %path.display(), "egress configuration loaded: {}", summary(&config));
        let file = Self { path, base, host, reload: Reload::new(config.clone()) };
        file.warn_of(&config);
        Ok((egress, file))
    }

    /// Looks at the file for as long as it is polled.
    pub async fn watch(mut self, egress: &Egress, metrics: &Metrics) {
        loop {
            let seen = read(&self.path).await;
            let mut replaced = None;
            let look = self.reload.look(seen, |config| {
                replaced = Some(config.clone());
                Ok(())
            });
            if let Some(config) = replaced {
                egress.current.store(Arc::new(self.base.with_proxy(&config)));
                if let Some(told) = &egress.summary {
                    told.store(Arc::new(summary(&config)));
                }
                tracing::info!(file = %self.path.display(), "egress configuration replaced: {}", summary(&config));
                self.warn_of(&config);
            }
            if let Some(Look { problem, count }) = look {
                count.into_iter().for_each(|success| metrics.egress_reloaded(success));
                egress.problem.tell(problem);
            }
            tokio::time::sleep(reload::INTERVAL).await;
        }
    }

    /// Pods get the API server's name beside the proxy: most of the traffic that must not go there.
    fn warn_of(&self, config: &Config) {
        let wrong = through_proxy(&self.host, config);
        if !wrong.is_empty() {
            let name = self.host.as_str().trim_end_matches('.');
            tracing::warn!(
                "NO_PROXY does not cover --apiserver-fqdn={}: {} would reach the API server through the proxy; \
                 add {name} to cluster.apiServer in {}",
                self.host,
                wrong.join(", "),
                self.path.display()
            );
        }
    }
}

/// Reads a file.
///
/// # Errors
/// As [`File::load`].
pub fn load(path: &Path) -> Result<Config, String> {
    parse(path, reload::read_now(path))
}

async fn read(path: &Path) -> Result<Config, String> {
    parse(path, reload::read(path).await)
}

fn parse(path: &Path, read: io::Result<Vec<u8>>) -> Result<Config, String> {
    let bytes = read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Config::from_bytes(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// In one line, without passwords.
fn summary(config: &Config) -> String {
    let proxy = |scheme, url: &Option<common::egress::ProxyUrl>| {
        url.as_ref().map_or_else(|| format!("no proxy for {scheme}"), |url| format!("{scheme} by {url}"))
    };
    let secret = config.pods.credentials_secret.as_ref();
    let secret = secret.map(|name| format!(", URLs from Secret {name}")).unwrap_or_default();
    format!(
        "{}, {}{secret}, NO_PROXY={}",
        proxy("http", &config.proxy.http),
        proxy("https", &config.proxy.https),
        no_proxy(config)
    )
}

/// The programs that would take the proxy to this host. API servers speak nothing but HTTPS.
fn through_proxy(host: &Fqdn, config: &Config) -> Vec<String> {
    let Ok(target) = format!("https://{host}").parse::<Target>() else { return Vec::new() };
    let list = no_proxy(config).to_string();
    let through = |dialect: &Dialect| dialect.route(&target, config, &list).is_proxy();
    Dialect::ALL.into_iter().filter(through).map(|dialect| dialect.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(proxy: &str, rest: &str) -> Config {
        Config::parse(&format!("proxy: {{{proxy}: 'http://me:hunter2@proxy:3128'}}\n{rest}")).unwrap()
    }

    #[test]
    fn an_api_server_that_is_not_covered_is_told() {
        let wrong = |host: &str, config| through_proxy(&host.parse().unwrap(), config);
        let named = config("https", "cluster: {apiServer: foo.bar}");
        assert_eq!(wrong("foo.bar.", &named), [""; 0]);
        assert_eq!(wrong("foo.bar", &named), [""; 0]);
        assert!(wrong("foo.baz.", &named).contains(&"Go".to_owned()));
        // By its domain: some programs take the dot at the end for a part of the name.
        let domain = Config { proxy: config("https", "").proxy, ..config("https", "cluster: {domain: bar}") };
        assert_eq!(wrong("foo.bar", &domain), [""; 0]);
        assert!(wrong("foo.bar.", &domain).contains(&"Go".to_owned()));
        // It asks for the proxy of http, whatever it speaks.
        assert_eq!(wrong("foo.bar.", &config("http", "")), ["Ruby Net::HTTP"]);
    }

    #[test]
    fn a_summary_has_no_password() {
        let told = summary(&config("https", "pods: {credentialsSecret: {name: egress}}"));
        let list = "NO_PROXY=cluster.local,svc,127.0.0.1,localhost";
        let expected =
            format!("no proxy for http, https by http://***@proxy:3128, URLs from Secret egress, {list}");
        assert_eq!(told, expected);
    }
}
