//! The file of `--config`, read again every second.

use std::{convert::Infallible, sync::Arc};

use arc_swap::ArcSwap;
use common::{
    flags::Stop,
    reload::{self, Look, Reload},
};
use tokio::sync::watch;

use crate::{
    cli::{Config, Source},
    health::HealthSettings,
    resolve::Sources,
    shared::Shared,
    status::Status,
};

/// Where a new configuration goes.
#[derive(Debug)]
pub struct Receivers {
    /// Where settings of connections are in force.
    pub shared: Arc<Shared>,
    /// Who finds endpoints.
    pub sources: watch::Sender<Sources>,
    /// Who checks them.
    pub health: watch::Sender<HealthSettings>,
    /// All of it, as it is in force.
    pub config: Arc<ArcSwap<Config>>,
}

impl Receivers {
    /// Puts a configuration into force, but for what takes a restart. Connections that are open keep what they have.
    fn apply(&self, new: Config) {
        let before = self.config.load();
        let (fixed, new) = (before.takes_a_restart(&new), new.following(&before));
        if !fixed.is_empty() {
            tracing::warn!(keys = fixed.join(","), "what these keys of the file say takes a restart");
        }
        self.shared.settings.store(Arc::new(new.settings.clone()));
        self.shared.settings_changed();
        self.health.send_if_modified(|health| std::mem::replace(health, new.health.clone()) != new.health);
        self.sources
            .send_if_modified(|sources| std::mem::replace(sources, new.sources.clone()) != new.sources);
        tracing::info!(
            upstreams = new.sources.upstreams.len(),
            "the file of --config has changed, and is in force"
        );
        self.config.store(Arc::new(new));
    }
}

/// Reads the file for as long as it is polled.
pub async fn keep(source: Source, to: Receivers, status: Arc<Status>) -> Infallible {
    let mut reload = Reload::new(source.bytes);
    loop {
        tokio::time::sleep(reload::INTERVAL).await;
        let seen = reload::read(&source.path).await;
        let seen = seen.map_err(|error| format!("cannot read {}: {error}", source.path.display()));
        let look = reload.look(seen, |bytes| match source.line.config(bytes) {
            Ok(config) => {
                to.apply(config);
                Ok(())
            }
            Err(Stop::Mistake(text) | Stop::Asked(text)) => Err(text),
        });
        if let Some(Look { problem, .. }) = look {
            status.file.tell(problem);
        }
    }
}
