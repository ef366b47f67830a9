//! `apiserver-proxy-pod-webhook`. See the library for the story.

use std::{
    io::{ErrorKind, Write},
    process::ExitCode,
};

use common::shutdown::Signals;
use webhook::{
    cli::{Config, PROGRAM},
    manifest,
    no_proxy::{self, Refusal},
    server::Server,
};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_ref().is_some_and(|first| first == no_proxy::NAME) {
        return match no_proxy::run(args) {
            Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
                // Whoever reads only the first lines (`| head`) has what he wants.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    eprintln!("Error: cannot write the explanation: {error}");
                    ExitCode::FAILURE
                }
                _ => ExitCode::SUCCESS,
            },
            Err(Refusal::Stop(stop)) => ExitCode::from(stop.print()),
            Err(Refusal::File(problem)) => {
                eprintln!("Error: {problem}");
                ExitCode::FAILURE
            }
        };
    }
    if first.is_some_and(|first| first == manifest::NAME) {
        return match manifest::run(args) {
            Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                // Half a manifest is none.
                Err(error) => {
                    eprintln!("Error: cannot write the manifest: {error}");
                    ExitCode::FAILURE
                }
            },
            Err(stop) => ExitCode::from(stop.print()),
        };
    }
    let config = match Config::from_command_line(std::env::args_os()) {
        Ok(config) => config,
        Err(stop) => return ExitCode::from(stop.print()),
    };
    if let Err(error) = config.log.init() {
        eprintln!("Error: {error}");
        return ExitCode::FAILURE;
    }
    // Two threads: one is enough for any cluster, the second keeps a large review from holding up small ones.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let outcome = runtime.block_on(run(config));
        // Not by dropping it: that would wait for a read that hangs.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{} cannot run: {error:#}", PROGRAM.name);
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let server = tokio::select! {
        server = Server::build(config) => server?,
        signal = signals.next() => {
            tracing::info!(signal, "ending before it served");
            return Ok(());
        }
    };
    if let Some(authority) = server.authority() {
        // Nobody may be reading it.
        let _ = std::io::stdout().write_all(authority.introduction().as_bytes());
    }
    server.run(signals).await
}
