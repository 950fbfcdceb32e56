//! Renders the screens of an encrypted flow, including the completion. Looks up free slots, agents
//! and earlier answers for them.
//!
//! See [`crate::domain::flow::screen_data`] for the rules of screen data.

use jiff::civil::{Date, Time};
use serde_json::{Map, Value, json};

use crate::domain::booking::calendar::{Calendar, Slot, SlotRefused};
use crate::domain::booking::{Interval, Occupancy};
use crate::domain::flow::customer_texts::{Localization, TextKey};
use crate::domain::flow::field::Field;
use crate::domain::flow::screen_data::ScreenContext;
use crate::domain::flow::{Flow, Screen};
use crate::domain::ids::{AgentName, CalendarName, Customer, FlowToken, TeamName};
use crate::domain::lead::agent_pool::AgentPool;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Timestamp;
use crate::http::response::HttpError;
use crate::http::state::AppState;
use crate::intake::flow_endpoint::ScreenSubmission;
use crate::store::{Snapshot, StoreError};

/// Screen that completes a flow. The name is reserved by the WhatsApp client.
pub(super) const SUCCESS_SCREEN: &str = "SUCCESS";

/// Key of the text that the client shows in a bar on any screen (*Implementing Endpoint for
/// Flows*).
const ERROR_MESSAGE_KEY: &str = "error_message";

/// Required parameter of the completion.
const FLOW_TOKEN_KEY: &str = "flow_token";

/// Returns the answers of earlier screens that are stored in the draft.
pub(super) fn draft_answers(
    app: &AppState,
    draft: Option<IdempotencyKey>,
    customer: &Customer,
) -> Result<Map<String, Value>, HttpError> {
    let Some(key) = draft else {
        return Ok(Map::new());
    };
    let stored = app
        .store
        .read()
        .and_then(|read| read.customer_draft(key, customer))
        .map_err(|_| HttpError::CommitFailed)?;
    Ok(stored
        .and_then(|draft| serde_json::from_str(&draft.data).ok())
        .unwrap_or_default())
}

/// Returns the answers of earlier screens together with those of the submitted screen.
pub(super) fn merged_answers(
    app: &AppState,
    sent: &ScreenSubmission<'_>,
) -> Result<Map<String, Value>, HttpError> {
    let mut answers = draft_answers(app, sent.draft_key(), sent.customer())?;
    answers.extend(sent.answers().clone());
    Ok(answers)
}

/// Renders a screen with its data. The screen shows an error if its lists have no free day or time.
pub(super) fn render_screen(
    app: &AppState,
    flow: &Flow,
    name: &str,
    answers: &Map<String, Value>,
) -> Result<Value, HttpError> {
    let Some(screen) = flow
        .find_screen(name)
        .filter(|screen| !screen.data_sources.is_empty())
    else {
        return Ok(screen_json(name, &json!({})));
    };
    let context = SnapshotContext {
        app,
        flow,
        answers,
        snapshot: app.store.read().map_err(|_| HttpError::CommitFailed)?,
        now: app.clock.now(),
    };
    let values = screen
        .data_sources
        .iter()
        .map(|(key, source)| Ok((key.clone(), source.render(key, &context)?)));
    // The request fails if the look-up of a value fails. Such a value is never shown as free.
    let data = values
        .collect::<Result<Map<_, _>, StoreError>>()
        .map_err(|_| HttpError::CommitFailed)?;
    let shown = screen_json(name, &Value::Object(data));
    Ok(if has_no_free_slot(flow, &shown) {
        with_error(shown, flow.texts.text(TextKey::NothingFree))
    } else {
        shown
    })
}

/// Returns the name of the screen that a response shows. Empty if the response names none.
pub(super) fn shown_screen_name(response: &Value) -> &str {
    let name = response.get("screen").and_then(Value::as_str);
    name.unwrap_or_default()
}

/// Returns the agents that this response shows, by the names of their screen data. The shown agents
/// get the lead.
pub(super) fn shown_agents(flow: &Flow, shown: &Value) -> Map<String, Value> {
    let screen = flow.find_screen(shown_screen_name(shown));
    let names = screen.into_iter().flat_map(Screen::shown_agent_names);
    let agent = |name: &str| {
        let agent = shown.get("data")?.get(name)?.as_str();
        agent.filter(|agent| !agent.is_empty())
    };
    names
        .filter_map(|name| Some((name.to_owned(), json!(agent(name)?))))
        .collect()
}

