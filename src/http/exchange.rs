//! What an opened request of an encrypted flow is answered: the next screen, the same one with an error, the end.
//!
//! A second press gets the stored success again: the client can't show `already_processed`. A slot that is gone leads back
//! to where it is chosen. Envelopes are `encrypted`'s, what a screen shows is `screens`'.

use hyper::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::domain::calendar::SlotRefused;
use crate::domain::field::FieldProblem;
use crate::domain::flow::{Flow, Resubmit, Stage};
use crate::domain::ids::FlowToken;
use crate::domain::submission::IdempotencyKey;
use crate::domain::texts::TextKey;
use crate::intake::IntakeError;
use crate::intake::flow_endpoint::{Request, Sent, Show};
use crate::store::{Accepted, DraftKept, FindKey, KeepDraft, KeptAnswer, NoteScreen, RecallAnswer, RecallEnd};

use super::complaints;
use super::flows::{self, store};
use super::respond::{self, Refusal};
use super::screens::{agents, answers_so_far, answers_with, error_on, screen_with, show, show_choice, told};
use super::service::{App, Route};
use super::trace::Trace;

/// The token of a flow is no longer good (*Error Codes*, Flows): the client closes it and disables its message.
const TOKEN_GONE: u16 = 427;

/// The screen that ends a flow, reserved by the client.
pub(super) const SUCCESS: &str = "SUCCESS";

/// What its parameters must have.
const TOKEN: &str = "flow_token";

/// What is to be sealed, or was.
pub(super) enum Reply {
    /// What the same bytes are answered whatever happened before, and whatever flow they are sent to.
    Constant(Value),
    /// An answer to this request alone.
    Fresh(StatusCode, Value),
    /// What the same request was answered before.
    Again(KeptAnswer),
}

/// One request, and all that answering it needs.
pub(super) struct Exchange<'a, 't> {
    pub(super) app: &'a App,
    pub(super) flow: &'a Flow,
    pub(super) request: IdempotencyKey,
    pub(super) deadline: Instant,
    pub(super) trace: &'a mut Trace<'t>,
}

