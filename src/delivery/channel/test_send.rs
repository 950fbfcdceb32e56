//! Defines the test of a destination: the request of an admin, the body of the test, and the report
//! of the exchange without secrets.
//!
//! Payload templates are written for events. For a destination with a template, the test is a
//! sample of an event. Its `data` has the fields `test` and `message`, so that the template can
//! detect the test.

use hyper::header::{HeaderMap, SET_COOKIE};
use hyper::{Method, Uri};
use serde_json::Value;

use super::exchange::{Message, SendOutcome};
use crate::domain::delivery::{Disposition, ResponseRecord, test_webhook_id};
use crate::domain::event::samples::{Completeness, sample_event};
use crate::domain::event::{EventKind, render_test_body};
use crate::domain::ids::DestinationName;
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::Timestamp;

/// Text that replaces a secret in the report.
const REDACTED: &str = "…";

/// Request for a test of one destination.
#[derive(Clone, Debug)]
pub struct TestRequest {
    /// Destination name.
    pub destination: DestinationName,
    /// Phone number that gets the test message, for a destination that writes to people.
    pub to: Option<PhoneNumber>,
    /// Event whose sample is sent, for a webhook or e-mail destination. `None`: a plain test.
    pub event: Option<EventKind>,
    /// Time of the test.
    pub now: Timestamp,
}

/// Exchange of a test with a destination, without secrets.
#[derive(Clone, Debug)]
pub struct TestReport {
    /// Request line, for example `POST /v26.0/106540352242922/messages`. `None` if the line
    /// contains secrets.
    pub request_line: Option<String>,
    /// `true` if the destination accepted the test. `None` if the test sent no message.
    pub delivered: Option<bool>,
    /// Reason of the failure. `None` if the test succeeded.
    pub error: Option<String>,
    /// Note for the admin about a successful test.
    pub detail: Option<String>,
    /// Names and values of the headers of the request.
    pub request_headers: Vec<(String, String)>,
    /// Body of the request. Null if the test sent no message.
    pub body: Value,
    /// Names and values of the headers of the response.
    pub response_headers: Vec<(String, String)>,
    /// Status and beginning of the response.
    pub response: ResponseRecord,
}

/// Errors of a test that sends no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestError {
    /// The options do not fit the destination.
    #[error("{0}")]
    InvalidOptions(String),
    /// The message can't be built.
    #[error("{0}")]
    NotBuilt(String),
}

impl TestRequest {
    /// Returns the webhook ID of the test.
    pub(super) fn webhook_id(&self) -> String {
        test_webhook_id(self.now)
    }

    /// Returns the test message `body` with this webhook ID.
    pub(super) const fn message<'a>(&self, id: &'a str, body: &'a str) -> Message<'a> {
        Message {
            id,
            body,
            now: self.now,
            attempt_number: 1,
        }
    }

    /// Returns the event to send: a test, or a sample of the requested event that is marked as a
    /// test.
    pub(super) fn event_body(&self) -> Box<str> {
        let test = render_test_body(&self.destination, self.now);
        let Some(event) = self.event else {
            return test;
        };
        let test: Value = serde_json::from_str(&test).unwrap_or_default();
        let mut sample = Value::Object(sample_event(event, self.now, Completeness::Typical));
        if let Some(data) = sample.get_mut("data").and_then(Value::as_object_mut) {
            let marks = test.get("data").and_then(Value::as_object);
            data.extend(marks.cloned().unwrap_or_default());
        }
        sample.to_string().into()
    }
}

impl TestReport {
    /// Returns the report of a test message `body`. `detail` is the note about an accepted message.
    pub(super) fn of_message(
        sent: SendOutcome,
        request_headers: Vec<(String, String)>,
        body: Value,
        detail: Option<&str>,
    ) -> Self {
        let delivered = sent.disposition == Disposition::Delivered;
        Self {
            request_line: None,
            delivered: Some(delivered),
            error: (!delivered).then_some(sent.reason),
            detail: detail.filter(|_| delivered).map(str::to_owned),
            request_headers,
            body,
            response_headers: redacted_headers(&sent.headers),
            response: sent.response,
        }
    }
}

/// Returns the first line of a request whose URL contains no secrets.
pub(super) fn request_line(method: &Method, url: &Uri) -> String {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    format!("{method} {path}")
}

/// Returns names and values of headers, with `…` in place of secrets.
pub(super) fn redacted_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = headers.iter().map(|(name, value)| {
        let is_secret = value.is_sensitive() || name == SET_COOKIE;
        let value = if is_secret {
            REDACTED.into()
        } else {
            String::from_utf8_lossy(value.as_bytes())
        };
        (name.to_string(), value.into_owned())
    });
    shown.collect()
}