/// Renders a screen for a choice. If the chosen day has no free slot left, renders the screen for
/// the choice of another day, with the error `why`.
pub(super) fn render_slot_choice(
    app: &AppState,
    flow: &Flow,
    name: &str,
    answers: &Map<String, Value>,
    why: SlotRefused,
) -> Result<Value, HttpError> {
    let shown = render_screen(app, flow, name, answers)?;
    let data = shown.get("data").and_then(Value::as_object);
    let screen = flow.find_screen(name).zip(data);
    match screen.and_then(|(screen, data)| flow.date_selection_screen(screen, data)) {
        Some(days) => {
            let shown = render_screen(app, flow, &days.name, answers)?;
            let why = slot_error_text(flow, &shown, why);
            Ok(with_error(shown, why))
        }
        None => Ok(shown),
    }
}

/// Returns the free slots of the flow's calendar nearest to an unavailable slot. The search reads a
/// snapshot, so the writer does not wait for it.
pub(super) fn nearest_free_slots(
    app: &AppState,
    flow: &Flow,
    date: Date,
    time: Time,
) -> Result<Vec<Slot>, HttpError> {
    let Some(selector) = app.config.catalog.slot_selector(flow) else {
        return Ok(Vec::new());
    };
    let now = app.clock.now();
    app.store
        .read_with(|read| read.nearest_free_slots(&selector.calendar, (date, time), now))
        .map_err(|_| HttpError::CommitFailed)
}

/// Returns the error text for an unavailable slot. The text depends on whether the shown screen
/// offers another slot.
pub(super) fn slot_error_text<'a>(flow: &'a Flow, shown: &Value, why: SlotRefused) -> &'a str {
    if has_no_free_slot(flow, shown) {
        flow.texts.text(TextKey::NothingFree)
    } else {
        flow.texts.slot_refusal_text(why)
    }
}

fn has_no_free_slot(flow: &Flow, shown: &Value) -> bool {
    let screen = flow.find_screen(shown_screen_name(shown));
    let data = shown.get("data").and_then(Value::as_object);
    screen
        .zip(data)
        .is_some_and(|(screen, data)| screen.has_no_free_time(data))
}

/// Returns the screen with an error and no other data. The client still has the rest of its data.
pub(super) fn error_screen(name: &str, text: &str) -> Value {
    screen_json(name, &json!({ERROR_MESSAGE_KEY: text}))
}

/// Returns the rendered screen with an error.
pub(super) fn with_error(mut screen: Value, text: &str) -> Value {
    if let Some(data) = screen.get_mut("data").and_then(Value::as_object_mut) {
        data.insert(ERROR_MESSAGE_KEY.to_owned(), json!(text));
    }
    screen
}

pub(super) fn screen_json(name: &str, data: &Value) -> Value {
    json!({"screen": name, "data": data})
}

/// Returns the completion of the flow: the upstream's own one or the default.
///
/// The flow token is a required parameter. The other parameters come back by webhook, so they are
/// few: a reference to the form, if the form has no usable token.
pub(super) fn success_screen(
    custom: Option<Value>,
    token: Option<&FlowToken>,
    reference: Option<IdempotencyKey>,
) -> Value {
    let mut screen = custom.unwrap_or_else(|| screen_json(SUCCESS_SCREEN, &json!({})));
    let mut inner = Some(&mut screen);
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
        let token = token.map_or("unused", FlowToken::as_str);
        params.insert(FLOW_TOKEN_KEY.to_owned(), json!(token));
        if let Some(key) = reference {
            let name = IdempotencyKey::REFERENCE_FIELD.to_owned();
            params.insert(name, json!(key.to_string()));
        }
    }
    screen
}

/// Context in which one screen is rendered.
struct SnapshotContext<'a> {
    app: &'a AppState,
    flow: &'a Flow,
    answers: &'a Map<String, Value>,
    snapshot: Snapshot,
    now: Timestamp,
}

impl ScreenContext for SnapshotContext<'_> {
    type Error = StoreError;

    fn now(&self) -> Timestamp {
        self.now
    }

    fn answers(&self) -> &Map<String, Value> {
        self.answers
    }

    fn texts(&self) -> &Localization {
        &self.flow.texts
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.flow.find_field(name)
    }

    fn calendar(&self, name: &CalendarName) -> Option<&Calendar> {
        self.app
            .config
            .catalog
            .calendars
            .get(name)
            .map(AsRef::as_ref)
    }

    fn occupancy(
        &self,
        calendar: &CalendarName,
        window: Interval,
    ) -> Result<Occupancy, StoreError> {
        self.snapshot.occupancy(calendar, window)
    }

    fn available_agents(&self, team: &TeamName) -> Result<Vec<AgentName>, StoreError> {
        Ok(AgentPool::new(self.snapshot.agents()?, self.now).available_agents(team, self.now))
    }
}
