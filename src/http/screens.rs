//! Screens of an encrypted flow as they are shown, the end among them: filled with what is free and what was answered.
//!
//! What a screen is given is decided in `crate::domain::screen_data`; this file looks things up for it.

use jiff::civil::{Date, Time};
use serde_json::{Map, Value, json};

use crate::domain::booking::{Interval, Occupancy};
use crate::domain::calendar::{Calendar, Slot, SlotRefused};
use crate::domain::field::Field;
use crate::domain::flow::{Flow, Screen};
use crate::domain::ids::{AgentName, CalendarName, Customer, FlowToken, TeamName};
use crate::domain::roster::Roster;
use crate::domain::screen_data::Around;
use crate::domain::submission::IdempotencyKey;
use crate::domain::texts::{TextKey, Texts};
use crate::domain::time::Timestamp;
use crate::intake::flow_endpoint::Sent;
use crate::store::{Snapshot, StoreError};

use super::respond::Refusal;
use super::service::App;

/// The screen that ends a flow, reserved by the client.
pub(super) const SUCCESS: &str = "SUCCESS";

/// What the client shows in a bar, on whatever screen (*Implementing Endpoint for Flows*).
const ERROR: &str = "error_message";

/// What the parameters of the end must have.
const TOKEN: &str = "flow_token";

/// The answers on the screens so far, as far as they are kept.
pub(super) fn answers_so_far(
    app: &App,
    draft: Option<IdempotencyKey>,
    customer: &Customer,
) -> Result<Map<String, Value>, Refusal> {
    let Some(key) = draft else { return Ok(Map::new()) };
    let kept = app.store.read().and_then(|read| read.draft_of(key, customer)).map_err(|_| Refusal::NotStored)?;
    Ok(kept.and_then(|draft| serde_json::from_str(&draft.data).ok()).unwrap_or_default())
}

/// The answers so far, with those of the screen that was sent now.
pub(super) fn answers_with(app: &App, sent: &Sent<'_>) -> Result<Map<String, Value>, Refusal> {
    let mut answers = answers_so_far(app, sent.draft_key(), sent.customer())?;
    answers.extend(sent.answers().clone());
    Ok(answers)
}

/// A screen and the data that it is given. Where its lists have no day and no time, it says so.
pub(super) fn show(app: &App, flow: &Flow, name: &str, answers: &Map<String, Value>) -> Result<Value, Refusal> {
    let Some(screen) = flow.screen(name).filter(|screen| !screen.data.is_empty()) else {
        return Ok(screen_with(name, &json!({})));
    };
    let scene = Scene::of(app, flow, answers)?;
    let values = screen.data.iter().map(|(key, given)| Ok((key.clone(), given.value(key, &scene)?)));
    // What can't be looked up is not free.
    let data = values.collect::<Result<Map<_, _>, StoreError>>().map_err(|_| Refusal::NotStored)?;
    let shown = screen_with(name, &Value::Object(data));
    Ok(if is_booked_out(flow, &shown) { told(shown, flow.texts.get(TextKey::NothingFree)) } else { shown })
}

/// The agents whom this answer shows, by the names that its screen has for them: whoever is shown is to have the lead.
pub(super) fn agents(flow: &Flow, shown: &Value) -> Map<String, Value> {
    let screen = shown.get("screen").and_then(Value::as_str).and_then(|name| flow.screen(name));
    let names = screen.into_iter().flat_map(Screen::agents_shown);
    let agent = |name: &str| shown.get("data")?.get(name)?.as_str().filter(|agent| !agent.is_empty());
    names.filter_map(|name| Some((name.to_owned(), json!(agent(name)?)))).collect()
}

/// A screen to choose on. Where the day that was chosen before has nothing left, it is the one where another day is chosen,
/// which tells `why`.
pub(super) fn show_choice(
    app: &App,
    flow: &Flow,
    name: &str,
    answers: &Map<String, Value>,
    why: SlotRefused,
) -> Result<Value, Refusal> {
    let shown = show(app, flow, name, answers)?;
    let data = shown.get("data").and_then(Value::as_object);
    match flow.screen(name).zip(data).and_then(|(screen, data)| flow.other_day(screen, data)) {
        Some(days) => {
            let shown = show(app, flow, &days.name, answers)?;
            let why = refused(flow, &shown, why);
            Ok(told(shown, why))
        }
        None => Ok(shown),
    }
}

