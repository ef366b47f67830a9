//! The klog flags, mapped onto `tracing`.
//!
//! | klog | here |
//! |---|---|
//! | `-v` 0 and 1, 2 to 5, from 6 on | info, debug, trace |
//! | `--logtostderr` (default true) | standard error only |
//! | `--logtostderr=false` with `--log_file` or `--log_dir` | that file; `--stderrthreshold` and above also on standard error |
//! | `--alsologtostderr` | everything on standard error besides |
//! | `--log_file_max_size` | the file's cap in MB |
//! | `--skip_headers` | lines without klog's header |
//! | `--vmodule`, `--log_backtrace_at`, `--add_dir_header`, `--skip_log_headers` | accepted, without effect, with a warning |

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use clap::{Arg, ArgMatches, builder::PossibleValuesParser, parser::ValueSource};
use tracing::{Level, Metadata};
use tracing_subscriber::{filter::Targets, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    flags::{boolean, string, value},
    klog::Klog,
    logfile::LogFile,
};

const WITHOUT_EFFECT: [&str; 4] = ["vmodule", "log_backtrace_at", "add_dir_header", "skip_log_headers"];

/// `-v` and `--log-format`, which every program has.
#[must_use]
pub fn basic_flags() -> Vec<Arg> {
    vec![
        value("v", "Level", clap::value_parser!(i32), "number for the log level verbosity")
            .short('v')
            .default_value("0"),
        value(
            "log-format",
            "string",
            PossibleValuesParser::new(["text", "json"]),
            "[optional] form of the log lines: text or json.",
        )
        .default_value("text"),
    ]
}

/// The rest of klog's flags, with klog's words.
#[must_use]
pub fn klog_flags() -> Vec<Arg> {
    vec![
        boolean("add_dir_header", false, "If true, adds the file directory to the header"),
        boolean("alsologtostderr", false, "log to standard error as well as files"),
        value("log_backtrace_at", "traceLocation", clap::builder::StringValueParser::new(), "when logging hits line file:N, emit a stack trace")
            .default_value(":0"),
        string("log_dir", "If non-empty, write log files in this directory").default_value(""),
        string("log_file", "If non-empty, use this log file").default_value(""),
        value("log_file_max_size", "uint", clap::value_parser!(u64), "Defines the maximum size a log file can grow to. Unit is megabytes. If the value is 0, the maximum file size is unlimited.")
            .default_value("1800"),
        boolean("logtostderr", true, "log to standard error instead of files"),
        boolean("skip_headers", false, "If true, avoid header prefixes in the log messages"),
        boolean("skip_log_headers", false, "If true, avoid headers when opening log files"),
        value("stderrthreshold", "severity", parse_severity, "logs at or above this threshold go to stderr")
            .default_value("2"),
        value("vmodule", "moduleSpec", clap::builder::StringValueParser::new(), "comma-separated list of pattern=N settings for file-filtered logging")
            .default_value(""),
    ]
}

/// klog's severities, by number or name.
fn parse_severity(text: &str) -> Result<Level, String> {
    match text.to_ascii_uppercase().as_str() {
        "0" | "INFO" => Ok(Level::TRACE),
        "1" | "WARNING" => Ok(Level::WARN),
        "2" | "ERROR" | "3" | "FATAL" => Ok(Level::ERROR),
        _ => Err("not a severity; accepted are 0 to 3, INFO, WARNING, ERROR, FATAL".to_owned()),
    }
}

/// Where log lines go and how they look.
#[derive(Debug, Clone)]
pub struct LogConfig {
    level: Level,
    json: bool,
    skip_headers: bool,
    /// Lines at this level and above go to standard error.
    stderr_from: Level,
    file: Option<PathBuf>,
    /// Bytes; 0 means no cap.
    file_cap: u64,
    warnings: Vec<String>,
}

impl LogConfig {
    /// Reads the flags of [`basic_flags`] and, where the program has them, [`klog_flags`]. Of
    /// `unknown_variables` the log will warn.
    #[must_use]
    pub fn from_matches(program: &str, matches: &ArgMatches, unknown_variables: Vec<String>) -> Self {
        let text = |name| matches.try_get_one::<String>(name).ok().flatten().cloned().unwrap_or_default();
        let on = |name| matches.try_get_one::<bool>(name).ok().flatten().copied();
        let file = match (text("log_file"), text("log_dir")) {
            (file, _) if !file.is_empty() => PathBuf::from(file),
            (_, folder) if !folder.is_empty() => PathBuf::from(folder).join(format!("{program}.log")),
            _ => std::env::temp_dir().join(format!("{program}.log")),
        };
        let to_file = on("logtostderr") == Some(false);
        let all_to_stderr = !to_file || on("alsologtostderr") == Some(true);
        let threshold = matches.try_get_one::<Level>("stderrthreshold").ok().flatten().copied();
        let megabytes =
            matches.try_get_one::<u64>("log_file_max_size").ok().flatten().copied().unwrap_or_default();
        Self {
            level: match matches.get_one::<i32>("v").copied().unwrap_or_default() {
                ..=1 => Level::INFO,
                2..=5 => Level::DEBUG,
                6.. => Level::TRACE,
            },
            json: text("log-format") == "json",
            skip_headers: on("skip_headers") == Some(true),
            stderr_from: if all_to_stderr { Level::TRACE } else { threshold.unwrap_or(Level::ERROR) },
            file: to_file.then_some(file),
            file_cap: megabytes.saturating_mul(1024 * 1024),
            warnings: WITHOUT_EFFECT
                .into_iter()
                .filter(|name| {
                    let known = matches.try_contains_id(name).unwrap_or(false);
                    known && matches.value_source(name) != Some(ValueSource::DefaultValue)
                })
                .map(|name| format!("--{name} is accepted for compatibility and has no effect"))
                .chain(
                    unknown_variables
                        .into_iter()
                        .map(|name| format!("{name} in the environment sets no flag")),
                )
                .collect(),
        }
    }

