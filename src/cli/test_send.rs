//! A test that is sent to a destination to see what it answers: signed like a delivery, marked as a test, and kept nowhere.
//! Templates of one's own are for events: where a body is one, an example of an event is sent, with `test` and `message` in
//! its `data` so that the template can tell.
//!
//! The server sends it where one runs, as it has the secrets; otherwise the command itself does.

use std::sync::Arc;

use hyper::header::{HeaderMap, SET_COOKIE};
use serde_json::Value;
use tokio::runtime::Handle;

use super::recipients;
use crate::admin::{AdminError, HeaderView, TestView};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Destination, Means, WebhookRule};
use crate::courier::{self, Credentials, Recipient, Sender};
use crate::domain::body::BodyRule;
use crate::domain::delivery::{Meaning, test_id};
use crate::domain::event::example::{Extent, example};
use crate::domain::event::{EventKind, test_body};
use crate::domain::ids::DestinationName;
use crate::domain::routes::Routes;
use crate::domain::time::Timestamp;

/// Stands in for a secret.
const HIDDEN: &str = "…";

/// What a test of `name` is an example of, if nothing else is asked for: of what its templates are for and it is told, first
/// of all. `None`: it needs no example.
pub(super) fn usual(rule: &Destination, routes: &Routes, name: &DestinationName) -> Option<EventKind> {
    let Means::Webhook(WebhookRule { body: BodyRule::Templates(templates), .. }) = &rule.means else { return None };
    let told = routes.events_to(name);
    templates.keys().find(|kind| told.contains(kind)).or(templates.keys().next()).copied()
}

/// Sends one to `name`, or an example of `event`, with the secrets that this process can read.
///
/// # Errors
/// Where there is no such destination, or a secret of it can't be read.
pub(super) fn from_here(
    config: &Config,
    name: &DestinationName,
    event: Option<EventKind>,
) -> Result<TestView, AdminError> {
    let rule = config.destinations.get(name).ok_or_else(|| AdminError::no_destination(name))?;
    let recipient = recipients::recipient(name, rule).map_err(|error| AdminError::invalid(error.to_string()))?;
    let failed = |error: &dyn std::error::Error| AdminError::failed(format!("nothing can be sent: {error}"));
    let sender = Sender::new().map_err(|error| failed(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    let event = event.or_else(|| usual(rule, &config.routes, name));
    runtime.block_on(send(&sender, &recipient, (name, event), &SystemClock::new()))
}

/// Sends one on `runtime`, from a thread that is none of its own, and waits for the end.
///
/// # Errors
/// Where the server ends meanwhile.
pub(super) fn on(
    runtime: &Handle,
    sender: Sender,
    recipient: Arc<Recipient>,
    (name, event): (&DestinationName, Option<EventKind>),
    clock: Arc<dyn Clock>,
) -> Result<TestView, AdminError> {
    let (tell, told) = std::sync::mpsc::channel();
    let name = name.clone();
    runtime.spawn(async move {
        // Who asked may have left.
        let _ = tell.send(send(&sender, &recipient, (&name, event), &*clock).await);
    });
    told.recv().unwrap_or_else(|_| Err(AdminError::no_server()))
}

async fn send(
    sender: &Sender,
    recipient: &Recipient,
    (name, event): (&DestinationName, Option<EventKind>),
    clock: &dyn Clock,
) -> Result<TestView, AdminError> {
    let (Credentials::Webhook { headers: own, .. }, Means::Webhook(rule)) =
        (&recipient.credentials, &recipient.rule.means)
    else {
        return Err(AdminError::invalid(format!(
            "{name} writes to people: a test would be a message to somebody. `flowgate deliveries --destination {name}` shows what \
             it was told"
        )));
    };
    let (now, began) = (clock.now(), clock.elapsed());
    let (id, told) = (test_id(now), event.map_or_else(|| test_body(name, now), |event| example_body(name, event, now)));
    // Without an event nothing but our own body and those of chats is made.
    let kind = event.unwrap_or(EventKind::SubmissionAccepted);
    let body = rule.body.render(kind, &id, &told).map_err(|why| AdminError::failed(why.to_string()))?;
    let headers = courier::headers(recipient, &id, &body, now)
        .map_err(|error| AdminError::failed(format!("no request can be made: {error}")))?;
    let sent = sender.send(recipient, &id, &body, now).await;
    let took = clock.elapsed().saturating_sub(began);
    let delivered = sent.ending.of_webhook() == Meaning::Delivered;
    // Some answer with all that they were sent.
    let mut answer = sent.exchange.answer.to_string();
    for secret in own.iter().filter_map(|(_, value)| value.to_str().ok()) {
        answer = answer.replace(secret, HIDDEN);
    }
    Ok(TestView {
        destination: name.clone(),
        host: recipient.host(),
        delivered,
        status: sent.exchange.status,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        error: (!delivered).then(|| sent.why()),
        request_headers: shown(&headers),
        body: serde_json::from_str(&body).unwrap_or_default(),
        answer_headers: shown(&sent.headers),
        answer,
    })
}

/// An example of `event`, which says that it is one.
fn example_body(name: &DestinationName, event: EventKind, now: Timestamp) -> Box<str> {
    let mut example = Value::Object(example(event, now, Extent::Usual));
    let test: Value = serde_json::from_str(&test_body(name, now)).unwrap_or_default();
    let marks = test.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(data) = example.get_mut("data").and_then(Value::as_object_mut) {
        data.extend(marks);
    }
    example.to_string().into()
}

fn shown(headers: &HeaderMap) -> Vec<HeaderView> {
    let shown = headers.iter().map(|(name, value)| {
        let is_secret = value.is_sensitive() || name == SET_COOKIE;
        let value = if is_secret { HIDDEN.into() } else { String::from_utf8_lossy(value.as_bytes()) };
        HeaderView { name: name.to_string(), value: value.into_owned() }
    });
    shown.collect()
}
