//! A decision as an AdmissionReview response. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::{inject::Decision, review::Review};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    kind: &'static str,
    api_version: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<&'a str>,
}

/// The body of the answer: in the request's version, with its uid, always allowed.
///
/// # Errors
/// When the patch can't be put into JSON, which does not happen.
pub fn encode(review: &Review<'_>, decision: &Decision) -> Result<Vec<u8>, serde_json::Error> {
    let (patch, warnings) = match decision {
        Decision::Patch(patch) => (Some(STANDARD.encode(serde_json::to_vec(patch)?)), Vec::new()),
        Decision::Unchanged | Decision::Skipped => (None, Vec::new()),
        Decision::Warn(warning) => (None, vec![warning.as_str()]),
    };
    serde_json::to_vec(&Answer {
        kind: "AdmissionReview",
        api_version: review.version.name(),
        response: Response {
            uid: &review.request.uid,
            allowed: true,
            patch_type: patch.is_some().then_some("JSONPatch"),
            patch,
            warnings,
        },
    })
}
