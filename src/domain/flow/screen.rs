//! Describes one screen of a form: its fields, its data, and the screens that may follow.
//!
//! See [`super::navigation`] for the choice of the next screen and [`super::field`] for the
//! validation of a value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::data_source::DataSource;
use super::field::{Field, FieldError};
use super::value::scalar_text;

/// Screen of a form.
#[derive(Clone, Debug, PartialEq)]
pub struct Screen {
    /// ID of the screen in the Flow JSON.
    pub name: String,
    /// `true` if the screen completes the form.
    pub is_final: bool,
    /// Rule for the next screen.
    pub next: NextScreen,
    /// Trigger that distinguishes a refresh request from the submission of this screen.
    pub refresh_on: RefreshTrigger,
    /// Declared fields. Other fields may arrive and are stored too.
    pub fields: Vec<Field>,
    /// Data that the screen shows, by its name in the Flow JSON (encrypted flows).
    pub data_sources: Vec<(String, DataSource)>,
}

/// Rule for the next screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NextScreen {
    /// Next screen in the order of declaration.
    #[default]
    Following,
    /// Screen with this name.
    Screen(String),
    /// Screen chosen by the value of a field, on this screen or an earlier one.
    ByField {
        /// Name of the field.
        field: String,
        /// Screens by value of the field.
        cases: BTreeMap<String, String>,
        /// Screen for all other values. `None`: next screen in the order of declaration.
        default: Option<String>,
    },
}

/// Trigger of a refresh request (a component's `on-select-action`, *Flow JSON*). Refresh requests
/// and screen submissions both come as `data_exchange`, and Meta does not mark either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RefreshTrigger {
    /// The screen has no refresh requests.
    #[default]
    Never,
    /// A request is a refresh if it contains some of these fields, no other field of the screen,
    /// and not all fields of the screen. A field with the value null counts as contained.
    Fields(Vec<String>),
    /// A request is a refresh if one of these fields has one of its listed values.
    FieldValues(BTreeMap<String, Vec<String>>),
}

impl RefreshTrigger {
    fn is_triggered_by(&self, fields: &[Field], data: &Map<String, Value>) -> bool {
        match self {
            Self::Never => false,
            Self::Fields(names) => {
                let is_missing = |field: &Field| !data.contains_key(&field.name);
                let is_trigger = |field: &Field| names.contains(&field.name);
                names.iter().any(|name| data.contains_key(name))
                    && fields
                        .iter()
                        .all(|field| is_trigger(field) || is_missing(field))
                    && fields.iter().any(is_missing)
            }
            Self::FieldValues(values_by_field) => values_by_field.iter().any(|(name, values)| {
                let value = data.get(name).and_then(scalar_text);
                value.is_some_and(|value| values.iter().any(|mark| *mark == value))
            }),
        }
    }
}

impl Screen {
    /// Creates a screen without fields that is not final.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_final: false,
            next: NextScreen::default(),
            refresh_on: RefreshTrigger::default(),
            fields: Vec::new(),
            data_sources: Vec::new(),
        }
    }

    /// Returns the declared field with this name.
    #[must_use]
    pub fn find_field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Returns the source of the screen's data `name`.
    #[must_use]
    pub fn data_source(&self, name: &str) -> Option<&DataSource> {
        let mut sources = self.data_sources.iter();
        sources.find_map(|(known, source)| (known == name).then_some(source))
    }

    /// Returns `true` if `data` is a refresh request, not a submission of the screen.
    #[must_use]
    pub fn is_refresh_request(&self, data: &Map<String, Value>) -> bool {
        self.refresh_on.is_triggered_by(&self.fields, data)
    }

    /// Returns the names of the screen's data that show the name of an agent.
    pub fn shown_agent_names(&self) -> impl Iterator<Item = &str> {
        let is_agent = |source: &DataSource| matches!(source, DataSource::Agent { .. });
        let sources = self.data_sources.iter();
        sources.filter_map(move |(name, source)| is_agent(source).then_some(name.as_str()))
    }

    /// Returns `true` if `data` has at least one list of dates or slots, and none of these lists
    /// has a selectable entry.
    #[must_use]
    pub fn has_no_free_time(&self, data: &Map<String, Value>) -> bool {
        let sources = self.data_sources.iter();
        let mut lists = sources.filter_map(|(name, source)| source.has_free_time(data.get(name)?));
        lists.next() == Some(false) && !lists.any(|has_free| has_free)
    }

    /// Returns the errors of the screen's fields, in the order of the fields. Required fields may
    /// be missing in a refresh request.
    #[must_use]
    pub fn validate(&self, data: &Map<String, Value>) -> Vec<FieldError> {
        let is_refresh = self.is_refresh_request(data);
        let field_error =
            |field: &Field| field.validate(data.get(&field.name), field.is_required && !is_refresh);
        self.fields.iter().filter_map(field_error).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::flow::field::FieldKind;

    fn screen_with_trigger(select: RefreshTrigger) -> Screen {
        let short_text = FieldKind::Text {
            min: None,
            max: Some(9),
        };
        let field = |name| Field {
            is_required: true,
            ..Field::new(name, short_text.clone())
        };
        Screen {
            refresh_on: select,
            fields: vec![field("day"), field("slot")],
            ..Screen::new("A")
        }
    }

    fn assert_refresh(trigger: RefreshTrigger, requests: Value, submissions: Value) {
        let screen = screen_with_trigger(trigger);
        for (list, expected) in [(requests, true), (submissions, false)] {
            for data in list.as_array().unwrap() {
                let actual = screen.is_refresh_request(data.as_object().unwrap());
                assert_eq!(actual, expected, "{:?} {data}", screen.refresh_on);
            }
        }
    }

    #[test]
    fn partial_fields_are_refresh_request() {
        let fields = |names: &[&str]| {
            RefreshTrigger::Fields(names.iter().copied().map(str::to_owned).collect())
        };
        assert_refresh(
            fields(&["day"]),
            json!([{"day": "x", "whatever": 1}]),
            // A field with the value null was sent.
            json!([{"day": "x", "slot": null}, {}, {"slot": "y"}]),
        );
        assert_refresh(
            fields(&["day", "slot"]),
            json!([{"slot": "y"}]),
            json!([{"day": "x", "slot": "y"}]),
        );
    }

    #[test]
    fn field_value_marks_refresh_request() {
        let values = ["day", "7"].map(str::to_owned).to_vec();
        assert_refresh(
            RefreshTrigger::FieldValues(BTreeMap::from([("trigger".to_owned(), values)])),
            json!([{"trigger": "day", "day": "x", "slot": "y"}, {"trigger": 7}]),
            json!([{"trigger": "other", "day": "x"}]),
        );
        let submission = json!([{"trigger": "day"}]);
        assert_refresh(RefreshTrigger::Never, json!([]), submission);
    }

    #[test]
    fn refresh_request_validates_only_sent_fields() {
        let screen = screen_with_trigger(RefreshTrigger::Fields(vec!["day".to_owned()]));
        let error_count = |data: Value| screen.validate(data.as_object().unwrap()).len();
        assert_eq!(error_count(json!({"day": "x"})), 0);
        assert_eq!(error_count(json!({"day": "far too long"})), 1);
        // The submission of the screen needs all fields.
        assert_eq!(error_count(json!({"day": "x", "slot": ""})), 1);
    }
}
