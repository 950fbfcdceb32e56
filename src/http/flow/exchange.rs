//! Holds a decrypted request while its response is created, with the replies that depend only on
//! what is stored about the form.
//!
//! A repeated submit gets the stored success again, because the client can't show
//! `already_processed`.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::screens::success_screen;
use crate::domain::flow::customer_texts::TextKey;
use crate::domain::flow::{Flow, ResubmitPolicy};
use crate::domain::ids::Customer;
use crate::domain::submission::IdempotencyKey;
use crate::http::request::RequestContext;
use crate::http::response::{self, HttpError};
use crate::http::state::{AppState, FlowRoute};
use crate::intake::flow_endpoint::ScreenSubmission;
use crate::store::{CachedResponse, FindSubmissionKey, GetCompletion, GetResponse};

/// Response before its encryption, or a stored encrypted response.
pub(super) enum ExchangeReply {
    /// Constant response. The same bytes get the same response at any time and in any flow.
    Stateless(Value),
    /// New response to this request.
    New(StatusCode, Value),
    /// Stored response to the same request.
    Replayed(CachedResponse),
}

impl ExchangeReply {
    pub(super) const fn new(response: Value) -> Self {
        Self::New(StatusCode::OK, response)
    }
}

/// Decrypted request with everything that its response needs.
pub(super) struct DataExchange<'a, 't> {
    pub(super) context: &'a mut RequestContext<'t>,
    pub(super) app: &'a AppState,
    pub(super) route: &'a FlowRoute,
    pub(super) flow: &'a Flow,
    /// Key of the encrypted request.
    pub(super) request_key: IdempotencyKey,
}

impl<'a, 't> DataExchange<'a, 't> {
    pub(super) fn new(
        context: &'a mut RequestContext<'t>,
        route: &'a FlowRoute,
        request_key: IdempotencyKey,
    ) -> Self {
        Self {
            app: context.app,
            context,
            route,
            flow: &route.flow,
            request_key,
        }
    }

    pub(super) fn rejects_resubmission(&self) -> bool {
        self.flow.resubmit == ResubmitPolicy::Refuse
    }

    /// Returns `true` if the form was already submitted and the flow refuses to open it again.
    pub(super) async fn is_resubmission_refused(
        &mut self,
        draft: Option<IdempotencyKey>,
    ) -> Result<bool, HttpError> {
        match draft.filter(|_| self.rejects_resubmission()) {
            Some(key) => {
                let customer = Customer::default();
                let found = self.find_submission_key(vec![key], &customer);
                Ok(found.await?.is_some())
            }
            None => Ok(false),
        }
    }

    pub(super) async fn find_submission_key(
        &mut self,
        keys: Vec<IdempotencyKey>,
        customer: &Customer,
    ) -> Result<Option<IdempotencyKey>, HttpError> {
        let find = FindSubmissionKey {
            keys,
            customer: customer.clone(),
            reject_resubmission: self.rejects_resubmission(),
        };
        self.context.execute(find).await
    }

    /// Returns the completion of a form that was already submitted, known by its idempotency key.
    /// A form without a usable token needs a reference to the form in its completion.
    pub(super) async fn already_submitted(
        &mut self,
        sent: &ScreenSubmission<'_>,
        key: Option<IdempotencyKey>,
        needs_reference: bool,
    ) -> Result<ExchangeReply, HttpError> {
        if self.rejects_resubmission() {
            return Ok(self.token_expired());
        }
        let custom = match key.filter(|_| self.flow.has_upstream) {
            Some(key) => self.context.execute(GetCompletion { key }).await?,
            None => None,
        };
        let custom = custom.and_then(|text| serde_json::from_str(&text).ok());
        let reference = key.filter(|_| needs_reference);
        let screen = success_screen(custom, sent.token(), reference);
        Ok(ExchangeReply::new(screen))
    }

    pub(super) fn token_expired(&mut self) -> ExchangeReply {
        self.context.log.outcome = "token_used";
        self.close_flow(TextKey::AlreadySent)
    }

    /// Returns the response after which the client closes the form, shows the reason to the
    /// customer and disables the message.
    pub(super) fn close_flow(&self, why: TextKey) -> ExchangeReply {
        let response = json!({"error_msg": self.flow.texts.text(why)});
        ExchangeReply::New(response::token_invalid_status(), response)
    }

    /// Returns the stored response to the same request, if there is one.
    pub(super) async fn cached_reply(&mut self) -> Result<Option<ExchangeReply>, HttpError> {
        let lookup = GetResponse {
            encrypted_request_key: self.request_key,
        };
        let cached = self.context.execute(lookup).await?;
        Ok(cached.map(ExchangeReply::Replayed))
    }

    /// Returns the stored response to a request that the writer has found to be a repeated one.
    pub(super) async fn replay(&mut self) -> Result<ExchangeReply, HttpError> {
        self.cached_reply()
            .await?
            .ok_or(HttpError::DecryptionFailed)
    }
}
