//! `--cert-secret` and `--webhook-configuration`: a certificate that needs nobody, shared by all replicas.
//!
//! CA and certificate are in a Secret, the CA in the `caBundle` of a MutatingWebhookConfiguration as well. Every
//! replica looks at both, whenever one changes and every few minutes besides, and mends what it finds:
//! 1. What the Secret has to hold is decided from what it holds ([`decide`]: pure), and written where it differs. Two
//!    replicas that write at once can't both succeed; the one that is refused looks again, and finds nothing to do.
//! 2. The same for each `caBundle` ([`registration`]: pure). It is read before the Secret and written only if it has
//!    not changed since, so that no replica puts back an older state than another one has written.
//! 3. Which certificate to show is each replica's own decision.
//!
//! No failure in here keeps anybody waiting: the certificate in use stays in use.

pub mod authorities;
pub mod clock;
pub mod decide;
mod keeper;
mod kept;
mod look;
mod objects;
pub mod pair;
pub mod registration;
pub mod secret;

pub use self::keeper::Keeper;

/// `--cert-secret` and `--webhook-configuration`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The Secret's namespace.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// The MutatingWebhookConfiguration's name.
    pub registration: String,
}
