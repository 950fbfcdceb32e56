//! Generates the body of a form that is sent as a whole, with the fields of the final screen.

use serde_json::{Map, Value, json};

use super::value::sample_value;
use crate::domain::flow::data_source::DataSource;
use crate::domain::flow::field::Field;
use crate::domain::flow::{Flow, Screen};

/// Slot to book, in the format of the form fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotChoice {
    /// Date, for example `2027-01-04`.
    pub date: String,
    /// Time of day, for example `09:00`.
    pub time: String,
}

impl SlotChoice {
    /// Returns the slot ID that a list of slots offers, for example `2027-01-04T09:00`.
    pub(super) fn slot_id(&self) -> String {
        format!("{}T{}", self.date, self.time)
    }
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
        let time = if booking.date_field == booking.time_field {
            slot.slot_id()
        } else {
            slot.time.clone()
        };
        data.insert(booking.time_field.clone(), json!(time));
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
    let mut fields = flow.screens.iter().flat_map(|screen| &screen.fields);
    fields.find(|field| {
        field.is_required
            && !given.contains_key(&field.name)
            && !chosen.contains(&field.name.as_str())
            && sample_value(field).is_none()
    })
}

/// Returns a sample value for each field, except for fields without one.
pub(super) fn fill_fields<'f>(fields: impl IntoIterator<Item = &'f Field>) -> Map<String, Value> {
    let fields = fields.into_iter();
    fields
        .filter_map(|field| Some((field.name.clone(), sample_value(field)?)))
        .collect()
}

/// Returns the names of the fields whose date determines the free slots of a list.
pub(super) fn slot_day_fields(flow: &Flow) -> impl Iterator<Item = &str> {
    let sources = flow.screens.iter().flat_map(|screen| &screen.data_sources);
    sources.filter_map(|(_, source)| match source {
        DataSource::Slots { day_field, .. } => day_field.as_deref(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample_form::tests::parse_flow;

    /// Returns a flow whose final screen has these fields.
    fn flow_with(settings: &str, fields: &str) -> Flow {
        parse_flow(&format!(
            "{settings}\n[[flows.visit.screens]]\nname = \"FIRST\"\n\
             [[flows.visit.screens]]\nname = \"LAST\"\nfinal = true\n\
             [flows.visit.screens.fields]\n{fields}"
        ))
    }

    fn form_data(flow: &Flow, slot: Option<&SlotChoice>) -> Map<String, Value> {
        let form = sample_form(flow, "t", &Map::new(), slot);
        form["data"].as_object().unwrap().clone()
    }

    #[test]
    fn every_field_kind_gets_valid_value() {
        let flow = flow_with(
            "",
            r#"
            short = { required = true, max = 3 }
            long = { required = true, min = 40 }
            email = { required = true, type = "email" }
            phone = { required = true, type = "phone" }
            number = { required = true, type = "number", min = 2.5 }
            low = { required = true, type = "integer", max = -7 }
            agree = { required = true, type = "boolean" }
            date = { required = true, type = "date" }
            time = { required = true, type = "time" }
            one = { required = true, type = "choice", choices = ["a", "b"] }
            some = { required = true, type = "choices", choices = ["c"] }
            "#,
        );
        let data = form_data(&flow, None);
        assert_eq!(flow.validate(Some("LAST"), &data), []);
        assert_eq!(data.len(), 11);
    }

    #[test]
    fn unfillable_pattern_is_reported() {
        let none = Map::new();
        for (field, value) in [
            ("required = true, pattern = '[a-z ]+'", "flowgate try"),
            (
                "required = true, pattern = '[A-Z]{2}-[0-9]+', min = 5",
                "AA-11",
            ),
        ] {
            let flow = flow_with("", &format!("code = {{ {field} }}"));
            assert_eq!(form_data(&flow, None)["code"], value);
            assert_eq!(first_unfillable_field(&flow, &none), None);
        }
        let unsupported = "code = { required = true, pattern = 'a\\bb' }";
        let flow_with_code = flow_with("", unsupported);
        let unfillable = first_unfillable_field(&flow_with_code, &none);
        assert_eq!(unfillable.unwrap().name, "code");
        let given = Map::from_iter([("code".to_owned(), json!("mine"))]);
        assert_eq!(first_unfillable_field(&flow_with_code, &given), None);
        // A slot replaces the sample value.
        let booking = "booking = { calendar = \"chair\", date = \"code\", time = \"code\" }";
        let booked = flow_with(booking, unsupported);
        assert_eq!(first_unfillable_field(&booked, &none), None);
        let optional = flow_with("", &unsupported.replace("true", "false"));
        assert_eq!(first_unfillable_field(&optional, &none), None);
        assert!(form_data(&optional, None).is_empty());
    }

    #[test]
    fn given_fields_override_samples() {
        let flow = flow_with("", "email = { required = true, type = \"email\" }");
        let given = json!({"email": "me@example.com", "note": 1});
        let form = sample_form(&flow, "t", given.as_object().unwrap(), None);
        assert_eq!(form["screen"], "LAST");
        assert_eq!(form["flow_token"], "t");
        assert_eq!(form["data"], given);
    }

    #[test]
    fn slot_is_written_to_booking_fields() {
        let slot = SlotChoice {
            date: "2027-01-04".to_owned(),
            time: "09:00".to_owned(),
        };
        for (date, time, expected) in [
            ("day", "hour", ["2027-01-04", "09:00"]),
            ("slot", "slot", ["2027-01-04T09:00"; 2]),
        ] {
            let booking = format!(
                "booking = {{ calendar = \"chair\", date = \"{date}\", time = \"{time}\" }}"
            );
            let flow = flow_with(&booking, "day = {}\nhour = {}\nslot = {}");
            let data = form_data(&flow, Some(&slot));
            assert_eq!([&data[date], &data[time]], expected);
        }
    }
}
