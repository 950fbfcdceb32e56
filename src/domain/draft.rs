//! A form that its user has not finished: the answers so far.
//!
//! Each screen's fields are merged over those before, the last answer wins, and a field that was taken back (null) is
//! taken back. Who finishes the form takes the draft along; keeping it in between is the store's.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{Customer, FlowName, FlowToken};
use super::time::Timestamp;

/// The answers so far, as the file has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// The flow.
    pub flow: FlowName,
    /// The token of the form.
    pub flow_token: Option<FlowToken>,
    /// Who fills it in.
    pub customer: Customer,
    /// The screen that was sent last.
    pub screen: Box<str>,
    /// All fields so far: the text of a JSON object.
    pub data: Box<str>,
    /// When the last screen came.
    pub updated_at: Timestamp,
}

/// The fields of `older` with those of `newer` over them: both, and the result, are texts of JSON objects.
///
/// A text that is none gives way to the other one: nothing that was sent is lost for want of a brace.
#[must_use]
pub fn merge(older: &str, newer: &str) -> Box<str> {
    let object = |text| serde_json::from_str::<Map<String, Value>>(text);
    match (object(older), object(newer)) {
        (Ok(older), _) if older.is_empty() => newer.into(),
        (Ok(mut merged), Ok(newer)) => {
            merged.extend(newer);
            Value::Object(merged).to_string().into()
        }
        (Ok(_), Err(_)) => older.into(),
        (Err(_), _) => newer.into(),
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
    fn what_is_no_object_gives_way() {
        assert_eq!(&*merge("", "{\"a\":1}"), "{\"a\":1}");
        assert_eq!(&*merge("{\"a\":1}", "[]"), "{\"a\":1}");
        assert_eq!(&*merge("{}", "{\"a\": 1.0}"), "{\"a\": 1.0}", "the text stays as it came");
    }
}
