//! Reports whether the process is alive, and whether it can commit. A server that listens also
//! answers admin commands.

use super::request::RequestContext;
use super::response::{self, HttpResponse};
use crate::store::StoreHealth;

/// Returns 200, because the process is alive.
pub(super) fn healthz(context: &mut RequestContext<'_>) -> HttpResponse {
    context.log.outcome = "alive";
    response::json(response::ALIVE)
}

/// Returns 200 if the disk, the writer and the queue are ready, and 503 otherwise.
pub(super) fn readyz(context: &mut RequestContext<'_>) -> HttpResponse {
    let store = &context.app.store;
    let (queued, capacity) = store.intake_queue_depth();
    let not_ready = match store.health() {
        StoreHealth::Ready if queued >= capacity => Some("the intake queue is full"),
        StoreHealth::Ready => None,
        StoreHealth::LowSpace => Some("the disk is nearly full: free some space"),
        StoreHealth::NoSpace => Some("the disk is full: free some space"),
        StoreHealth::Failed(_) => Some("the data file can't be used after an error: see the log"),
        // The port opens after the data file.
        StoreHealth::WaitingForLock | StoreHealth::Opening | StoreHealth::Closed => {
            Some("the server is shutting down")
        }
    };
    context.log.outcome = if not_ready.is_none() {
        "ready"
    } else {
        "not_ready"
    };
    response::readiness(not_ready)
}
