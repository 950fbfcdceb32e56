//! Creates the response to a decrypted request of an encrypted flow.
//!
//! The response is the next screen, the same screen with an error, or the completion. A repeated
//! submit gets the stored success again, because the client can't show `already_processed`. After a
//! lost slot, the response is the screen on which the customer chooses a slot.
//!
//! See [`super::encrypted`] for envelopes and [`super::screens`] for the
//! data of a screen.

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::domain::booking::calendar::SlotRefused;
use crate::domain::flow::customer_texts::TextKey;
use crate::domain::flow::field::FieldError;
use crate::domain::flow::{Flow, ResubmitPolicy, Screen, ScreenStage};
use crate::domain::ids::Customer;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::InboundSubmission;
use crate::intake::flow_endpoint::{FlowRequest, ScreenRequest, ScreenSubmission};
use crate::intake::{IntakeError, token_signature};
use crate::store::{
    AcceptOutcome, CachedResponse, DraftOutcome, FindSubmissionKey, GetCompletion, GetResponse,
    RecordScreen, SaveDraft,
};

use super::plain::{self, execute};
use super::screens::{
    draft_answers, error_screen, merged_answers, nearest_free_slots, render_screen,
    render_slot_choice, screen_json, shown_agents, slot_error_text, success_screen, with_error,
};
use super::{errors, upstream_exchange};
use crate::http::request_log::RequestLog;
use crate::http::response::{self, HttpError};
use crate::http::state::{AppState, FlowRoute};

/// Status for an invalid flow token (*Error Codes*, Flows). The client closes the flow and disables
/// its message.
const TOKEN_INVALID: u16 = 427;

/// Response before its encryption, or a stored encrypted response.
pub(in crate::http) enum ExchangeReply {
    /// Constant response. The same bytes get the same response at any time and in any flow.
    Stateless(Value),
    /// New response to this request.
    New(StatusCode, Value),
    /// Stored response to the same request.
    Replayed(CachedResponse),
}

/// Decrypted request with everything that its response needs.
pub(in crate::http) struct DataExchange<'a, 't> {
    pub(in crate::http) app: &'a AppState,
    pub(in crate::http) flow: &'a Flow,
    pub(in crate::http) route: &'a FlowRoute,
    pub(in crate::http) request: IdempotencyKey,
    pub(in crate::http) deadline: Instant,
    pub(in crate::http) log: &'a mut RequestLog<'t>,
}

/// Creates the response to the decrypted text of a request.
pub(in crate::http) async fn handle_request(
    app: &AppState,
    route: &FlowRoute,
    text: &[u8],
    request: IdempotencyKey,
    deadline: Instant,
    log: &mut RequestLog<'_>,
) -> Result<ExchangeReply, HttpError> {
    let flow = &*route.flow;
    let mut exchange = DataExchange {
        app,
        flow,
        route,
        request,
        deadline,
        log,
    };
    let read = FlowRequest::parse(flow, text);
    if matches!(
        read,
        Ok(FlowRequest::ScreenRequest(_) | FlowRequest::ScreenSubmission(_))
    ) && let Err(why) = token_signature::verify(
        flow.token_rule(app.credentials.has_app_secret),
        &app.credentials.signature_verifier,
        text,
    ) {
        return exchange.reject_token_signature(text, why).await;
    }
    let result = match read {
        // The decrypted text is not a request. For the client, the decryption has failed.
        Err(IntakeError::NotJson(_) | IntakeError::NotAnObject) => {
            return Err(HttpError::DecryptionFailed);
        }
        Err(error) => Err(error.into()),
        Ok(FlowRequest::Ping) => {
            exchange.log.outcome = "ping";
            return Ok(ExchangeReply::Stateless(
                json!({"data": {"status": "active"}}),
            ));
        }
        Ok(FlowRequest::FlowError(flow_error)) => {
            exchange.log.outcome = "flow_error";
            errors::record_flow_error(app, flow_error, request, deadline, exchange.log).await;
            Ok(new_reply(json!({"data": {"acknowledged": true}})))
        }
        Ok(FlowRequest::ScreenRequest(shown)) => match &route.upstream {
            Some(upstream) => {
                exchange
                    .request_screen_from_upstream(upstream, &shown, text)
                    .await
            }
            None => exchange.handle_screen_request(&shown).await,
        },
        Ok(FlowRequest::ScreenSubmission(sent)) => {
            if sent.has_no_token() {
                plain::warn_missing_token(route);
            }
            match (&route.upstream, sent.stage) {
                (Some(upstream), _) => exchange.submit_to_upstream(upstream, &sent, text).await,
                (None, ScreenStage::Final) => exchange.accept_submission(&sent, None).await,
                (None, ScreenStage::Draft | ScreenStage::Refresh) => {
                    exchange.handle_draft(&sent).await
                }
            }
        }
    };
    match result {
        // The answer is not valid for the screen on which the customer gave it.
        Err(HttpError::Intake(IntakeError::ValidationFailed {
            screen,
            error: problem,
        })) => {
            exchange.log.outcome = "invalid_field";
            Ok(new_reply(error_screen(
                &screen,
                &flow.error_text(&screen, &problem),
            )))
        }
        Err(HttpError::Intake(error)) => exchange.unserviceable(text, error).await,
        other => other,
    }
}

