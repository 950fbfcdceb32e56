//! Error notifications of clients: counted, told, kept. What becomes of that changes nothing in their acknowledgement.

use tokio::time::Instant;

use crate::domain::complaint::Complaint;
use crate::domain::submission::IdempotencyKey;
use crate::store::KeepComplaint;

use super::flows::store;
use super::service::App;
use super::trace::Trace;

/// Keeps a complaint and waits until it is on disk, or until it is plain that it will not be.
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
