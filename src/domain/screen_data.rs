//! What a screen of an encrypted flow is given to show: free slots, days with one, answers so far, constants.
//!
//! Pure: what is taken is told by whoever asks. Which screen comes next is `super::flow`'s.

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::booking::{Interval, free_on};
use super::calendar::Calendar;
use super::field::read_date;
use super::ids::CalendarName;
use super::time::Timestamp;

/// A dropdown takes no more choices (*Flow JSON*, components).
const CHOICES_MAX: usize = 200;

/// Where a value that a screen is given comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// The config: a text.
    Constant(String),
    /// What was answered in this field, or null.
    Answer(String),
    /// Free starts as a choice list: of the day that this field names, or else the next ones.
    Slots {
        /// In this calendar.
        calendar: CalendarName,
        /// The field that names the day.
        day: Option<String>,
    },
    /// Days that have a free start, as a choice list.
    Dates {
        /// In this calendar.
        calendar: CalendarName,
    },
}

impl Given {
    /// The calendar that it is about.
    #[must_use]
    pub const fn calendar(&self) -> Option<&CalendarName> {
        match self {
            Self::Slots { calendar, .. } | Self::Dates { calendar } => Some(calendar),
            Self::Constant(_) | Self::Answer(_) => None,
        }
    }

    /// The value at `now`. `calendar` is the one that it names; `taken` tells what is taken in a stretch of time.
    #[must_use]
    pub fn value(
        &self,
        answers: &Map<String, Value>,
        calendar: Option<&Calendar>,
        now: Timestamp,
        mut taken: impl FnMut(Interval) -> Vec<Interval>,
    ) -> Value {
        match (self, calendar) {
            (Self::Constant(text), _) => json!(text),
            (Self::Answer(field), _) => answers.get(field).cloned().unwrap_or_default(),
            (Self::Slots { day, .. }, Some(calendar)) => {
                let day = day.as_ref().and_then(|field| answers.get(field)).and_then(read_date);
                let slots = days(calendar, day, now).flat_map(|date| free_on(calendar, date, now, &mut taken));
                slots.take(CHOICES_MAX).map(|slot| json!({"id": slot.id(), "title": slot.title()})).collect()
            }
            (Self::Dates { .. }, Some(calendar)) => {
                let free = |date: &Date| !free_on(calendar, *date, now, &mut taken).is_empty();
                let dates = days(calendar, None, now).filter(free).take(CHOICES_MAX);
                let title = |date: Date| date.strftime("%a %-d %b").to_string();
                dates.map(|date| json!({"id": date.to_string(), "title": title(date)})).collect()
            }
            (Self::Slots { .. } | Self::Dates { .. }, None) => Value::Array(Vec::new()),
        }
    }
}

/// The day that was chosen, or all that can be booked.
fn days(calendar: &Calendar, chosen: Option<Date>, now: Timestamp) -> impl Iterator<Item = Date> {
    let (first, last) = (calendar.day_of(now), calendar.last_day(now));
    let (first, last) = chosen.map_or((first, last), |day| (day.max(first), day.min(last)));
    first.series(jiff::Span::new().days(1)).take_while(move |day| *day <= last)
}

#[cfg(test)]
mod tests {
    use super::super::calendar::tests::spec;
    use super::*;

    /// Thursday, 2026-01-01T00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn slots(day: Option<&str>) -> Given {
        Given::Slots { calendar: CalendarName::new("chair").unwrap(), day: day.map(str::to_owned) }
    }

    fn ids(value: &Value) -> Vec<String> {
        value.as_array().unwrap().iter().map(|choice| choice["id"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn answers_and_constants_are_given_as_they_are() {
        let answers = json!({"name": "Zoë", "n": [1, null]});
        let value = |given: Given| given.value(answers.as_object().unwrap(), None, NOW, |_| Vec::new());
        assert_eq!(value(Given::Constant("Welcome".to_owned())), "Welcome");
        assert_eq!(value(Given::Answer("name".to_owned())), "Zoë");
        assert_eq!(value(Given::Answer("n".to_owned())), json!([1, null]));
        assert_eq!(value(Given::Answer("none".to_owned())), Value::Null);
    }

    #[test]
    fn slots_are_those_of_the_chosen_day_that_are_free() {
        let calendar = Calendar::new(spec("UTC", &["09:00-12:00"])).unwrap();
        let value = |given: &Given, answers: Value, taken: &[Interval]| {
            ids(&given.value(answers.as_object().unwrap(), Some(&calendar), NOW, |_| taken.to_vec()))
        };
        let all = value(&slots(None), json!({}), &[]);
        assert!(!all.is_empty() && all.len() <= CHOICES_MAX && all.is_sorted());
        let day = all[0].split('T').next().unwrap();
        let of_day = value(&slots(Some("day")), json!({"day": day}), &[]);
        assert_eq!(of_day, all.iter().filter(|id| id.starts_with(day)).cloned().collect::<Vec<_>>());
        assert_eq!(value(&slots(Some("day")), json!({}), &[]), all, "no day was chosen yet");
        assert!(value(&slots(Some("day")), json!({"day": "2019-01-01"}), &[]).is_empty(), "it is over");

        let always = Interval { start: Timestamp::ZERO, end: Timestamp::from_millis(u64::MAX >> 12) };
        let full = vec![always; usize::try_from(calendar.capacity()).unwrap()];
        assert!(value(&slots(None), json!({}), &full).is_empty());
        let dates = Given::Dates { calendar: CalendarName::new("chair").unwrap() };
        assert_eq!(value(&dates, json!({}), &[])[0], day);
        assert!(value(&dates, json!({}), &full).is_empty());
    }
}
