//! Renders the data of an encrypted flow's screen: free slots, dates with a free slot, agents,
//! earlier answers and constants.
//!
//! The functions are pure: the caller provides occupied slots and available agents as
//! [`ScreenContext`]. See [`super::data_source`] for the sources of the data and
//! [`super::navigation`] for the choice of the next screen.

use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::choice_list::{ChoiceListOptions, choice_item, non_empty_list};
use super::customer_texts::{Localization, TextKey};
use super::data_source::DataSource;
use super::field::{Field, FieldKind};
use super::value::{is_present, read_boolean, read_date, read_integer, read_number, scalar_text};
use crate::domain::booking::availability::{SlotAvailability, day_availability, reserve};
use crate::domain::booking::calendar::Calendar;
use crate::domain::booking::{Interval, Occupancy};
use crate::domain::ids::{AgentName, CalendarName, TeamName};
use crate::domain::time::{Millis, Timestamp};

/// Maximum length of a day. Days are longer when clocks go back by an hour or two.
const DAY_LENGTH_MAX: Millis = Millis::from_secs(26 * 60 * 60);

/// Context in which a screen is rendered: time, earlier answers, texts and availability.
pub trait ScreenContext {
    /// Error of a failed availability look-up.
    type Error;

    /// Returns the current time.
    fn now(&self) -> Timestamp;
    /// Returns the answers so far.
    fn answers(&self) -> &Map<String, Value>;
    /// Returns the texts of the flow.
    fn texts(&self) -> &Localization;
    /// Returns the declared field of the flow with this name.
    fn field(&self, name: &str) -> Option<&Field>;
    /// Returns the calendar of the config with this name.
    fn calendar(&self, name: &CalendarName) -> Option<&Calendar>;
    /// Returns the occupied slots in a window of time.
    ///
    /// # Errors
    /// The look-up failed.
    fn occupancy(
        &self,
        calendar: &CalendarName,
        window: Interval,
    ) -> Result<Occupancy, Self::Error>;
    /// Returns the available agents of a team. The first one would get the next lead.
    ///
    /// # Errors
    /// The look-up failed.
    fn available_agents(&self, team: &TeamName) -> Result<Vec<AgentName>, Self::Error>;
}

impl DataSource {
    /// Returns the value for the screen's data `name`.
    ///
    /// # Errors
    /// An error of `context`. A failed look-up never counts as free.
    pub fn render<A: ScreenContext>(&self, name: &str, context: &A) -> Result<Value, A::Error> {
        Ok(match self {
            Self::Constant(text) => json!(text),
            Self::Answer(field) => {
                render_answer(context.field(field), context.answers().get(field))
            }
            Self::Slots {
                calendar,
                day_field,
                options,
            } => {
                let answer = |field| context.answers().get(field);
                let day = day_field.as_ref().and_then(answer).and_then(read_date);
                render_times(calendar, day, *options, context, slot_items)?
            }
            Self::Dates { calendar, options } => {
                render_times(calendar, None, *options, context, date_items)?
            }
            Self::Agent { team } => {
                let agent = choose_agent(team, name, context)?;
                json!(agent.as_ref().map_or("", AgentName::as_str))
            }
            Self::Agents { team, options } => {
                let mut agents = context.available_agents(team)?;
                agents.sort();
                let names = agents.iter().map(AgentName::as_str).take(options.limit);
                let list = names.map(|name| choice_item(name, name, None)).collect();
                non_empty_list(list, *options, TextKey::NoAgentFree, context.texts())
            }
        })
    }
}

/// Converts an answer to the JSON type that a Flow JSON can declare for its field (*Flow JSON*,
/// `data`). A phone refuses a screen with another type or with null. Without an answer, the result
/// is the empty value of the type. Numbers have none, so they become 0.
fn render_answer(field: Option<&Field>, typed: Option<&Value>) -> Value {
    let source = typed.filter(|value| is_present(value));
    let Some(field) = field else {
        return source.cloned().unwrap_or_else(|| json!(""));
    };
    match (&field.kind, source) {
        (FieldKind::Number { .. }, Some(number @ Value::Number(_))) => number.clone(),
        (FieldKind::Number { .. }, given) => {
            given.and_then(read_number).map_or(json!(0), Value::from)
        }
        (FieldKind::Integer { .. }, given) => {
            given.and_then(read_integer).unwrap_or_default().into()
        }
        (FieldKind::Boolean, given) => given.and_then(read_boolean).unwrap_or_default().into(),
        (FieldKind::Choices(_), Some(Value::Array(items))) => {
            items.iter().filter_map(scalar_text).collect()
        }
        (FieldKind::Choices(_), given) => given.and_then(scalar_text).into_iter().collect(),
        (_, given) => given.and_then(scalar_text).unwrap_or_default().into(),
    }
}