/// The answer to the text that stood in `request`.
pub(super) async fn reply(
    app: &App,
    route: &Route,
    text: &[u8],
    request: IdempotencyKey,
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<Reply, Refusal> {
    let flow = &*route.flow;
    let mut exchange = Exchange { app, flow, request, deadline, trace };
    let answered = match Request::read(flow, text) {
        // What was inside is no request at all: for its sender that is a failed decryption.
        Err(IntakeError::NotJson(_) | IntakeError::NotAnObject) => return Err(Refusal::CannotOpen),
        Err(error) => Err(error.into()),
        Ok(Request::Ping) => {
            exchange.trace.outcome = "ping";
            return Ok(Reply::Constant(json!({"data": {"status": "active"}})));
        }
        Ok(Request::Complaint(complaint)) => {
            exchange.trace.outcome = "complaint";
            complaints::keep(app, complaint, request, deadline, exchange.trace).await;
            Ok(fresh(json!({"data": {"acknowledged": true}})))
        }
        Ok(Request::Show(shown)) => match &route.upstream {
            Some(upstream) => exchange.show_from(upstream, &shown, text).await,
            None => exchange.show(&shown).await,
        },
        Ok(Request::Sent(sent)) => {
            if sent.lacks_token() {
                flows::warn_of_tokens(route);
            }
            match (&route.upstream, sent.stage) {
                (Some(upstream), _) => exchange.answer_from(upstream, &sent, text).await,
                (None, Stage::Final) => exchange.accept(&sent, None).await,
                (None, Stage::Draft | Stage::Choice) => exchange.keep_draft(&sent).await,
            }
        }
    };
    match answered {
        Err(Refusal::Intake(IntakeError::Unfit { screen, problem })) => exchange.unfit(&screen, &problem, &Map::new()),
        other => other,
    }
}

impl Exchange<'_, '_> {
    /// The screen to open with, or the one to go back to.
    async fn show(&mut self, shown: &Show<'_>) -> Result<Reply, Refusal> {
        let draft = shown.draft_key();
        if self.is_refused(draft).await? {
            return Ok(self.gone());
        }
        self.trace.outcome = "shown";
        let kept = answers_so_far(self.app, draft)?;
        let has_draft = !kept.is_empty();
        // Whoever opens a form sees nothing of what was answered before: a sender may have given many people one token.
        let answers = if shown.is_back { kept } else { Map::new() };
        let screen = shown.screen(&answers);
        self.note(draft.filter(|_| has_draft), &screen).await?;
        Ok(fresh(show(self.app, self.flow, &screen, &answers)?))
    }

    /// Notes which screen the user of this draft is on.
    pub(super) async fn note(&mut self, draft: Option<IdempotencyKey>, screen: &str) -> Result<(), Refusal> {
        let Some(key) = draft else { return Ok(()) };
        let change = NoteScreen { key, screen: screen.into(), request: self.request };
        store(self.app, change, self.deadline, self.trace).await
    }

    /// Whether this form was sent before, and is not to be opened again.
    pub(super) async fn is_refused(&mut self, draft: Option<IdempotencyKey>) -> Result<bool, Refusal> {
        match (self.flow.resubmit, draft) {
            (Resubmit::Refuse, Some(key)) => Ok(self.find(vec![key]).await?.is_some()),
            _ => Ok(false),
        }
    }

    /// Keeps the answers of a screen that is not the last, or of a choice on any, and shows what comes next.
    async fn keep_draft(&mut self, sent: &Sent<'_>) -> Result<Reply, Refusal> {
        let mut answers = answers_with(self.app, sent)?;
        let next = sent.next(&answers).to_owned();
        // Thousands share a token like `unused`: nothing tells whose answers these are, so they can't be kept. The form goes
        // on, and its last screen counts.
        if sent.draft_key().is_none() {
            self.trace.outcome = "shown";
            return Ok(fresh(show_choice(self.app, self.flow, &next, &answers, SlotRefused::Full)?.1));
        }
        let agents = agents(self.app, self.flow, &next, &answers)?;
        answers.extend(agents.clone());
        let (on, shown) = show_choice(self.app, self.flow, &next, &answers, SlotRefused::Full)?;
        self.trace.outcome = "draft";
        let kept = self.keep(sent, &on, &agents).await?;
        Ok(self.unkept(sent, kept).await?.unwrap_or_else(|| fresh(shown)))
    }

    /// What the user gets where their answers were not kept.
    pub(super) async fn unkept(&mut self, sent: &Sent<'_>, kept: DraftKept) -> Result<Option<Reply>, Refusal> {
        match kept {
            DraftKept::Kept => Ok(None),
            DraftKept::AlreadySubmitted => {
                self.trace.outcome = "duplicate";
                self.used(sent, sent.draft_key()).await.map(Some)
            }
            DraftKept::TooLarge => {
                self.trace.outcome = Refusal::DraftTooLarge.code();
                Ok(Some(fresh(error_on(sent.screen(), self.flow.texts.get(TextKey::FormTooLarge)))))
            }
            DraftKept::Replayed => self.recall().await.map(Some),
        }
    }

    /// Hands the answers of `sent` to the writer, with `more` beside them.
    pub(super) async fn keep(
        &mut self,
        sent: &Sent<'_>,
        on: &str,
        more: &Map<String, Value>,
    ) -> Result<DraftKept, Refusal> {
        let (key, draft) = sent.draft(on, more, self.app.clock.now())?;
        let change = KeepDraft { key, draft, request: Some(self.request) };
        store(self.app, change, self.deadline, self.trace).await
    }

    /// Lets the writer decide on the completed form. `end`: the answer to one that is taken, where it is not the usual one.
    pub(super) async fn accept(&mut self, sent: &Sent<'_>, end: Option<Value>) -> Result<Reply, Refusal> {
        let mut form = match flows::form_of(self.app, sent, self.deadline, self.trace).await {
            // What a program ends is looked at by whoever asked it.
            Err(Refusal::Intake(IntakeError::Unfit { screen, problem })) if end.is_none() => {
                let answers = answers_with(self.app, sent)?;
                return self.unfit(&screen, &problem, &answers);
            }
            other => other?,
        };
        form.request = Some(self.request);
        let keys = form.keys();
        let is_own = end.is_some();
        let answer = success(end, sent.token(), keys.first().copied().filter(|_| sent.lacks_token()));
        form.end = is_own.then(|| answer.to_string().into());
        match flows::accept(self.app, form, self.deadline, self.trace).await? {
            Accepted::New { .. } => Ok(fresh(answer)),
            Accepted::Duplicate { .. } => {
                let key = if sent.lacks_token() { self.find(keys).await? } else { keys.first().copied() };
                self.used(sent, key).await
            }
            Accepted::SlotRefused { why, free } => {
                // Back to where the slot is chosen, with what is left (*Best Practices*). What was answered here stays.
                let choice = self.flow.screen_of_choice().map_or(sent.screen(), |screen| &screen.name);
                let answers = answers_with(self.app, sent)?;
                let (on, mut shown) = show_choice(self.app, self.flow, choice, &answers, why)?;
                // A screen that says what it is given gets that, and nothing that its schema does not know.
                if let Some(data) = shown.get_mut("data").and_then(Value::as_object_mut)
                    && data.is_empty()
                {
                    data.insert("slots".to_owned(), respond::slots(&free).into());
                }
                if sent.draft_key().is_some() {
                    let kept = self.keep(sent, &on, &Map::new()).await?;
                    if let Some(instead) = self.unkept(sent, kept).await? {
                        return Ok(instead);
                    }
                }
                Ok(fresh(told(shown, self.flow.texts.slot(why))))
            }
            Accepted::Replayed => self.recall().await,
            // A form that was read is never one of these.
            Accepted::DeadLetter { .. } => Err(Refusal::NotStored),
        }
    }

    /// An answer that does not fit brings its screen back or, where it is not asked for there, the one that asks for it.
    pub(super) fn unfit(
        &mut self,
        screen: &str,
        problem: &FieldProblem,
        answers: &Map<String, Value>,
    ) -> Result<Reply, Refusal> {
        self.trace.outcome = "invalid_field";
        let asks = |name: &str| {
            self.flow.screen(name).is_some_and(|screen| screen.fields.iter().any(|field| field.name == problem.field))
        };
        let choice = self.flow.screen_of_choice().filter(|_| !asks(screen));
        let back = choice.filter(|choice| asks(&choice.name)).map_or(screen, |choice| &choice.name);
        let text = self.flow.told(screen, problem);
        if back == screen {
            return Ok(fresh(error_on(screen, &text)));
        }
        Ok(fresh(told(show(self.app, self.flow, back, answers)?, &text)))
    }

    /// The end of a form that was sent before, and is known as `key`.
    pub(super) async fn used(&mut self, sent: &Sent<'_>, key: Option<IdempotencyKey>) -> Result<Reply, Refusal> {
        if self.flow.resubmit == Resubmit::Refuse {
            return Ok(self.gone());
        }
        let own = match key.filter(|_| self.flow.has_program) {
            Some(form) => store(self.app, RecallEnd { form }, self.deadline, self.trace).await?,
            None => None,
        };
        let own = own.and_then(|text| serde_json::from_str(&text).ok());
        Ok(fresh(success(own, sent.token(), key.filter(|_| sent.lacks_token()))))
    }

    pub(super) fn gone(&mut self) -> Reply {
        self.trace.outcome = "token_used";
        let status = StatusCode::from_u16(TOKEN_GONE).unwrap_or(StatusCode::GONE);
        Reply::Fresh(status, json!({"error_msg": self.flow.texts.get(TextKey::AlreadySent)}))
    }

    pub(super) async fn find(&mut self, keys: Vec<IdempotencyKey>) -> Result<Option<IdempotencyKey>, Refusal> {
        store(self.app, FindKey { keys }, self.deadline, self.trace).await
    }

    /// What this very request was answered before.
    pub(super) async fn recall(&mut self) -> Result<Reply, Refusal> {
        let kept = store(self.app, RecallAnswer { request: self.request }, self.deadline, self.trace).await?;
        kept.map(Reply::Again).ok_or(Refusal::CannotOpen)
    }
}

pub(super) const fn fresh(answer: Value) -> Reply {
    Reply::Fresh(StatusCode::OK, answer)
}

/// The end of the flow: `own`, or the usual one. The token is required in it; what else it holds comes back by webhook, so
/// it is kept small: a reference to the form, known as `reference`, where the token is none.
pub(super) fn success(own: Option<Value>, token: Option<&FlowToken>, reference: Option<IdempotencyKey>) -> Value {
    let mut answer = own.unwrap_or_else(|| screen_with(SUCCESS, &json!({})));
    let mut inner = Some(&mut answer);
    for name in ["data", "extension_message_response", "params"] {
        inner = inner.and_then(Value::as_object_mut).map(|object| {
            let within = object.entry(name).or_insert_with(|| json!({}));
            if !within.is_object() {
                *within = json!({});
            }
            within
        });
    }
    if let Some(params) = inner.and_then(Value::as_object_mut) {
        params.insert(TOKEN.to_owned(), json!(token.map_or("unused", FlowToken::as_str)));
        if let Some(key) = reference {
            params.insert(IdempotencyKey::REFERENCE.to_owned(), json!(key.to_string()));
        }
    }
    answer
}
