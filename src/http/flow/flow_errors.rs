//! Counts, logs and stores the flow errors: error notifications and requests that the config can't
//! serve.
//!
//! Error notifications are acknowledged. A decrypted request that does not fit the config gets a
//! screen as its response. After a status like 400, the client would only show a generic error, and
//! the customer could not continue (*Error Codes*, Flows).

use serde_json::{Map, json};

use super::exchange::{DataExchange, ExchangeReply};
use super::screens::{SUCCESS_SCREEN, error_screen, render_screen, with_error};
use crate::domain::flow::customer_texts::TextKey;
use crate::domain::submission::flow_error::FlowError;
use crate::http::response::HttpError;
use crate::intake::token_signature::BadTokenSignature;
use crate::intake::{IntakeError, flow_endpoint};
use crate::store::RecordFlowError;

impl DataExchange<'_, '_> {
    /// Acknowledges an error notification. Waits until it is on disk or storing it has failed.
    pub(super) async fn acknowledge_error(&mut self, flow_error: FlowError) -> ExchangeReply {
        self.context.log.outcome = "flow_error";
        let flow = &flow_error.flow;
        metrics::counter!("flowgate_flow_errors_total", "flow" => flow.to_string()).increment(1);
        tracing::warn!(
            %flow,
            error = &*flow_error.code,
            "a client reported an error in a response of this flow: see `flowgate flows errors`"
        );
        self.store_flow_error(flow_error).await;
        ExchangeReply::new(json!({"data": {"acknowledged": true}}))
    }

    /// Responds to a request that does not fit the config. The response is an error on the current
    /// screen, or on the first screen if the request names none.
    pub(super) async fn unserviceable(
        &mut self,
        text: &[u8],
        error: IntakeError,
    ) -> Result<ExchangeReply, HttpError> {
        if let Some(cached) = self.cached_reply().await? {
            return Ok(cached);
        }
        let why = error.to_string();
        self.context.log.outcome = HttpError::from(error).code();
        let named = self.record_unserviceable(text, &why).await;
        let flow = self.flow;
        let message = flow.texts.text(TextKey::TryAgain);
        // A request that names the completion screen must not complete the form.
        let named = named.filter(|name| &**name != SUCCESS_SCREEN);
        Ok(ExchangeReply::new(match (named, flow.screens.first()) {
            (Some(on), _) => error_screen(&on, message),
            (None, Some(first)) => with_error(
                render_screen(self.app, flow, &first.name, &Map::new())?,
                message,
            ),
            (None, None) => json!({"data": {"error_message": message}}),
        }))
    }

    /// Responds to a request whose flow token is not the one that Meta signed. The client closes
    /// the form and disables its message, as for a used token.
    pub(super) async fn reject_token_signature(
        &mut self,
        text: &[u8],
        why: BadTokenSignature,
    ) -> Result<ExchangeReply, HttpError> {
        if let Some(cached) = self.cached_reply().await? {
            return Ok(cached);
        }
        self.context.log.outcome = "bad_token_signature";
        self.record_unserviceable(text, &why.to_string()).await;
        Ok(self.close_flow(TextKey::TokenInvalid))
    }

    /// Logs and stores a request that can't be served. Returns the screen that the request names.
    async fn record_unserviceable(&mut self, text: &[u8], why: &str) -> Option<Box<str>> {
        let (flow, outcome) = (self.flow, self.context.log.outcome);
        tracing::warn!(
            flow = %flow.name,
            error = outcome,
            why,
            "a request of this flow can't be served, and the customer sees an error: \
             see `flowgate flows errors`"
        );
        let flow_error = flow_endpoint::unserviceable_request(flow, text, outcome, why);
        let named = flow_error.screen.clone();
        self.store_flow_error(flow_error).await;
        named
    }

    async fn store_flow_error(&mut self, flow_error: FlowError) {
        let flow = flow_error.flow.clone();
        let change = RecordFlowError {
            flow_error,
            encrypted_request_key: self.request_key,
        };
        if let Err(error) = self.context.execute(change).await {
            tracing::warn!(%flow, %error, "a flow error was not stored and is in the log only");
        }
    }
}
