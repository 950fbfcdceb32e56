//! One screen of a form: its fields, what it is given, and what sending it can mean.
//!
//! Pure. What a form makes of its screens is `super::flow`'s, whether a value fits its field `super::field`'s.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::field::{Field, FieldProblem, text_of};
use super::screen_data::Given;

/// One screen of a form.
#[derive(Clone, Debug, PartialEq)]
pub struct Screen {
    /// Its id in the Flow JSON.
    pub name: String,
    /// Whether sending it completes the form.
    pub is_final: bool,
    /// Which screen follows.
    pub next: Next,
    /// What tells a choice on this screen, of which it only wants to show more, from the sending of it.
    pub select: Select,
    /// Its fields. Others may come and are kept.
    pub fields: Vec<Field>,
    /// What it is given to show, by the name that the Flow JSON has for it (encrypted flows).
    pub data: Vec<(String, Given)>,
}

/// Which screen follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// The one declared after this.
    #[default]
    Following,
    /// This one.
    Screen(String),
    /// One by the value of a field, on this screen or an earlier one.
    ByField {
        /// The field.
        field: String,
        /// Screens by value.
        to: BTreeMap<String, String>,
        /// The screen for all other values; the one declared after this, unless given.
        otherwise: Option<String>,
    },
}

/// What tells a choice (a component's `on-select-action`, *Flow JSON*) from the sending of a screen: both come as
/// `data_exchange`, and nothing of Meta's marks them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// There are none.
    #[default]
    Never,
    /// A request with some of these fields, in which another one of the screen is not even named.
    Fields(Vec<String>),
    /// A request in which one of these fields has one of these values.
    Marked(BTreeMap<String, Vec<String>>),
}

impl Select {
    fn is(&self, fields: &[Field], data: &Map<String, Value>) -> bool {
        match self {
            Self::Never => false,
            Self::Fields(names) => {
                let is_left_out = |field: &&Field| !data.contains_key(&field.name);
                let others = |field: &&Field| !names.contains(&field.name);
                names.iter().any(|name| data.contains_key(name))
                    && fields.iter().filter(others).all(|field| is_left_out(&field))
                    && fields.iter().any(|field| is_left_out(&field))
            }
            Self::Marked(marks) => marks.iter().any(|(name, values)| {
                let value = data.get(name).and_then(text_of);
                value.is_some_and(|value| values.iter().any(|mark| *mark == value))
            }),
        }
    }
}

impl Screen {
    /// A screen without fields that is not the last one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_final: false,
            next: Next::default(),
            select: Select::default(),
            fields: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Whether `data` is a choice made on it, rather than its answers.
    #[must_use]
    pub fn is_choice(&self, data: &Map<String, Value>) -> bool {
        self.select.is(&self.fields, data)
    }

    /// The names under which it is given the name of an agent.
    pub fn agents_shown(&self) -> impl Iterator<Item = &str> {
        let is_agent = |given: &Given| matches!(given, Given::Agent { .. });
        self.data.iter().filter(move |(_, given)| is_agent(given)).map(|(name, _)| name.as_str())
    }

    /// Whether `data` have nothing to choose in any of its lists of days and times, of which there is one at least.
    #[must_use]
    pub fn is_booked_out(&self, data: &Map<String, Value>) -> bool {
        let lists = || self.data.iter().filter_map(|(name, given)| given.has_free_time(data.get(name)?));
        lists().next().is_some() && !lists().any(|has_free| has_free)
    }

    /// What is wrong with its answers, in the order of its fields. Required ones must be there, unless something was only
    /// chosen.
    #[must_use]
    pub fn problems(&self, data: &Map<String, Value>) -> Vec<FieldProblem> {
        let is_choice = self.is_choice(data);
        let problem = |field: &Field| field.problem(data.get(&field.name), field.required && !is_choice);
        self.fields.iter().filter_map(problem).collect()
    }
}

