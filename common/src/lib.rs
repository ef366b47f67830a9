//! What both binaries share.
//!
//! - [`flags`]: command lines as Go programs have them (pflag), and the environment beside them.
//! - [`duration`]: Go durations, read and printed.
//! - [`logging`]: the klog flags, mapped onto `tracing`.
//! - [`klog`]: the text form of a log line.
//! - [`shutdown`]: SIGTERM and SIGINT.
//! - [`version`]: what `--version` says.
//!
//! Nothing in here knows about nodes, Pods or Kubernetes.

pub mod duration;
pub mod flags;
pub mod klog;
pub mod logfile;
pub mod logging;
pub mod shutdown;
pub mod version;
