//! Defines drafts: the answers of a form that is not completed.
//!
//! The fields of each screen are merged over the fields of earlier screens, and the last answer
//! wins. A null field overrides an earlier answer. The completed submission includes the fields of
//! the draft.
//!
//! See [`crate::store`] for the storage of drafts.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::ids::{Customer, FlowName, FlowToken};
use crate::domain::time::{Millis, Timestamp};

/// Answers of a form that is not completed, as stored in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Flow of the form.
    pub flow: FlowName,
    /// Flow token of the form.
    pub flow_token: Option<FlowToken>,
    /// Customer who fills in the form.
    pub customer: Customer,
    /// Current screen of the customer, as far as the client reported it.
    pub screen: Box<str>,
    /// All fields so far, as the text of a JSON object.
    pub data: Box<str>,
    /// Time of the last received screen.
    pub updated_at: Timestamp,
}

named_enum! {
    /// State of a draft.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum DraftState {
        /// The customer may continue the form.
        Open = "open",
        /// No screen arrived within the abandon timeout of the flow. The draft stays stored, and
        /// the customer may continue it.
        Abandoned = "abandoned",
    }
}

/// Time without a new screen after which a draft is abandoned, for each flow. Clones share the same
/// map.
#[derive(Clone, Debug, Default)]
pub struct AbandonTimeouts(Arc<BTreeMap<FlowName, Millis>>);

impl FromIterator<(FlowName, Millis)> for AbandonTimeouts {
    fn from_iter<I: IntoIterator<Item = (FlowName, Millis)>>(flows: I) -> Self {
        Self(Arc::new(flows.into_iter().collect()))
    }
}

impl AbandonTimeouts {
    /// Returns the abandon timeout of `flow`. Returns `None` if the config no longer contains the
    /// flow.
    #[must_use]
    pub fn for_flow(&self, flow: &FlowName) -> Option<Millis> {
        self.0.get(flow).copied()
    }

    /// Returns the shortest abandon timeout of all flows. Returns `None` if there is no flow.
    #[must_use]
    pub fn shortest(&self) -> Option<Millis> {
        self.0.values().min().copied()
    }
}

impl Draft {
    /// Returns the state of the draft at `now`, with the abandon timeout `abandoned_after`.
    #[must_use]
    pub fn state(&self, now: Timestamp, abandoned_after: Millis) -> DraftState {
        if now.since(self.updated_at) >= abandoned_after {
            DraftState::Abandoned
        } else {
            DraftState::Open
        }
    }
}

/// Merges the fields of `newer` over the fields of `older`. Both arguments and the result are texts
/// of JSON objects.
///
/// The function returns the other text if one text is not a JSON object. Without this, answers
/// could be lost because of one missing brace. Every value retains its original text, because a
/// number may be larger than any number type.
#[must_use]
pub fn merge_answers(older: &str, newer: &str) -> Box<str> {
    match (raw_fields(older), raw_fields(newer)) {
        (Ok(fields), _) if fields.is_empty() => newer.into(),
        (Ok(mut merged), Ok(fields)) => {
            merged.extend(fields);
            // The serialization of names and received texts can't fail.
            serde_json::to_string(&merged).unwrap_or_default().into()
        }
        (Ok(_), Err(_)) => older.into(),
        (Err(_), _) => newer.into(),
    }
}

/// Parses a JSON object into fields in order, whose values have their original text.
fn raw_fields(text: &str) -> serde_json::Result<IndexMap<String, &RawValue>> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_value_overrides_earlier_and_null_counts() {
        let merged = merge_answers(r#"{"a":1,"b":2}"#, r#"{"b":null,"c":3}"#);
        assert_eq!(&*merged, r#"{"a":1,"b":null,"c":3}"#);
    }

    #[test]
    fn merge_preserves_number_text() {
        let id = "123456789012345678901234567890";
        let huge = format!(r#"{{"id":{id},"price":1.10}}"#);
        let merged = merge_answers(&huge, r#"{"b":1e2}"#);
        assert_eq!(*merged, format!(r#"{{"id":{id},"price":1.10,"b":1e2}}"#));
        let merged = merge_answers(r#"{"id":1,"b":{"c": 2}}"#, &huge);
        assert_eq!(
            *merged,
            format!(r#"{{"id":{id},"b":{{"c": 2}},"price":1.10}}"#)
        );
    }

    #[test]
    fn inactive_draft_is_abandoned() {
        let draft = Draft {
            flow: FlowName::new("form").unwrap(),
            flow_token: None,
            customer: Customer::default(),
            screen: "A".into(),
            data: "{}".into(),
            updated_at: Timestamp::from_millis(1000),
        };
        let state = |now| draft.state(Timestamp::from_millis(now), Millis::new(500));
        assert_eq!(state(1499), DraftState::Open);
        assert_eq!(state(1500), DraftState::Abandoned);
        // A clock that was set back abandons no draft.
        assert_eq!(state(0), DraftState::Open);
    }

    #[test]
    fn merge_ignores_text_that_is_no_object() {
        assert_eq!(&*merge_answers("", "{\"a\":1}"), "{\"a\":1}");
        assert_eq!(&*merge_answers("{\"a\":1}", "[]"), "{\"a\":1}");
        // The text stays as received.
        assert_eq!(&*merge_answers("{}", "{\"a\": 1.0}"), "{\"a\": 1.0}");
    }
}
