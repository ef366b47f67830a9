//! `apiserver-proxy-sidecar`: keeps the API server proxy's address, and on request its packet filter rules, in
//! place on a node.
//!
//! A proxy that carries Pods' connections to the API server listens on an address of its own on every node,
//! such as 10.96.0.2. Somebody has to make that address local, and to exempt its traffic from connection
//! tracking and from filters that would drop it. That is all this program does, again and again:
//!
//! 1. observe what is there ([`address`], [`rules`]),
//! 2. compare it with what is wanted ([`wanted`], [`plan`]: pure),
//! 3. apply the difference only,
//! 4. after a write, observe again; only what was seen counts.
//!
//! Rules come before the address on the way up, and go after it on the way down, so that no connection is ever
//! half tracked. [`reconcile`] does one such cycle, [`daemon`] repeats it, once an interval and on events
//! ([`netlink`]), [`app`] is the whole life from start to cleanup, and [`cli`] says with what.
//!
//! [`node_proxy`] is a job of its own, under a command of its own: it tells a node's services the corporate proxy.

pub mod address;
pub mod app;
pub mod cli;
pub mod conflict;
pub mod daemon;
pub mod handover;
pub mod metrics;
pub mod netlink;
pub mod node_proxy;
pub mod plan;
pub mod privileges;
pub mod reconcile;
pub mod rules;
pub mod runtime;
pub mod status;
pub mod wanted;
