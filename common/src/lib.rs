//! What both binaries share.
//!
//! - [`backoff`], [`contention`]: how long to wait after a failure, and when somebody fights back.
//! - [`egress`]: a corporate proxy, told to Pods and nodes.
//! - [`files`]: small files, read whole.
//! - [`flags`]: command lines as Go programs have them (pflag), and the environment beside them.
//! - [`duration`]: Go durations, read and printed.
//! - [`listen`]: `host:port`, and a TCP listener there.
//! - [`logging`]: the klog flags, mapped onto `tracing`.
//! - [`klog`]: the text form of a log line.
//! - [`shutdown`]: SIGTERM and SIGINT.
//! - [`sparing`]: log lines that somebody else can cause, kept few.
//! - [`version`]: what `--version` says.
//! - [`zpages`]: `/livez`, `/readyz`, `/metrics`, `/statusz`, `/flagz`, and a probe for them.
//!
//! Nothing in here but [`egress`] knows about nodes, Pods or Kubernetes.

pub mod backoff;
pub mod contention;
pub mod duration;
pub mod egress;
pub mod files;
pub mod flags;
pub mod klog;
pub mod listen;
pub mod logfile;
pub mod logging;
pub mod shutdown;
pub mod sparing;
pub mod version;
pub mod zpages;
