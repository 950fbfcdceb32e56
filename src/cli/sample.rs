//! A form filled in with something that fits: what `try` sends where nothing else is given. Pure.

use serde_json::{Map, Value, json};

use crate::domain::field::{Field, FieldKind};
use crate::domain::flow::{Flow, Screen};

/// The slot that a form is to ask for: day and time as its fields carry them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// `2027-01-04`.
    pub date: String,
    /// `09:00`.
    pub time: String,
}

/// The body of a form of `flow`: its last screen, each field as `given` has it or filled in, the slot as `wish` has it.
#[must_use]
pub fn form(flow: &Flow, token: &str, given: &Map<String, Value>, wish: Option<&Wish>) -> Value {
    let last = flow.screens.iter().find(|screen| screen.is_final);
    let mut data: Map<String, Value> =
        last.iter().flat_map(|screen| &screen.fields).map(|field| (field.name.clone(), fitting(field))).collect();
    if last.is_none() {
        data.insert("name".to_owned(), json!("flowgate try"));
    }
    if let (Some(rule), Some(wish)) = (&flow.booking, wish) {
        data.insert(rule.date.clone(), json!(wish.date));
        data.insert(rule.time.clone(), if rule.date == rule.time { json!(wish.slot_id()) } else { json!(wish.time) });
    }
    data.extend(given.clone());
    json!({
        "version": "3.0",
        "action": "data_exchange",
        "screen": last.map_or("FORM", |Screen { name, .. }| name),
        "data": data,
        "flow_token": token,
        "context": { "user_id": "flowgate-try" },
    })
}

/// The answers on `screen` of a form that goes screen by screen: its fields as `given` has them or filled in, the slot
/// where the screen asks for it. What no screen declares is sent with the last.
#[must_use]
pub fn answers(flow: &Flow, screen: Option<&Screen>, given: &Map<String, Value>, wish: Option<&Wish>) -> Value {
    let fields = || screen.into_iter().flat_map(|screen| &screen.fields);
    let is_last = screen.is_none_or(|screen| screen.is_final);
    let declared = |name: &str| flow.screens.iter().flat_map(|screen| &screen.fields).any(|field| field.name == name);
    let asked_here = |name: &str| fields().any(|field| field.name == name) || (is_last && !declared(name));
    let mut data: Map<String, Value> = fields().map(|field| (field.name.clone(), fitting(field))).collect();
    if let (Some(rule), Some(wish)) = (&flow.booking, wish) {
        let time = if rule.date == rule.time { wish.slot_id() } else { wish.time.clone() };
        for (name, value) in [(&rule.date, &wish.date), (&rule.time, &time)] {
            if asked_here(name) {
                data.insert(name.clone(), json!(value));
            }
        }
    }
    data.extend(given.iter().filter(|(name, _)| asked_here(name)).map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(data)
}

impl Wish {
    fn slot_id(&self) -> String {
        format!("{}T{}", self.date, self.time)
    }
}

/// A value that the field takes.
fn fitting(field: &Field) -> Value {
    match &field.kind {
        FieldKind::Text { min, max } => json!(text(min.unwrap_or(0), max.unwrap_or(usize::MAX))),
        FieldKind::Email => json!("try@example.com"),
        // Numbers with 555 01 are set aside for examples (North American Numbering Plan).
        FieldKind::Phone => json!("+12025550123"),
        FieldKind::Number { min, max } => json!(1.0_f64.max(min.unwrap_or(1.0)).min(max.unwrap_or(f64::MAX))),
        FieldKind::Integer { min, max } => json!(1.max(min.unwrap_or(1)).min(max.unwrap_or(i64::MAX))),
        FieldKind::Boolean => json!(true),
        FieldKind::Date => json!("2027-01-04"),
        FieldKind::Time => json!("09:00"),
        FieldKind::Choice(choices) => choices.first().map_or(Value::Null, |first| json!(first)),
        FieldKind::Choices(choices) => json!(choices.first().into_iter().collect::<Vec<_>>()),
    }
}

/// A text of `min` to `max` characters.
fn text(min: usize, max: usize) -> String {
    "flowgate try ".chars().cycle().take("flowgate try".len().max(min).min(max)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::BookingRule;
    use crate::domain::ids::{CalendarName, FlowName};

    fn flow(fields: Vec<(&str, FieldKind)>) -> Flow {
        let fields = fields.into_iter().map(|(name, kind)| Field { required: true, ..Field::new(name, kind) });
        let last = Screen { is_final: true, fields: fields.collect(), ..Screen::new("LAST") };
        let name = FlowName::new("visit").unwrap();
        Flow { screens: vec![Screen::new("FIRST"), last], ..Flow::new(name, "/visit".to_owned()) }
    }

    fn data(flow: &Flow, given: &Value, wish: Option<&Wish>) -> Map<String, Value> {
        let given = given.as_object().cloned().unwrap_or_default();
        form(flow, "t", &given, wish)["data"].as_object().unwrap().clone()
    }

    #[test]
    fn every_kind_of_field_gets_a_value_that_the_flow_takes() {
        let flow = flow(vec![
            ("short", FieldKind::Text { min: None, max: Some(3) }),
            ("long", FieldKind::Text { min: Some(40), max: None }),
            ("email", FieldKind::Email),
            ("phone", FieldKind::Phone),
            ("number", FieldKind::Number { min: Some(2.5), max: None }),
            ("low", FieldKind::Integer { min: None, max: Some(-7) }),
            ("agree", FieldKind::Boolean),
            ("date", FieldKind::Date),
            ("time", FieldKind::Time),
            ("one", FieldKind::Choice(vec!["a".to_owned(), "b".to_owned()])),
            ("some", FieldKind::Choices(vec!["c".to_owned()])),
        ]);
        let data = data(&flow, &json!({}), None);
        assert_eq!(flow.problems(Some("LAST"), &data), []);
        assert_eq!(data.len(), 11);
    }

    #[test]
    fn the_last_screen_is_sent_and_what_is_given_wins() {
        let flow = flow(vec![("email", FieldKind::Email)]);
        let form = form(&flow, "t", json!({"email": "me@example.com", "note": 1}).as_object().unwrap(), None);
        assert_eq!((&form["screen"], &form["flow_token"]), (&json!("LAST"), &json!("t")));
        assert_eq!(form["data"], json!({"email": "me@example.com", "note": 1}));
    }

    #[test]
    fn the_slot_goes_where_the_flow_reads_it_from() {
        let mut flow = flow(vec![]);
        let rule = |date: &str, time: &str| BookingRule {
            calendar: CalendarName::new("chair").unwrap(),
            date: date.to_owned(),
            time: time.to_owned(),
        };
        let wish = Wish { date: "2027-01-04".to_owned(), time: "09:00".to_owned() };
        flow.booking = Some(rule("day", "hour"));
        assert_eq!(json!(data(&flow, &json!({}), Some(&wish))), json!({"day": "2027-01-04", "hour": "09:00"}));
        flow.booking = Some(rule("slot", "slot"));
        assert_eq!(json!(data(&flow, &json!({}), Some(&wish))), json!({"slot": "2027-01-04T09:00"}));
    }
}