impl DataExchange<'_, '_> {
    /// Returns the first screen, or the screen to which the customer goes back.
    async fn handle_screen_request(
        &mut self,
        shown: &ScreenRequest<'_>,
    ) -> Result<ExchangeReply, HttpError> {
        let draft = shown.draft_key();
        if self.is_resubmission_refused(draft).await? {
            return Ok(self.token_expired());
        }
        self.log.outcome = "shown";
        let saved = draft_answers(self.app, draft, &Customer::default())?;
        let has_draft = !saved.is_empty();
        // A customer who opens a form sees no earlier answers, because many people may have got the
        // same flow token.
        let answers = if shown.is_back() {
            saved
        } else {
            self.flow.shown_agents(&saved)
        };
        let screen = shown.resolve_screen(&answers);
        let response = render_screen(self.app, self.flow, &screen, &answers)?;
        self.record_shown_screen(shown, has_draft, &response)
            .await?;
        Ok(new_reply(response))
    }

    /// Records what the customer sees after a request without answers: the agents. If no agents are
    /// shown, records the screen, provided that the customer has a draft.
    pub(in crate::http) async fn record_shown_screen(
        &mut self,
        shown: &ScreenRequest<'_>,
        has_draft: bool,
        response: &Value,
    ) -> Result<(), HttpError> {
        let on = response
            .get("screen")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let agents = shown_agents(self.flow, response);
        match shown.draft(on, &agents, self.app.clock.now()) {
            Some((key, draft)) if !agents.is_empty() => {
                let change = SaveDraft {
                    key,
                    draft,
                    encrypted_request_key: Some(self.request),
                    reject_resubmission: self.rejects_resubmission(),
                };
                // The screen is shown even if the form was already submitted or the draft is full.
                execute(self.app, change, self.deadline, self.log)
                    .await
                    .map(|_: DraftOutcome| ())
            }
            Some((key, _)) if has_draft => {
                let change = RecordScreen {
                    key,
                    screen: on.into(),
                    encrypted_request_key: self.request,
                };
                execute(self.app, change, self.deadline, self.log).await
            }
            _ => Ok(()),
        }
    }

    /// Returns `true` if the form was already submitted and the flow refuses to open it again.
    pub(in crate::http) async fn is_resubmission_refused(
        &mut self,
        draft: Option<IdempotencyKey>,
    ) -> Result<bool, HttpError> {
        match (self.flow.resubmit, draft) {
            (ResubmitPolicy::Refuse, Some(key)) => Ok(self
                .find_submission_key(vec![key], &Customer::default())
                .await?
                .is_some()),
            _ => Ok(false),
        }
    }

    /// Saves the answers of a screen that is not the final one, or of a choice on any screen.
    /// Returns the next screen.
    async fn handle_draft(
        &mut self,
        sent: &ScreenSubmission<'_>,
    ) -> Result<ExchangeReply, HttpError> {
        let answers = merged_answers(self.app, sent)?;
        let next = sent.next_screen(&answers).to_owned();
        let shown = render_slot_choice(self.app, self.flow, &next, &answers, SlotRefused::Full)?;
        // Thousands of customers share a token like `unused`. The owner of these answers is
        // unknown, so they can't be stored. The form continues, and only the answers of its final
        // screen count.
        if sent.draft_key().is_none() {
            self.log.outcome = "shown";
            return Ok(new_reply(shown));
        }
        self.log.outcome = "draft";
        let outcome = self.save_draft(sent, &shown).await?;
        Ok(self
            .draft_rejected(sent, outcome)
            .await?
            .unwrap_or_else(|| new_reply(shown)))
    }

