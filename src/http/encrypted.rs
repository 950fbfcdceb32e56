//! A `POST` to an encrypted flow's path: signature → envelope → what it is answered → sealed.
//!
//! Statuses and bodies are those of *Error Codes* (Flows): 432 where the signature does not fit, 421 where nothing can be
//! decrypted, both with empty bodies; 400 for what is no envelope at all. Whatever could be opened is answered in its
//! envelope, except text that is no JSON object, which counts as not decrypted, and what could not be carried out or kept
//! just now: 503. What the answer says is `exchange`'s.
//!
//! One key and IV must never seal two different texts. So an answer is kept before it goes out, and what goes out is what
//! the writer says: this one, or the one that these bytes had before, on whatever path. Where that is no longer there, 421
//! makes the client ask again with another key. Only what the same bytes always get, the answer to a ping, needs no memory.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;

use crate::domain::flow::SignatureRule;
use crate::intake::encryption::{Envelope, Opened};
use crate::intake::{BadSignature, PrivateKey};
use crate::store::{AnswerKept, KeepAnswer, KeptAnswer};

use super::exchange::{self, Reply};
use super::flows::store;
use super::respond::{self, Answer, Refusal};
use super::service::{App, Route};
use super::trace::{Trace, Watched};

pub(super) async fn post(
    app: &App,
    route: &Route,
    keys: &Arc<[PrivateKey]>,
    headers: &HeaderMap,
    body: Incoming,
    trace: &mut Trace<'_>,
) -> Result<Answer, Refusal> {
    let (flow, limit) = (&route.flow, app.limits.flow_body);
    let read = app.signed_body(flow.signature, headers, body, limit, trace).await;
    let (bytes, deadline) = read.map_err(|refusal| match refusal {
        Refusal::Signature(why) => {
            if why == BadSignature::Wrong {
                trace.watched = Watched::Doubtful(Arc::clone(flow));
            }
            Refusal::EnvelopeSignature
        }
        other => other,
    })?;
    if flow.signature == SignatureRule::Required {
        trace.watched = Watched::Metas(Arc::clone(flow));
    }
    let envelope = Envelope::read(&bytes)?.map_err(|_| Refusal::CannotOpen)?;
    let request = envelope.key();
    let began = app.clock.elapsed();
    let opened = app.opener.open(envelope, Arc::clone(keys), flow.signature).await?;
    // What can't be opened takes as long, and counts as well.
    trace.decrypt = Some(app.clock.elapsed().saturating_sub(began));
    if flow.signature == SignatureRule::None {
        let watched = if opened.is_ok() { Watched::Metas } else { Watched::Doubtful };
        trace.watched = watched(Arc::clone(flow));
    }
    let Opened { text, seal } = opened.map_err(|_| Refusal::CannotOpen)?;
    let Some(_turn) = app.turns.take(request, deadline).await else { return Err(Refusal::CopyUnderWay) };
    match exchange::reply(app, route, text.as_bytes(), request, deadline, trace).await? {
        Reply::Again(kept) => Ok(again(kept, trace)),
        Reply::Constant(answer) => {
            let closed = seal.close(&answer.to_string()).map_err(|_| Refusal::CannotOpen)?;
            Ok(sealed(StatusCode::OK, closed))
        }
        Reply::Fresh(status, answer) => {
            let closed = seal.close(&answer.to_string()).map_err(|_| Refusal::CannotOpen)?;
            let kept = KeptAnswer { status: status.as_u16(), body: closed.as_str().into() };
            match store(app, KeepAnswer { request, answer: kept }, deadline, trace).await? {
                AnswerKept::First => Ok(sealed(status, closed)),
                AnswerKept::Earlier(kept) => Ok(again(kept, trace)),
                AnswerKept::Gone => Err(Refusal::CannotOpen),
            }
        }
    }
}

fn again(kept: KeptAnswer, trace: &mut Trace<'_>) -> Answer {
    trace.outcome = "replayed";
    sealed(StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK), String::from(kept.body))
}

fn sealed(status: StatusCode, body: String) -> Answer {
    respond::typed(status, "text/plain", Bytes::from(body))
}
