//! A decision as an AdmissionReview response. Pure.
//!
//! An answer may be a hundred times as long as what it takes to know what will be in it, so a long one is written
//! piece by piece, as its client reads it.

use std::{fmt::Write, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    env::{Entry, Injection, Variables},
    inject::{Change, Decision, What},
    review::Review,
};

/// About how long a piece of a patch is, in bytes, before it is encoded. What is not longer is in one piece.
const PIECE: usize = 12 * 1024;

/// The beginning of the answer, which is all of it if nothing is left to be written: in the request's version, with
/// its uid, always allowed.
///
/// # Errors
/// When a text can't be put into JSON, which does not happen.
pub fn begin(
    review: &Review<'_>,
    decision: Decision,
    injection: &Injection,
) -> Result<(String, Option<Rest>), serde_json::Error> {
    let (version, uid) = (review.version.name(), serde_json::to_string(&review.request.uid)?);
    let mut answer = String::with_capacity(1024);
    answer.push_str(r#"{"kind":"AdmissionReview","apiVersion":""#);
    answer.push_str(version);
    answer.push_str(r#"","response":{"uid":"#);
    answer.push_str(&uid);
    answer.push_str(r#","allowed":true"#);
    match decision {
        Decision::Patch(changes) => {
            answer.push_str(r#","patch":""#);
            let entries = Arc::clone(&injection.entries);
            let mut rest = Rest { changes: changes.into_iter(), entries, patch: "[".to_owned() };
            let more = rest.write(&mut answer);
            return Ok((answer, more.then_some(rest)));
        }
        Decision::Unchanged | Decision::Skipped => {}
        Decision::Warn(warning) => {
            answer.push_str(r#","warnings":["#);
            answer.push_str(&serde_json::to_string(&warning)?);
            answer.push(']');
        }
    }
    answer.push_str("}}");
    Ok((answer, None))
}

/// What is left to be written of an answer with a patch. There may be passwords in it.
pub struct Rest {
    changes: std::vec::IntoIter<Change>,
    entries: Arc<[Entry]>,
    /// What is written of the patch and not encoded.
    patch: String,
}

impl Rest {
    /// Appends the next piece, and says whether there are more.
    pub fn write(&mut self, answer: &mut String) -> bool {
        while self.patch.len() < PIECE
            && let Some(change) = self.changes.next()
        {
            write(change, &self.entries, &mut self.patch);
            self.patch.push(if self.changes.len() == 0 { ']' } else { ',' });
        }
        let more = self.changes.len() > 0;
        // Three bytes are four characters; what is left over waits for the next piece.
        let whole = self.patch.len() - if more { self.patch.len() % 3 } else { 0 };
        STANDARD.encode_string(self.patch.drain(..whole).as_str(), answer);
        if !more {
            answer.push_str(r#"","patchType":"JSONPatch"}}"#);
        }
        more
    }
}

/// One operation where the container has no environment, else one a variable.
fn write(change: Change, entries: &[Entry], patch: &mut String) {
    let Change { list, index, what } = change;
    // Writing to a String does not fail.
    let begin = |patch: &mut String, op| {
        let _ = write!(patch, r#"{{"op":"{op}","path":"/spec/{}/{index}/env"#, list.name());
    };
    let of = |wanted: Variables| entries.iter().filter(move |entry| wanted.contains(entry.variable));
    match what {
        What::New(missing) => {
            begin(patch, "add");
            patch.push_str(r#"","value":["#);
            separated(patch, of(missing), |patch, _, entry| patch.push_str(entry.json()));
            patch.push_str("]}");
        }
        What::Append(len, missing) => separated(patch, of(missing), |patch, before, entry| {
            begin(patch, "add");
            let _ = write!(patch, r#"/{}","value":{}}}"#, len as usize + before, entry.json());
        }),
        What::Replace(at, variable) => {
            let replaced = entries.iter().filter(|entry| entry.variable == variable);
            separated(patch, replaced, |patch, _, entry| {
                begin(patch, "replace");
                let _ = write!(patch, r#"/{at}","value":{}}}"#, entry.json());
            });
        }
    }
}

/// Writes items with commas between; each is told how many are before it.
fn separated<'a>(
    patch: &mut String,
    entries: impl Iterator<Item = &'a Entry>,
    write: impl Fn(&mut String, usize, &Entry),
) {
    for (before, entry) in entries.enumerate() {
        if before > 0 {
            patch.push(',');
        }
        write(patch, before, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject;

    fn pod(containers: &str) -> String {
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"\u00fc\"\\","kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","object":{{"spec":{{"containers":[{containers}]}}}}}}}}"#
        )
    }

    #[test]
    fn pieces_make_one_answer() {
        let injection = Injection::new(&"foo.bar.".parse().unwrap(), Some(443), true);
        let has = r#"{"env":[{"name":"KUBERNETES_SERVICE_PORT"},{"name":"a"}]}"#;
        for count in [1, 60, 61, 62, 63, 64, 65, 66, 3000] {
            let body = pod(&vec![format!(r#"{{}},{{"env":[]}},{has}"#); count].join(","));
            let review = Review::parse(body.as_bytes()).unwrap();
            let decision = inject::decide(&review.request, &injection, body.as_bytes());
            let (mut answer, mut rest) = begin(&review, decision, &injection).unwrap();
            while let Some(left) = &mut rest {
                let before = answer.len();
                if !left.write(&mut answer) {
                    rest = None;
                }
                assert!((1..PIECE * 2).contains(&(answer.len() - before)), "{}", answer.len() - before);
            }
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["response"]["uid"], "ü\"\\");
            assert_eq!(answer["response"]["patchType"], "JSONPatch");
            let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
            let patch: Vec<serde_json::Value> = serde_json::from_slice(&patch).unwrap();
            assert_eq!(patch.len(), 4 * count);
            let last = format!("/spec/containers/{}/env/2", 3 * count - 1);
            assert_eq!(patch[4 * count - 1]["path"], last);
        }
    }
}
