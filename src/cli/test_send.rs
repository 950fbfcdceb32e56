//! A test of a destination, to see what it answers: sent like a delivery, marked as a test, and kept nowhere.
//! Templates of one's own are for events: where a body is one, an example of an event is sent, with `test` and `message` in
//! its `data` so that the template can tell.
//!
//! The server sends it where one runs, as it has the secrets; otherwise the command itself does.

mod mail;
mod whatsapp;

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderMap, SET_COOKIE};
use serde_json::Value;
use tokio::runtime::Handle;

use super::recipients;
use crate::admin::{AdminError, HeaderView, TestView};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Destination, Means, WebhookRule};
use crate::courier::{self, Recipient, Sender, Sent};
use crate::domain::body::BodyRule;
use crate::domain::delivery::{Meaning, test_id};
use crate::domain::event::example::{Extent, example};
use crate::domain::event::{EventKind, test_body, test_text};
use crate::domain::gateway::text;
use crate::domain::ids::DestinationName;
use crate::domain::message;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::routes::Routes;
use crate::domain::time::Timestamp;
use crate::outgoing::Clients;

/// Stands in for a secret.
const HIDDEN: &str = "…";

/// What is to be tested.
pub(super) struct Test {
    /// The destination.
    pub(super) name: DestinationName,
    /// The same, with its secrets.
    pub(super) recipient: Arc<Recipient>,
    /// Whom to write to, where it writes to people.
    pub(super) to: Option<PhoneNumber>,
    /// What it is sent an example of, where it is a webhook or a mailbox.
    pub(super) event: Option<EventKind>,
}

/// What a test of `name` is an example of, if nothing else is asked for: of what its templates are for and it is told, first
/// of all. `None`: it needs no example.
pub(super) fn usual(rule: &Destination, routes: &Routes, name: &DestinationName) -> Option<EventKind> {
    let Means::Webhook(WebhookRule { body: BodyRule::Templates(templates), .. }) = &rule.means else { return None };
    let told = routes.events_to(name);
    templates.keys().find(|kind| told.contains(kind)).or(templates.keys().next()).copied()
}

impl Test {
    /// One of `name`, with the secrets that this process can read.
    ///
    /// # Errors
    /// Where there is no such destination, or a secret of it can't be read.
    pub(super) fn here(
        config: &Config,
        name: DestinationName,
        to: Option<PhoneNumber>,
        event: Option<EventKind>,
    ) -> Result<Self, AdminError> {
        let rule = config.destinations.get(&name).ok_or_else(|| AdminError::no_destination(&name))?;
        let recipient = recipients::recipient(&name, rule).map_err(|error| AdminError::invalid(error.to_string()))?;
        let event = event.or_else(|| usual(rule, &config.routes, &name));
        Ok(Self { name, recipient: Arc::new(recipient), to, event })
    }

    /// Sends it from this process.
    ///
    /// # Errors
    /// Where nothing can be sent.
    pub(super) fn send(self) -> Result<TestView, AdminError> {
        let failed = |error: &dyn std::error::Error| AdminError::failed(format!("nothing can be sent: {error}"));
        let sender = Sender::new(Clients::load().map_err(|error| failed(&error))?);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
        runtime.block_on(self.run(&sender, &SystemClock::new()))
    }

