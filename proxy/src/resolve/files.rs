//! `/etc/hosts` and `/etc/resolv.conf`, as the C library reads them. Pure.
//!
//! Source: hosts(5), resolv.conf(5).

use std::{net::IpAddr, time::Duration};

/// As many name servers as the C library takes.
const MOST_SERVERS: usize = 3;
/// Domains to search in; the C library has no limit since 2.26, a Pod has 32 at most.
const MOST_DOMAINS: usize = 32;

/// What `/etc/resolv.conf` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolv {
    /// Who is asked, in this order.
    pub servers: Vec<IpAddr>,
    /// Where names of few dots are searched for.
    pub search: Vec<String>,
    /// From how many dots on a name is tried as it is first.
    pub ndots: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How often each is asked.
    pub attempts: usize,
}

impl Resolv {
    /// What can't be understood is passed over, as the C library does.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut resolv = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if resolv.servers.len() < MOST_SERVERS => {
                    resolv.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("domain") => resolv.search = words.take(1).map(domain).collect(),
                Some("search") => resolv.search = words.take(MOST_DOMAINS).map(domain).collect(),
                Some("options") => words.for_each(|option| resolv.option(option)),
                _ => {}
            }
        }
        if resolv.servers.is_empty() {
            resolv.servers.push(IpAddr::from([127, 0, 0, 1]));
        }
        resolv
    }

    fn option(&mut self, option: &str) {
        let Some((key, Ok(value))) = option.split_once(':').map(|(key, value)| (key, value.parse::<u8>()))
        else {
            return;
        };
        // The limits are the C library's.
        match key {
            "ndots" => self.ndots = usize::from(value.min(15)),
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = usize::from(value.clamp(1, 5)),
            _ => {}
        }
    }

    /// The full names to ask for, in order, with a dot at the end of each.
    #[must_use]
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let itself = format!("{name}.");
        let mut candidates: Vec<String> = self
            .search
            .iter()
            .map(|domain| if domain.is_empty() { itself.clone() } else { format!("{name}.{domain}.") })
            .collect();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let at = if dots >= self.ndots { 0 } else { candidates.len() };
        candidates.insert(at, itself);
        candidates
    }
}

fn domain(word: &str) -> String {
    word.trim_end_matches('.').to_ascii_lowercase()
}

/// The addresses that a text of the form of `/etc/hosts` has for a name.
#[must_use]
pub fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        let is_name = |word: &str| word.trim_end_matches('.').eq_ignore_ascii_case(name);
        if words.any(is_name) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_resolv_conf_says() {
        let resolv = Resolv::read(
            "# comment\n; another\nnameserver 10.0.0.1 ignored\nnameserver fd00::1\nnameserver nonsense\n\
             nameserver fe80::1%eth0\nnameserver 10.0.0.2\nnameserver 10.0.0.3\ndomain old\n\
             search ns.svc.Cluster.local svc.cluster.local. .\noptions ndots:5 timeout:2 attempts:99 rotate ndots:x\n\
             sortlist 1.2.3.4\n\u{fffd}\n",
        );
        let servers: Vec<String> = resolv.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1", "fd00::1", "10.0.0.2"]);
        assert_eq!(resolv.search, ["ns.svc.cluster.local", "svc.cluster.local", ""]);
        assert_eq!((resolv.ndots, resolv.timeout.as_secs(), resolv.attempts), (5, 2, 5));
        let empty = Resolv::read("");
        assert_eq!((empty.servers, empty.ndots), (vec![[127, 0, 0, 1].into()], 1));
        assert_eq!(Resolv::read("domain a.b c.d").search, ["a.b"]);
    }

    #[test]
    fn names_are_searched_for_by_their_dots() {
        let resolv = |text: &str| Resolv::read(text);
        let two = resolv("search a.b c\noptions ndots:2");
        assert_eq!(two.candidates("x"), ["x.a.b.", "x.c.", "x."]);
        assert_eq!(two.candidates("x.y"), ["x.y.a.b.", "x.y.c.", "x.y."]);
        assert_eq!(two.candidates("x.y.z"), ["x.y.z.", "x.y.z.a.b.", "x.y.z.c."]);
        assert_eq!(two.candidates("x."), ["x."]);
        assert_eq!(resolv("").candidates("x"), ["x."]);
        let many = format!("search {}", "a ".repeat(1000));
        assert_eq!(resolv(&many).candidates("x").len(), MOST_DOMAINS + 1);
    }

    #[test]
    fn what_hosts_says() {
        let text = "127.0.0.1 localhost\n10.0.0.1\tapi.example API # api2\nnonsense api\n\nfd00::1 api.\n10.0.0.1 api\n";
        let found =
            |name| hosts(text, name).iter().map(ToString::to_string).collect::<Vec<String>>().join(" ");
        assert_eq!(found("api"), "10.0.0.1 fd00::1");
        assert_eq!(found("api.example."), "10.0.0.1");
        assert_eq!(found("api2"), "");
        assert_eq!(found("10.0.0.1"), "");
    }
}
