//! Whether endpoints answer. A stand-in: all do.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::shared::Shared;

/// How an endpoint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// A connect.
    #[default]
    Tcp,
    /// A handshake.
    Tls,
    /// `GET /readyz`.
    Https,
}

/// How endpoints are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// What is asked.
    pub kind: Check,
    /// The name in the handshake.
    pub sni: Option<String>,
    /// Between two checks of an endpoint.
    pub interval: Duration,
    /// For one of them.
    pub timeout: Duration,
}

/// Keeps what is known of each endpoint's health.
pub async fn watch(_shared: Arc<Shared>, _settings: watch::Receiver<HealthSettings>) -> Infallible {
    std::future::pending().await
}
