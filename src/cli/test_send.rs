//! A test that is sent to a destination to see what it answers: signed like a delivery or put into an e-mail, marked as a test,
//! and kept nowhere.
//!
//! The server sends it where one runs, as it has the secrets; otherwise the command itself does.

use std::sync::Arc;

use hyper::header::{HeaderMap, SET_COOKIE};
use serde_json::Value;
use tokio::runtime::Handle;

use super::recipients;
use crate::admin::{AdminError, HeaderView, TestView};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Means, SmtpRule};
use crate::courier::{self, Credentials, Recipient, Sender};
use crate::domain::delivery::{Meaning, test_id};
use crate::domain::event::test_body;
use crate::domain::ids::DestinationName;
use crate::domain::mail::words;
use crate::domain::time::Timestamp;

/// Stands in for a secret.
const HIDDEN: &str = "…";

/// Sends one to `name`, with the secrets that this process can read.
///
/// # Errors
/// Where there is no such destination, or a secret of it can't be read.
pub(super) fn from_here(config: &Config, name: &DestinationName) -> Result<TestView, AdminError> {
    let rule = config.destinations.get(name).ok_or_else(|| AdminError::no_destination(name))?;
    let recipient = recipients::recipient(name, rule).map_err(|error| AdminError::invalid(error.to_string()))?;
    let failed = |error: &dyn std::error::Error| AdminError::failed(format!("nothing can be sent: {error}"));
    let sender = Sender::new().map_err(|error| failed(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    runtime.block_on(send(&sender, &recipient, name, &SystemClock::new()))
}

/// Sends one on `runtime`, from a thread that is none of its own, and waits for the end.
///
/// # Errors
/// Where the server ends meanwhile.
pub(super) fn on(
    runtime: &Handle,
    sender: Sender,
    recipient: Arc<Recipient>,
    name: &DestinationName,
    clock: Arc<dyn Clock>,
) -> Result<TestView, AdminError> {
    let (tell, told) = std::sync::mpsc::channel();
    let name = name.clone();
    runtime.spawn(async move {
        // Who asked may have left.
        let _ = tell.send(send(&sender, &recipient, &name, &*clock).await);
    });
    told.recv().unwrap_or_else(|_| Err(AdminError::no_server()))
}

async fn send(
    sender: &Sender,
    recipient: &Recipient,
    name: &DestinationName,
    clock: &dyn Clock,
) -> Result<TestView, AdminError> {
    let (now, began) = (clock.now(), clock.elapsed());
    let (id, body) = (test_id(now), test_body(name, now));
    let not_made = |error: &dyn std::error::Error| AdminError::failed(format!("no request can be made: {error}"));
    let own = match &recipient.credentials {
        Credentials::Webhook { headers, .. } => headers.as_slice(),
        Credentials::Smtp { .. } => &[],
        Credentials::Whatsapp { .. } => {
            return Err(AdminError::invalid(format!(
                "{name} writes to people: a test would be a message to somebody. `flowgate deliveries --destination {name}` shows \
                 what it was told"
            )));
        }
    };
    let (request_headers, shown_body) = match &recipient.rule.means {
        Means::Smtp(rule) => shown_mail(rule, &id, &body, now).map_err(|error| not_made(&error))?,
        Means::Webhook(_) | Means::Whatsapp(_) => {
            let headers = courier::headers(recipient, &id, &body, now).map_err(|error| not_made(&error))?;
            (shown(&headers), serde_json::from_str(&body).unwrap_or_default())
        }
    };
    let sent = sender.send(recipient, &id, &body, now).await;
    let took = clock.elapsed().saturating_sub(began);
    let delivered = sent.meaning(1) == Meaning::Delivered;
    // Some answer with all that they were sent.
    let mut answer = sent.exchange.answer.to_string();
    for secret in own.iter().filter_map(|(_, value)| value.to_str().ok()) {
        answer = answer.replace(secret, HIDDEN);
    }
    Ok(TestView {
        destination: name.clone(),
        host: recipient.rule.host(),
        delivered,
        status: sent.exchange.status,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        error: (!delivered).then(|| sent.why()),
        request_headers,
        body: shown_body,
        answer_headers: shown(&sent.headers),
        answer,
    })
}

/// The head of a mail, a line each, and its text as it will be read.
fn shown_mail(
    rule: &SmtpRule,
    id: &str,
    body: &str,
    now: Timestamp,
) -> Result<(Vec<HeaderView>, Value), lettre::error::Error> {
    let head = courier::message(rule, id, body, now)?.headers().to_string();
    let unfolded = head.replace("\r\n ", " ");
    let lines = unfolded.lines().filter_map(|line| line.split_once(": "));
    let headers = lines.map(|(name, value)| HeaderView { name: name.to_ascii_lowercase(), value: value.to_owned() });
    Ok((headers.collect(), Value::String(words(&rule.messages, body).text)))
}

fn shown(headers: &HeaderMap) -> Vec<HeaderView> {
    let shown = headers.iter().map(|(name, value)| {
        let is_secret = value.is_sensitive() || name == SET_COOKIE;
        let value = if is_secret { HIDDEN.into() } else { String::from_utf8_lossy(value.as_bytes()) };
        HeaderView { name: name.to_string(), value: value.into_owned() }
    });
    shown.collect()
}
