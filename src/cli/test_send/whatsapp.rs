//! A test of a destination that writes to people by WhatsApp: one text to a number that the admin names or, without one, a
//! question to Meta about the number that writes. That proves token, number id and network, and nobody gets a message.
//!
//! Meta's answers come without the token, as deliveries keep them.

use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use super::{Test, line, no_request};
use crate::admin::{AdminError, TestView};
use crate::clock::Clock;
use crate::config::WhatsappRule;
use crate::courier::{self, Said, Sender, Sent};
use crate::domain::event::test_text;
use crate::domain::message::test_request;
use crate::domain::phone_number::PhoneNumber;

impl Test {
    /// Sends one text to `to`.
    pub(super) async fn write(
        &self,
        to: &PhoneNumber,
        sender: &Sender,
        clock: &dyn Clock,
    ) -> Result<TestView, AdminError> {
        let note = "Meta took it. It arrives if that number has written to yours within 24 hours: otherwise only a template does \
                    (error 131047)";
        self.post(test_request(&test_text(&self.name), to), note, sender, clock).await
    }

    /// Asks Meta about the number that writes.
    pub(super) async fn look_up(
        &self,
        rule: &WhatsappRule,
        sender: &Sender,
        clock: &dyn Clock,
    ) -> Result<TestView, AdminError> {
        let (now, began) = (clock.now(), clock.elapsed());
        let mut headers = courier::headers(&self.recipient, "", "", now).map_err(|error| no_request(&error))?;
        headers.remove(CONTENT_TYPE);
        let sent = sender.ask(&self.recipient, &rule.number_url, headers.clone(), now).await;
        let error = wrong(&sent, &rule.phone_number_id);
        let note = format!(
            "nobody was written to: `flowgate destinations test {} --to NUMBER` sends a text to that number",
            self.name
        );
        Ok(TestView {
            request: Some(line("GET", &rule.number_url)),
            note: error.is_none().then_some(note),
            error,
            ..self.shown(&headers, &sent, clock.elapsed().saturating_sub(began))
        })
    }
}

/// Why an answer does not tell of the number with this id.
fn wrong(sent: &Sent, phone_number_id: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(&sent.exchange.answer).unwrap_or_default();
    if sent.exchange.status == Some(200) && answer.get("id").and_then(Value::as_str) == Some(phone_number_id) {
        return None;
    }
    let said = matches!(&sent.said, Said::Cloud(cloud) if cloud.error.is_some());
    Some(match sent.exchange.status {
        Some(200) if !said => {
            "answered 200 OK without this phone number: look whether meta.graph_url is right".to_owned()
        }
        Some(_) if !said => format!("{}: look whether meta.graph_url is right", sent.why()),
        _ => sent.why(),
    })
}
