//! A `POST` to an encrypted flow's path: signature → envelope → the same way as a plain form's → sealed answer.
//!
//! Statuses and bodies are those of *Error Codes* (Flows): 432 where the signature does not fit, 421 where nothing can be
//! decrypted, both with empty bodies; 400 for what is no envelope at all. Whatever could be opened is answered in its
//! envelope. A second press gets the stored success again: the client can't show `already_processed`.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::domain::flow::{Flow, Stage};
use crate::domain::ids::FlowToken;
use crate::domain::submission::IdempotencyKey;
use crate::intake::encryption::{Envelope, Opened};
use crate::intake::flow_endpoint::{Request, Sent, screen_named};
use crate::intake::{IntakeError, PrivateKey};
use crate::store::{Accepted, DraftKept, KeepDraft};

use super::complaints;
use super::flows::{self, store};
use super::respond::{self, Answer, Refusal};
use super::service::{App, Route};
use super::trace::Trace;

pub(super) async fn post(
    app: &App,
    route: &Route,
    keys: &Arc<[PrivateKey]>,
    headers: &HeaderMap,
    body: Incoming,
    trace: &mut Trace<'_>,
) -> Result<Answer, Refusal> {
    let flow = &route.flow;
    let limit = app.limits.flow_body;
    let (bytes, _share, deadline) =
        app.signed_body(flow.signature, headers, body, limit, trace).await.map_err(|refusal| match refusal {
            Refusal::Signature(_) => Refusal::EnvelopeSignature,
            other => other,
        })?;
    let envelope = Envelope::read(&bytes)?.map_err(|_| Refusal::CannotOpen)?;
    let fingerprint = envelope.fingerprint();
    if let Some(answer) = app.replays.get(&fingerprint) {
        trace.outcome = "replayed";
        return Ok(sealed(answer));
    }
    let began = app.clock.elapsed();
    let Opened { text, seal } = app.opener.open(envelope, Arc::clone(keys)).await?.map_err(|_| Refusal::CannotOpen)?;
    trace.decrypt = Some(app.clock.elapsed().saturating_sub(began));
    let answer = reply(app, route, text.as_bytes(), deadline, trace).await?.to_string();
    let closed = seal.close(&answer).map_err(|_| Refusal::CannotOpen)?;
    Ok(sealed(app.replays.first(fingerprint, closed.into())))
}

fn sealed(body: Bytes) -> Answer {
    respond::typed(StatusCode::OK, "text/plain", body)
}

