//! The webhook and the policy under a real API server, where `KUBEBUILDER_ASSETS` names a folder with one: what they
//! are registered with is taken, the Pods that are stored are as they should be, and none is missed while replicas
//! and certificates change.
//!
//! All cases share one API server, and may run at the same time: what each registers counts in its own namespaces
//! only (see [`case`]).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod case;
mod created;
mod creation;
mod debugged;
mod figures;
mod pods;
mod policy;
mod renewal;
mod rollout;
mod unreachable;
