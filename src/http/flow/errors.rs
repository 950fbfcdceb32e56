//! Counts, logs and stores the flow errors: error notifications and requests that the config can't
//! serve.
//!
//! Error notifications are acknowledged. A decrypted request that does not fit the config gets a
//! screen as its response. After a status like 400, the client would only show a generic error, and
//! the customer could not continue (*Error Codes*, Flows).

use serde_json::{Map, json};
use tokio::time::Instant;

use crate::domain::flow::customer_texts::TextKey;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::flow_error::FlowError;
use crate::intake::token_signature::BadTokenSignature;
use crate::intake::{IntakeError, flow_endpoint};
use crate::store::{GetResponse, RecordFlowError};

use super::data_exchange::{DataExchange, ExchangeReply, new_reply};
use super::plain::execute;
use super::screens::{SUCCESS_SCREEN, error_screen, render_screen, with_error};
use crate::http::request_log::RequestLog;
use crate::http::response::HttpError;
use crate::http::state::AppState;

/// Stores an error notification. Waits until it is on disk or storing it has failed.
pub(in crate::http) async fn record_flow_error(
    app: &AppState,
    flow_error: FlowError,
    request: IdempotencyKey,
    deadline: Instant,
    log: &mut RequestLog<'_>,
) {
    let flow = flow_error.flow.clone();
    metrics::counter!("flowgate_flow_errors_total", "flow" => flow.to_string()).increment(1);
    tracing::warn!(
        flow = %flow,
        error = &*flow_error.code,
        "a client reported an error in a response of this flow: see `flowgate flows errors`"
    );
    if let Err(refusal) = execute(
        app,
        RecordFlowError {
            flow_error,
            encrypted_request_key: request,
        },
        deadline,
        log,
    )
    .await
    {
        tracing::warn!(flow = %flow, error = %refusal, "a flow error was not stored and is in the log only");
    }
}

impl DataExchange<'_, '_> {
    /// Responds to a request that does not fit the config. The response is an error on the current
    /// screen, or on the first screen if the request names none.
    pub(in crate::http) async fn unserviceable(
        &mut self,
        text: &[u8],
        error: IntakeError,
    ) -> Result<ExchangeReply, HttpError> {
        let lookup = GetResponse {
            encrypted_request_key: self.request,
        };
        if let Some(cached) = execute(self.app, lookup, self.deadline, self.log).await? {
            return Ok(ExchangeReply::Replayed(cached));
        }
        let (flow, why) = (self.flow, error.to_string());
        self.log.outcome = HttpError::from(error).code();
        let flow_error = flow_endpoint::unserviceable_request(flow, text, self.log.outcome, &why);
        // A request that names the completion screen must not complete the form.
        let named = flow_error
            .screen
            .clone()
            .filter(|name| &**name != SUCCESS_SCREEN);
        self.record_unserviceable(flow_error, &why).await;
        let message = flow.texts.text(TextKey::TryAgain);
        Ok(new_reply(match (named, flow.screens.first()) {
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
    pub(in crate::http) async fn reject_token_signature(
        &mut self,
        text: &[u8],
        why: BadTokenSignature,
    ) -> Result<ExchangeReply, HttpError> {
        let lookup = GetResponse {
            encrypted_request_key: self.request,
        };
        if let Some(cached) = execute(self.app, lookup, self.deadline, self.log).await? {
            return Ok(ExchangeReply::Replayed(cached));
        }
        self.log.outcome = "bad_token_signature";
        let why = why.to_string();
        let flow_error =
            flow_endpoint::unserviceable_request(self.flow, text, self.log.outcome, &why);
        self.record_unserviceable(flow_error, &why).await;
        Ok(self.close_flow(TextKey::TokenInvalid))
    }

    async fn record_unserviceable(&mut self, flow_error: FlowError, why: &str) {
        let flow = self.flow;
        tracing::warn!(
            flow = %flow.name,
            error = self.log.outcome,
            why,
            "a request of this flow can't be served, and the customer sees an error: see `flowgate flows errors`"
        );
        let change = RecordFlowError {
            flow_error,
            encrypted_request_key: self.request,
        };
        if let Err(refusal) = execute(self.app, change, self.deadline, self.log).await {
            tracing::warn!(flow = %flow.name, error = %refusal, "a flow error was not stored and is in the log only");
        }
    }
}