/// The free slots nearest to one of this flow's calendar that can't be had. Read from a snapshot: the writer does not wait
/// for the search.
pub(super) fn free_near(app: &App, flow: &Flow, (date, time): (Date, Time)) -> Result<Vec<Slot>, Refusal> {
    let Some(asks) = app.catalog.asks(flow) else { return Ok(Vec::new()) };
    let now = app.clock.now();
    app.store.look(|read| read.nearest_free(&asks.calendar, (date, time), now)).map_err(|_| Refusal::NotStored)
}

/// What is said of a slot that can't be had, on the screen where another is to be chosen, if there is another.
pub(super) fn refused<'a>(flow: &'a Flow, shown: &Value, why: SlotRefused) -> &'a str {
    if is_booked_out(flow, shown) { flow.texts.get(TextKey::NothingFree) } else { flow.texts.slot(why) }
}

fn is_booked_out(flow: &Flow, shown: &Value) -> bool {
    let screen = shown.get("screen").and_then(Value::as_str).and_then(|name| flow.screen(name));
    let data = shown.get("data").and_then(Value::as_object);
    screen.zip(data).is_some_and(|(screen, data)| screen.is_booked_out(data))
}

/// The screen as the phone has it, with an error on it.
pub(super) fn error_on(name: &str, text: &str) -> Value {
    screen_with(name, &json!({ERROR: text}))
}

/// What is shown, with an error on it.
pub(super) fn told(mut screen: Value, text: &str) -> Value {
    if let Some(data) = screen.get_mut("data").and_then(Value::as_object_mut) {
        data.insert(ERROR.to_owned(), json!(text));
    }
    screen
}

pub(super) fn screen_with(name: &str, data: &Value) -> Value {
    json!({"screen": name, "data": data})
}

/// The end of the flow: `own`, or the usual one. The token is required in it; what else it holds comes back by webhook, so
/// it is kept small: a reference to the form, known as `reference`, where the token is none.
pub(super) fn success(own: Option<Value>, token: Option<&FlowToken>, reference: Option<IdempotencyKey>) -> Value {
    let mut answer = own.unwrap_or_else(|| screen_with(SUCCESS, &json!({})));
    let mut inner = Some(&mut answer);
    for name in ["data", "extension_message_response", "params"] {
        inner = inner.and_then(Value::as_object_mut).map(|object| {
            let within = object.entry(name).or_insert_with(|| json!({}));
            if !within.is_object() {
                *within = json!({});
            }
            within
        });
    }
    if let Some(params) = inner.and_then(Value::as_object_mut) {
        params.insert(TOKEN.to_owned(), json!(token.map_or("unused", FlowToken::as_str)));
        if let Some(key) = reference {
            params.insert(IdempotencyKey::REFERENCE.to_owned(), json!(key.to_string()));
        }
    }
    answer
}

/// Everything that one screen is shown in.
struct Scene<'a> {
    app: &'a App,
    flow: &'a Flow,
    answers: &'a Map<String, Value>,
    read: Snapshot,
    now: Timestamp,
}

impl<'a> Scene<'a> {
    fn of(app: &'a App, flow: &'a Flow, answers: &'a Map<String, Value>) -> Result<Self, Refusal> {
        let read = app.store.read().map_err(|_| Refusal::NotStored)?;
        Ok(Self { app, flow, answers, read, now: app.clock.now() })
    }
}

impl Around for Scene<'_> {
    type Error = StoreError;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn answers(&self) -> &Map<String, Value> {
        self.answers
    }

    fn texts(&self) -> &Texts {
        &self.flow.texts
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.flow.field(name)
    }

    fn calendar(&self, name: &CalendarName) -> Option<&Calendar> {
        self.app.catalog.calendars.get(name).map(AsRef::as_ref)
    }

    fn taken(&self, calendar: &CalendarName, window: Interval) -> Result<Occupancy, StoreError> {
        self.read.taken(calendar, window)
    }

    fn free_agents(&self, team: &TeamName) -> Result<Vec<AgentName>, StoreError> {
        Ok(Roster::new(self.read.agents()?, self.now).free(team, self.now))
    }
}
