//! The text form of a log line: klog's header, then the message, then `key=value` pairs.
//!
//! ```text
//! I1120 19:37:45.123456       1 reconcile.rs:88] address added address=10.96.0.2/32 interface=lo
//! ```
//! Severity (I, W, E), month and day, time in UTC, process id, source file and line. Log collectors that read
//! the Go programs' lines read these too. A value that holds spaces, quotes or control characters is quoted and
//! escaped, so that nothing that comes from outside can look like a line of its own.
//!
//! Source: <https://pkg.go.dev/k8s.io/klog/v2>.

use std::fmt::{self, Write as _};

use time::OffsetDateTime;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// klog's line format.
#[derive(Debug, Clone, Copy)]
pub struct Klog {
    /// klog's `--skip_headers`: the message alone.
    pub skip_headers: bool,
}

impl<S, N> FormatEvent<S, N> for Klog
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if !self.skip_headers {
            let metadata = event.metadata();
            let file = metadata.file().and_then(|path| path.rsplit('/').next());
            let file = file.or(fields.log_target.as_deref()).unwrap_or("???");
            header(
                &mut writer,
                *metadata.level(),
                OffsetDateTime::now_utc(),
                file,
                metadata.line().unwrap_or_default(),
            )?;
        }
        writeln!(writer, "{}{}", fields.message, fields.pairs)
    }
}

fn header(writer: &mut Writer<'_>, level: Level, now: OffsetDateTime, file: &str, line: u32) -> fmt::Result {
    let severity = match level {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        _ => 'I',
    };
    let (month, day) = (u8::from(now.month()), now.day());
    let (hour, minute, second, micros) = (now.hour(), now.minute(), now.second(), now.microsecond());
    let pid = std::process::id();
    write!(
        writer,
        "{severity}{month:02}{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06} {pid:>7} {file}:{line}] "
    )
}

#[derive(Default)]
struct Fields {
    message: String,
    pairs: String,
    /// Where a line of a library that uses the `log` crate comes from.
    log_target: Option<String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            push_printable(&mut self.message, value);
        } else if field.name() == "log.target" {
            self.log_target = Some(value.to_owned());
        } else if !field.name().starts_with("log.") {
            let plain = !value.is_empty()
                && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=');
            // Writing to a String can't fail.
            let _ = if plain {
                write!(self.pairs, " {}={value}", field.name())
            } else {
                write!(self.pairs, " {}={value:?}", field.name())
            };
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Adds a text with its control characters escaped, so that it stays on one line.
pub(crate) fn push_printable(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Captured {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(skip_headers: bool, log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(captured.clone())
            .event_format(Klog { skip_headers })
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_klogs_header() {
        let line = logged(false, || tracing::warn!(address = %"10.96.0.2/32", "address added"));
        let (header, text) = line.split_once("] ").unwrap();
        assert_eq!(text, "address added address=10.96.0.2/32\n");
        let words: Vec<&str> = header.split_whitespace().collect();
        assert!(words[0].starts_with('W') && words[0].len() == 5, "{header}");
        assert_eq!(words[1].len(), "19:37:45.123456".len());
        assert_eq!(words[2], std::process::id().to_string());
        assert!(words[3].starts_with("klog.rs:"), "{header}");
    }

    #[test]
    fn values_cannot_forge_a_line() {
        let evil = "x\nE1120 00:00:00.000000 1 main.rs:1] all is lost";
        let line = logged(true, || tracing::info!(name = evil, empty = "", "{}", "a\nb"));
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(line, "a\\nb name=\"x\\nE1120 00:00:00.000000 1 main.rs:1] all is lost\" empty=\"\"\n");
    }
}
