//! What went wrong between phones and a flow: counted, told, kept.
//!
//! Error notifications of phones are acknowledged. A request that was opened and does not fit the config is answered with
//! a screen: to a status like 400 a phone has nothing to say but a generic error, and its user could not go on (*Error
//! Codes*, Flows).

use serde_json::{Map, json};
use tokio::time::Instant;

use crate::domain::complaint::Complaint;
use crate::domain::submission::IdempotencyKey;
use crate::domain::texts::TextKey;
use crate::intake::token_signature::BadTokenSignature;
use crate::intake::{IntakeError, flow_endpoint};
use crate::store::{KeepComplaint, RecallAnswer};

use super::exchange::{Exchange, Reply, fresh};
use super::flows::store;
use super::respond::Refusal;
use super::screens::{SUCCESS, error_on, show, told};
use super::service::App;
use super::trace::Trace;

/// Keeps an error notification and waits until it is on disk, or until it is plain that it will not be.
pub(super) async fn keep(
    app: &App,
    complaint: Complaint,
    request: IdempotencyKey,
    deadline: Instant,
    trace: &mut Trace<'_>,
) {
    let flow = complaint.flow.clone();
    metrics::counter!("flowgate_flow_complaints_total", "flow" => flow.to_string()).increment(1);
    tracing::warn!(
        flow = %flow,
        error = &*complaint.error,
        "a client did not like an answer of this flow: see `flowgate flows errors`"
    );
    if let Err(refusal) = store(app, KeepComplaint { complaint, request }, deadline, trace).await {
        tracing::warn!(flow = %flow, why = %refusal, "a client's complaint is in the log only");
    }
}

impl Exchange<'_, '_> {
    /// What a phone gets whose request, `text`, does not fit the config: an error on the screen that it is on or, where it
    /// names none, on the first one.
    pub(super) async fn misfit(&mut self, text: &[u8], error: IntakeError) -> Result<Reply, Refusal> {
        let recalled = RecallAnswer { request: self.request };
        if let Some(kept) = store(self.app, recalled, self.deadline, self.trace).await? {
            return Ok(Reply::Again(kept));
        }
        let (flow, why) = (self.flow, error.to_string());
        self.trace.outcome = Refusal::from(error).code();
        let complaint = flow_endpoint::misfit(flow, text, self.trace.outcome, &why);
        // A form can't be ended by naming its end.
        let named = complaint.screen.clone().filter(|name| &**name != SUCCESS);
        self.keep_misfit(complaint, &why).await;
        let sorry = flow.texts.get(TextKey::TryAgain);
        Ok(fresh(match (named, flow.screens.first()) {
            (Some(on), _) => error_on(&on, sorry),
            (None, Some(first)) => told(show(self.app, flow, &first.name, &Map::new())?, sorry),
            (None, None) => json!({"data": {"error_message": sorry}}),
        }))
    }

    /// What a phone gets whose request, `text`, has a token that is not the one which Meta signed: the client closes the form
    /// and disables its message, as it does with a token that is used up.
    pub(super) async fn distrust(&mut self, text: &[u8], why: BadTokenSignature) -> Result<Reply, Refusal> {
        let recalled = RecallAnswer { request: self.request };
        if let Some(kept) = store(self.app, recalled, self.deadline, self.trace).await? {
            return Ok(Reply::Again(kept));
        }
        self.trace.outcome = "bad_token_signature";
        let why = why.to_string();
        let complaint = flow_endpoint::misfit(self.flow, text, self.trace.outcome, &why);
        self.keep_misfit(complaint, &why).await;
        Ok(self.closed(TextKey::TokenInvalid))
    }

    async fn keep_misfit(&mut self, complaint: Complaint, why: &str) {
        let flow = self.flow;
        tracing::warn!(
            flow = %flow.name,
            error = self.trace.outcome,
            why,
            "a request does not fit this flow in the config, and its user sees an error: see `flowgate flows errors`"
        );
        let change = KeepComplaint { complaint, request: self.request };
        if let Err(refusal) = store(self.app, change, self.deadline, self.trace).await {
            tracing::warn!(flow = %flow.name, why = %refusal, "a request that does not fit is in the log only");
        }
    }
}
