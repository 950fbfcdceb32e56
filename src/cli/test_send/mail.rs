//! A test of a destination that sends e-mails: one mail, to the mailboxes of the config, and what the mail server said to it.

use lettre::error::Error;
use serde_json::Value;

use super::{Test, no_request};
use crate::admin::{AdminError, HeaderView, TestView};
use crate::clock::Clock;
use crate::config::SmtpRule;
use crate::courier::{self, Sender};
use crate::domain::delivery::{Meaning, test_id};
use crate::domain::mail::words;
use crate::domain::time::Timestamp;

impl Test {
    /// Sends one, of the event that was asked for or of none.
    pub(super) async fn mail(
        &self,
        rule: &SmtpRule,
        sender: &Sender,
        clock: &dyn Clock,
    ) -> Result<TestView, AdminError> {
        let (now, began) = (clock.now(), clock.elapsed());
        let (id, told) = (test_id(now), self.told(now));
        let (request_headers, body) = shown_mail(rule, &id, &told, now).map_err(|error| no_request(&error))?;
        let mail = courier::whole_mail(rule, &id, &told, now).map_err(AdminError::failed)?;
        let sent = sender.send(&self.recipient, &id, &mail, now).await;
        let delivered = sent.meaning(1) == Meaning::Delivered;
        Ok(TestView {
            delivered: Some(delivered),
            error: (!delivered).then(|| sent.why()),
            request_headers,
            body,
            ..self.shown(&sent.headers, &sent, clock.elapsed().saturating_sub(began))
        })
    }
}

/// The head of a mail, a line each, and its text as it will be read.
fn shown_mail(rule: &SmtpRule, id: &str, body: &str, now: Timestamp) -> Result<(Vec<HeaderView>, Value), Error> {
    let head = courier::message(rule, id, body, now)?.headers().to_string();
    let unfolded = head.replace("\r\n ", " ");
    let lines = unfolded.lines().filter_map(|line| line.split_once(": "));
    let headers = lines.map(|(name, value)| HeaderView { name: name.to_ascii_lowercase(), value: value.to_owned() });
    Ok((headers.collect(), Value::String(words(&rule.messages, body).text)))
}
