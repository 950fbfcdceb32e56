//! Objects taken apart without touching what is in them: each field keeps the text that came.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

#[cfg(test)]
thread_local! {
    /// Fields that were looked up on this thread, for tests of what reading costs: each look-up walks over the names.
    pub(super) static LOOK_UPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The fields of an object, in order. A name that comes twice counts the second time, as JSON parsers have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The fields of the object that `text` is.
    pub(super) fn of(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The text of a field; `None` where it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        #[cfg(test)]
        LOOK_UPS.set(LOOK_UPS.get() + 1);
        let field = self.0.iter().rev().find(|(known, _)| known == name);
        field.map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// The names of all fields, those included that are null.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// A field that is a string; `None` where it is missing, null, or something else.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| serde_json::from_str(value.get()).ok())
    }

    /// The fields of a field that is an object; none where it is missing or something else.
    pub(super) fn object(&self, name: &str) -> Fields<'a> {
        self.get(name).and_then(|value| Fields::of(value.get()).ok()).unwrap_or_default()
    }

    /// The items of a field that is an array; `None` where it is something else, nothing where it is missing.
    pub(super) fn items(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        self.get(name).map_or(Some(Vec::new()), |value| serde_json::from_str(value.get()).ok())
    }

    /// The text of an object with all fields but those `known`; empty where there are none.
    pub(super) fn others(&self, known: &[&str]) -> String {
        let mut text = String::new();
        for (name, value) in self.0.iter().filter(|(name, _)| !known.contains(&name.as_ref())) {
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

/// The fields of an object as values, by name.
///
/// # Errors
/// Why not, in words that never repeat what was sent: it may be long, or personal.
pub(super) fn values(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "is no object".to_owned(),
        _ => format!("is no object that can be read ({error})"),
    })
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(pair) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((pair.0.0, pair.1));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// A name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_text() {
        let fields = Fields::of(r#"{"a": 1.50, "b\u0041":{"x" : [ ]},"a":"\u00e9","n":null}"#).unwrap();
        assert_eq!(fields.text("a").as_deref(), Some("é"), "the last one counts");
        assert_eq!(fields.get("bA").map(RawValue::get), Some(r#"{"x" : [ ]}"#));
        assert!(fields.get("n").is_none());
        assert_eq!(fields.others(&["a", "n"]), r#"{"bA":{"x" : [ ]}}"#);
        assert_eq!(Fields::of("{}").unwrap().others(&[]), "");
        assert!(Fields::of("[]").is_err());
    }

    #[test]
    fn what_is_no_object_is_told_without_repeating_it() {
        assert_eq!(values(r#"{"a":1}"#).unwrap()["a"], 1);
        assert_eq!(values("\"secret\"").unwrap_err(), "is no object");
        assert!(values(r#"{"secret":1e999}"#).unwrap_err().starts_with("is no object that can be read (number"));
    }
}
