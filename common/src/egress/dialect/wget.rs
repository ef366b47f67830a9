//! GNU Wget.
//!
//! Source: `sufmatch` in `src/host.c`, called by `no_proxy_match` in `src/retr.c`; seen in 1.21.3. It reads
//! `no_proxy` in lower case only. There are no CIDRs, no `*`, and addresses are compared like names. A member with a
//! leading dot means only what is below it.

use super::{Target, Verdict, ends_with};

pub(super) fn way<'a>(target: &Target, list: &'a str) -> Verdict<'a> {
    let mut members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    let is_meant = |member: &str| {
        ends_with(&target.host, member)
            .is_some_and(|before| before.is_empty() || before.ends_with('.') || member.starts_with('.'))
    };
    members.find(|member| is_meant(member)).map_or(Verdict::Proxy, Verdict::Member)
}
