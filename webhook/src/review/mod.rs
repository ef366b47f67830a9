//! AdmissionReview requests, as far as they matter here. Pure.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>,
//! `k8s.io/api/admission/v1`.

pub mod pod;
pub mod subject;

use std::borrow::Cow;

use serde::Deserialize;

use self::pod::Pod;
use crate::json::{self, Lenient, Object};

/// Longest uid, in bytes, that is echoed.
const LONGEST_UID: usize = 1024;

/// A version of the protocol; a request is answered in its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `admission.k8s.io/v1`
    V1,
    /// `admission.k8s.io/v1beta1`
    V1Beta1,
}

impl Version {
    /// As in `apiVersion`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// Why bytes are no AdmissionReview request that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum BadReview {
    /// Nothing there.
    #[error("the body is empty; send an AdmissionReview")]
    Empty,
    /// Not text.
    #[error("the body is not JSON: it is not UTF-8 from byte {0} on")]
    Encoding(usize),
    /// Nested too deep.
    #[error("the body is nested deeper than {} levels", json::MAX_DEPTH)]
    Depth,
    /// Not JSON, not of the right types, or a key twice.
    #[error("the body is not an AdmissionReview: {}", json::brief(&.0.to_string()))]
    Json(#[from] serde_json::Error),
    /// JSON of another kind or version.
    #[error(
        "the body is kind {kind:?} of apiVersion {api_version:?}; expected AdmissionReview of admission.k8s.io/v1 or admission.k8s.io/v1beta1"
    )]
    Kind {
        /// As found.
        kind: String,
        /// As found.
        api_version: String,
    },
    /// No request in it.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// No uid in it.
    #[error("the AdmissionReview's request has no uid")]
    NoUid,
    /// One that would make the answer long.
    #[error("the AdmissionReview's request has a uid of {0} bytes; an API server's has 36")]
    LongUid(usize),
}

/// One request of an API server.
#[derive(Debug, PartialEq)]
pub struct Review<'a> {
    /// To answer in.
    pub version: Version,
    /// To echo.
    pub request: Request<'a>,
}

/// What is asked.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Names the request; never empty.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// Of the object.
    #[serde(borrow, default)]
    pub kind: Option<Object<Kind<'a>>>,
    /// Such as `ephemeralcontainers`; empty for the object itself.
    #[serde(borrow, default)]
    pub sub_resource: Option<Cow<'a, str>>,
    /// That of the object.
    #[serde(borrow, default)]
    pub namespace: Option<Cow<'a, str>>,
    /// CREATE, UPDATE, DELETE or CONNECT.
    #[serde(borrow, default)]
    pub operation: Option<Cow<'a, str>>,
    /// The object, read as a Pod.
    #[serde(default)]
    pub object: Lenient<Pod>,
    /// The object before an update.
    #[serde(default)]
    pub old_object: Lenient<Pod>,
}

/// A GroupVersionKind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Kind<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow, default)]
    version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
}

impl Kind<'_> {
    /// Whether it is a Pod of core/v1.
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.group.is_empty() && self.version == "v1" && self.kind == "Pod"
    }
}

impl std::fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = if self.group.is_empty() { "" } else { "/" };
        let [group, version, kind] = [&self.group, &self.version, &self.kind].map(|text| json::brief(text));
        write!(f, "{group}{slash}{version} {kind}")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Option<Object<Request<'a>>>,
}

impl<'a> Review<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`BadReview`] for whatever an API server does not send. A malformed Pod is no error here.
    pub fn parse(body: &'a [u8]) -> Result<Self, BadReview> {
        if body.trim_ascii().is_empty() {
            return Err(BadReview::Empty);
        }
        let text = std::str::from_utf8(body).map_err(|error| BadReview::Encoding(error.valid_up_to()))?;
        if json::deeper_than(json::MAX_DEPTH, text) {
            return Err(BadReview::Depth);
        }
        let Object(envelope) = serde_json::from_str::<Object<Envelope<'a>>>(text)?;
        let version = match (&*envelope.kind, &*envelope.api_version) {
            ("AdmissionReview", "admission.k8s.io/v1") => Version::V1,
            ("AdmissionReview", "admission.k8s.io/v1beta1") => Version::V1Beta1,
            (kind, api_version) => {
                return Err(BadReview::Kind {
                    kind: json::brief(kind),
                    api_version: json::brief(api_version),
                });
            }
        };
        let Object(request) = envelope.request.ok_or(BadReview::NoRequest)?;
        match request.uid.len() {
            0 => Err(BadReview::NoUid),
            1..=LONGEST_UID => Ok(Self { version, request }),
            length => Err(BadReview::LongUid(length)),
        }
    }
}
