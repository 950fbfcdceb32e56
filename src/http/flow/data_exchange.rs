//! Creates the response to a decrypted request of an encrypted flow: finds out what the request
//! means, and who answers it.
//!
//! The response is the next screen, the same screen with an error, or the completion. See
//! [`super::drafts`] for screens in between, [`super::completion`] for completed forms,
//! [`super::upstream_exchange`] for flows with an upstream, and [`super::flow_errors`] for requests
//! that can't be served.

use serde_json::json;

use super::exchange::{DataExchange, ExchangeReply};
use super::screens::error_screen;
use crate::domain::flow::ScreenStage;
use crate::domain::submission::IdempotencyKey;
use crate::http::request::RequestContext;
use crate::http::response::HttpError;
use crate::http::state::FlowRoute;
use crate::intake::flow_endpoint::{FlowRequest, ScreenSubmission};
use crate::intake::{IntakeError, token_signature};

/// Creates the response to the decrypted text of a request.
pub(super) async fn handle_request(
    context: &mut RequestContext<'_>,
    route: &FlowRoute,
    text: &[u8],
    request_key: IdempotencyKey,
) -> Result<ExchangeReply, HttpError> {
    let (app, flow) = (context.app, &*route.flow);
    let mut exchange = DataExchange::new(context, route, request_key);
    let read = FlowRequest::parse(flow, text);
    if let Ok(FlowRequest::ScreenRequest(_) | FlowRequest::ScreenSubmission(_)) = read
        && let Err(why) = token_signature::verify(
            flow.token_rule(app.config.credentials.has_app_secret),
            &app.config.credentials.signature_verifier,
            text,
        )
    {
        return exchange.reject_token_signature(text, why).await;
    }
    let result = match read {
        // The decrypted text is not a request. For the client, the decryption has failed.
        Err(IntakeError::NotJson(_) | IntakeError::NotAnObject) => {
            return Err(HttpError::DecryptionFailed);
        }
        Err(error) => Err(error.into()),
        Ok(request) => exchange.handle(request, text).await,
    };
    match result {
        // The answer is not valid for the screen on which the customer gave it.
        Err(HttpError::Intake(IntakeError::ValidationFailed { screen, error })) => {
            exchange.context.log.outcome = "invalid_field";
            let text = flow.error_text(&screen, &error);
            Ok(ExchangeReply::new(error_screen(&screen, &text)))
        }
        Err(HttpError::Intake(error)) => exchange.unserviceable(text, error).await,
        other => other,
    }
}

impl DataExchange<'_, '_> {
    async fn handle(
        &mut self,
        request: FlowRequest<'_>,
        text: &[u8],
    ) -> Result<ExchangeReply, HttpError> {
        match request {
            FlowRequest::Ping => {
                self.context.log.outcome = "ping";
                let pong = json!({"data": {"status": "active"}});
                Ok(ExchangeReply::Stateless(pong))
            }
            FlowRequest::FlowError(flow_error) => Ok(self.acknowledge_error(flow_error).await),
            FlowRequest::ScreenRequest(shown) => match &self.route.upstream {
                Some(upstream) => {
                    self.request_screen_from_upstream(upstream, &shown, text)
                        .await
                }
                None => self.handle_screen_request(&shown).await,
            },
            FlowRequest::ScreenSubmission(sent) => self.handle_submission(&sent, text).await,
        }
    }

    async fn handle_submission(
        &mut self,
        sent: &ScreenSubmission<'_>,
        text: &[u8],
    ) -> Result<ExchangeReply, HttpError> {
        if sent.has_no_token() {
            self.route.warnings.warn_missing_token(&self.flow.name);
        }
        match (&self.route.upstream, sent.stage) {
            (Some(upstream), _) => self.submit_to_upstream(upstream, sent, text).await,
            (None, ScreenStage::Final) => self.accept_submission(sent, None).await,
            (None, ScreenStage::Draft | ScreenStage::Refresh) => self.handle_draft(sent).await,
        }
    }
}
