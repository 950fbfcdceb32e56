//! A form that its user has not finished: the answers so far.
//!
//! Each screen's fields are merged over those before, the last answer wins, and a field that was taken back (null) is
//! taken back. Who finishes the form takes the draft along; keeping it in between is the store's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::ids::{Customer, FlowName, FlowToken};
use super::time::{Millis, Timestamp};

/// The answers so far, as the file has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The flow.
    pub flow: FlowName,
    /// The token of the form.
    pub flow_token: Option<FlowToken>,
    /// Who fills it in.
    pub customer: Customer,
    /// The screen that its user is on, as far as we were told.
    pub screen: Box<str>,
    /// All fields so far: the text of a JSON object.
    pub data: Box<str>,
    /// When the last screen came.
    pub updated_at: Timestamp,
}

/// Whether somebody is still at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftState {
    /// They may be.
    Open,
    /// It has been still for longer than its flow waits. It stays, and goes on where it was if they come back.
    Abandoned,
}

/// How long each flow waits for the next screen before it takes a draft for abandoned. Its copies are the same one.
#[derive(Clone, Debug, Default)]
pub struct Patience(Arc<BTreeMap<FlowName, Millis>>);

impl FromIterator<(FlowName, Millis)> for Patience {
    fn from_iter<I: IntoIterator<Item = (FlowName, Millis)>>(flows: I) -> Self {
        Self(Arc::new(flows.into_iter().collect()))
    }
}

impl Patience {
    /// How long `flow` waits. Of a flow that is gone from the config nobody knows.
    #[must_use]
    pub fn of(&self, flow: &FlowName) -> Option<Millis> {
        self.0.get(flow).copied()
    }

    /// The shortest time that a flow waits.
    #[must_use]
    pub fn shortest(&self) -> Option<Millis> {
        self.0.values().min().copied()
    }
}

impl DraftState {
    /// The name that lists show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Draft {
    /// Its state at `now`, where its flow waits for `patience`.
    #[must_use]
    pub fn state(&self, now: Timestamp, patience: Millis) -> DraftState {
        if now.since(self.updated_at) >= patience { DraftState::Abandoned } else { DraftState::Open }
    }
}

/// The fields of `older` with those of `newer` over them: both, and the result, are texts of JSON objects.
///
/// A text that is none gives way to the other one: nothing that was sent is lost for want of a brace. Each value keeps its
/// text: a number may be larger than any type here.
#[must_use]
pub fn merge(older: &str, newer: &str) -> Box<str> {
    match (Fields::read(older), Fields::read(newer)) {
        (Ok(fields), _) if fields.order.is_empty() => newer.into(),
        (Ok(mut merged), Ok(fields)) => {
            merged.order.extend(fields.order);
            merged.texts.extend(fields.texts);
            merged.write().into()
        }
        (Ok(_), Err(_)) => older.into(),
        (Err(_), _) => newer.into(),
    }
}

/// A JSON object whose values keep their text.
struct Fields<'a> {
    /// The names in their order; of the values, `texts` has the text.
    order: Map<String, Value>,
    texts: HashMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> serde_json::Result<Self> {
        Ok(Self { order: serde_json::from_str(text)?, texts: serde_json::from_str(text)? })
    }

    fn write(&self) -> String {
        let field = |name: &String| Some(format!("{}:{}", Value::from(name.as_str()), self.texts.get(name)?.get()));
        format!("{{{}}}", self.order.keys().filter_map(field).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_wins_and_a_null_is_an_answer() {
        assert_eq!(&*merge(r#"{"a":1,"b":2}"#, r#"{"b":null,"c":3}"#), r#"{"a":1,"b":null,"c":3}"#);
    }

    #[test]
    fn a_number_keeps_its_digits() {
        let huge = r#"{"id":123456789012345678901234567890,"price":1.10}"#;
        assert_eq!(&*merge(huge, r#"{"b":1e2}"#), r#"{"id":123456789012345678901234567890,"price":1.10,"b":1e2}"#);
        assert_eq!(
            &*merge(r#"{"id":1,"b":{"c": 2}}"#, huge),
            r#"{"id":123456789012345678901234567890,"b":{"c": 2},"price":1.10}"#
        );
    }

    #[test]
    fn a_draft_that_is_still_for_long_enough_is_abandoned() {
        let draft = Draft {
            flow: FlowName::new("form").unwrap(),
            flow_token: None,
            customer: Customer::default(),
            screen: "A".into(),
            data: "{}".into(),
            updated_at: Timestamp::from_millis(1000),
        };
        let state = |now| draft.state(Timestamp::from_millis(now), Millis::new(500));
        assert_eq!((state(1499), state(1500)), (DraftState::Open, DraftState::Abandoned));
        assert_eq!(state(0), DraftState::Open, "a clock that was set back abandons nobody");
    }

    #[test]
    fn what_is_no_object_gives_way() {
        assert_eq!(&*merge("", "{\"a\":1}"), "{\"a\":1}");
        assert_eq!(&*merge("{\"a\":1}", "[]"), "{\"a\":1}");
        assert_eq!(&*merge("{}", "{\"a\": 1.0}"), "{\"a\": 1.0}", "the text stays as it came");
    }
}
