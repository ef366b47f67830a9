//! What both binaries share.
//!
//! - `apiserver`: a small client of API servers, with the feature of that name.
//! - [`backoff`], [`contention`]: how long to wait after a failure, and when somebody fights back.
//! - [`egress`]: a corporate proxy, told to Pods and nodes.
//! - [`files`]: small files, read whole.
//! - [`flags`]: command lines as Go programs have them (pflag), and the environment beside them.
//! - [`duration`]: Go durations, read and printed.
//! - [`histogram`]: durations, counted without a lock.
//! - [`listen`]: `host:port`, and a TCP listener there.
//! - [`logging`]: the klog flags, mapped onto `tracing`.
//! - [`klog`]: the text form of a log line.
//! - [`reload`]: files that are read again and again.
//! - [`shutdown`]: SIGTERM and SIGINT.
//! - [`sparing`]: log lines that somebody else can cause, kept few.
//! - [`version`]: what `--version` says.
//! - [`yaml`]: configuration files, and what is wrong in which line of them.
//! - [`zpages`]: `/livez`, `/readyz`, `/metrics`, `/statusz`, `/flagz`, and a probe for them.
//!
//! Nothing in here but `apiserver` and [`egress`] knows about nodes, Pods or Kubernetes.

#[cfg(feature = "apiserver")]
pub mod apiserver;
pub mod backoff;
pub mod contention;
pub mod duration;
pub mod egress;
pub mod files;
pub mod flags;
pub mod histogram;
pub mod klog;
pub mod listen;
pub mod logfile;
pub mod logging;
pub mod reload;
pub mod shutdown;
pub mod sparing;
pub mod version;
pub mod yaml;
pub mod zpages;
