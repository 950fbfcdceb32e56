//! An encrypted flow whose screens a program of the owner's decides: it is asked, and its answer goes back sealed.
//!
//! Forms are still kept, deduplicated and carried on here: what the program ends with success is taken like any other. How
//! it is asked, and when it is left alone, is `upstream`'s.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::config::RESERVE;
use crate::domain::field::FieldProblem;
use crate::domain::flow::Flow;
use crate::domain::ids::Customer;
use crate::domain::texts::TextKey;
use crate::intake::flow_endpoint::{Sent, Show};

use super::exchange::{Exchange, Reply, fresh};
use super::respond::Refusal;
use super::screens::{SUCCESS, answers_so_far, answers_with, show, success, told};
use super::upstream::{Upstream, UpstreamError};

impl Exchange<'_, '_> {
    /// The screen that the program opens with or goes back to, or what it answers to an action that only it may know.
    pub(super) async fn show_from(
        &mut self,
        upstream: &Upstream,
        shown: &Show<'_>,
        text: &[u8],
    ) -> Result<Reply, Refusal> {
        if self.is_refused(shown.draft_key()).await? {
            return Ok(self.gone());
        }
        self.trace.outcome = "shown";
        // Whoever opens a form sees nothing of what was answered before: a sender may have given many people one token.
        let kept = answers_so_far(self.app, shown.draft_key(), &Customer::default())?;
        let has_draft = !kept.is_empty();
        let answers = if shown.is_back() { kept } else { self.flow.agents_among(&kept) };
        let Some(answer) = self.ask(upstream, text).await else {
            let answer = self.fall_back(upstream, &shown.screen(&answers), &answers)?;
            self.trace.outcome = "fallback";
            self.note_shown(shown, has_draft, &answer).await?;
            return Ok(fresh(answer));
        };
        let answer = Value::Object(answer);
        if answer.get("screen").and_then(Value::as_str) == Some(SUCCESS) {
            // A screen of nobody's, and no form: but also this end must name the token.
            return Ok(fresh(success(Some(answer), shown.token(), None)));
        }
        self.note_shown(shown, has_draft, &answer).await?;
        Ok(fresh(answer))
    }

    /// What the program makes of a screen that was sent. A form that was sent before is none of its business.
    pub(super) async fn answer_from(
        &mut self,
        upstream: &Upstream,
        sent: &Sent<'_>,
        text: &[u8],
    ) -> Result<Reply, Refusal> {
        if let Some(key) = sent.draft_key()
            && !sent.lacks_token()
            && let Some(key) = self.find(vec![key], sent.customer()).await?
        {
            self.trace.outcome = "duplicate";
            return self.used(sent, Some(key)).await;
        }
        let Some(answer) = self.ask(upstream, text).await else {
            let answers = answers_with(self.app, sent)?;
            let answer = self.fall_back(upstream, sent.screen(), &answers)?;
            if let Some(instead) = self.keep_answers(sent, &answer).await? {
                return Ok(instead);
            }
            self.trace.outcome = "fallback";
            return Ok(fresh(answer));
        };
        if answer.get("screen").and_then(Value::as_str) == Some(SUCCESS) {
            return self.accept(sent, Some(Value::Object(answer))).await;
        }
        let answer = Value::Object(answer);
        let instead = self.keep_answers(sent, &answer).await?;
        Ok(instead.unwrap_or_else(|| fresh(answer)))
    }

    /// Keeps what was answered, whatever the program says. Its user is `shown` this from now on; `Some`: that is not so, and
    /// they get this instead.
    async fn keep_answers(&mut self, sent: &Sent<'_>, shown: &Value) -> Result<Option<Reply>, Refusal> {
        // Nothing tells whose answers these are.
        if sent.draft_key().is_none() {
            self.trace.outcome = "shown";
            return Ok(None);
        }
        self.trace.outcome = "draft";
        let kept = self.keep(sent, shown).await?;
        self.unkept(sent, kept).await
    }

    /// The program's answer to the text of a request; `None` where it has none, which is told. The id is the same for the
    /// same bytes.
    async fn ask(&mut self, upstream: &Upstream, text: &[u8]) -> Option<Map<String, Value>> {
        let deadline = self.deadline.checked_sub(RESERVE.to_duration()).unwrap_or(self.deadline);
        match upstream.ask(Bytes::copy_from_slice(text), &self.request.to_string(), deadline).await {
            Ok(answer) => Some(answer),
            Err(UpstreamError::Open) => None,
            Err(error) => {
                tracing::warn!(flow = %self.flow.name, error = %error, "the program behind a flow has no answer");
                None
            }
        }
    }

    /// The screen that users see instead: the one they are on, unless the config names another.
    fn fall_back(&self, upstream: &Upstream, on: &str, answers: &Map<String, Value>) -> Result<Value, Refusal> {
        let fallback = upstream.fallback();
        // Where the request names no screen, its user sees the first one.
        let on = Some(on).filter(|on| !on.is_empty());
        let first = || self.flow.screens.first().map_or("", |screen| &screen.name);
        let screen = fallback.screen.as_deref().or(on).unwrap_or_else(first);
        let message = fallback.message.as_deref().unwrap_or_else(|| self.flow.texts.get(TextKey::TryAgain));
        Ok(told(show(self.app, self.flow, screen, answers)?, message))
    }
}

/// Says that a program has ended a form which can't be taken as it is: the screen that asks for what is missing comes back,
/// whatever the program says.
pub(super) fn warn_of_end(flow: &Flow, problem: &FieldProblem) {
    let (flow, field) = (&flow.name, &problem.field);
    tracing::warn!(%flow, field, "a flow's program has ended a form that can't be taken: it books, and this field names no slot");
}
