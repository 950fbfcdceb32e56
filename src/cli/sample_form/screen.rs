//! Generates the answers on one screen of a form that is sent screen by screen.

use serde_json::{Map, Value, json};

use super::plain::{SlotChoice, fill_fields, slot_day_fields};
use crate::domain::flow::choice_list::is_selectable;
use crate::domain::flow::data_source::DataSource;
use crate::domain::flow::field::Field;
use crate::domain::flow::{Flow, RefreshTrigger, Screen};

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
    let declared = flow.screens.iter().flat_map(|screen| &screen.fields);
    let is_on_screen = |name: &str| {
        let has_name = |field: &Field| field.name == name;
        fields().any(has_name) || (is_last && !declared.clone().any(has_name))
    };
    let mut data = fill_fields(fields());
    let chosen = chosen_answers(flow, screen, shown, slot);
    let chosen = chosen.into_iter().filter(|(name, _)| is_on_screen(name));
    data.extend(chosen.map(|(name, value)| (name.to_owned(), json!(value))));
    let given = given.iter().filter(|(name, _)| is_on_screen(name));
    data.extend(given.map(|(name, value)| (name.clone(), value.clone())));
    data
}

/// Returns the answers that choose the slot and an agent: names of fields, of any screen, with
/// their values.
fn chosen_answers<'f>(
    flow: &'f Flow,
    screen: Option<&Screen>,
    shown: &Value,
    slot: Option<&SlotChoice>,
) -> Vec<(&'f str, String)> {
    let accepts = |name: &str, value: &str| {
        let fields = screen.into_iter().flat_map(|screen| &screen.fields);
        let mut fields = fields.filter(|field| field.name == name);
        fields.all(|field| field.validate(Some(&json!(value)), true).is_none())
    };
    let mut chosen = Vec::new();
    if let (Some(booking), Some(slot)) = (&flow.booking, slot) {
        let (date_field, time_field) = (booking.date_field.as_str(), booking.time_field.as_str());
        let dates = slot_day_fields(flow).chain([date_field]);
        chosen.extend(dates.map(|name| (name, slot.date.clone())));
        let slot_id = slot.slot_id();
        let is_slots = |source: &_| matches!(source, DataSource::Slots { .. });
        let free = offered_ids(screen, shown, is_slots);
        let free = free.iter().find(|id| **id == slot_id).or(free.first());
        let time = match free.filter(|id| accepts(time_field, id)) {
            Some(id) => (*id).to_owned(),
            None if date_field == time_field => slot_id,
            None => slot.time.clone(),
        };
        chosen.push((time_field, time));
    }
    let lead = flow.lead.as_ref();
    if let Some(name) = lead.and_then(|lead| lead.agent_field.as_deref()) {
        let is_agents = |source: &_| matches!(source, DataSource::Agents { .. });
        let agents = offered_ids(screen, shown, is_agents);
        let agent = agents.first().filter(|agent| accepts(name, agent));
        chosen.extend(agent.map(|agent| (name, (*agent).to_owned())));
    }
    chosen
}

/// Returns the IDs that can be chosen in the lists of one kind on the screen.
fn offered_ids<'v>(
    screen: Option<&Screen>,
    shown: &'v Value,
    is_wanted: impl Fn(&DataSource) -> bool,
) -> Vec<&'v str> {
    let sources = screen.into_iter().flat_map(|screen| &screen.data_sources);
    let lists = sources
        .filter(|(_, source)| is_wanted(source))
        .filter_map(|(name, _)| shown.get(name)?.as_array());
    lists
        .flatten()
        .filter(|choice| is_selectable(choice))
        .filter_map(|choice| choice.get("id")?.as_str())
        .collect()
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
        RefreshTrigger::Fields(names) => {
            let name = names.get(number)?;
            let value = answers.get(name).cloned().unwrap_or_default();
            Map::from_iter([(name.clone(), value)])
        }
        RefreshTrigger::FieldValues(marks) => {
            let mut all = marks
                .iter()
                .flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
            let (name, value) = all.nth(number)?;
            let mut chosen = answers.clone();
            chosen.insert(name.clone(), json!(value));
            chosen
        }
    };
    Some(chosen).filter(|chosen| screen.is_refresh_request(chosen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample_form::tests::parse_flow;

    /// Returns a flow whose date, slot and agent are chosen from lists on one screen. `refresh_on`
    /// determines the choice requests, and `date` is the field of the booking's date.
    fn flow_with_lists(refresh_on: &str, date: &str) -> Flow {
        let slot_type = if date == "slot" { "text" } else { "time" };
        parse_flow(&format!(
            r#"
            booking = {{ calendar = "chair", date = "{date}", time = "slot" }}
            lead = {{ team = "sales", agent = "agent" }}
            [[flows.visit.screens]]
            name = "A"
            final = true
            {refresh_on}
            data.times = {{ slots = "chair", day = "day" }}
            data.people = {{ agents = "sales" }}
            fields.day = {{ type = "date", required = true }}
            fields.slot = {{ type = "{slot_type}", required = true }}
            fields.agent = {{ required = true }}
            "#
        ))
    }

    #[test]
    fn answers_choose_offered_items() {
        let slot = SlotChoice {
            date: "2027-01-05".to_owned(),
            time: "10:00".to_owned(),
        };
        for (date_field, typed) in [("day", "10:00"), ("slot", "2027-01-05T10:00")] {
            let flow = flow_with_lists("", date_field);
            let answers_for = |shown: Value| {
                let (screen, given) = (flow.screens.first(), Map::new());
                json!(screen_answers(&flow, screen, &shown, &given, Some(&slot)))
            };
            let times = |ids: [(&str, bool); 2]| {
                let time = |(id, enabled): (&str, bool)| json!({"id": id, "title": id, "enabled": enabled});
                json!({"times": ids.map(time), "people": [{"id": "Ann", "title": "Ann"}]})
            };
            let there = times([("2027-01-05T09:00", true), ("2027-01-05T10:00", true)]);
            let chosen = json!({"day": "2027-01-05", "slot": "2027-01-05T10:00", "agent": "Ann"});
            assert_eq!(answers_for(there), chosen);
            // Another slot replaces one that is gone.
            let gone = times([("2027-01-05T10:00", false), ("2027-01-05T11:00", true)]);
            assert_eq!(answers_for(gone)["slot"], "2027-01-05T11:00");
            let nothing = answers_for(json!({}));
            assert_eq!(nothing["slot"], typed, "nothing is shown to choose from");
        }
    }

    #[test]
    fn choice_requests_precede_screen() {
        let all = json!({"day": "2027-01-05", "slot": "09:00", "agent": "Ann"});
        let chosen = |refresh_on: &str, number| {
            let flow = flow_with_lists(refresh_on, "day");
            let screen = flow.screens.first().unwrap();
            choice_request(screen, all.as_object().unwrap(), number).map(Value::Object)
        };
        assert_eq!(chosen("", 0), None);
        let fields = "refresh_on = [\"day\", \"agent\"]";
        assert_eq!(chosen(fields, 0), Some(json!({"day": "2027-01-05"})));
        assert_eq!(chosen(fields, 1), Some(json!({"agent": "Ann"})));
        assert_eq!(chosen(fields, 2), None);
        let marks = "refresh_on = { step = \"day\" }";
        assert_eq!(chosen(marks, 0).unwrap()["step"], "day");
        assert_eq!(chosen(marks, 1), None);
    }
}
