//! `apiserver-proxy`: listens on a node's own address, and carries each connection to a healthy API server.

pub mod balance;
pub mod connect;
pub mod counters;
pub mod discover;
pub mod endpoint;
pub mod greet;
pub mod health;
pub mod listen;
pub mod protocol;
pub mod relay;
pub mod resolve;
pub mod session;
pub mod shared;
pub mod upstream;
pub mod worker;