    /// Returns the response to a draft that was not saved. Returns `None` if the flow continues.
    pub(in crate::http) async fn draft_rejected(
        &mut self,
        sent: &ScreenSubmission<'_>,
        outcome: DraftOutcome,
    ) -> Result<Option<ExchangeReply>, HttpError> {
        match outcome {
            DraftOutcome::Saved => Ok(None),
            DraftOutcome::TokenShared => {
                plain::warn_shared_token(self.route);
                self.log.outcome = "shown";
                Ok(None)
            }
            DraftOutcome::AlreadySubmitted => {
                self.log.outcome = "duplicate";
                let key = self
                    .find_submission_key(sent.draft_key().into_iter().collect(), sent.customer())
                    .await?;
                self.already_submitted(sent, key).await.map(Some)
            }
            DraftOutcome::TooLarge => {
                self.log.outcome = HttpError::DraftTooLarge.code();
                Ok(Some(new_reply(error_screen(
                    sent.screen_name(),
                    self.flow.texts.text(TextKey::FormTooLarge),
                ))))
            }
            DraftOutcome::Replayed => self.replay().await.map(Some),
        }
    }

    /// Saves the answers of `sent` through the writer, with the agents and the screen that the
    /// customer sees next.
    pub(in crate::http) async fn save_draft(
        &mut self,
        sent: &ScreenSubmission<'_>,
        shown: &Value,
    ) -> Result<DraftOutcome, HttpError> {
        let on = shown
            .get("screen")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let (key, draft) = sent.draft(on, &shown_agents(self.flow, shown), self.app.clock.now())?;
        let change = SaveDraft {
            key,
            draft,
            encrypted_request_key: Some(self.request),
            reject_resubmission: self.rejects_resubmission(),
        };
        execute(self.app, change, self.deadline, self.log).await
    }

    /// Sends the completed form to the writer, which decides about the form. An upstream may supply
    /// its own completion for an accepted form.
    pub(in crate::http) async fn accept_submission(
        &mut self,
        sent: &ScreenSubmission<'_>,
        completion: Option<Value>,
    ) -> Result<ExchangeReply, HttpError> {
        let now = self.app.clock.now();
        let is_custom = completion.is_some();
        let build_form = |mut form: InboundSubmission, needs_reference: bool| {
            let keys = form.own_keys();
            let reference = keys.first().copied().filter(|_| needs_reference);
            let response = success_screen(completion.clone(), sent.token(), reference);
            form.encrypted_request_key = Some(self.request);
            form.custom_completion = is_custom.then(|| response.to_string().into());
            (form, keys, response)
        };
        let mut needs_reference = sent.has_no_token();
        let (form, mut keys, mut response) =
            build_form(sent.to_inbound(&self.app.catalog, now), needs_reference);
        let mut accepted = plain::accept_form(self.app, form, self.deadline, self.log).await?;
        if accepted == AcceptOutcome::TokenShared {
            plain::warn_shared_token(self.route);
            needs_reference = true;
            let form;
            (form, keys, response) = build_form(
                sent.to_inbound_without_token(&self.app.catalog, now),
                needs_reference,
            );
            accepted = plain::accept_form(self.app, form, self.deadline, self.log).await?;
        }
        match accepted {
            AcceptOutcome::New { .. } => Ok(new_reply(response)),
            AcceptOutcome::Duplicate { .. } => {
                let key = self.find_submission_key(keys, sent.customer()).await?;
                self.already_submitted_reply(sent, key, needs_reference)
                    .await
            }
            AcceptOutcome::SlotRefused {
                reason: why,
                date,
                time,
            } => {
                // Back to the screen of the slot choice, with the free slots (*Best Practices*).
                // The answers of this screen stay in the draft.
                let choice = self
                    .flow
                    .slot_screen()
                    .map_or(sent.screen_name(), |screen| &screen.name);
                let answers = merged_answers(self.app, sent)?;
                let mut shown = render_slot_choice(self.app, self.flow, choice, &answers, why)?;
                // A screen with declared data gets only data that its schema declares.
                if let Some(data) = shown.get_mut("data").and_then(Value::as_object_mut)
                    && data.is_empty()
                {
                    let free = nearest_free_slots(self.app, self.flow, (date, time))?;
                    data.insert("slots".to_owned(), response::slot_choices(&free).into());
                }
                let why = slot_error_text(self.flow, &shown, why);
                self.return_to_screen(sent, shown, why).await
            }
            AcceptOutcome::InvalidSlotFields { error: problem } => {
                if is_custom {
                    upstream_exchange::warn_invalid_completion(self.flow, &problem);
                }
                self.return_with_field_error(sent, &problem).await
            }
            AcceptOutcome::Replayed => self.replay().await,
            // A parsed form never has these results.
            AcceptOutcome::DeadLetter { .. } | AcceptOutcome::TokenShared => {
                Err(HttpError::CommitFailed)
            }
        }
    }

