//! What requests are counted by. Pure.

use axum::http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::inject::Decision;

/// What the API server is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Operation {
    /// CREATE
    Create,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
    /// CONNECT
    Connect,
    /// None of these, or not known.
    #[default]
    Other,
}

impl Operation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Create, Self::Update, Self::Delete, Self::Connect, Self::Other];

    /// The one that a request names.
    #[must_use]
    pub fn from_name(name: Option<&str>) -> Self {
        let named = Self::ALL.into_iter().find(|operation| name == Some(operation.name()));
        named.unwrap_or_default()
    }

    /// The label's value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Other => "other",
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Outcome {
    /// Variables were added.
    Patched,
    /// The Pod has all it needs.
    Unchanged,
    /// Opted out, a mirror Pod, nothing that is injected into, or something that is malformed.
    Skipped,
    /// Refused, 4xx; or the client left before its answer.
    #[default]
    Invalid,
    /// Refused for want of room or time, 503.
    Shed,
    /// A fault of our own, any other 5xx.
    Error,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Patched, Self::Unchanged, Self::Skipped, Self::Invalid, Self::Shed, Self::Error];

    /// That of a request that could be decided on.
    #[must_use]
    pub fn of_decision(decision: &Decision) -> Self {
        match decision {
            Decision::Patch(_) => Self::Patched,
            Decision::Unchanged => Self::Unchanged,
            Decision::Skipped | Decision::Warn(_) => Self::Skipped,
        }
    }

    /// That of a request that was refused.
    #[must_use]
    pub fn of_refusal(code: StatusCode) -> Self {
        match code {
            StatusCode::SERVICE_UNAVAILABLE => Self::Shed,
            code if code.is_server_error() => Self::Error,
            _ => Self::Invalid,
        }
    }

    /// The label's value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Patched => "patched",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Invalid => "invalid",
            Self::Shed => "shed",
            Self::Error => "error",
        }
    }
}

macro_rules! by_name {
    ($($label:ty),*) => {$(
        impl EncodeLabelValue for $label {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.name(), encoder)
            }
        }
    )*};
}
by_name!(Operation, Outcome);

/// What a request is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub struct Labels {
    /// What it is about.
    pub operation: Operation,
    /// What came of it.
    pub outcome: Outcome,
}

impl Labels {
    /// Whether there can be such a request. One that is refused has not been read, so its operation is not known.
    #[must_use]
    pub fn can_occur(self) -> bool {
        match self.outcome {
            Outcome::Patched | Outcome::Unchanged => {
                matches!(self.operation, Operation::Create | Operation::Update)
            }
            Outcome::Skipped | Outcome::Error => true,
            Outcome::Invalid | Outcome::Shed => self.operation == Operation::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place);
        }
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }

    #[test]
    fn unknown_operations_are_one() {
        for (name, operation) in [
            (Some("CREATE"), Operation::Create),
            (Some("CONNECT"), Operation::Connect),
            (Some("create"), Operation::Other),
            (Some("PATCH"), Operation::Other),
            (Some("other"), Operation::Other),
            (Some(""), Operation::Other),
            (None, Operation::Other),
        ] {
            assert_eq!(Operation::from_name(name), operation, "{name:?}");
        }
    }

    #[test]
    fn refusals_by_their_status() {
        for (code, outcome) in [
            (400, Outcome::Invalid),
            (404, Outcome::Invalid),
            (413, Outcome::Invalid),
            (500, Outcome::Error),
            (503, Outcome::Shed),
            (504, Outcome::Error),
        ] {
            assert_eq!(Outcome::of_refusal(StatusCode::from_u16(code).unwrap()), outcome, "{code}");
        }
    }
}
