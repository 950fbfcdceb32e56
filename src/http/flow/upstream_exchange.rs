//! Handles requests to an encrypted flow in which an upstream chooses the screens.
//!
//! The upstream's response goes back encrypted. This process still stores, deduplicates and
//! processes the forms. A form that the upstream completes with success is accepted like any other
//! form.
//!
//! See [`super::upstream_client`] for the query and the circuit breaker.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::config::WRITER_RESERVE;
use crate::domain::flow::Flow;
use crate::domain::flow::customer_texts::TextKey;
use crate::domain::flow::field::FieldError;
use crate::domain::ids::Customer;
use crate::intake::flow_endpoint::{ScreenRequest, ScreenSubmission};

use super::data_exchange::{DataExchange, ExchangeReply, new_reply};
use super::screens::{
    SUCCESS_SCREEN, draft_answers, merged_answers, render_screen, success_screen, with_error,
};
use super::upstream_client::{UpstreamClient, UpstreamError};
use crate::http::response::HttpError;

impl DataExchange<'_, '_> {
    /// Returns the screen that the upstream shows first or goes back to, or the upstream's response
    /// to an action that only the upstream may know.
    pub(in crate::http) async fn request_screen_from_upstream(
        &mut self,
        upstream: &UpstreamClient,
        shown: &ScreenRequest<'_>,
        text: &[u8],
    ) -> Result<ExchangeReply, HttpError> {
        if self.is_resubmission_refused(shown.draft_key()).await? {
            return Ok(self.token_expired());
        }
        self.log.outcome = "shown";
        // A customer who opens a form sees no earlier answers, because many people may have got the
        // same flow token.
        let saved = draft_answers(self.app, shown.draft_key(), &Customer::default())?;
        let has_draft = !saved.is_empty();
        let answers = if shown.is_back() {
            saved
        } else {
            self.flow.shown_agents(&saved)
        };
        let Some(response) = self.query_upstream(upstream, text).await else {
            let response =
                self.fallback_screen(upstream, &shown.resolve_screen(&answers), &answers)?;
            self.log.outcome = "fallback";
            self.record_shown_screen(shown, has_draft, &response)
                .await?;
            return Ok(new_reply(response));
        };
        let response = Value::Object(response);
        if response.get("screen").and_then(Value::as_str) == Some(SUCCESS_SCREEN) {
            // A completion without a screen of the flow and without a form. This completion must
            // contain the flow token, too.
            return Ok(new_reply(success_screen(
                Some(response),
                shown.token(),
                None,
            )));
        }
        self.record_shown_screen(shown, has_draft, &response)
            .await?;
        Ok(new_reply(response))
    }

    /// Returns the upstream's response to a submitted screen. A form that was already submitted is
    /// not sent to the upstream.
    pub(in crate::http) async fn submit_to_upstream(
        &mut self,
        upstream: &UpstreamClient,
        sent: &ScreenSubmission<'_>,
        text: &[u8],
    ) -> Result<ExchangeReply, HttpError> {
        if let Some(key) = sent.draft_key()
            && !sent.has_no_token()
            && let Some(key) = self.find_submission_key(vec![key], sent.customer()).await?
        {
            self.log.outcome = "duplicate";
            return self.already_submitted(sent, Some(key)).await;
        }
        let Some(response) = self.query_upstream(upstream, text).await else {
            let answers = merged_answers(self.app, sent)?;
            let response = self.fallback_screen(upstream, sent.screen_name(), &answers)?;
            if let Some(rejected) = self.save_answers(sent, &response).await? {
                return Ok(rejected);
            }
            self.log.outcome = "fallback";
            return Ok(new_reply(response));
        };
        if response.get("screen").and_then(Value::as_str) == Some(SUCCESS_SCREEN) {
            return self
                .accept_submission(sent, Some(Value::Object(response)))
                .await;
        }
        let response = Value::Object(response);
        let rejected = self.save_answers(sent, &response).await?;
        Ok(rejected.unwrap_or_else(|| new_reply(response)))
    }

    /// Saves the answers, independent of the upstream's response. The draft records the screen that
    /// the customer sees next. Returns a replacement response if the answers were not saved and the
    /// flow can't continue.
    async fn save_answers(
        &mut self,
        sent: &ScreenSubmission<'_>,
        shown: &Value,
    ) -> Result<Option<ExchangeReply>, HttpError> {
        // The owner of these answers is unknown.
        if sent.draft_key().is_none() {
            self.log.outcome = "shown";
            return Ok(None);
        }
        self.log.outcome = "draft";
        let outcome = self.save_draft(sent, shown).await?;
        self.draft_rejected(sent, outcome).await
    }

    /// Sends the text of a request to the upstream and returns its response. Returns `None` without
    /// a response. The reason is logged, except for an open circuit breaker. The request ID is the
    /// same for the same bytes.
    async fn query_upstream(
        &mut self,
        upstream: &UpstreamClient,
        text: &[u8],
    ) -> Option<Map<String, Value>> {
        let deadline = self
            .deadline
            .checked_sub(WRITER_RESERVE.to_duration())
            .unwrap_or(self.deadline);
        match upstream
            .query(
                Bytes::copy_from_slice(text),
                &self.request.to_string(),
                deadline,
            )
            .await
        {
            Ok(response) => Some(response),
            Err(UpstreamError::BreakerOpen) => None,
            Err(error) => {
                tracing::warn!(flow = %self.flow.name, error = %error, "the upstream of a flow gave no valid response");
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

/// Warns that an upstream has completed a form that can't be accepted. The customer gets the screen
/// that asks for the missing answer, independent of the upstream's response.
pub(in crate::http) fn warn_invalid_completion(flow: &Flow, problem: &FieldError) {
    let (flow, field) = (&flow.name, &problem.field);
    tracing::warn!(%flow, field, "the upstream of a flow completed a form that can't be accepted: this field contains no valid slot");
}
