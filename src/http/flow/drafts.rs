//! Saves the answers of a form that is not complete, and what the customer sees next.

use serde_json::{Map, Value};

use super::exchange::{DataExchange, ExchangeReply};
use super::screens::{
    draft_answers, error_screen, merged_answers, render_screen, render_slot_choice, shown_agents,
    shown_screen_name, with_error,
};
use crate::domain::booking::calendar::SlotRefused;
use crate::domain::flow::customer_texts::TextKey;
use crate::domain::ids::Customer;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::Draft;
use crate::http::response::HttpError;
use crate::intake::flow_endpoint::{ScreenRequest, ScreenSubmission};
use crate::store::{DraftOutcome, RecordScreen, SaveDraft};

impl DataExchange<'_, '_> {
    /// Returns the first screen, or the screen to which the customer goes back.
    pub(super) async fn handle_screen_request(
        &mut self,
        shown: &ScreenRequest<'_>,
    ) -> Result<ExchangeReply, HttpError> {
        if self.is_resubmission_refused(shown.draft_key()).await? {
            return Ok(self.token_expired());
        }
        self.context.log.outcome = "shown";
        let (answers, has_draft) = self.shown_answers(shown)?;
        let screen = shown.resolve_screen(&answers);
        let response = render_screen(self.app, self.flow, &screen, &answers)?;
        self.record_shown_screen(shown, has_draft, &response)
            .await?;
        Ok(ExchangeReply::new(response))
    }

    /// Returns the answers that a screen without a submission may show, and `true` if the customer
    /// has a draft.
    pub(super) fn shown_answers(
        &self,
        shown: &ScreenRequest<'_>,
    ) -> Result<(Map<String, Value>, bool), HttpError> {
        let saved = draft_answers(self.app, shown.draft_key(), &Customer::default())?;
        let has_draft = !saved.is_empty();
        // A customer who opens a form sees no earlier answers, because many people may have got the
        // same flow token.
        let answers = if shown.is_back() {
            saved
        } else {
            self.flow.shown_agents(&saved)
        };
        Ok((answers, has_draft))
    }

    /// Records what the customer sees after a request without answers: the agents. If no agents are
    /// shown, records the screen, provided that the customer has a draft.
    pub(super) async fn record_shown_screen(
        &mut self,
        shown: &ScreenRequest<'_>,
        has_draft: bool,
        response: &Value,
    ) -> Result<(), HttpError> {
        let on = shown_screen_name(response);
        let agents = shown_agents(self.flow, response);
        match shown.draft(on, &agents, self.app.clock.now()) {
            Some((key, draft)) if !agents.is_empty() => {
                // The screen is shown even if the form was already submitted or the draft is full.
                self.execute_save(key, draft).await.map(|_| ())
            }
            Some((key, _)) if has_draft => {
                let change = RecordScreen {
                    key,
                    screen: on.into(),
                    encrypted_request_key: self.request_key,
                };
                self.context.execute(change).await
            }
            _ => Ok(()),
        }
    }

    /// Saves the answers of a screen that is not the final one, or of a choice on any screen.
    /// Returns the next screen.
    pub(super) async fn handle_draft(
        &mut self,
        sent: &ScreenSubmission<'_>,
    ) -> Result<ExchangeReply, HttpError> {
        let answers = merged_answers(self.app, sent)?;
        let next = sent.next_screen(&answers).to_owned();
        let shown = render_slot_choice(self.app, self.flow, &next, &answers, SlotRefused::Full)?;
        let rejected = self.save_answers(sent, &shown).await?;
        Ok(rejected.unwrap_or_else(|| ExchangeReply::new(shown)))
    }

    /// Saves the answers of `sent`, and the screen that the customer sees next. Returns a
    /// replacement response if the answers were not saved and the flow can't continue.
    pub(super) async fn save_answers(
        &mut self,
        sent: &ScreenSubmission<'_>,
        shown: &Value,
    ) -> Result<Option<ExchangeReply>, HttpError> {
        // Thousands of customers share a token like `unused`. The owner of these answers is
        // unknown, so they can't be stored. The form continues, and only the answers of its final
        // screen count.
        if sent.draft_key().is_none() {
            self.context.log.outcome = "shown";
            return Ok(None);
        }
        self.context.log.outcome = "draft";
        self.save_draft(sent, shown).await
    }

    /// Returns to a screen, which shows the error `why`. The answers so far are saved as a draft.
    pub(super) async fn return_to_screen(
        &mut self,
        sent: &ScreenSubmission<'_>,
        shown: Value,
        why: &str,
    ) -> Result<ExchangeReply, HttpError> {
        if sent.draft_key().is_some()
            && let Some(rejected) = self.save_draft(sent, &shown).await?
        {
            return Ok(rejected);
        }
        Ok(ExchangeReply::new(with_error(shown, why)))
    }

    /// Saves the answers of `sent` through the writer, with the agents and the screen that the
    /// customer sees next. Returns the response to a draft that was not saved, or `None` if the
    /// flow continues.
    async fn save_draft(
        &mut self,
        sent: &ScreenSubmission<'_>,
        shown: &Value,
    ) -> Result<Option<ExchangeReply>, HttpError> {
        let (on, agents) = (shown_screen_name(shown), shown_agents(self.flow, shown));
        let (key, draft) = sent.draft(on, &agents, self.app.clock.now())?;
        match self.execute_save(key, draft).await? {
            DraftOutcome::Saved => Ok(None),
            DraftOutcome::TokenShared => {
                self.route.warnings.warn_shared_token(&self.flow.name);
                self.context.log.outcome = "shown";
                Ok(None)
            }
            DraftOutcome::AlreadySubmitted => {
                self.context.log.outcome = "duplicate";
                let keys = sent.draft_key().into_iter().collect();
                let key = self.find_submission_key(keys, sent.customer()).await?;
                self.already_submitted(sent, key, sent.has_no_token())
                    .await
                    .map(Some)
            }
            DraftOutcome::TooLarge => {
                self.context.log.outcome = HttpError::DraftTooLarge.code();
                let text = self.flow.texts.text(TextKey::FormTooLarge);
                let screen = error_screen(sent.screen_name(), text);
                Ok(Some(ExchangeReply::new(screen)))
            }
            DraftOutcome::Replayed => self.replay().await.map(Some),
        }
    }

    async fn execute_save(
        &mut self,
        key: IdempotencyKey,
        draft: Draft,
    ) -> Result<DraftOutcome, HttpError> {
        let change = SaveDraft {
            key,
            draft,
            encrypted_request_key: Some(self.request_key),
            reject_resubmission: self.rejects_resubmission(),
        };
        self.context.execute(change).await
    }
}
