//! An encrypted flow whose screens a program of the owner's decides: it is asked, and its answer goes back sealed.
//!
//! Forms are still kept, deduplicated and carried on here: what the program ends with success is taken like any other. How
//! it is asked, and when it is left alone, is `upstream`'s.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::config::RESERVE;
use crate::domain::texts::TextKey;
use crate::intake::IntakeError;
use crate::intake::flow_endpoint::{Sent, Show};

use super::exchange::{Exchange, Reply, SUCCESS, fresh, success};
use super::respond::Refusal;
use super::screens::{answers_so_far, answers_with, show, told};
use super::upstream::{Upstream, UpstreamError};

impl Exchange<'_, '_> {
    /// The screen that the program opens with, or goes back to.
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
        let kept = answers_so_far(self.app, shown.draft_key())?;
        let has_draft = !kept.is_empty();
        let answers = if shown.is_back { kept } else { Map::new() };
        let Some(answer) = self.ask(upstream, text).await else {
            return self.fall_back(upstream, &shown.screen(&answers), &answers);
        };
        let screen = answer.get("screen").and_then(Value::as_str).unwrap_or_default();
        if screen == SUCCESS {
            // A screen of nobody's, and no form: but also this end must name the token.
            return Ok(fresh(success(Some(Value::Object(answer)), shown.token(), None)));
        }
        self.note(shown.draft_key().filter(|_| has_draft), screen).await?;
        Ok(fresh(Value::Object(answer)))
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
            && self.find(vec![key]).await?.is_some()
        {
            self.trace.outcome = "duplicate";
            return self.used(sent, Some(key)).await;
        }
        let Some(answer) = self.ask(upstream, text).await else {
            let on = upstream.fallback().screen.as_deref().unwrap_or(sent.screen());
            if let Some(instead) = self.keep_answers(sent, on).await? {
                return Ok(instead);
            }
            let answers = answers_with(self.app, sent)?;
            return self.fall_back(upstream, sent.screen(), &answers);
        };
        let next = answer.get("screen").and_then(Value::as_str).unwrap_or_default().to_owned();
        if next == SUCCESS {
            return self.end(sent, answer).await;
        }
        match self.keep_answers(sent, &next).await? {
            Some(instead) => Ok(instead),
            None => Ok(fresh(Value::Object(answer))),
        }
    }

    /// Takes the form that the program ends. One that can't be taken as it is brings a screen back, whatever the program
    /// says; what was answered on it is kept.
    async fn end(&mut self, sent: &Sent<'_>, answer: Map<String, Value>) -> Result<Reply, Refusal> {
        let ended = self.accept(sent, Some(Value::Object(answer))).await;
        if let Err(Refusal::Intake(IntakeError::Unfit { screen, problem })) = &ended {
            let (flow, field) = (&self.flow.name, &problem.field);
            tracing::warn!(%flow, field, "a flow's program has ended a form that can't be taken: it books, and this field names no slot");
            if let Some(instead) = self.keep_answers(sent, sent.screen()).await? {
                return Ok(instead);
            }
            let answers = answers_with(self.app, sent)?;
            return self.unfit(screen, problem, &answers);
        }
        ended
    }

    /// Keeps what was answered, whatever the program says. Its user is on `on` from now on; `Some`: that is not so, and
    /// they get this instead.
    async fn keep_answers(&mut self, sent: &Sent<'_>, on: &str) -> Result<Option<Reply>, Refusal> {
        // Nothing tells whose answers these are.
        if sent.draft_key().is_none() {
            self.trace.outcome = "shown";
            return Ok(None);
        }
        self.trace.outcome = "draft";
        let kept = self.keep(sent, on, &Map::new()).await?;
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
    fn fall_back(&mut self, upstream: &Upstream, on: &str, answers: &Map<String, Value>) -> Result<Reply, Refusal> {
        self.trace.outcome = "fallback";
        let fallback = upstream.fallback();
        let screen = fallback.screen.as_deref().unwrap_or(on);
        let message = fallback.message.as_deref().unwrap_or_else(|| self.flow.texts.get(TextKey::TryAgain));
        Ok(fresh(told(show(self.app, self.flow, screen, answers)?, message)))
    }
}