    /// Makes this the process's log. Call once, first thing.
    ///
    /// # Errors
    /// When the log file can't be opened; the message names it.
    pub fn init(&self) -> io::Result<()> {
        let file = match &self.file {
            None => None,
            Some(path) => Some(Mutex::new(LogFile::open(path, self.file_cap).map_err(|error| {
                let hint =
                    "give a path that can be written with --log_file, or leave out --logtostderr=false";
                io::Error::new(
                    error.kind(),
                    format!("cannot open the log file {}: {error}; {hint}", path.display()),
                )
            })?)),
        };
        let sink = Sink { stderr_from: self.stderr_from, file };
        // Libraries warn of what any client can cause, once a connection; only netlink's warnings are about the node.
        let ours = ["agent", "common", "proxy", "webhook"].map(|target| (target, self.level));
        let filter = Targets::new().with_default(Level::ERROR).with_target("netlink_proto", Level::WARN);
        let filter = filter.with_targets(ours);
        let builder = tracing_subscriber::fmt().with_max_level(self.level).with_writer(sink);
        if self.json {
            let builder = builder.json().flatten_event(true).with_file(true).with_line_number(true);
            builder.finish().with(filter).init();
        } else {
            builder.event_format(Klog { skip_headers: self.skip_headers }).finish().with(filter).init();
        }
        self.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(())
    }
}

/// Standard error and a file, each for the levels it is meant for.
struct Sink {
    stderr_from: Level,
    file: Option<Mutex<LogFile>>,
}

struct Line<'a> {
    stderr: bool,
    file: Option<&'a Mutex<LogFile>>,
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { stderr: true, file: self.file.as_ref() }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { stderr: *metadata.level() <= self.stderr_from, file: self.file.as_ref() }
    }
}

impl Write for Line<'_> {
    /// Takes the whole line. A full disk or a closed pipe loses the line, never the program.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let filed = self
            .file
            .is_some_and(|file| file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line).is_ok());
        if self.stderr || (self.file.is_some() && !filed) {
            let _ = io::stderr().lock().write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    fn config(args: &[&str]) -> LogConfig {
        let command = Command::new("prog").no_binary_name(true).args(basic_flags()).args(klog_flags());
        let unknown = vec!["ASP_PROG_TYPO".to_owned()];
        LogConfig::from_matches("prog", &command.try_get_matches_from(args).unwrap(), unknown)
    }

    #[test]
    fn verbosity_maps_onto_levels() {
        for (v, level) in [
            (-1, Level::INFO),
            (0, Level::INFO),
            (1, Level::INFO),
            (2, Level::DEBUG),
            (5, Level::DEBUG),
            (9, Level::TRACE),
        ] {
            assert_eq!(config(&[&format!("--v={v}")]).level, level, "-v={v}");
        }
    }

    #[test]
    fn files_only_without_logtostderr() {
        assert_eq!(config(&["--log_file=/x"]).file, None);
        let filed = config(&["--logtostderr=false", "--log_file=/x", "--log_file_max_size=2"]);
        assert_eq!((filed.file, filed.file_cap), (Some("/x".into()), 2 * 1024 * 1024));
        assert_eq!(filed.stderr_from, Level::ERROR);
        assert_eq!(config(&["--logtostderr=false", "--log_dir=/d"]).file, Some("/d/prog.log".into()));
        assert_eq!(config(&["--logtostderr=false", "--stderrthreshold=WARNING"]).stderr_from, Level::WARN);
        assert_eq!(config(&["--logtostderr=false", "--alsologtostderr"]).stderr_from, Level::TRACE);
    }

    #[test]
    fn what_has_no_effect_is_named() {
        let typo = "ASP_PROG_TYPO in the environment sets no flag";
        assert_eq!(config(&[]).warnings, [typo]);
        let warnings = config(&["--vmodule=a=1", "--skip_log_headers"]).warnings;
        assert!(warnings[0].starts_with("--vmodule is") && warnings[1].starts_with("--skip_log_headers is"));
        assert_eq!(warnings[2..], [typo]);
    }
}
