//! Which place a form asks for: the fields that name its day and time.
//!
//! Whether the place is free is `super::booking`'s.

use jiff::civil::{Date, Time};
use serde_json::{Map, Value};

use super::field::{FieldProblem, Flaw, is_given, read_date, read_slot_id, read_time};
use super::ids::CalendarName;
use super::screen_data::NO_CHOICE;

/// Which place a form books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookingRule {
    /// In which calendar.
    pub calendar: CalendarName,
    /// The field that names the day.
    pub date: String,
    /// The field that names the time. May be the same one, if it carries slot ids (`2027-01-04T09:00`).
    pub time: String,
}

impl BookingRule {
    /// The day and time that a form asks for; `None` if it asks for none (both fields are missing, null or empty).
    ///
    /// Either field may carry the id of a slot that we offered (`2027-01-04T09:00`); being the later choice, it then
    /// says both.
    ///
    /// # Errors
    /// [`FieldProblem`] where a field is no date or time, or only one of them came.
    pub fn wish(&self, answers: &Map<String, Value>) -> Result<Option<(Date, Time)>, FieldProblem> {
        // The line that says that nothing is free chooses nothing.
        let given = |name: &str| answers.get(name).filter(|value| is_given(value) && *value != NO_CHOICE);
        let (date, time) = (given(&self.date), given(&self.time));
        if let Some(slot) = time.and_then(read_slot_id).or_else(|| date.and_then(read_slot_id)) {
            return Ok(Some(slot));
        }
        let problem = |field: &String, flaw| FieldProblem { field: field.clone(), flaw };
        match (date, time) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(problem(&self.date, Flaw::Missing)),
            (Some(_), None) => Err(problem(&self.time, Flaw::Missing)),
            (Some(date), Some(time)) => {
                let date = read_date(date).ok_or_else(|| problem(&self.date, Flaw::NotDate))?;
                let time = read_time(time).ok_or_else(|| problem(&self.time, Flaw::NotTime))?;
                Ok(Some((date, time)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wish_is_a_day_and_a_time_or_the_id_of_a_slot() {
        let rule = BookingRule {
            calendar: CalendarName::new("chair").unwrap(),
            date: "date".to_owned(),
            time: "time".to_owned(),
        };
        let wish = |data: Value| {
            rule.wish(data.as_object().unwrap()).map(|wish| wish.map(|(date, time)| date.to_datetime(time).to_string()))
        };
        let slot = Ok(Some("2027-01-04T09:00:00".to_owned()));
        assert_eq!(wish(json!({"date": "2027-01-04", "time": "09:00"})), slot);
        assert_eq!(wish(json!({"date": "2020-01-01", "time": "2027-01-04T09:00"})), slot);
        assert_eq!(wish(json!({"date": "2027-01-04T09:00"})), slot);
        assert_eq!(wish(json!({"date": null, "time": ""})), Ok(None));
        assert_eq!(wish(json!({"date": "none", "time": "none"})), Ok(None));
        let problem = |data| wish(data).unwrap_err().to_string();
        assert_eq!(problem(json!({"date": "2027-01-04"})), "time: is missing");
        assert_eq!(problem(json!({"time": "09:00"})), "date: is missing");
        assert_eq!(problem(json!({"date": "2027-02-30", "time": "09:00"})), "date: is not a date like 2027-01-04");
        assert_eq!(problem(json!({"date": "2027-01-04", "time": 9})), "time: is not a time like 09:00");
    }
}