/// Returns the agent to show as `name`: the agent who was shown before, as long as this agent is
/// available.
///
/// # Errors
/// An error of `context`.
fn choose_agent<A: ScreenContext>(
    team: &TeamName,
    name: &str,
    context: &A,
) -> Result<Option<AgentName>, A::Error> {
    let free = context.available_agents(team)?;
    let shown = context.answers().get(name).and_then(scalar_text);
    let is_shown = |agent: &&AgentName| shown.as_deref() == Some(agent.as_str());
    let still = free.iter().find(is_shown);
    Ok(still.or(free.first()).cloned())
}

/// Returns a choice list with the entries of the chosen day or of all days that can be booked.
/// `items_of_day` returns the entries of one day.
fn render_times<A: ScreenContext>(
    calendar: &CalendarName,
    day: Option<Date>,
    options: ChoiceListOptions,
    context: &A,
    items_of_day: impl Fn(&Calendar, Date, ChoiceListOptions, &A) -> Result<Vec<Value>, A::Error>,
) -> Result<Value, A::Error> {
    let Some(calendar) = context.calendar(calendar) else {
        return Ok(json!([]));
    };
    let mut list = Vec::new();
    for date in bookable_days(calendar, day, context.now()) {
        list.extend(items_of_day(calendar, date, options, context)?);
        if list.len() >= options.limit {
            break;
        }
    }
    list.truncate(options.limit);
    let key = TextKey::NothingFree;
    Ok(non_empty_list(list, options, key, context.texts()))
}

/// Returns the entries for the slots of a day.
fn slot_items<A: ScreenContext>(
    calendar: &Calendar,
    date: Date,
    options: ChoiceListOptions,
    context: &A,
) -> Result<Vec<Value>, A::Error> {
    let slots = day_availability(calendar, date, context.now(), |window| {
        context.occupancy(calendar.name(), window)
    })?;
    let day = context.texts().format_day(date);
    let item = |SlotAvailability { slot, is_free }| {
        let title = format!("{day}, {}", slot.clock_time());
        let enabled = options.show_full.then_some(is_free);
        (is_free || options.show_full).then(|| choice_item(&slot.id(), &title, enabled))
    };
    Ok(slots.into_iter().filter_map(item).collect())
}

/// Returns the entry for a date, if the date has a bookable slot.
fn date_items<A: ScreenContext>(
    calendar: &Calendar,
    date: Date,
    options: ChoiceListOptions,
    context: &A,
) -> Result<Vec<Value>, A::Error> {
    let item = |is_free| {
        let title = context.texts().format_day(date);
        let enabled = options.show_full.then_some(is_free);
        choice_item(&date.to_string(), &title, enabled)
    };
    let availability = day_has_free_slot(calendar, date, context)?;
    let shown = availability.filter(|is_free| *is_free || options.show_full);
    Ok(shown.map(item).into_iter().collect())
}

/// Returns `true` if a slot of this date is free. `None` if no slot of the date can be booked. The
/// search stops at the first free slot.
fn day_has_free_slot<A: ScreenContext>(
    calendar: &Calendar,
    date: Date,
    context: &A,
) -> Result<Option<bool>, A::Error> {
    let mut starts = calendar.available_starts(date, context.now()).peekable();
    let Some(first) = starts.peek() else {
        return Ok(None);
    };
    let window = Interval {
        start: first.start,
        end: calendar.occupied_interval(first).end.plus(DAY_LENGTH_MAX),
    };
    let taken = context.occupancy(calendar.name(), window)?;
    let is_free = |slot| reserve(calendar, slot, &taken).is_ok();
    Ok(Some(starts.any(is_free)))
}

/// Returns the chosen day, or all days that can be booked.
fn bookable_days(
    calendar: &Calendar,
    chosen: Option<Date>,
    now: Timestamp,
) -> impl Iterator<Item = Date> {
    let (first, last) = calendar.bookable_dates(now);
    let (first, last) = chosen.map_or((first, last), |day| (day.max(first), day.min(last)));
    let days = first.series(1.day());
    days.take_while(move |day| *day <= last)
}

#[cfg(test)]
mod tests;
