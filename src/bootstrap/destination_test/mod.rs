//! Sends a test to a destination and shows the response. The test is sent like a delivery, is
//! marked as a test and is not stored.
//!
//! Payload templates are written for events. For a destination with a template, the test is a
//! sample of an event. Its `data` has the fields `test` and `message`, so that the template can
//! detect the test.
//!
//! The running server sends the test, because it has the secrets. If no server runs, the command
//! sends it.

mod smtp;
mod whatsapp;

use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderMap, SET_COOKIE};
use serde_json::Value;
use tokio::runtime::Handle;

use super::resolve::destinations;
use crate::admin::{AdminError, DestinationTestRow, HeaderRow};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Destination, DestinationKind, WebhookSettings};
use crate::delivery::{self, DeliveryClient, DeliveryTarget, SendOutcome};
use crate::domain::delivery::message;
use crate::domain::delivery::payload::PayloadFormat;
use crate::domain::delivery::{Disposition, test_webhook_id};
use crate::domain::event::samples::{Completeness, sample_event};
use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::event::{EventKind, render_test_body, test_message};
use crate::domain::gateway::text;
use crate::domain::ids::DestinationName;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::Timestamp;
use crate::net::HttpClients;

/// Text that replaces a secret in the output.
const REDACTED: &str = "…";

/// A test of one destination.
pub(crate) struct DestinationTest {
    /// Destination name.
    pub(crate) name: DestinationName,
    /// Destination with its resolved secrets.
    pub(crate) target: Arc<DeliveryTarget>,
    /// Phone number that gets the test message, for a destination that writes to people.
    pub(crate) to: Option<PhoneNumber>,
    /// Event whose sample is sent, for a webhook or e-mail destination. `None` sends a plain test.
    pub(crate) event: Option<EventKind>,
}

/// Returns the event whose sample is sent if the admin names none. Prefers an event that has a
/// template and that the destination is subscribed to.
///
/// Returns `None` if the payload is not a template, because a plain test is enough.
pub(crate) fn default_event(
    settings: &Destination,
    routes: &Subscriptions,
    name: &DestinationName,
) -> Option<EventKind> {
    let DestinationKind::Webhook(WebhookSettings {
        payload: PayloadFormat::Templates(templates),
        ..
    }) = &settings.kind
    else {
        return None;
    };
    let subscribed = routes.events_for(name);
    templates
        .keys()
        .find(|kind| subscribed.contains(kind))
        .or(templates.keys().next())
        .copied()
}

impl DestinationTest {
    /// Creates a test of `name` with the secrets that this process can read.
    ///
    /// # Errors
    /// Returns an error if the destination is unknown or one of its secrets can't be read.
    pub(crate) fn from_config(
        config: &Config,
        name: DestinationName,
        to: Option<PhoneNumber>,
        event: Option<EventKind>,
    ) -> Result<Self, AdminError> {
        let settings = config
            .destinations
            .get(&name)
            .ok_or_else(|| AdminError::destination_not_found(&name))?;
        let target = destinations::resolve_target(&name, settings)
            .map_err(|error| AdminError::invalid(error.to_string()))?;
        let event = event.or_else(|| default_event(settings, &config.subscriptions, &name));
        Ok(Self {
            name,
            target: Arc::new(target),
            to,
            event,
        })
    }