    /// Returns to a screen, which shows the error `why`. The answers so far are saved as a draft.
    async fn return_to_screen(
        &mut self,
        sent: &ScreenSubmission<'_>,
        shown: Value,
        why: &str,
    ) -> Result<ExchangeReply, HttpError> {
        if sent.draft_key().is_some() {
            let outcome = self.save_draft(sent, &shown).await?;
            if let Some(rejected) = self.draft_rejected(sent, outcome).await? {
                return Ok(rejected);
            }
        }
        Ok(new_reply(with_error(shown, why)))
    }

    /// Returns the submitted screen with an error on the invalid answer. A screen that does not ask
    /// for this answer is replaced by the slot choice screen, if that screen asks for the answer.
    async fn return_with_field_error(
        &mut self,
        sent: &ScreenSubmission<'_>,
        problem: &FieldError,
    ) -> Result<ExchangeReply, HttpError> {
        self.log.outcome = "invalid_field";
        let has_field = |screen: &Screen| {
            screen
                .fields
                .iter()
                .any(|field| field.name == problem.field)
        };
        let choice = self.flow.slot_screen().filter(|_| {
            !self
                .flow
                .find_screen(sent.screen_name())
                .is_some_and(has_field)
        });
        let shown = match choice.filter(|choice| has_field(choice)) {
            Some(choice) => render_screen(
                self.app,
                self.flow,
                &choice.name,
                &merged_answers(self.app, sent)?,
            )?,
            None => screen_json(sent.screen_name(), &json!({})),
        };
        let why = self.flow.error_text(sent.screen_name(), problem);
        self.return_to_screen(sent, shown, &why).await
    }

    /// Returns the completion of a form that was already submitted, known by its idempotency key.
    pub(in crate::http) async fn already_submitted(
        &mut self,
        sent: &ScreenSubmission<'_>,
        key: Option<IdempotencyKey>,
    ) -> Result<ExchangeReply, HttpError> {
        self.already_submitted_reply(sent, key, sent.has_no_token())
            .await
    }

    async fn already_submitted_reply(
        &mut self,
        sent: &ScreenSubmission<'_>,
        key: Option<IdempotencyKey>,
        needs_reference: bool,
    ) -> Result<ExchangeReply, HttpError> {
        if self.flow.resubmit == ResubmitPolicy::Refuse {
            return Ok(self.token_expired());
        }
        let custom = match key.filter(|_| self.flow.has_upstream) {
            Some(form) => {
                execute(
                    self.app,
                    GetCompletion { key: form },
                    self.deadline,
                    self.log,
                )
                .await?
            }
            None => None,
        };
        let custom = custom.and_then(|text| serde_json::from_str(&text).ok());
        Ok(new_reply(success_screen(
            custom,
            sent.token(),
            key.filter(|_| needs_reference),
        )))
    }

    fn rejects_resubmission(&self) -> bool {
        self.flow.resubmit == ResubmitPolicy::Refuse
    }

    pub(in crate::http) fn token_expired(&mut self) -> ExchangeReply {
        self.log.outcome = "token_used";
        self.close_flow(TextKey::AlreadySent)
    }

    /// Returns the response after which the client closes the form, shows the reason to the
    /// customer and disables the message.
    pub(in crate::http) fn close_flow(&self, why: TextKey) -> ExchangeReply {
        let status = StatusCode::from_u16(TOKEN_INVALID).unwrap_or(StatusCode::GONE);
        ExchangeReply::New(status, json!({"error_msg": self.flow.texts.text(why)}))
    }

    pub(in crate::http) async fn find_submission_key(
        &mut self,
        keys: Vec<IdempotencyKey>,
        customer: &Customer,
    ) -> Result<Option<IdempotencyKey>, HttpError> {
        let find = FindSubmissionKey {
            keys,
            customer: customer.clone(),
            reject_resubmission: self.rejects_resubmission(),
        };
        execute(self.app, find, self.deadline, self.log).await
    }

    /// Returns the stored response to the same request.
    pub(in crate::http) async fn replay(&mut self) -> Result<ExchangeReply, HttpError> {
        let cached = execute(
            self.app,
            GetResponse {
                encrypted_request_key: self.request,
            },
            self.deadline,
            self.log,
        )
        .await?;
        cached
            .map(ExchangeReply::Replayed)
            .ok_or(HttpError::DecryptionFailed)
    }
}

pub(in crate::http) const fn new_reply(response: Value) -> ExchangeReply {
    ExchangeReply::New(StatusCode::OK, response)
}
