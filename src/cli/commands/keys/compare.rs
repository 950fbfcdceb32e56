//! Compares the public key that Meta has for a phone number with the private keys of a flow.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::graph_api::{GraphApiError, RegisteredKey};
use crate::domain::ids::FlowName;
use crate::intake::PrivateKey;

/// Result of the comparison of Meta's public key with the keys of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyMatch {
    /// Meta has the newest key of the flow.
    InOrder,
    /// Meta has an older key of the flow. Forms still work.
    UploadDue,
    /// Meta has a key of the flow, but reports a signature mismatch. WhatsApp clients reject the
    /// key.
    Mismatch,
    /// Meta has a key that is not a key of the flow.
    Foreign,
    /// Meta has no key.
    Missing,
}

impl KeyMatch {
    /// Compares `registered` with `keys`, the private keys of a flow, newest first. `None` means
    /// that Meta has no key.
    pub(crate) fn compare(keys: &[PrivateKey], registered: Option<&RegisteredKey>) -> Self {
        let Some(registered) = registered else {
            return Self::Missing;
        };
        let position = keys
            .iter()
            .position(|key| key.matches_public_pem(&registered.public_pem));
        match (position, registered.signature_status.as_deref()) {
            (None, _) => Self::Foreign,
            (Some(_), Some("MISMATCH")) => Self::Mismatch,
            (Some(0), _) => Self::InOrder,
            (Some(_), _) => Self::UploadDue,
        }
    }

    pub(crate) const fn forms_fail(self) -> bool {
        matches!(self, Self::Mismatch | Self::Foreign | Self::Missing)
    }
}

/// Comparison of one flow and phone number. `Display` formats it for people.
pub(crate) struct KeyComparison<'a> {
    pub(crate) flow: &'a FlowName,
    pub(crate) number: &'a str,
    pub(crate) registered: Option<&'a RegisteredKey>,
    pub(crate) key_match: KeyMatch,
}

impl KeyComparison<'_> {
    /// Returns the comparison as a JSON row.
    pub(crate) fn to_row(&self) -> Value {
        let status = self
            .registered
            .and_then(|registered| registered.signature_status.as_deref());
        json_row(self.flow, self.number, self.key_match, status, None)
    }
}

/// Returns the JSON row for a phone number whose key could not be queried. `why` is the error.
pub(crate) fn unknown_row(flow: &FlowName, number: &str, why: &GraphApiError) -> Value {
    json_row(flow, number, "unknown", None, Some(&why.to_string()))
}

fn json_row(
    flow: &FlowName,
    number: &str,
    state: impl Serialize,
    signature_status: Option<&str>,
    error: Option<&str>,
) -> Value {
    json!({
        "flow": flow, "phone_number_id": number, "state": state, "signature_status": signature_status, "error": error,
    })
}

impl fmt::Display for KeyComparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flow, number) = (self.flow, self.number);
        let upload = format!("flowgate keys upload --flow {flow} --phone-number-id {number}");
        write!(f, "flow {flow}, phone number {number}: ")?;
        match self.key_match {
            KeyMatch::InOrder => write!(f, "ok, Meta has the newest key"),
            KeyMatch::UploadDue => write!(
                f,
                "Meta has an older key of the flow; forms still work. Upload the newest key: {upload}"
            ),
            KeyMatch::Mismatch => write!(
                f,
                "Meta reports a wrong signature of the key (MISMATCH), for example because the number was registered again; every form fails. \
                 Upload the key again: {upload}"
            ),
            KeyMatch::Foreign => write!(
                f,
                "Meta has a key that is not in `private_keys`; every form fails. If you have its private key, add it \
                 to `private_keys` after the newest key; otherwise upload the newest key: {upload}"
            ),
            KeyMatch::Missing => write!(
                f,
                "Meta has no key; every form fails. Upload the key: {upload}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> PrivateKey {
        PrivateKey::parse(text, None).unwrap()
    }

    #[test]
    fn key_match_depends_on_key_then_signature() {
        let [ours, older, foreign] = [
            key(include_str!("../../../../tests/vectors/key_private.pem")),
            key(include_str!("../../../../tests/vectors/other_private.pem")),
            key(&PrivateKey::generate().unwrap()),
        ];
        let pem = |key: &PrivateKey| key.public_pem().replace('\n', "\r\n");
        let keys = [ours, older];
        for (public_pem, status, expected, fails) in [
            (pem(&keys[0]), Some("VALID"), KeyMatch::InOrder, false),
            (pem(&keys[0]), None, KeyMatch::InOrder, false),
            (pem(&keys[1]), Some("VALID"), KeyMatch::UploadDue, false),
            (pem(&keys[0]), Some("MISMATCH"), KeyMatch::Mismatch, true),
            (pem(&keys[1]), Some("MISMATCH"), KeyMatch::Mismatch, true),
            (pem(&foreign), Some("VALID"), KeyMatch::Foreign, true),
            (pem(&foreign), Some("MISMATCH"), KeyMatch::Foreign, true),
            ("noise".to_owned(), Some("VALID"), KeyMatch::Foreign, true),
        ] {
            let registered = RegisteredKey {
                public_pem,
                signature_status: status.map(str::to_owned),
            };
            let state = KeyMatch::compare(&keys, Some(&registered));
            assert_eq!((state, state.forms_fail()), (expected, fails), "{status:?}");
        }
        assert_eq!(KeyMatch::compare(&keys, None), KeyMatch::Missing);
    }
}