/// What is to be sealed.
async fn reply(
    app: &App,
    route: &Route,
    text: &[u8],
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<Value, Refusal> {
    let flow = &*route.flow;
    let request = match Request::read(flow, text) {
        Ok(request) => request,
        // What was inside is no request at all: for its sender that is a failed decryption.
        Err(IntakeError::NotJson(_) | IntakeError::NotAnObject) => return Err(Refusal::CannotOpen),
        Err(error) => return refused(flow, text, error, trace),
    };
    match request {
        Request::Ping => {
            trace.outcome = "ping";
            Ok(json!({"data": {"status": "active"}}))
        }
        Request::Complaint(complaint) => {
            trace.outcome = "complaint";
            complaints::keep(app, complaint, deadline, trace).await;
            Ok(json!({"data": {"acknowledged": true}}))
        }
        Request::Show { screen, draft } => {
            trace.outcome = "shown";
            show(app, flow, &screen.unwrap_or_default(), &answers_so_far(app, draft)?)
        }
        Request::Sent(sent) => {
            if sent.lacks_token() {
                flows::warn_of_tokens(route);
            }
            let screen = sent.screen().to_owned();
            let answered = match sent.stage {
                Stage::Draft { next } => {
                    let next = next.map(|next| next.name.clone()).unwrap_or_default();
                    keep_draft(app, flow, sent, &next, deadline, trace).await
                }
                Stage::Final => accept(app, flow, sent, deadline, trace).await,
            };
            match answered {
                Err(Refusal::Intake(IntakeError::Field { field, why })) => {
                    trace.outcome = "invalid_field";
                    Ok(screen_with(&screen, &json!({"error_message": format!("{field}: {why}")})))
                }
                Err(refusal @ Refusal::DraftTooLarge) => {
                    trace.outcome = refusal.code();
                    Ok(screen_with(&screen, &json!({"error_message": refusal.to_string()})))
                }
                other => other,
            }
        }
    }
}

/// A field that does not fit brings its screen back; all else is no request of this flow.
fn refused(flow: &Flow, text: &[u8], error: IntakeError, trace: &mut Trace<'_>) -> Result<Value, Refusal> {
    match (screen_named(text).filter(|screen| flow.screen(screen).is_some()), error) {
        (Some(screen), IntakeError::Field { field, why }) => {
            trace.outcome = "invalid_field";
            Ok(screen_with(&screen, &json!({"error_message": format!("{field}: {why}")})))
        }
        (_, error) => Err(error.into()),
    }
}

async fn keep_draft(
    app: &App,
    flow: &Flow,
    sent: Sent<'_>,
    next: &str,
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<Value, Refusal> {
    let token = sent.token().cloned();
    // Thousands share a token like `unused`: nothing tells whose answers these are, so they can't be kept. The form goes
    // on, and its last screen counts.
    if sent.draft_key().is_none() {
        trace.outcome = "shown";
        return show(app, flow, next, sent.answers());
    }
    let (key, draft) = sent.into_draft(app.clock.now())?;
    trace.outcome = "draft";
    match store(app, KeepDraft { key, draft }, deadline, trace).await? {
        DraftKept::Kept => {
            let answers = answers_so_far(app, Some(key))?;
            show(app, flow, next, &answers)
        }
        DraftKept::AlreadySubmitted => {
            trace.outcome = "duplicate";
            Ok(success(token.as_ref()))
        }
        DraftKept::TooLarge => Err(Refusal::DraftTooLarge),
    }
}

async fn accept(
    app: &App,
    flow: &Flow,
    sent: Sent<'_>,
    deadline: Instant,
    trace: &mut Trace<'_>,
) -> Result<Value, Refusal> {
    let (token, screen) = (sent.token().cloned(), sent.screen().to_owned());
    let (draft, here) = (sent.draft_key(), sent.answers().clone());
    match flows::accept(app, sent, deadline, trace).await? {
        Accepted::New { .. } | Accepted::Duplicate { .. } => Ok(success(token.as_ref())),
        Accepted::SlotRefused { why, free } => {
            // Back to where the slot is chosen, with what is left (*Best Practices*).
            let choice = flow.screen_of_choice().map_or(&*screen, |screen| &*screen.name);
            let mut answers = answers_so_far(app, draft)?;
            answers.extend(here);
            let mut answer = show(app, flow, choice, &answers)?;
            if let Some(data) = answer.get_mut("data").and_then(Value::as_object_mut) {
                // A screen that says what it is given gets that, and nothing that its schema does not know.
                if data.is_empty() {
                    data.insert("slots".to_owned(), respond::slots(&free).into());
                }
                data.insert("error_message".to_owned(), json!(why.to_string()));
            }
            Ok(answer)
        }
        // A form that was read is never one of these.
        Accepted::DeadLetter { .. } => Err(Refusal::NotStored),
    }
}

/// The answers on the screens so far, as far as they are kept.
fn answers_so_far(app: &App, draft: Option<IdempotencyKey>) -> Result<Map<String, Value>, Refusal> {
    let Some(key) = draft else { return Ok(Map::new()) };
    let kept = app.store.read().and_then(|read| read.draft(key)).map_err(|_| Refusal::NotStored)?;
    Ok(kept.and_then(|draft| serde_json::from_str(&draft.data).ok()).unwrap_or_default())
}

/// A screen and the data that it is given.
fn show(app: &App, flow: &Flow, name: &str, answers: &Map<String, Value>) -> Result<Value, Refusal> {
    let Some(screen) = flow.screen(name).filter(|screen| !screen.data.is_empty()) else {
        return Ok(screen_with(name, &json!({})));
    };
    let (read, now) = (app.store.read().map_err(|_| Refusal::NotStored)?, app.clock.now());
    let mut data = Map::new();
    for (key, given) in &screen.data {
        let calendar = given.calendar().and_then(|name| app.catalog.calendars.get(name));
        let mut failed = false;
        let taken = |window| {
            let taken = calendar.map(|calendar| read.taken(calendar.name(), window));
            taken.unwrap_or_else(|| Ok(Vec::new())).unwrap_or_else(|_| {
                failed = true;
                Vec::new()
            })
        };
        let value = given.value(answers, calendar.map(AsRef::as_ref), now, taken);
        // A slot that can't be looked up is not one that is free.
        if failed {
            return Err(Refusal::NotStored);
        }
        data.insert(key.clone(), value);
    }
    Ok(screen_with(name, &Value::Object(data)))
}

fn screen_with(name: &str, data: &Value) -> Value {
    json!({"screen": name, "data": data})
}

/// The end of the flow. The token is required in it; what else it holds comes back by webhook, so it is kept small.
fn success(token: Option<&FlowToken>) -> Value {
    let token = token.map_or("unused", FlowToken::as_str);
    screen_with("SUCCESS", &json!({"extension_message_response": {"params": {"flow_token": token}}}))
}
