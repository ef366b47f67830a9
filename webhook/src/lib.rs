//! `apiserver-proxy-pod-webhook`: adds the API server's name to the environment of every Pod's containers.
//!
//! Kubernetes gives containers the API server's address as `KUBERNETES_SERVICE_HOST`. Where Pods are to reach
//! it by name (through a proxy that looks at the name), this mutating admission webhook puts the variable into
//! each container that does not set it itself; kubelet then leaves it alone.
//!
//! A request's way: [`server`] (TLS, HTTP, limits) → [`handler`] (method, content type, body; waits at the gate of
//! [`overload`]) → [`review`] (JSON to what matters, pure) → [`inject`] (what to add, pure) → [`answer`] (back to JSON,
//! pure). What came of it is counted in [`metrics`]; [`patched`] writes a line to the log for each Pod that is changed.
//! Nothing is ever taken away from a Pod, and no Pod is denied: a fault of the webhook's own is an HTTP error, so that
//! the `failurePolicy` of its registration decides. [`manifest`] prints that registration, or what does the same with
//! no webhook at all.
//!
//! Where a corporate proxy is in the way to everything else, [`egress`] takes it from a file that may change, and its
//! variables are injected on the same terms. [`no_proxy`] explains to a person which hosts are reached past it.

pub mod answer;
pub mod cert_secret;
pub mod certificates;
pub mod cli;
pub mod egress;
pub mod env;
pub mod fqdn;
pub mod handler;
pub mod health;
pub mod inject;
pub mod json;
pub mod manifest;
pub mod metrics;
mod names;
pub mod no_proxy;
pub mod overload;
pub mod patched;
pub mod review;
pub mod self_signed;
pub mod server;
pub mod status;
pub mod tls;
