//! Sends a completed form to the writer, and returns the completion or the screen on which the
//! customer corrects an answer.

use jiff::civil::{Date, Time};
use serde_json::{Value, json};

use super::acceptance::accept_form;
use super::exchange::{DataExchange, ExchangeReply};
use super::screens::{
    merged_answers, nearest_free_slots, render_screen, render_slot_choice, screen_json,
    slot_error_text, success_screen,
};
use crate::domain::booking::calendar::SlotRefused;
use crate::domain::flow::Screen;
use crate::domain::flow::field::FieldError;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::InboundSubmission;
use crate::http::response::{self, HttpError};
use crate::intake::flow_endpoint::ScreenSubmission;
use crate::store::AcceptOutcome;

impl DataExchange<'_, '_> {
    /// Sends the completed form to the writer, which decides about the form. An upstream may supply
    /// its own completion for an accepted form.
    pub(super) async fn accept_submission(
        &mut self,
        sent: &ScreenSubmission<'_>,
        completion: Option<Value>,
    ) -> Result<ExchangeReply, HttpError> {
        let (app, now) = (self.app, self.app.clock.now());
        let mut needs_reference = sent.has_no_token();
        let form = sent.to_inbound(&app.config.catalog, now);
        let (mut accepted, mut keys, mut response) = self
            .submit_form(sent, form, completion.as_ref(), needs_reference)
            .await?;
        if accepted == AcceptOutcome::TokenShared {
            self.route.warnings.warn_shared_token(&self.flow.name);
            needs_reference = true;
            let form = sent.to_inbound_without_token(&app.config.catalog, now);
            (accepted, keys, response) = self
                .submit_form(sent, form, completion.as_ref(), needs_reference)
                .await?;
        }
        match accepted {
            AcceptOutcome::New { .. } => Ok(ExchangeReply::new(response)),
            AcceptOutcome::Duplicate { .. } => {
                let key = self.find_submission_key(keys, sent.customer()).await?;
                self.already_submitted(sent, key, needs_reference).await
            }
            AcceptOutcome::SlotRefused { reason, date, time } => {
                self.return_to_slot_choice(sent, reason, date, time).await
            }
            AcceptOutcome::InvalidSlotFields { error } => {
                if completion.is_some() {
                    let (flow, field) = (&self.flow.name, &error.field);
                    tracing::warn!(
                        %flow,
                        field,
                        "the upstream of a flow completed a form that can't be accepted: \
                         this field contains no valid slot"
                    );
                }
                self.return_with_field_error(sent, &error).await
            }
            AcceptOutcome::Replayed => self.replay().await,
            // A parsed form never has these results.
            AcceptOutcome::DeadLetter { .. } | AcceptOutcome::TokenShared => {
                Err(HttpError::CommitFailed)
            }
        }
    }

    /// Sends `form` to the writer. Also returns the keys of the form, and the completion that
    /// follows its acceptance.
    async fn submit_form(
        &mut self,
        sent: &ScreenSubmission<'_>,
        mut form: InboundSubmission,
        completion: Option<&Value>,
        needs_reference: bool,
    ) -> Result<(AcceptOutcome, Vec<IdempotencyKey>, Value), HttpError> {
        let keys = form.own_keys();
        let reference = keys.first().copied().filter(|_| needs_reference);
        let response = success_screen(completion.cloned(), sent.token(), reference);
        form.encrypted_request_key = Some(self.request_key);
        form.custom_completion = completion.map(|_| response.to_string().into());
        let accepted = accept_form(self.context, form).await?;
        Ok((accepted, keys, response))
    }

    /// Returns to the screen of the slot choice, with the free slots (*Best Practices*). The
    /// answers of this screen stay in the draft.
    async fn return_to_slot_choice(
        &mut self,
        sent: &ScreenSubmission<'_>,
        why: SlotRefused,
        date: Date,
        time: Time,
    ) -> Result<ExchangeReply, HttpError> {
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
            let free = nearest_free_slots(self.app, self.flow, date, time)?;
            data.insert("slots".to_owned(), response::slot_choices(&free).into());
        }
        let why = slot_error_text(self.flow, &shown, why);
        self.return_to_screen(sent, shown, why).await
    }

    /// Returns the submitted screen with an error on the invalid answer. A screen that does not ask
    /// for this answer is replaced by the slot choice screen, if that screen asks for the answer.
    async fn return_with_field_error(
        &mut self,
        sent: &ScreenSubmission<'_>,
        problem: &FieldError,
    ) -> Result<ExchangeReply, HttpError> {
        self.context.log.outcome = "invalid_field";
        let has_field = |screen: &Screen| {
            let mut fields = screen.fields.iter();
            fields.any(|field| field.name == problem.field)
        };
        let sent_screen = self.flow.find_screen(sent.screen_name());
        let choice = self
            .flow
            .slot_screen()
            .filter(|choice| !sent_screen.is_some_and(has_field) && has_field(choice));
        let shown = match choice {
            Some(choice) => {
                let answers = merged_answers(self.app, sent)?;
                render_screen(self.app, self.flow, &choice.name, &answers)?
            }
            None => screen_json(sent.screen_name(), &json!({})),
        };
        let why = self.flow.error_text(sent.screen_name(), problem);
        self.return_to_screen(sent, shown, &why).await
    }
}
