//! Generates a form with valid sample values. `try` sends it, with the given fields in place of
//! samples. The functions are pure.

mod value;

use serde_json::{Map, Value, json};

use crate::domain::flow::choice_list::is_selectable;
use crate::domain::flow::data_source::DataSource;
use crate::domain::flow::field::Field;
use crate::domain::flow::{Flow, RefreshTrigger, Screen};
use value::sample_value;

/// Slot to book, in the format of the form fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotChoice {
    /// Date, for example `2027-01-04`.
    pub date: String,
    /// Time of day, for example `09:00`.
    pub time: String,
}

/// Returns the body of a form of `flow`, with the fields of its final screen. `given` replaces
/// sample values, and `slot` sets the fields of the slot.
#[must_use]
pub fn sample_form(
    flow: &Flow,
    token: &str,
    given: &Map<String, Value>,
    slot: Option<&SlotChoice>,
) -> Value {
    let last = flow.screens.iter().find(|screen| screen.is_final);
    let mut data = fill_fields(last.iter().flat_map(|screen| &screen.fields));
    if last.is_none() {
        data.insert("name".to_owned(), json!("flowgate try"));
    }
    if let (Some(booking), Some(slot)) = (&flow.booking, slot) {
        data.insert(booking.date_field.clone(), json!(slot.date));
        data.insert(
            booking.time_field.clone(),
            if booking.date_field == booking.time_field {
                json!(slot.slot_id())
            } else {
                json!(slot.time)
            },
        );
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

/// Returns the answers on `screen` of a form that is sent screen by screen. `given` replaces sample
/// values. The slot is set on the screen that has its fields. Given fields that no screen declares
/// are sent with the final screen.
///
/// `shown` is the data of the screen. Where it has a list, the answer is an item of the list. The
/// answer is `slot` if the list offers it or if there is no list, and the first item that can be
/// chosen otherwise.
#[must_use]
pub fn screen_answers(
    flow: &Flow,
    screen: Option<&Screen>,
    shown: &Value,
    given: &Map<String, Value>,
    slot: Option<&SlotChoice>,
) -> Map<String, Value> {
    let fields = || screen.into_iter().flat_map(|screen| &screen.fields);
    let is_last = screen.is_none_or(|screen| screen.is_final);
    let declared = |name: &str| {
        flow.screens
            .iter()
            .flat_map(|screen| &screen.fields)
            .any(|field| field.name == name)
    };
    let is_on_screen =
        |name: &str| fields().any(|field| field.name == name) || (is_last && !declared(name));
    let takes = |name: &str, value: &str| {
        fields()
            .filter(|field| field.name == name)
            .all(|field| field.validate(Some(&json!(value)), true).is_none())
    };
    let mut data = fill_fields(fields());
    let mut fill = |name: &str, value: &str| {
        if is_on_screen(name) {
            data.insert(name.to_owned(), json!(value));
        }
    };
    if let (Some(booking), Some(slot)) = (&flow.booking, slot) {
        for name in slot_day_fields(flow).chain([booking.date_field.as_str()]) {
            fill(name, &slot.date);
        }
        let slot_id = slot.slot_id();
        let free = offered_ids(screen, shown, |given| {
            matches!(given, DataSource::Slots { .. })
        });
        let free = free
            .iter()
            .find(|id| **id == slot_id)
            .or(free.first())
            .copied();
        let typed = if booking.date_field == booking.time_field {
            &slot_id
        } else {
            &slot.time
        };
        fill(
            &booking.time_field,
            free.filter(|id| takes(&booking.time_field, id))
                .unwrap_or(typed),
        );
    }
    if let Some(name) = flow
        .lead
        .as_ref()
        .and_then(|lead| lead.agent_field.as_deref())
    {
        let agents = offered_ids(screen, shown, |given| {
            matches!(given, DataSource::Agents { .. })
        });
        if let Some(agent) = agents.first().filter(|agent| takes(name, agent)) {
            fill(name, agent);
        }
    }
    data.extend(
        given
            .iter()
            .filter(|(name, _)| is_on_screen(name))
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    data
}

/// Returns the request that a WhatsApp client sends when an item is chosen on `screen`. `answers`
/// are the answers of the screen, and `number` counts the choice requests already sent from it.
///
/// Returns `None` if no more choice requests precede the screen.
#[must_use]
pub fn choice_request(
    screen: &Screen,
    answers: &Map<String, Value>,
    number: usize,
) -> Option<Map<String, Value>> {
    let chosen = match &screen.refresh_on {
        RefreshTrigger::Never => return None,
        RefreshTrigger::Fields(names) => names.get(number).map(|name| {
            let value = answers.get(name).cloned().unwrap_or_default();
            Map::from_iter([(name.clone(), value)])
        }),
        RefreshTrigger::FieldValues(marks) => {
            let mut all = marks
                .iter()
                .flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
            all.nth(number).map(|(name, value)| {
                let mut chosen = answers.clone();
                chosen.insert(name.clone(), json!(value));
                chosen
            })
        }
    };
    chosen.filter(|chosen| screen.is_refresh_request(chosen))
}

/// Returns the first required field that is not in `given` and for which no sample value can be
/// generated, because its pattern is not supported.
#[must_use]
pub fn first_unfillable_field<'f>(flow: &'f Flow, given: &Map<String, Value>) -> Option<&'f Field> {
    let agent = flow
        .lead
        .as_ref()
        .and_then(|lead| lead.agent_field.as_deref());
    let slot = flow
        .booking
        .iter()
        .flat_map(|booking| [booking.date_field.as_str(), booking.time_field.as_str()]);
    let chosen: Vec<&str> = slot_day_fields(flow).chain(slot).chain(agent).collect();
    let must_be_had = |field: &&Field| {
        field.is_required
            && !given.contains_key(&field.name)
            && !chosen.contains(&field.name.as_str())
    };
    let fields = flow.screens.iter().flat_map(|screen| &screen.fields);
    fields
        .filter(must_be_had)
        .find(|field| sample_value(field).is_none())
}

/// Returns a sample value for each field, except for fields without one.
fn fill_fields<'f>(fields: impl Iterator<Item = &'f Field>) -> Map<String, Value> {
    fields
        .filter_map(|field| Some((field.name.clone(), sample_value(field)?)))
        .collect()
}

