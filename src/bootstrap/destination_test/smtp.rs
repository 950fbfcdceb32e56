//! Tests a destination that sends e-mails: sends one e-mail to the mailboxes of the config and
//! shows the response of the mail server.

use lettre::error::Error;
use serde_json::Value;

use super::{DestinationTest, request_error};
use crate::admin::{AdminError, DestinationTestRow, HeaderRow};
use crate::clock::Clock;
use crate::config::SmtpSettings;
use crate::delivery::{self, DeliveryClient};
use crate::domain::delivery::email::render_email;
use crate::domain::delivery::{Disposition, test_webhook_id};
use crate::domain::time::Timestamp;

impl DestinationTest {
    /// Sends one e-mail, with a sample of the event if one is given.
    pub(crate) async fn send_mail(
        &self,
        settings: &SmtpSettings,
        client: &DeliveryClient,
        clock: &dyn Clock,
    ) -> Result<DestinationTestRow, AdminError> {
        let (now, began) = (clock.now(), clock.elapsed());
        let (id, event) = (test_webhook_id(now), self.event_body(now));
        let (request_headers, body) =
            mail_preview(settings, &id, &event, now).map_err(|error| request_error(&error))?;
        let mail = delivery::build_email(settings, &id, &event, now).map_err(AdminError::failed)?;
        let sent = client.send(&self.target, &id, &mail, now).await;
        let delivered = sent.disposition(1) == Disposition::Delivered;
        Ok(DestinationTestRow {
            delivered: Some(delivered),
            error: (!delivered).then(|| sent.reason()),
            request_headers,
            body,
            ..self.test_row(&sent.headers, &sent, clock.elapsed().saturating_sub(began))
        })
    }
}

/// Returns the headers of the e-mail, one for each line, and its text as a mail reader shows it.
fn mail_preview(
    settings: &SmtpSettings,
    id: &str,
    body: &str,
    now: Timestamp,
) -> Result<(Vec<HeaderRow>, Value), Error> {
    let head = delivery::build_message(settings, id, body, now)?
        .headers()
        .to_string();
    let unfolded = head.replace("\r\n ", " ");
    let lines = unfolded.lines().filter_map(|line| line.split_once(": "));
    let headers = lines.map(|(name, value)| HeaderRow {
        name: name.to_ascii_lowercase(),
        value: value.to_owned(),
    });
    Ok((
        headers.collect(),
        Value::String(render_email(&settings.messages, body).text),
    ))
}
