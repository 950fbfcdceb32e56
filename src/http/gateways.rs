//! `POST /gateways/NAME`: what an unofficial gateway's webhook brings. Answered once it is on disk; whether gateways send
//! again what was not taken is documented for none of them.

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;

use crate::intake::Door;
use crate::store::{Accepted, Hear};

use super::respond::{self, Answer, Refusal};
use super::service::App;
use super::trace::Trace;

pub(super) async fn post(
    app: &App,
    door: &Door,
    headers: &HeaderMap,
    body: Incoming,
    trace: &mut Trace<'_>,
) -> Result<Answer, Refusal> {
    let (bytes, deadline) = app.admitted_body(door, headers, body, trace).await?;
    let brought = door.read(&app.catalog, &bytes)?;
    let gateway = door.name();
    trace.outcome = if brought.is_foreign { "other_session" } else { "received" };
    if let Some(state) = brought.state {
        app.board.say_state(gateway, state);
    }
    if brought.is_alive {
        let hear = Hear { gateway: gateway.clone(), forms: brought.forms, others: brought.others };
        let heard = super::flows::store(app, hear, deadline, trace).await?;
        app.board.say_heard(gateway);
        count(gateway.as_str(), "message", heard.new);
        count(gateway.as_str(), "form", heard.forms.iter().filter(|form| is_new(form)).count());
        heard.forms.iter().for_each(|accepted| tell(accepted, trace));
    }
    Ok(respond::json_answer(StatusCode::OK, bytes::Bytes::from_static(b"{\"status\":\"received\"}")))
}

const fn is_new(accepted: &Accepted) -> bool {
    matches!(accepted, Accepted::New { .. })
}

fn count(gateway: &str, kind: &'static str, count: usize) {
    if count > 0 {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        metrics::counter!("flowgate_gateway_messages_total", "gateway" => gateway.to_owned(), "kind" => kind)
            .increment(count);
    }
}

/// Ties a text that is a form to what became of it.
fn tell(accepted: &Accepted, trace: &mut Trace<'_>) {
    match accepted {
        Accepted::New { submission, job, .. } => {
            (trace.submission, trace.job) = (Some(*submission), Some(*job));
            tracing::info!(submission.id = submission.get(), job.id = job.get(), "form accepted from a gateway");
        }
        Accepted::Duplicate { of } => trace.submission = *of,
        // Only what somebody waits for an answer to, or what can't be read, can be one of these.
        Accepted::DeadLetter { .. }
        | Accepted::TokenShared
        | Accepted::Replayed
        | Accepted::SlotRefused { .. }
        | Accepted::Unfit { .. } => {}
    }
}