/// Returns the names of the fields whose date determines the free slots of a list.
fn slot_day_fields(flow: &Flow) -> impl Iterator<Item = &str> {
    flow.screens
        .iter()
        .flat_map(|screen| &screen.data_sources)
        .filter_map(|(_, given)| match given {
            DataSource::Slots { day_field: day, .. } => day.as_deref(),
            _ => None,
        })
}

/// Returns the IDs that can be chosen in the lists of one kind on the screen.
fn offered_ids<'v>(
    screen: Option<&Screen>,
    shown: &'v Value,
    matches: impl Fn(&DataSource) -> bool,
) -> Vec<&'v str> {
    let given = screen
        .into_iter()
        .flat_map(|screen| &screen.data_sources)
        .filter(|(_, given)| matches(given));
    let choices = given
        .filter_map(|(name, _)| shown.get(name)?.as_array())
        .flatten();
    choices
        .filter(|choice| is_selectable(choice))
        .filter_map(|choice| choice.get("id")?.as_str())
        .collect()
}

impl SlotChoice {
    fn slot_id(&self) -> String {
        format!("{}T{}", self.date, self.time)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::flow::choice_list::ChoiceListOptions;
    use crate::domain::flow::field::{FieldKind, FullRegex};
    use crate::domain::flow::{BookingSettings, LeadSettings};
    use crate::domain::ids::{CalendarName, FlowName, TeamName};

    fn flow(fields: Vec<(&str, FieldKind)>) -> Flow {
        let fields = fields.into_iter().map(|(name, kind)| Field {
            is_required: true,
            ..Field::new(name, kind)
        });
        let last = Screen {
            is_final: true,
            fields: fields.collect(),
            ..Screen::new("LAST")
        };
        let name = FlowName::new("visit").unwrap();
        Flow {
            screens: vec![Screen::new("FIRST"), last],
            ..Flow::new(name, "/visit".to_owned())
        }
    }

    fn data(flow: &Flow, given: &Value, slot: Option<&SlotChoice>) -> Map<String, Value> {
        let fields = given.as_object().cloned().unwrap_or_default();
        sample_form(flow, "t", &fields, slot)["data"]
            .as_object()
            .unwrap()
            .clone()
    }

    #[test]
    fn every_field_kind_gets_valid_value() {
        let flow = flow(vec![
            (
                "short",
                FieldKind::Text {
                    min: None,
                    max: Some(3),
                },
            ),
            (
                "long",
                FieldKind::Text {
                    min: Some(40),
                    max: None,
                },
            ),
            ("email", FieldKind::Email),
            ("phone", FieldKind::Phone),
            (
                "number",
                FieldKind::Number {
                    min: Some(2.5),
                    max: None,
                },
            ),
            (
                "low",
                FieldKind::Integer {
                    min: None,
                    max: Some(-7),
                },
            ),
            ("agree", FieldKind::Boolean),
            ("date", FieldKind::Date),
            ("time", FieldKind::Time),
            (
                "one",
                FieldKind::Choice(vec!["a".to_owned(), "b".to_owned()]),
            ),
            ("some", FieldKind::Choices(vec!["c".to_owned()])),
        ]);
        let data = data(&flow, &json!({}), None);
        assert_eq!(flow.validate(Some("LAST"), &data), []);
        assert_eq!(data.len(), 11);
    }

    /// Returns a flow with one required text field that has this pattern.
    fn coded(pattern: &str, min: usize) -> Flow {
        let mut flow = flow(vec![(
            "code",
            FieldKind::Text {
                min: Some(min),
                max: None,
            },
        )]);
        let fields = flow
            .screens
            .iter_mut()
            .flat_map(|screen| &mut screen.fields);
        fields.for_each(|field| field.pattern = Some(FullRegex::new(pattern).unwrap()));
        flow
    }

    #[test]
    fn unfillable_pattern_is_reported() {
        for (pattern, min, value) in [
            ("[a-z ]+", 0, "flowgate try"),
            ("[A-Z]{2}-[0-9]+", 5, "AA-11"),
        ] {
            let flow = coded(pattern, min);
            assert_eq!(data(&flow, &json!({}), None)["code"], value);
            assert_eq!(first_unfillable_field(&flow, &Map::new()), None);
        }
        let mut flow = coded("a\\bb", 0);
        assert_eq!(
            first_unfillable_field(&flow, &Map::new()).map(|field| field.name.as_str()),
            Some("code")
        );
        assert_eq!(
            first_unfillable_field(&flow, json!({"code": "mine"}).as_object().unwrap()),
            None,
            "given"
        );
        let slot = |name: &str| BookingSettings {
            calendar: CalendarName::new("chair").unwrap(),
            date_field: name.to_owned(),
            time_field: name.to_owned(),
        };
        flow.booking = Some(slot("code"));
        assert_eq!(
            first_unfillable_field(&flow, &Map::new()),
            None,
            "a slot takes its place"
        );
        flow.booking = None;
        flow.screens
            .iter_mut()
            .flat_map(|screen| &mut screen.fields)
            .for_each(|field| field.is_required = false);
        assert_eq!(first_unfillable_field(&flow, &Map::new()), None);
        assert!(
            data(&flow, &json!({}), None).is_empty(),
            "what may be left out is"
        );
    }

    #[test]
    fn given_fields_override_samples() {
        let flow = flow(vec![("email", FieldKind::Email)]);
        let form = sample_form(
            &flow,
            "t",
            json!({"email": "me@example.com", "note": 1})
                .as_object()
                .unwrap(),
            None,
        );
        assert_eq!(
            (&form["screen"], &form["flow_token"]),
            (&json!("LAST"), &json!("t"))
        );
        assert_eq!(form["data"], json!({"email": "me@example.com", "note": 1}));
    }

    #[test]
    fn slot_is_written_to_booking_fields() {
        let mut flow = flow(vec![]);
        let booking = |date: &str, time: &str| BookingSettings {
            calendar: CalendarName::new("chair").unwrap(),
            date_field: date.to_owned(),
            time_field: time.to_owned(),
        };
        let slot = SlotChoice {
            date: "2027-01-04".to_owned(),
            time: "09:00".to_owned(),
        };
        flow.booking = Some(booking("day", "hour"));
        assert_eq!(
            json!(data(&flow, &json!({}), Some(&slot))),
            json!({"day": "2027-01-04", "hour": "09:00"})
        );
        flow.booking = Some(booking("slot", "slot"));
        assert_eq!(
            json!(data(&flow, &json!({}), Some(&slot))),
            json!({"slot": "2027-01-04T09:00"})
        );
    }

    /// Returns a flow whose date, slot and agent are chosen from lists on one screen. `select`
    /// determines the choice requests.
    fn flow_with_lists(select: RefreshTrigger, booking_fields: (&str, &str)) -> Flow {
        let chair = || CalendarName::new("chair").unwrap();
        let slots = DataSource::Slots {
            calendar: chair(),
            day_field: Some("day".to_owned()),
            options: ChoiceListOptions::default(),
        };
        let team = TeamName::new("sales").unwrap();
        let agents = DataSource::Agents {
            team: team.clone(),
            options: ChoiceListOptions::default(),
        };
        let text = FieldKind::Text {
            min: None,
            max: None,
        };
        let fields = [
            ("day", FieldKind::Date),
            ("slot", FieldKind::Time),
            ("agent", text),
        ];
        let fields = fields.into_iter().map(|(name, kind)| Field {
            is_required: true,
            ..Field::new(name, kind)
        });
        let data = vec![("times".to_owned(), slots), ("people".to_owned(), agents)];
        let screen = Screen {
            is_final: true,
            refresh_on: select,
            fields: fields.collect(),
            data_sources: data,
            ..Screen::new("A")
        };
        let booking = BookingSettings {
            calendar: chair(),
            date_field: booking_fields.0.to_owned(),
            time_field: booking_fields.1.to_owned(),
        };
        let lead = LeadSettings {
            team,
            is_sticky: false,
            agent_field: Some("agent".to_owned()),
        };
        let name = FlowName::new("visit").unwrap();
        let screens = vec![screen];
        Flow {
            screens,
            booking: Some(booking),
            lead: Some(lead),
            ..Flow::new(name, "/visit".to_owned())
        }
    }

    #[test]
    fn answers_choose_offered_items() {
        let slot = SlotChoice {
            date: "2027-01-05".to_owned(),
            time: "10:00".to_owned(),
        };
        for booking_fields in [("day", "slot"), ("slot", "slot")] {
            let flow = flow_with_lists(RefreshTrigger::Never, booking_fields);
            let answers_for = |shown: Value| {
                json!(screen_answers(
                    &flow,
                    flow.screens.first(),
                    &shown,
                    &Map::new(),
                    Some(&slot)
                ))
            };
            let times = |ids: [(&str, bool); 2]| {
                let time = |(id, enabled): (&str, bool)| json!({"id": id, "title": id, "enabled": enabled});
                json!({"times": ids.map(time), "people": [{"id": "Ann", "title": "Ann"}]})
            };
            let there = times([("2027-01-05T09:00", true), ("2027-01-05T10:00", true)]);
            assert_eq!(
                answers_for(there),
                json!({"day": "2027-01-05", "slot": "2027-01-05T10:00", "agent": "Ann"})
            );
            let gone = times([("2027-01-05T10:00", false), ("2027-01-05T11:00", true)]);
            assert_eq!(
                answers_for(gone)["slot"],
                "2027-01-05T11:00",
                "what can be had instead"
            );
            let typed = if booking_fields.0 == booking_fields.1 {
                "2027-01-05T10:00"
            } else {
                "10:00"
            };
            assert_eq!(
                answers_for(json!({}))["slot"],
                typed,
                "nothing is shown to choose from"
            );
        }
    }

    #[test]
    fn choice_requests_precede_screen() {
        let all = json!({"day": "2027-01-05", "slot": "09:00", "agent": "Ann"})
            .as_object()
            .unwrap()
            .clone();
        let chosen = |select: RefreshTrigger, number| {
            let flow = flow_with_lists(select, ("day", "slot"));
            choice_request(flow.screens.first().unwrap(), &all, number).map(Value::Object)
        };
        assert_eq!(chosen(RefreshTrigger::Never, 0), None);
        let fields = || RefreshTrigger::Fields(vec!["day".to_owned(), "agent".to_owned()]);
        assert_eq!(chosen(fields(), 0), Some(json!({"day": "2027-01-05"})));
        assert_eq!(
            (chosen(fields(), 1), chosen(fields(), 2)),
            (Some(json!({"agent": "Ann"})), None)
        );
        let marks = || {
            RefreshTrigger::FieldValues(BTreeMap::from([(
                "step".to_owned(),
                vec!["day".to_owned()],
            )]))
        };
        assert_eq!(chosen(marks(), 0).unwrap()["step"], "day");
        assert_eq!(chosen(marks(), 1), None);
    }
}
