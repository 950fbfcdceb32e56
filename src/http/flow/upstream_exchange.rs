//! Handles requests to an encrypted flow in which an upstream chooses the screens.
//!
//! The upstream's response goes back encrypted. This process still stores, deduplicates and
//! processes the forms. A form that the upstream completes with success is accepted like any other
//! form.
//!
//! See [`super::upstream_client`] for the query and the circuit breaker.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::exchange::{DataExchange, ExchangeReply};
use super::screens::{
    SUCCESS_SCREEN, merged_answers, render_screen, shown_screen_name, success_screen, with_error,
};
use super::upstream_client::{UpstreamClient, UpstreamError};
use crate::config::WRITER_RESERVE;
use crate::domain::flow::customer_texts::TextKey;
use crate::http::response::HttpError;
use crate::intake::flow_endpoint::{ScreenRequest, ScreenSubmission};

impl DataExchange<'_, '_> {
    /// Returns the screen that the upstream shows first or goes back to, or the upstream's response
    /// to an action that only the upstream may know.
    pub(super) async fn request_screen_from_upstream(
        &mut self,
        upstream: &UpstreamClient,
        shown: &ScreenRequest<'_>,
        text: &[u8],
    ) -> Result<ExchangeReply, HttpError> {
        if self.is_resubmission_refused(shown.draft_key()).await? {
            return Ok(self.token_expired());
        }
        self.context.log.outcome = "shown";
        let (answers, has_draft) = self.shown_answers(shown)?;
        let response = match self.query_upstream(upstream, text).await {
            // A completion without a screen of the flow and without a form. This completion must
            // contain the flow token, too.
            Some(response) if shown_screen_name(&response) == SUCCESS_SCREEN => {
                let screen = success_screen(Some(response), shown.token(), None);
                return Ok(ExchangeReply::new(screen));
            }
            Some(response) => response,
            None => {
                let screen = shown.resolve_screen(&answers);
                let fallback = self.fallback_screen(upstream, &screen, &answers)?;
                self.context.log.outcome = "fallback";
                fallback
            }
        };
        self.record_shown_screen(shown, has_draft, &response)
            .await?;
        Ok(ExchangeReply::new(response))
    }

    /// Returns the upstream's response to a submitted screen. A form that was already submitted is
    /// not sent to the upstream. The answers are saved independent of the response.
    pub(super) async fn submit_to_upstream(
        &mut self,
        upstream: &UpstreamClient,
        sent: &ScreenSubmission<'_>,
        text: &[u8],
    ) -> Result<ExchangeReply, HttpError> {
        if let Some(key) = sent.draft_key()
            && !sent.has_no_token()
            && let Some(key) = self.find_submission_key(vec![key], sent.customer()).await?
        {
            self.context.log.outcome = "duplicate";
            return self.already_submitted(sent, Some(key), false).await;
        }
        match self.query_upstream(upstream, text).await {
            Some(response) if shown_screen_name(&response) == SUCCESS_SCREEN => {
                self.accept_submission(sent, Some(response)).await
            }
            Some(response) => {
                let rejected = self.save_answers(sent, &response).await?;
                Ok(rejected.unwrap_or_else(|| ExchangeReply::new(response)))
            }
            None => {
                let answers = merged_answers(self.app, sent)?;
                let response = self.fallback_screen(upstream, sent.screen_name(), &answers)?;
                if let Some(rejected) = self.save_answers(sent, &response).await? {
                    return Ok(rejected);
                }
                self.context.log.outcome = "fallback";
                Ok(ExchangeReply::new(response))
            }
        }
    }

    /// Sends the text of a request to the upstream and returns its response. Returns `None` without
    /// a response. The reason is logged, except for an open circuit breaker. The request ID is the
    /// same for the same bytes.
    async fn query_upstream(&self, upstream: &UpstreamClient, text: &[u8]) -> Option<Value> {
        let deadline = self.context.deadline;
        let deadline = deadline
            .checked_sub(WRITER_RESERVE.to_duration())
            .unwrap_or(deadline);
        let (request, id) = (Bytes::copy_from_slice(text), self.request_key.to_string());
        match upstream.query(request, &id, deadline).await {
            Ok(response) => Some(Value::Object(response)),
            Err(UpstreamError::BreakerOpen) => None,
            Err(error) => {
                let flow = &self.flow.name;
                tracing::warn!(%flow, %error, "the upstream of a flow gave no valid response");
                None
            }
        }
    }

    /// Returns the screen that the customer sees instead: the current one, unless the config names
    /// another.
    fn fallback_screen(
        &self,
        upstream: &UpstreamClient,
        on: &str,
        answers: &Map<String, Value>,
    ) -> Result<Value, HttpError> {
        let fallback = upstream.fallback();
        // The customer sees the first screen if the request names no screen.
        let on = Some(on).filter(|on| !on.is_empty());
        let first = || self.flow.screens.first().map_or("", |screen| &screen.name);
        let screen = fallback.screen.as_deref().or(on).unwrap_or_else(first);
        let message = fallback
            .message
            .as_deref()
            .unwrap_or_else(|| self.flow.texts.text(TextKey::TryAgain));
        Ok(with_error(
            render_screen(self.app, self.flow, screen, answers)?,
            message,
        ))
    }
}
