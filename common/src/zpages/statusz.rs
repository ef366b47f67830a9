//! `/statusz` as KEP-4827 has it, in plain text.

use std::{
    fmt::Write,
    time::{Duration, Instant, SystemTime},
};

use time::OffsetDateTime;

use super::PATHS;
use crate::{klog::push_printable, version::version};

/// The second line of both `/statusz` and `/flagz`, in the words of k8s.io/component-base.
pub(super) const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting \
                                  compatibility guarantees and is for debugging purposes only.";

/// What does not change while the program runs.
pub(super) struct Statusz {
    name: String,
    started: SystemTime,
    /// The same moment, on a clock that nobody sets.
    since: Instant,
}

impl Statusz {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), started: SystemTime::now(), since: Instant::now() }
    }

    pub(super) fn render(&self, further: &[(&'static str, String)]) -> String {
        render(&self.name, self.started, self.since.elapsed(), &version(), further)
    }
}

fn render(
    name: &str,
    started: SystemTime,
    up: Duration,
    version: &str,
    further: &[(&'static str, String)],
) -> String {
    let mut text = format!(
        "\n{name} statusz\n{WARNING}\n\nStarted: {}\nUp: {}\nBinary version: {version}\nPaths: {}\n",
        unix_date(started.into()),
        uptime(up),
        PATHS.join(" ")
    );
    for (name, value) in further {
        // Writing to a String can't fail.
        let _ = write!(text, "{name}: ");
        push_printable(&mut text, value);
        text.push('\n');
    }
    text
}

/// Go's `time.UnixDate`, always in UTC: `Wed Oct 16 21:03:43 UTC 2024`.
fn unix_date(at: OffsetDateTime) -> String {
    let (weekday, month) = (at.weekday().to_string(), at.month().to_string());
    format!(
        "{weekday:.3} {month:.3} {:>2} {:02}:{:02}:{:02} UTC {}",
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.year()
    )
}

fn uptime(up: Duration) -> String {
    let seconds = up.as_secs();
    format!("{} hr {:02} min {:02} sec", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of <https://kubernetes.io/docs/reference/instrumentation/zpages/>, without Go's version and the
    /// emulation version, which we have not.
    #[test]
    fn it_reads_like_kubernetes() {
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_729_112_623);
        let further = [("Backend", "iptables-nft\nx".to_owned())];
        assert_eq!(
            render("apiserver-proxy-sidecar", started, Duration::from_millis(16_999), "v0.1.0", &further),
            "\n\
             apiserver-proxy-sidecar statusz\n\
             Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n\
             \n\
             Started: Wed Oct 16 21:03:43 UTC 2024\n\
             Up: 0 hr 00 min 16 sec\n\
             Binary version: v0.1.0\n\
             Paths: /flagz /livez /metrics /readyz /statusz\n\
             Backend: iptables-nft\\nx\n"
        );
    }

    #[test]
    fn dates_and_times_are_padded_as_in_go() {
        let date = |seconds| unix_date((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into());
        assert_eq!(date(0), "Thu Jan  1 00:00:00 UTC 1970");
        assert_eq!(date(1_000_000_000), "Sun Sep  9 01:46:40 UTC 2001");
        assert_eq!(uptime(Duration::from_secs(100 * 3600 + 61)), "100 hr 01 min 01 sec");
    }
}
