//! `apiserver-proxy`: listens on a node's own address, and carries each connection to a healthy API server.

pub mod app;
pub mod balance;
pub mod begin;
pub mod carry;
pub mod cli;
pub mod connect;
pub mod counters;
pub mod descriptors;
pub mod discover;
pub mod endpoint;
pub mod greet;
pub mod handover;
pub mod health;
pub mod listen;
pub mod metrics;
pub mod protocol;
pub mod relay;
pub mod reload;
pub mod resolve;
pub mod session;
pub mod shared;
pub mod status;
pub mod upstream;
pub mod worker;
