//! The kernel's sockets for what the agent looks after, apart from addresses.
//!
//! - [`wire`]: messages and attributes as bytes, read without trusting them. Pure.
//! - [`nft`]: requests to nf_tables.
//! - [`events`]: what the kernel tells by itself.

pub mod events;
pub mod nft;
pub mod wire;
