//! An encrypted flow whose screens a program of the owner's decides: it is asked, and its answer goes back sealed.
//!
//! Forms are still kept, deduplicated and carried on here: what the program ends with success is taken like any other. How
//! it is asked, and when it is left alone, is `upstream`'s.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::domain::submission::IdempotencyKey;
use crate::domain::texts::TextKey;
use crate::intake::flow_endpoint::{Sent, Show};
use crate::store::DraftKept;

use super::exchange::{Exchange, Reply, SUCCESS, fresh};
use super::respond::Refusal;
use super::screens::{answers_so_far, show, told};
use super::upstream::{Upstream, UpstreamError};

/// What is left of a request's time for the writer and the seal.
const RESERVE: Duration = Duration::from_millis(500);

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
        let answers = answers_so_far(self.app, shown.draft_key())?;
        let Some(answer) = self.ask(upstream, text).await else {
            return self.fall_back(upstream, &shown.screen(&answers), &answers);
        };
        if let Some(screen) = answer.get("screen").and_then(Value::as_str) {
            self.note(shown.draft_key().filter(|_| !answers.is_empty()), screen).await?;
        }
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
        let answer = self.ask(upstream, text).await;
        let name = answer.as_ref().and_then(|answer| answer.get("screen")).and_then(Value::as_str);
        if name == Some(SUCCESS) {
            return self.accept(sent, answer.map(Value::Object)).await;
        }
        // Whatever the program says: what the user has answered is kept.
        let on = name.unwrap_or(sent.screen()).to_owned();
        if sent.draft_key().is_some() {
            self.trace.outcome = "draft";
            match self.keep(sent, &on, &Map::new()).await? {
                DraftKept::Kept => {}
                DraftKept::AlreadySubmitted => return self.used(sent, sent.draft_key()).await,
                DraftKept::TooLarge => return Err(Refusal::DraftTooLarge),
                DraftKept::Replayed => return self.recall().await,
            }
        }
        match answer {
            Some(answer) => Ok(fresh(Value::Object(answer))),
            None => self.fall_back(upstream, sent.screen(), sent.answers()),
        }
    }

    /// The program's answer to the text of a request; `None` where it has none, which is told.
    async fn ask(&mut self, upstream: &Upstream, text: &[u8]) -> Option<Map<String, Value>> {
        let request: Value = serde_json::from_slice(text).ok()?;
        let deadline = self.deadline.checked_sub(RESERVE).unwrap_or(self.deadline);
        match upstream.ask(&request, &self.id(), deadline).await {
            Ok(answer) => Some(answer),
            Err(UpstreamError::Open) => None,
            Err(error) => {
                tracing::warn!(flow = %self.flow.name, error = %error, "the program behind a flow has no answer");
                None
            }
        }
    }

    /// The same for the same bytes.
    fn id(&self) -> String {
        let key: IdempotencyKey = self.request;
        key.to_string()
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
