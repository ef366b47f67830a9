//! `--remove`: takes drop-ins of ours away.

use std::time::SystemTime;

use common::duration::GoDuration;

use super::{
    Failed,
    cli::Options,
    keep::random_below,
    outcome::Reach,
    plan,
    systemd::{Systemd, SystemdError},
    tree::Tree,
    without_systemd,
};

/// A unit whose drop-in is gone, and the time that it had.
type Gone<'a> = (&'a str, SystemTime);

/// Takes the units' drop-ins away, lets systemd know, and restarts those that ran with them if that is wanted. What
/// fails keeps nothing else from it.
///
/// # Errors
/// When something is left.
pub async fn remove(options: &Options, units: &[String]) -> Result<(), Failed> {
    super::start(options, units);
    let tree = Tree::open(&options.root)?;
    let (mut gone, mut problems): (Vec<Gone<'_>>, Vec<String>) = (Vec::new(), Vec::new());
    {
        let _lock = tree.lock().await?;
        for unit in units {
            match tree.remove(unit) {
                Ok(Some(found)) => {
                    tracing::info!(path = %tree.path(unit).display(), "removed");
                    gone.push((unit, found.modified));
                }
                Ok(None) => {}
                Err(error) => problems.push(error.to_string()),
            }
        }
    }
    let systemd = match Systemd::connect(tree.root()).await {
        Ok(Some(systemd)) => match with_systemd(options, &tree, &systemd, units, &gone).await {
            Ok(()) => Reach::Fine,
            Err(error) => Reach::Failed(error.to_string()),
        },
        Ok(None) => Reach::Absent,
        Err(error) => Reach::Failed(error.to_string()),
    };
    if let Reach::Failed(problem) = &systemd {
        problems.push(problem.clone());
    }
    if !problems.is_empty() {
        return Err(Failed::Undone(problems.join(" | ")));
    }
    without_systemd(options, &systemd)?;
    tracing::info!(removed = gone.len(), "no drop-in of ours is left");
    Ok(())
}

async fn with_systemd(
    options: &Options,
    tree: &Tree,
    systemd: &Systemd,
    units: &[String],
    gone: &[Gone<'_>],
) -> Result<(), SystemdError> {
    let mut reload = !gone.is_empty();
    for unit in units {
        let (drop_in, unit) = (tree.path_for_systemd(unit), systemd.unit(unit).await?);
        reload |= unit.needs_reload || unit.drop_ins.contains(&drop_in);
    }
    if reload {
        systemd.reload().await?;
        tracing::info!("systemd has read its units anew");
    }
    let due = still_with(systemd, gone).await?;
    if due.is_empty() {
        return Ok(());
    }
    let names = due.join(", ");
    if !options.restart {
        tracing::info!(
            "these units run with the drop-in that is gone until they are restarted (systemctl restart): {names}"
        );
        return Ok(());
    }
    let wait = random_below(options.jitter.0);
    tracing::info!(units = names, wait = %GoDuration(wait), "they run with the drop-in that is gone and will be restarted");
    tokio::time::sleep(wait).await;
    for unit in still_with(systemd, gone).await? {
        systemd.restart(unit).await?;
        tracing::info!(unit, "restarted, it runs without the drop-in");
    }
    Ok(())
}

async fn still_with<'a>(systemd: &Systemd, gone: &[Gone<'a>]) -> Result<Vec<&'a str>, SystemdError> {
    let mut due = Vec::new();
    for (unit, modified) in gone {
        if plan::ran_with(&systemd.unit(unit).await?.run, *modified) {
            due.push(*unit);
        }
    }
    Ok(due)
}
