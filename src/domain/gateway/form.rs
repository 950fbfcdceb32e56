//! Text messages that are forms: gateways carry no WhatsApp Flows, so what would be one comes as a text of an agreed form.

use serde_json::{Map, Value};

use crate::domain::ids::FlowName;
use crate::domain::pattern::Pattern;

/// Which texts are forms of a flow.
#[derive(Clone, Debug, PartialEq)]
pub struct TextForm {
    /// The flow.
    pub flow: FlowName,
    /// What the whole text must look like; its named groups are the fields.
    pub pattern: Pattern,
}

impl TextForm {
    /// The fields of `text`, if it is such a form. Groups that took no part are no fields.
    #[must_use]
    pub fn fields(&self, text: &str) -> Option<Map<String, Value>> {
        let groups = self.pattern.groups(text.trim())?;
        Some(groups.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value.trim()))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_groups_of_a_text_that_fits_as_a_whole_are_the_fields() {
        let form = TextForm {
            flow: FlowName::new("visit").unwrap(),
            pattern: Pattern::new(r"(?i)book (?P<date>\S+) (?P<time>\S+)(?: for (?P<name>.+))?").unwrap(),
        };
        let fields = form.fields(" Book 2027-01-04 09:00 for Ann \n").unwrap();
        assert_eq!(Value::from(fields).to_string(), r#"{"date":"2027-01-04","time":"09:00","name":"Ann"}"#);
        assert_eq!(form.fields("book 2027-01-04 09:00").unwrap().len(), 2);
        assert_eq!(form.fields("please book 2027-01-04 09:00"), None);
    }
}