/// All of `screens` that may follow `screen`, in the order in which they are declared.
pub(super) fn ways<'a>(screens: &'a [Screen], screen: &Screen) -> Vec<&'a Screen> {
    if screen.is_final {
        return Vec::new();
    }
    let named: Vec<&str> = match &screen.next {
        Next::Following => Vec::new(),
        Next::Screen(name) => vec![name],
        Next::ByField { to, otherwise, .. } => to.values().chain(otherwise).map(String::as_str).collect(),
    };
    let falls_through = match &screen.next {
        Next::Following | Next::ByField { otherwise: None, .. } => following(screens, screen),
        Next::Screen(_) | Next::ByField { .. } => None,
    };
    let leads_there = |other: &&Screen| {
        named.contains(&other.name.as_str()) || falls_through.is_some_and(|next| next.name == other.name)
    };
    screens.iter().filter(leads_there).collect()
}

/// Those of `screens` that can be reached from `start`, itself first.
#[must_use]
pub fn reach<'a>(screens: &'a [Screen], start: Option<&'a Screen>) -> Vec<&'a Screen> {
    let mut reached: Vec<&Screen> = start.into_iter().collect();
    let mut at = 0;
    while let Some(screen) = reached.get(at).copied() {
        at += 1;
        for next in ways(screens, screen) {
            if reached.iter().all(|known| known.name != next.name) {
                reached.push(next);
            }
        }
    }
    reached
}

/// The one of `screens` that is declared after `screen`.
pub(super) fn following<'a>(screens: &'a [Screen], screen: &Screen) -> Option<&'a Screen> {
    screens.iter().skip_while(|other| other.name != screen.name).nth(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::field::FieldKind;
    use super::*;

    fn screen(select: Select) -> Screen {
        let field = |name| Field { required: true, ..Field::new(name, FieldKind::Text { min: None, max: Some(9) }) };
        Screen { select, fields: vec![field("day"), field("slot")], ..Screen::new("A") }
    }

    fn is_choice(screen: &Screen, data: &Value) -> bool {
        screen.is_choice(data.as_object().unwrap())
    }

    #[test]
    fn some_fields_alone_are_a_choice_and_all_of_them_are_the_screen() {
        let screen = screen(Select::Fields(vec!["day".to_owned()]));
        assert!(is_choice(&screen, &json!({"day": "x", "whatever": 1})));
        assert!(!is_choice(&screen, &json!({"day": "x", "slot": null})), "a field that is named was sent");
        assert!(!is_choice(&screen, &json!({})) && !is_choice(&screen, &json!({"slot": "y"})));
        let both = Screen { select: Select::Fields(vec!["day".to_owned(), "slot".to_owned()]), ..screen };
        assert!(is_choice(&both, &json!({"slot": "y"})));
        assert!(!is_choice(&both, &json!({"day": "x", "slot": "y"})));
    }

    #[test]
    fn a_mark_makes_a_choice_whatever_else_is_sent() {
        let marks = BTreeMap::from([("trigger".to_owned(), vec!["day".to_owned(), "7".to_owned()])]);
        let screen = screen(Select::Marked(marks));
        assert!(is_choice(&screen, &json!({"trigger": "day", "day": "x", "slot": "y"})));
        assert!(is_choice(&screen, &json!({"trigger": 7})));
        assert!(!is_choice(&screen, &json!({"trigger": "other", "day": "x"})));
        assert!(!is_choice(&self::screen(Select::Never), &json!({"trigger": "day"})));
    }

    #[test]
    fn a_choice_needs_no_other_field_but_what_is_chosen_must_fit() {
        let screen = screen(Select::Fields(vec!["day".to_owned()]));
        let problems = |data: Value| screen.problems(data.as_object().unwrap()).len();
        assert_eq!(problems(json!({"day": "x"})), 0);
        assert_eq!(problems(json!({"day": "far too long"})), 1);
        assert_eq!(problems(json!({"day": "x", "slot": ""})), 1, "the screen itself needs all");
    }
}
