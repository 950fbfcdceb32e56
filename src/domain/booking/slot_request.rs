//! Finds the slot request of a form: the date and the time that its fields request.
//!
//! See [`super::availability`] for the decision if the slot is free.

use jiff::civil::{Date, Time};
use serde_json::{Map, Value};

use crate::domain::flow::choice_list::NO_CHOICE_ID;
use crate::domain::flow::field_error::{FieldError, ValidationError};
use crate::domain::flow::value::{is_present, read_date, read_slot_id, read_time};
use crate::domain::ids::CalendarName;

/// Settings for the booking that a form makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingSettings {
    /// Calendar that is booked.
    pub calendar: CalendarName,
    /// Field with the date.
    pub date_field: String,
    /// Field with the time. The date and the time may be in the same field if it contains slot IDs
    /// (`2027-01-04T09:00`).
    pub time_field: String,
}

impl BookingSettings {
    /// Returns the date and the time that a form requests. Returns `None` if both fields are
    /// missing, null or empty.
    ///
    /// Either field may contain the ID of an offered slot (`2027-01-04T09:00`). A slot ID replaces
    /// both the date and the time, because the customer chose the slot last.
    ///
    /// # Errors
    /// [`FieldError`] if a field is not a date or time, or if only one of the fields is present.
    pub fn requested_slot(
        &self,
        answers: &Map<String, Value>,
    ) -> Result<Option<(Date, Time)>, FieldError> {
        // The list item for "nothing is free" selects nothing.
        let field_value = |name: &str| {
            answers
                .get(name)
                .filter(|value| is_present(value) && *value != NO_CHOICE_ID)
        };
        let (date, time) = (field_value(&self.date_field), field_value(&self.time_field));
        if let Some(slot) = [time, date].into_iter().flatten().find_map(read_slot_id) {
            return Ok(Some(slot));
        }
        if date.is_none() && time.is_none() {
            return Ok(None);
        }
        let problem = |field: &str, error| FieldError {
            field: field.to_owned(),
            error,
        };
        let date_problem = |error| problem(&self.date_field, error);
        let time_problem = |error| problem(&self.time_field, error);
        let date = date.ok_or_else(|| date_problem(ValidationError::Missing))?;
        let time = time.ok_or_else(|| time_problem(ValidationError::Missing))?;
        let date = read_date(date).ok_or_else(|| date_problem(ValidationError::NotDate))?;
        let time = read_time(time).ok_or_else(|| time_problem(ValidationError::NotTime))?;
        Ok(Some((date, time)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requested_slot_is_date_and_time_or_slot_id() {
        let settings = BookingSettings {
            calendar: CalendarName::new("chair").unwrap(),
            date_field: "date".to_owned(),
            time_field: "time".to_owned(),
        };
        let requested = |form: &Value| match settings.requested_slot(form.as_object().unwrap()) {
            Ok(Some((date, time))) => date.to_datetime(time).to_string(),
            Ok(None) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        };
        let (day, id, slot) = ("2027-01-04", "2027-01-04T09:00", "2027-01-04T09:00:00");
        let no_date = "date: is not a date like 2027-01-04";
        let no_time = "time: is not a time like 09:00";
        for (form, expected) in [
            (json!({"date": day, "time": "09:00"}), slot),
            // The time field has a slot ID.
            (json!({"date": "2020-01-01", "time": id}), slot),
            (json!({"date": id}), slot),
            (json!({"date": null, "time": ""}), "nothing"),
            (json!({"date": "none", "time": "none"}), "nothing"),
            (json!({"date": day}), "time: is missing"),
            (json!({"time": "09:00"}), "date: is missing"),
            (json!({"date": "2027-02-30", "time": "09:00"}), no_date),
            (json!({"date": day, "time": 9}), no_time),
        ] {
            assert_eq!(requested(&form), expected, "{form}");
        }
    }
}