    /// Sends it on `runtime`, from a thread that is none of its own, and waits for the end.
    ///
    /// # Errors
    /// As [`Test::send`]; also where the server ends meanwhile.
    pub(super) fn send_on(
        self,
        runtime: &Handle,
        sender: Sender,
        clock: Arc<dyn Clock>,
    ) -> Result<TestView, AdminError> {
        let (tell, told) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            // Who asked may have left.
            let _ = tell.send(self.run(&sender, &*clock).await);
        });
        told.recv().unwrap_or_else(|_| Err(AdminError::no_server()))
    }

    async fn run(&self, sender: &Sender, clock: &dyn Clock) -> Result<TestView, AdminError> {
        match (&self.recipient.rule.means, &self.to) {
            (Means::Whatsapp(_) | Means::Gateway(_), _) if self.event.is_some() => Err(AdminError::invalid(format!(
                "{} writes to people, and an example would tell somebody of what never was: --event is for webhooks and mailboxes",
                self.name
            ))),
            (Means::Webhook(rule), None) => self.tell_webhook(rule, sender, clock).await,
            (Means::Smtp(rule), None) => self.mail(rule, sender, clock).await,
            (Means::Webhook(_) | Means::Smtp(_), Some(_)) => Err(AdminError::invalid(format!(
                "--to is for destinations that write to phone numbers: {} is sent a test without it",
                self.name
            ))),
            (Means::Whatsapp(_), Some(to)) => self.write(to, sender, clock).await,
            (Means::Whatsapp(rule), None) => self.look_up(rule, sender, clock).await,
            (Means::Gateway(rule), Some(to)) => {
                let to = message::Recipient::Phone(to.clone().into());
                let body = text::body(rule.kind, &rule.session, &to, &test_text(&self.name));
                let body = body.map_err(|error| AdminError::invalid(error.to_string()))?;
                let body = serde_json::from_str(&body).unwrap_or_default();
                self.post(body, "the gateway took it: whether it arrives, the phone shows", sender, clock).await
            }
            (Means::Gateway(rule), None) => Err(AdminError::invalid(format!(
                "{0} writes to people: `flowgate destinations test {0} --to NUMBER` sends a text to that number, \
                 `flowgate gateways show {1}` tells how its session is",
                self.name, rule.gateway
            ))),
        }
    }

    /// Posts `body`, which writes to somebody. `note` is what is to be known once it was taken.
    async fn post(&self, body: Value, note: &str, sender: &Sender, clock: &dyn Clock) -> Result<TestView, AdminError> {
        let (now, began) = (clock.now(), clock.elapsed());
        let (id, text) = (test_id(now), body.to_string());
        let headers = courier::headers(&self.recipient, &id, &text, now).map_err(|error| no_request(&error))?;
        let sent = sender.send(&self.recipient, &id, &text, now).await;
        let delivered = sent.meaning(1) == Meaning::Delivered;
        Ok(TestView {
            request: self.recipient.url().map(|url| line("POST", url)),
            delivered: Some(delivered),
            error: (!delivered).then(|| sent.why()),
            note: delivered.then(|| note.to_owned()),
            body,
            ..self.shown(&headers, &sent, clock.elapsed().saturating_sub(began))
        })
    }

    async fn tell_webhook(
        &self,
        rule: &WebhookRule,
        sender: &Sender,
        clock: &dyn Clock,
    ) -> Result<TestView, AdminError> {
        let (now, began) = (clock.now(), clock.elapsed());
        let (id, told) = (test_id(now), self.told(now));
        // Without an event nothing but our own body and those of chats is made.
        let kind = self.event.unwrap_or(EventKind::SubmissionAccepted);
        let body = rule.body.render(kind, &id, &told).map_err(|why| AdminError::failed(why.to_string()))?;
        let headers = courier::headers(&self.recipient, &id, &body, now).map_err(|error| no_request(&error))?;
        let sent = sender.send(&self.recipient, &id, &body, now).await;
        let delivered = sent.ending.of_webhook() == Meaning::Delivered;
        Ok(TestView {
            delivered: Some(delivered),
            error: (!delivered).then(|| sent.why()),
            body: serde_json::from_str(&body).unwrap_or_default(),
            ..self.shown(&headers, &sent, clock.elapsed().saturating_sub(began))
        })
    }

    /// What is told: a test, or an example of the event that was asked for.
    fn told(&self, now: Timestamp) -> Box<str> {
        self.event.map_or_else(|| test_body(&self.name, now), |event| example_body(&self.name, event, now))
    }

    /// What any exchange shows of itself.
    fn shown(&self, headers: &HeaderMap, sent: &Sent, took: Duration) -> TestView {
        TestView {
            destination: self.name.clone(),
            host: self.recipient.host(),
            request: None,
            delivered: None,
            status: sent.exchange.status,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error: None,
            note: None,
            request_headers: shown(headers),
            body: Value::Null,
            answer_headers: shown(&sent.headers),
            answer: sent.exchange.answer.to_string(),
        }
    }
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

/// The first line of a request to somebody who has no secrets in URLs: the Graph API, a gateway.
fn line(method: &str, url: &Uri) -> String {
    format!("{method} {}", url.path_and_query().map_or("/", |path| path.as_str()))
}

fn no_request(error: &dyn std::error::Error) -> AdminError {
    AdminError::failed(format!("no request can be made: {error}"))
}

fn shown(headers: &HeaderMap) -> Vec<HeaderView> {
    let shown = headers.iter().map(|(name, value)| {
        let is_secret = value.is_sensitive() || name == SET_COOKIE;
        let value = if is_secret { HIDDEN.into() } else { String::from_utf8_lossy(value.as_bytes()) };
        HeaderView { name: name.to_string(), value: value.into_owned() }
    });
    shown.collect()
}