    /// Sends the test from this process.
    ///
    /// # Errors
    /// Returns an error if no request can be sent.
    pub(crate) fn send(self) -> Result<DestinationTestRow, AdminError> {
        let failed = |error: &dyn std::error::Error| {
            AdminError::failed(format!("the test can't be sent: {error}"))
        };
        let client = DeliveryClient::new(HttpClients::load().map_err(|error| failed(&error))?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        runtime.block_on(self.run(&client, &SystemClock::new()))
    }

    /// Sends the test on `runtime` and waits for the result. The calling thread must not belong to
    /// the runtime.
    ///
    /// # Errors
    /// Returns the same errors as [`DestinationTest::send`], and an error if the server stops
    /// before the result arrives.
    pub(crate) fn send_with(
        self,
        runtime: &Handle,
        client: DeliveryClient,
        clock: Arc<dyn Clock>,
    ) -> Result<DestinationTestRow, AdminError> {
        let (result_tx, result_rx) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            // The caller may no longer wait for the result.
            let _ = result_tx.send(self.run(&client, &*clock).await);
        });
        result_rx
            .recv()
            .unwrap_or_else(|_| Err(AdminError::server_required()))
    }

    async fn run(
        &self,
        client: &DeliveryClient,
        clock: &dyn Clock,
    ) -> Result<DestinationTestRow, AdminError> {
        match (&self.target.settings.kind, &self.to) {
            (DestinationKind::Whatsapp(_) | DestinationKind::Gateway(_), _)
                if self.event.is_some() =>
            {
                Err(AdminError::invalid(format!(
                    "{} sends messages to people, whom a sample event would mislead: --event works only for webhook and smtp destinations",
                    self.name
                )))
            }
            (DestinationKind::Webhook(settings), None) => {
                self.send_to_webhook(settings, client, clock).await
            }
            (DestinationKind::Smtp(settings), None) => {
                self.send_mail(settings, client, clock).await
            }
            (DestinationKind::Webhook(_) | DestinationKind::Smtp(_), Some(_)) => {
                Err(AdminError::invalid(format!(
                    "--to works only for whatsapp and gateway destinations: repeat the test of {} without --to",
                    self.name
                )))
            }
            (DestinationKind::Whatsapp(_), Some(to)) => self.send_text(to, client, clock).await,
            (DestinationKind::Whatsapp(settings), None) => {
                self.query_number(settings, client, clock).await
            }
            (DestinationKind::Gateway(settings), Some(to)) => {
                let to = message::Recipient::Phone(to.clone().into());
                let body = text::send_body(
                    settings.kind,
                    &settings.session,
                    &to,
                    &test_message(&self.name),
                );
                let body = body.map_err(|error| AdminError::invalid(error.to_string()))?;
                let body = serde_json::from_str(&body).unwrap_or_default();
                self.send_message(
                    body,
                    "the gateway accepted the message: check the phone",
                    client,
                    clock,
                )
                .await
            }
            (DestinationKind::Gateway(settings), None) => Err(AdminError::invalid(format!(
                "{0} sends messages to people: `flowgate destinations test {0} --to NUMBER` sends a text to that number, \
                 `flowgate gateways show {1}` shows the state of its session",
                self.name, settings.gateway
            ))),
        }
    }

    /// Sends `body`, a message to a person. `detail` is the hint for an accepted message.
    async fn send_message(
        &self,
        body: Value,
        detail: &str,
        client: &DeliveryClient,
        clock: &dyn Clock,
    ) -> Result<DestinationTestRow, AdminError> {
        let (now, began) = (clock.now(), clock.elapsed());
        let (id, text) = (test_webhook_id(now), body.to_string());
        let headers = delivery::request_headers(&self.target, &id, &text, now)
            .map_err(|error| request_error(&error))?;
        let sent = client.send(&self.target, &id, &text, now).await;
        let delivered = sent.disposition(1) == Disposition::Delivered;
        Ok(DestinationTestRow {
            request: self.target.url().map(|url| request_line("POST", url)),
            delivered: Some(delivered),
            error: (!delivered).then(|| sent.reason()),
            detail: delivered.then(|| detail.to_owned()),
            body,
            ..self.test_row(&headers, &sent, clock.elapsed().saturating_sub(began))
        })
    }

    async fn send_to_webhook(
        &self,
        settings: &WebhookSettings,
        client: &DeliveryClient,
        clock: &dyn Clock,
    ) -> Result<DestinationTestRow, AdminError> {
        let (now, began) = (clock.now(), clock.elapsed());
        let (id, event) = (test_webhook_id(now), self.event_body(now));
        // Without an event, the payload is either the standard body or a chat message. Neither
        // depends on the kind of event.
        let kind = self.event.unwrap_or(EventKind::SubmissionAccepted);
        let body = settings
            .payload
            .render(kind, &id, &event)
            .map_err(|why| AdminError::failed(why.to_string()))?;
        let headers = delivery::request_headers(&self.target, &id, &body, now)
            .map_err(|error| request_error(&error))?;
        let sent = client.send(&self.target, &id, &body, now).await;
        let delivered = sent.attempt_end.webhook_disposition() == Disposition::Delivered;
        Ok(DestinationTestRow {
            delivered: Some(delivered),
            error: (!delivered).then(|| sent.reason()),
            body: serde_json::from_str(&body).unwrap_or_default(),
            ..self.test_row(&headers, &sent, clock.elapsed().saturating_sub(began))
        })
    }

    /// Returns the body to send: a test, or a sample of the event.
    fn event_body(&self, now: Timestamp) -> Box<str> {
        self.event.map_or_else(
            || render_test_body(&self.name, now),
            |event| example_body(&self.name, event, now),
        )
    }

    /// Returns a result row with the fields that all kinds of tests share.
    fn test_row(
        &self,
        headers: &HeaderMap,
        sent: &SendOutcome,
        duration: Duration,
    ) -> DestinationTestRow {
        DestinationTestRow {
            destination: self.name.clone(),
            host: self.target.host(),
            request: None,
            delivered: None,
            status: sent.response_record.status,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            error: None,
            detail: None,
            request_headers: header_rows(headers),
            body: Value::Null,
            response_headers: header_rows(&sent.headers),
            response: sent.response_record.body_excerpt.to_string(),
        }
    }
}

/// Returns a sample of `event` that is marked as a test.
fn example_body(name: &DestinationName, event: EventKind, now: Timestamp) -> Box<str> {
    let mut example = Value::Object(sample_event(event, now, Completeness::Typical));
    let test: Value = serde_json::from_str(&render_test_body(name, now)).unwrap_or_default();
    let marks = test
        .get("data")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    if let Some(data) = example.get_mut("data").and_then(Value::as_object_mut) {
        data.extend(marks);
    }
    example.to_string().into()
}

/// Formats the first line of a request to the Graph API or a gateway. Their URLs contain no
/// secrets.
fn request_line(method: &str, url: &Uri) -> String {
    format!(
        "{method} {}",
        url.path_and_query().map_or("/", |path| path.as_str())
    )
}

fn request_error(error: &dyn std::error::Error) -> AdminError {
    AdminError::failed(format!("the request can't be built: {error}"))
}

fn header_rows(headers: &HeaderMap) -> Vec<HeaderRow> {
    let shown = headers.iter().map(|(name, value)| {
        let is_secret = value.is_sensitive() || name == SET_COOKIE;
        let value = if is_secret {
            REDACTED.into()
        } else {
            String::from_utf8_lossy(value.as_bytes())
        };
        HeaderRow {
            name: name.to_string(),
            value: value.into_owned(),
        }
    });
    shown.collect()
}
