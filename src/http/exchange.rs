//! What an opened request of an encrypted flow is answered: the next screen, the same one with an error, the end.
//!
//! A second press gets the stored success again: the client can't show `already_processed`. A slot that is gone leads back
//! to where it is chosen. Envelopes are `encrypted`'s, what a screen shows is `screens`'.

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::domain::arrival::Form;
use crate::domain::calendar::SlotRefused;
use crate::domain::field::FieldProblem;
use crate::domain::flow::{Flow, Resubmit, Screen, Stage};
use crate::domain::ids::Customer;
use crate::domain::submission::IdempotencyKey;
use crate::domain::texts::TextKey;
use crate::intake::flow_endpoint::{Request, Sent, Show};
use crate::intake::{IntakeError, token_signature};
use crate::store::{Accepted, DraftKept, FindKey, KeepDraft, KeptAnswer, NoteScreen, RecallAnswer, RecallEnd};

use super::flows::{self, store};
use super::respond::{self, Refusal};
use super::screens::{
    agents, answers_so_far, answers_with, error_on, free_near, refused, screen_with, show, show_choice, success, told,
};
use super::service::{App, Route};
use super::trace::Trace;
use super::{complaints, program};

/// The token of a flow is no longer good (*Error Codes*, Flows): the client closes it and disables its message.
const TOKEN_GONE: u16 = 427;

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
    pub(super) route: &'a Route,
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
    let mut exchange = Exchange { app, flow, route, request, deadline, trace };
    let read = Request::read(flow, text);
    if matches!(read, Ok(Request::Show(_) | Request::Sent(_)))
        && let Err(why) = token_signature::verify(flow.token_rule(app.trust.has_app_secret), &app.trust.signers, text)
    {
        return exchange.distrust(text, why).await;
    }
    let answered = match read {
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
        // It does not even fit the screen that it was given on.
        Err(Refusal::Intake(IntakeError::Unfit { screen, problem })) => {
            exchange.trace.outcome = "invalid_field";
            Ok(fresh(error_on(&screen, &flow.told(&screen, &problem))))
        }
        Err(Refusal::Intake(error)) => exchange.misfit(text, error).await,
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
        let kept = answers_so_far(self.app, draft, &Customer::default())?;
        let has_draft = !kept.is_empty();
        // Whoever opens a form sees nothing of what was answered before: a sender may have given many people one token.
        let answers = if shown.is_back() { kept } else { self.flow.agents_among(&kept) };
        let screen = shown.screen(&answers);
        let answer = show(self.app, self.flow, &screen, &answers)?;
        self.note_shown(shown, has_draft, &answer).await?;
        Ok(fresh(answer))
    }

    /// Notes what those get to see who have answered nothing now: the agents, and the screen where there is a draft of theirs.
    pub(super) async fn note_shown(
        &mut self,
        shown: &Show<'_>,
        has_draft: bool,
        answer: &Value,
    ) -> Result<(), Refusal> {
        let on = answer.get("screen").and_then(Value::as_str).unwrap_or_default();
        let agents = agents(self.flow, answer);
        match shown.draft(on, &agents, self.app.clock.now()) {
            Some((key, draft)) if !agents.is_empty() => {
                let change = KeepDraft { key, draft, request: Some(self.request), for_good: self.for_good() };
                // A form that was sent before, or has no room for more, is shown all the same.
                store(self.app, change, self.deadline, self.trace).await.map(|_: DraftKept| ())
            }
            Some((key, _)) if has_draft => {
                let change = NoteScreen { key, screen: on.into(), request: self.request };
                store(self.app, change, self.deadline, self.trace).await
            }
            _ => Ok(()),
        }
    }

    /// Whether this form was sent before, and is not to be opened again.
    pub(super) async fn is_refused(&mut self, draft: Option<IdempotencyKey>) -> Result<bool, Refusal> {
        match (self.flow.resubmit, draft) {
            (Resubmit::Refuse, Some(key)) => Ok(self.find(vec![key], &Customer::default()).await?.is_some()),
            _ => Ok(false),
        }
    }

    /// Keeps the answers of a screen that is not the last, or of a choice on any, and shows what comes next.
    async fn keep_draft(&mut self, sent: &Sent<'_>) -> Result<Reply, Refusal> {
        let answers = answers_with(self.app, sent)?;
        let next = sent.next(&answers).to_owned();
        let shown = show_choice(self.app, self.flow, &next, &answers, SlotRefused::Full)?;
        // Thousands share a token like `unused`: nothing tells whose answers these are, so they can't be kept. The form goes
        // on, and its last screen counts.
        if sent.draft_key().is_none() {
            self.trace.outcome = "shown";
            return Ok(fresh(shown));
        }
        self.trace.outcome = "draft";
        let kept = self.keep(sent, &shown).await?;
        Ok(self.unkept(sent, kept).await?.unwrap_or_else(|| fresh(shown)))
    }

    /// What the user gets where their answers were not kept.
    pub(super) async fn unkept(&mut self, sent: &Sent<'_>, kept: DraftKept) -> Result<Option<Reply>, Refusal> {
        match kept {
            DraftKept::Kept => Ok(None),
            DraftKept::TokenShared => {
                flows::warn_of_sharing(self.route);
                self.trace.outcome = "shown";
                Ok(None)
            }
            DraftKept::AlreadySubmitted => {
                self.trace.outcome = "duplicate";
                let key = self.find(sent.draft_key().into_iter().collect(), sent.customer()).await?;
                self.used(sent, key).await.map(Some)
            }
            DraftKept::TooLarge => {
                self.trace.outcome = Refusal::DraftTooLarge.code();
                Ok(Some(fresh(error_on(sent.screen(), self.flow.texts.get(TextKey::FormTooLarge)))))
            }
            DraftKept::Replayed => self.recall().await.map(Some),
        }
    }

    /// Hands the answers of `sent` to the writer, with the agents whom its user is `shown` now, and the screen.
    pub(super) async fn keep(&mut self, sent: &Sent<'_>, shown: &Value) -> Result<DraftKept, Refusal> {
        let on = shown.get("screen").and_then(Value::as_str).unwrap_or_default();
        let (key, draft) = sent.draft(on, &agents(self.flow, shown), self.app.clock.now())?;
        let change = KeepDraft { key, draft, request: Some(self.request), for_good: self.for_good() };
        store(self.app, change, self.deadline, self.trace).await
    }

    /// Lets the writer decide on the completed form. `end`: the answer to one that is taken, where it is not the usual one.
    pub(super) async fn accept(&mut self, sent: &Sent<'_>, end: Option<Value>) -> Result<Reply, Refusal> {
        let now = self.app.clock.now();
        let is_own = end.is_some();
        let with_end = |mut form: Form, needs_reference: bool| {
            let keys = form.keys();
            let reference = keys.first().copied().filter(|_| needs_reference);
            let answer = success(end.clone(), sent.token(), reference);
            form.request = Some(self.request);
            form.end = is_own.then(|| answer.to_string().into());
            (form, keys, answer)
        };
        let mut needs_reference = sent.lacks_token();
        let (form, mut keys, mut answer) = with_end(sent.form(&self.app.catalog, now), needs_reference);
        let mut accepted = flows::accept(self.app, form, self.deadline, self.trace).await?;
        if accepted == Accepted::TokenShared {
            flows::warn_of_sharing(self.route);
            needs_reference = true;
            let form;
            (form, keys, answer) = with_end(sent.form_without_token(&self.app.catalog, now), needs_reference);
            accepted = flows::accept(self.app, form, self.deadline, self.trace).await?;
        }
        match accepted {
            Accepted::New { .. } => Ok(fresh(answer)),
            Accepted::Duplicate { .. } => {
                let key = self.find(keys, sent.customer()).await?;
                self.used_with(sent, key, needs_reference).await
            }
            Accepted::SlotRefused { why, date, time } => {
                // Back to where the slot is chosen, with what is left (*Best Practices*). What was answered here stays.
                let choice = self.flow.screen_of_choice().map_or(sent.screen(), |screen| &screen.name);
                let answers = answers_with(self.app, sent)?;
                let mut shown = show_choice(self.app, self.flow, choice, &answers, why)?;
                // A screen that says what it is given gets that, and nothing that its schema does not know.
                if let Some(data) = shown.get_mut("data").and_then(Value::as_object_mut)
                    && data.is_empty()
                {
                    let free = free_near(self.app, self.flow, (date, time))?;
                    data.insert("slots".to_owned(), respond::slots(&free).into());
                }
                let why = refused(self.flow, &shown, why);
                self.lead_back(sent, shown, why).await
            }
            Accepted::Unfit { problem } => {
                if is_own {
                    program::warn_of_end(self.flow, &problem);
                }
                self.unfit(sent, &problem).await
            }
            Accepted::Replayed => self.recall().await,
            // A form that was read is never one of these.
            Accepted::DeadLetter { .. } | Accepted::TokenShared => Err(Refusal::NotStored),
        }
    }

    /// Back to a screen, which tells `why`. What was answered meanwhile stays.
    async fn lead_back(&mut self, sent: &Sent<'_>, shown: Value, why: &str) -> Result<Reply, Refusal> {
        if sent.draft_key().is_some() {
            let kept = self.keep(sent, &shown).await?;
            if let Some(instead) = self.unkept(sent, kept).await? {
                return Ok(instead);
            }
        }
        Ok(fresh(told(shown, why)))
    }

    /// An answer of `sent` that does not fit brings its screen back or, where it is not asked for there, the one that asks
    /// for it.
    async fn unfit(&mut self, sent: &Sent<'_>, problem: &FieldProblem) -> Result<Reply, Refusal> {
        self.trace.outcome = "invalid_field";
        let asks = |screen: &Screen| screen.fields.iter().any(|field| field.name == problem.field);
        let choice = self.flow.screen_of_choice().filter(|_| !self.flow.screen(sent.screen()).is_some_and(asks));
        let shown = match choice.filter(|choice| asks(choice)) {
            Some(choice) => show(self.app, self.flow, &choice.name, &answers_with(self.app, sent)?)?,
            None => screen_with(sent.screen(), &json!({})),
        };
        let why = self.flow.told(sent.screen(), problem);
        self.lead_back(sent, shown, &why).await
    }

    /// The end of a form that was sent before, and is known as `key`.
    pub(super) async fn used(&mut self, sent: &Sent<'_>, key: Option<IdempotencyKey>) -> Result<Reply, Refusal> {
        self.used_with(sent, key, sent.lacks_token()).await
    }

    async fn used_with(
        &mut self,
        sent: &Sent<'_>,
        key: Option<IdempotencyKey>,
        needs_reference: bool,
    ) -> Result<Reply, Refusal> {
        if self.flow.resubmit == Resubmit::Refuse {
            return Ok(self.gone());
        }
        let own = match key.filter(|_| self.flow.has_program) {
            Some(form) => store(self.app, RecallEnd { form }, self.deadline, self.trace).await?,
            None => None,
        };
        let own = own.and_then(|text| serde_json::from_str(&text).ok());
        Ok(fresh(success(own, sent.token(), key.filter(|_| needs_reference))))
    }

    fn for_good(&self) -> bool {
        self.flow.resubmit == Resubmit::Refuse
    }

    pub(super) fn gone(&mut self) -> Reply {
        self.trace.outcome = "token_used";
        self.closed(TextKey::AlreadySent)
    }

    /// The client closes the form, tells its user why, and disables its message.
    pub(super) fn closed(&self, why: TextKey) -> Reply {
        let status = StatusCode::from_u16(TOKEN_GONE).unwrap_or(StatusCode::GONE);
        Reply::Fresh(status, json!({"error_msg": self.flow.texts.get(why)}))
    }

    pub(super) async fn find(
        &mut self,
        keys: Vec<IdempotencyKey>,
        customer: &Customer,
    ) -> Result<Option<IdempotencyKey>, Refusal> {
        let find = FindKey { keys, customer: customer.clone(), for_good: self.for_good() };
        store(self.app, find, self.deadline, self.trace).await
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
