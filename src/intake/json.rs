//! Parses JSON objects into fields whose values stay the received text, unchanged.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::IntakeError;
use crate::domain::time::Timestamp;

#[cfg(test)]
thread_local! {
    /// Number of field lookups on this thread. Each lookup walks over all names. Tests measure the
    /// cost of parsing with this counter.
    pub(super) static LOOKUPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Fields of an object, in order. If a name occurs twice, the second value counts, as in JSON
/// parsers.
#[derive(Clone, Debug, Default)]
pub(super) struct JsonFields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> JsonFields<'a> {
    /// Parses the fields of a JSON object.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Returns the text of a field. Returns `None` if the field is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        #[cfg(test)]
        LOOKUPS.set(LOOKUPS.get() + 1);
        let field = self.0.iter().rev().find(|(known, _)| known == name);
        field
            .map(|(_, value)| *value)
            .filter(|value| value.get() != "null")
    }

    /// Returns the names of all fields, including fields with the value null.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// Returns the value of a string field. Returns `None` if the field is missing, null or not a
    /// string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name)
            .and_then(|value| serde_json::from_str(value.get()).ok())
    }

    /// Returns the time of a field with Unix seconds, as a number or a string.
    pub(super) fn unix_time(&self, name: &str) -> Option<Timestamp> {
        parse_unix_time(self.get(name)?.get().trim_matches('"'))
    }

    /// Returns the time of a string field with Unix seconds.
    pub(super) fn unix_time_text(&self, name: &str) -> Option<Timestamp> {
        parse_unix_time(&self.text(name)?)
    }

    /// Returns the value of a string field. Returns `None` if the field is missing or null.
    ///
    /// # Errors
    /// [`IntakeError::InvalidField`] if the field is not a string.
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<String>, IntakeError> {
        self.get(name)
            .map(|value| serde_json::from_str(value.get()))
            .transpose()
            .map_err(|_| IntakeError::invalid_field(name, "is not a text that can be read"))
    }

    /// Returns the fields of a nested object. The result is empty if the field is missing or not an
    /// object.
    pub(super) fn object(&self, name: &str) -> JsonFields<'a> {
        self.get(name)
            .and_then(|value| JsonFields::parse(value.get()).ok())
            .unwrap_or_default()
    }

    /// Returns the items of an array. The result is empty if the field is missing or null, and
    /// `None` if the field is not an array.
    pub(super) fn items(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        self.get(name).map_or(Some(Vec::new()), |value| {
            serde_json::from_str(value.get()).ok()
        })
    }

    /// Returns the text of an object with all fields except `known`. The text is empty if no field
    /// remains.
    pub(super) fn to_json_without(&self, known: &[&str]) -> String {
        let mut text = String::new();
        for (name, value) in self
            .0
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_ref()))
        {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(&Value::from(name.as_ref()).to_string());
            text.push(':');
            text.push_str(value.get());
        }
        if !text.is_empty() {
            text.push('}');
        }
        text
    }
}

/// Parses the fields of a body.
pub(super) fn parse_object(body: &[u8]) -> Result<JsonFields<'_>, IntakeError> {
    let text =
        std::str::from_utf8(body).map_err(|error| IntakeError::NotJson(error.to_string()))?;
    JsonFields::parse(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => IntakeError::NotAnObject,
        _ => IntakeError::NotJson(error.to_string()),
    })
}

fn parse_unix_time(text: &str) -> Option<Timestamp> {
    let seconds: u64 = text.parse().ok()?;
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// Parses an object into values by name.
///
/// # Errors
/// The reason why the text is not an object. The reason never repeats the text, which may be long
/// or personal.
pub(super) fn values(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "is not an object".to_owned(),
        _ => format!("is not a valid object ({error})"),
    })
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = JsonFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(pair) = map.next_entry::<FieldName<'de>, &'de RawValue>()? {
                    fields.push((pair.0.0, pair.1));
                }
                Ok(JsonFields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// Field name, borrowed if it has no escapes.
#[derive(Deserialize)]
struct FieldName<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_values_are_unchanged() {
        let fields =
            JsonFields::parse(r#"{"a": 1.50, "b\u0041":{"x" : [ ]},"a":"\u00e9","n":null}"#)
                .unwrap();
        // The last value of a name counts.
        assert_eq!(fields.text("a").as_deref(), Some("é"));
        assert_eq!(fields.get("bA").map(RawValue::get), Some(r#"{"x" : [ ]}"#));
        assert!(fields.get("n").is_none());
        assert_eq!(fields.to_json_without(&["a", "n"]), r#"{"bA":{"x" : [ ]}}"#);
        assert_eq!(JsonFields::parse("{}").unwrap().to_json_without(&[]), "");
        assert!(JsonFields::parse("[]").is_err());
    }

    #[test]
    fn non_object_error_hides_content() {
        assert_eq!(values(r#"{"a":1}"#).unwrap()["a"], 1);
        assert_eq!(values("\"secret\"").unwrap_err(), "is not an object");
        assert!(
            values(r#"{"secret":1e999}"#)
                .unwrap_err()
                .starts_with("is not a valid object (number")
        );
    }
}
