//! What flags take.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use common::duration::GoDuration;

use crate::upstream::Upstream;

/// The longest silence before a keepalive that the kernel takes. Source: tcp(7).
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(32_767);
/// The kernel counts milliseconds in an `int`; nobody needs more.
const LONGEST_USER_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The longest name of a host.
const LONGEST_NAME: usize = 253;

fn each<T, E: std::fmt::Display>(text: &str, read: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, String> {
    let one = |word: &str| read(word).map_err(|error| format!("{word:?} is {error}"));
    text.split(',').map(one).collect()
}

pub(super) fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    each(text, |word| {
        word.parse()
            .map_err(|_| "not an address with a port; write one such as 10.96.0.2:443 or [fd00::2]:443")
    })
}

pub(super) fn upstreams(text: &str) -> Result<Vec<Upstream>, String> {
    each(text, str::parse)
}

pub(super) fn duration(text: &str) -> Result<GoDuration, String> {
    text.parse::<GoDuration>().map_err(|error| error.to_string())
}

pub(super) fn above_zero(text: &str) -> Result<GoDuration, String> {
    let duration = duration(text)?;
    if duration.0.is_zero() { Err("it must be above 0".to_owned()) } else { Ok(duration) }
}

fn from_to(text: &str, least: Duration, most: Duration) -> Result<GoDuration, String> {
    let duration = duration(text)?;
    if (least..=most).contains(&duration.0) {
        return Ok(duration);
    }
    Err(format!("it must be from {} to {}", GoDuration(least), GoDuration(most)))
}

pub(super) fn keepalive(text: &str) -> Result<GoDuration, String> {
    from_to(text, Duration::from_secs(1), LONGEST_KEEPALIVE)
}

pub(super) fn user_timeout(text: &str) -> Result<GoDuration, String> {
    from_to(text, Duration::from_secs(1), LONGEST_USER_TIMEOUT)
}

/// A name for a TLS handshake, or nothing.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() < 64
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_name = text.len() <= LONGEST_NAME && text.split('.').all(is_label);
    if text.is_empty() || (is_name && text.parse::<IpAddr>().is_err()) {
        return Ok(text.to_owned());
    }
    Err("not a DNS name, such as kube-apiserver.example.com".to_owned())
}
