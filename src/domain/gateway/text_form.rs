//! Parses forms from text messages. Gateways do not support WhatsApp Flows, so customers send a
//! text in an agreed format instead.

use serde_json::{Map, Value};

use crate::domain::full_regex::FullRegex;
use crate::domain::ids::FlowName;

/// Pattern of the texts that are forms of a flow.
#[derive(Clone, Debug, PartialEq)]
pub struct TextForm {
    /// Flow that gets the submissions.
    pub flow: FlowName,
    /// Pattern that the whole text must match. The named groups of the pattern are the fields.
    pub pattern: FullRegex,
}

impl TextForm {
    /// Returns the fields of `text`, or `None` if the text does not match. Groups that did not take
    /// part in the match are omitted.
    #[must_use]
    pub fn parse_fields(&self, text: &str) -> Option<Map<String, Value>> {
        let groups = self.pattern.captures(text.trim())?.into_iter();
        let fields = groups.map(|(name, value)| (name.to_owned(), Value::from(value.trim())));
        Some(fields.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_groups_of_full_match_are_fields() {
        let pattern = r"(?i)book (?P<date>\S+) (?P<time>\S+)(?: for (?P<name>.+))?";
        let form = TextForm {
            flow: FlowName::new("visit").unwrap(),
            pattern: FullRegex::new(pattern).unwrap(),
        };
        let fields = form.parse_fields(" Book 2027-01-04 09:00 for Ann \n");
        let expected = r#"{"date":"2027-01-04","time":"09:00","name":"Ann"}"#;
        assert_eq!(Value::from(fields.unwrap()).to_string(), expected);
        assert_eq!(form.parse_fields("book 2027-01-04 09:00").unwrap().len(), 2);
        assert_eq!(form.parse_fields("please book 2027-01-04 09:00"), None);
    }
}
