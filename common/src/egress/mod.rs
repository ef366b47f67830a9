//! The corporate proxy, told to every Pod and node. Pure: no file, socket or clock is touched in here.
//!
//! One file ([`Config`]) says which proxy there is and what the cluster is made of. Of it come the list of hosts
//! that are reached without the proxy ([`no_proxy`]), the environment that Pods get ([`variables`]), and the text of
//! the systemd drop-in that nodes get ([`drop_in`]). All three have the same list, since there is one source.
//!
//! Programs read that list each in its own way. [`Dialect::route`] says for each of these whether a host ([`Target`]) is
//! reached through the proxy, and which member decides it.
//!
//! The proxy's URL has a password in it. A [`ProxyUrl`] and a [`Secret`] print `***` for it, and so do the
//! configuration as a whole and every error; the password comes out of `reveal()` only.

mod compose;
mod config;
mod dialect;
mod dropin;
mod names;
mod pattern;
mod secret;
#[cfg(test)]
mod tests;
mod url;

pub use compose::{NoProxy, Variable, no_proxy, variables};
pub use config::{ApiServer, Cluster, Config, Dialects, Exclude, Nodes, Pods, Proxy};
pub use dialect::{Dialect, NotAHost, Scheme, Target, Verdict};
pub use dropin::{drop_in, environment_line};
pub use names::unit_name;
pub use pattern::Pattern;
pub(crate) use secret::shown;
pub use secret::{Secret, masked};
pub use url::{NotAProxyUrl, ProxyUrl};

pub use crate::yaml::ConfigError;
