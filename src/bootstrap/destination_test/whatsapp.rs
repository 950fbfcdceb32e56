//! Tests a destination that writes to people by WhatsApp: sends one text to the number of the
//! admin.
//!
//! Without a number, the test queries the sending phone number at Meta. The query proves that the
//! token, the phone number ID and the network work, and no person gets a message. Responses of Meta
//! are shown without the token, as for deliveries.

use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use super::{DestinationTest, request_error, request_line};
use crate::admin::{AdminError, DestinationTestRow};
use crate::clock::Clock;
use crate::config::WhatsappSettings;
use crate::delivery::{self, DeliveryClient, ProviderResponse, SendOutcome};
use crate::domain::delivery::message::test_message_body;
use crate::domain::event::test_message;
use crate::domain::phone_number::PhoneNumber;

impl DestinationTest {
    /// Sends one text to `to`.
    pub(crate) async fn send_text(
        &self,
        to: &PhoneNumber,
        client: &DeliveryClient,
        clock: &dyn Clock,
    ) -> Result<DestinationTestRow, AdminError> {
        let detail = "Meta accepted the message. It arrives only if that number has written to yours within 24 hours; otherwise Meta delivers only templates \
                    (error 131047)";
        self.send_message(
            test_message_body(&test_message(&self.name), to),
            detail,
            client,
            clock,
        )
        .await
    }

    /// Queries the sending phone number at Meta.
    pub(crate) async fn query_number(
        &self,
        settings: &WhatsappSettings,
        client: &DeliveryClient,
        clock: &dyn Clock,
    ) -> Result<DestinationTestRow, AdminError> {
        let (now, began) = (clock.now(), clock.elapsed());
        let mut headers = delivery::request_headers(&self.target, "", "", now)
            .map_err(|error| request_error(&error))?;
        headers.remove(CONTENT_TYPE);
        let sent = client
            .get(&self.target, &settings.number_url, headers.clone(), now)
            .await;
        let error = number_error(&sent, &settings.phone_number_id);
        let detail = format!(
            "no message was sent: `flowgate destinations test {} --to NUMBER` sends a text to that number",
            self.name
        );
        Ok(DestinationTestRow {
            request: Some(request_line("GET", &settings.number_url)),
            detail: error.is_none().then_some(detail),
            error,
            ..self.test_row(&headers, &sent, clock.elapsed().saturating_sub(began))
        })
    }
}

/// Returns an error if the response does not describe the phone number with this ID. Returns `None`
/// if it does.
fn number_error(sent: &SendOutcome, phone_number_id: &str) -> Option<String> {
    let body: Value = serde_json::from_str(&sent.response_record.body_excerpt).unwrap_or_default();
    if sent.response_record.status == Some(200)
        && body.get("id").and_then(Value::as_str) == Some(phone_number_id)
    {
        return None;
    }
    let has_provider_error = matches!(&sent.provider_response, ProviderResponse::CloudApi(cloud) if cloud.error.is_some());
    Some(match sent.response_record.status {
        Some(200) if !has_provider_error => {
            "responded with 200 OK, but without this phone number: check meta.graph_url".to_owned()
        }
        Some(_) if !has_provider_error => format!("{}: check meta.graph_url", sent.reason()),
        _ => sent.reason(),
    })
}
