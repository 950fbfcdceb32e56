//! What the key that Meta holds for a phone number is to a flow: ours, an older one of ours, somebody else's, none.

use std::fmt;

use serde_json::{Value, json};

use crate::cli::graph::{GraphError, KeyAtMeta};
use crate::domain::ids::FlowName;
use crate::intake::PrivateKey;

/// What Meta's key for a number is to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Our newest.
    InOrder,
    /// One of its predecessors, which still opens forms.
    UploadDue,
    /// Ours, but Meta's own signature of it does not fit: phones do not take it.
    Mismatch,
    /// None of ours.
    Foreign,
    /// None at all.
    Missing,
}

impl State {
    /// What `held` is to a flow with these keys, newest first.
    pub(super) fn of(keys: &[PrivateKey], held: Option<&KeyAtMeta>) -> Self {
        let Some(held) = held else { return Self::Missing };
        let place = keys.iter().position(|key| key.is_half_of(&held.public_pem));
        match (place, held.signature_status.as_deref()) {
            (None, _) => Self::Foreign,
            (Some(_), Some("MISMATCH")) => Self::Mismatch,
            (Some(0), _) => Self::InOrder,
            (Some(_), _) => Self::UploadDue,
        }
    }

    pub(super) const fn forms_fail(self) -> bool {
        matches!(self, Self::Mismatch | Self::Foreign | Self::Missing)
    }

    /// For scripts.
    const fn word(self) -> &'static str {
        match self {
            Self::InOrder => "in_order",
            Self::UploadDue => "upload_due",
            Self::Mismatch => "mismatch",
            Self::Foreign => "foreign",
            Self::Missing => "missing",
        }
    }
}

/// One comparison. `Display` is for people.
pub(super) struct Found<'a> {
    pub(super) flow: &'a FlowName,
    pub(super) number: &'a str,
    pub(super) held: Option<&'a KeyAtMeta>,
    pub(super) state: State,
}

impl Found<'_> {
    /// The same for scripts.
    pub(super) fn row(&self) -> Value {
        let status = self.held.and_then(|held| held.signature_status.as_deref());
        row(self.flow, self.number, self.state.word(), status, None)
    }
}

/// A number that Meta said nothing of, for scripts.
pub(super) fn unknown(flow: &FlowName, number: &str, why: &GraphError) -> Value {
    row(flow, number, "unknown", None, Some(&why.to_string()))
}

fn row(flow: &FlowName, number: &str, state: &str, signature_status: Option<&str>, error: Option<&str>) -> Value {
    json!({
        "flow": flow, "phone_number_id": number, "state": state, "signature_status": signature_status, "error": error,
    })
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flow, number, state, .. } = self;
        let upload = format!("flowgate keys upload --flow {flow} --phone-number-id {number}");
        write!(f, "flow {flow}, phone number {number}: ")?;
        match state {
            State::InOrder => write!(f, "in order"),
            State::UploadDue => {
                write!(f, "Meta has an older key of ours; forms open all the same. Upload due: {upload}")
            }
            State::Mismatch => write!(
                f,
                "Meta's signature of our key does not fit (MISMATCH), as after registering the number anew; forms fail. \
                 Upload it again: {upload}"
            ),
            State::Foreign => write!(
                f,
                "Meta has a key that is not in `private_keys`; every form fails. If its private half is somewhere, add it \
                 there, behind the newest; else {upload}"
            ),
            State::Missing => write!(f, "Meta has no key; every form fails. {upload}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> PrivateKey {
        PrivateKey::read(text, None).unwrap()
    }

    #[test]
    fn what_is_held_is_told_by_the_key_first_and_then_by_its_signature() {
        let [ours, older, foreign] = [
            key(include_str!("../../../../tests/vectors/key_private.pem")),
            key(include_str!("../../../../tests/vectors/other_private.pem")),
            key(&PrivateKey::generate().unwrap()),
        ];
        let pem = |key: &PrivateKey| key.public_pem().replace('\n', "\r\n");
        let keys = [ours, older];
        for (public_pem, status, expected, fails) in [
            (pem(&keys[0]), Some("VALID"), State::InOrder, false),
            (pem(&keys[0]), None, State::InOrder, false),
            (pem(&keys[1]), Some("VALID"), State::UploadDue, false),
            (pem(&keys[0]), Some("MISMATCH"), State::Mismatch, true),
            (pem(&keys[1]), Some("MISMATCH"), State::Mismatch, true),
            (pem(&foreign), Some("VALID"), State::Foreign, true),
            (pem(&foreign), Some("MISMATCH"), State::Foreign, true),
            ("noise".to_owned(), Some("VALID"), State::Foreign, true),
        ] {
            let held = KeyAtMeta { public_pem, signature_status: status.map(str::to_owned) };
            let state = State::of(&keys, Some(&held));
            assert_eq!((state, state.forms_fail()), (expected, fails), "{status:?}");
        }
        assert_eq!(State::of(&keys, None), State::Missing);
    }
}
