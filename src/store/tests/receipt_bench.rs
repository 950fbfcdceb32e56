//! Messages of Meta and their statuses in a test store.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::delivery::ResponseRecord;
use crate::domain::delivery::cloud_error::CloudError;
use crate::domain::delivery::receipt::{
    CallbackData, DeliveryStage, PendingAttempt, Receipt, StatusKind, StatusUpdate,
};
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::{Subscription, Subscriptions};
use crate::domain::ids::JobId;
use crate::domain::job::retry::RetryDecision;
use crate::domain::time::{Millis, Timestamp};
use crate::store::{
    BeginDelivery, FinishOutcome, IngestWebhook, MessageOutcome, RecordAttempt, check_integrity,
};

use super::customer_forms::unnamed_form;
use super::support::{START, StoreBench, attempt, destination, flow};

pub const SENT: StatusKind = StatusKind::Reached(DeliveryStage::Sent);
pub const DELIVERED: StatusKind = StatusKind::Reached(DeliveryStage::Delivered);
pub const READ: StatusKind = StatusKind::Reached(DeliveryStage::Read);
pub const UNDELIVERABLE: StatusKind = failed(131_026);
pub const TRANSIENT: StatusKind = failed(131_016);
pub const UNPAID: StatusKind = failed(131_042);

const fn failed(code: i64) -> StatusKind {
    StatusKind::Failed(CloudError {
        code,
        is_transient: false,
    })
}

/// Starts a store in which `wa` is subscribed to accepted submissions, and `ops` to alerts.
pub fn start_bench() -> StoreBench {
    let bench = StoreBench::new();
    let route = |name: &str, events: BTreeSet<EventKind>| Subscription {
        destination: destination(name),
        events,
    };
    let alert_kinds = EventKind::ALL.into_iter().filter(|kind| kind.is_alert());
    let accepted = route("wa", BTreeSet::from([EventKind::SubmissionAccepted]));
    bench.subscriptions.store(Arc::new(Subscriptions {
        flows: [(flow(), vec![accepted])].into(),
        alerts: vec![route("ops", alert_kinds.collect())],
        ..Subscriptions::default()
    }));
    bench.accept(unnamed_form("a", "{}"));
    bench
}

pub fn seconds_in(seconds: u64) -> Timestamp {
    START.plus(Millis::from_secs(seconds))
}

impl StoreBench {
    pub fn only_delivery(&self) -> JobId {
        let due = self.due_deliveries("wa");
        assert_eq!(due.len(), 1);
        due[0]
    }

    pub fn receipt(&self, id: JobId) -> Receipt {
        self.read().receipt(id).unwrap().unwrap_or_default()
    }

    pub fn begin_delivery(&self, id: JobId) {
        let is_waiting = self.execute(BeginDelivery {
            job_id: id,
            pending_attempt: PendingAttempt {
                number: self.job(id).attempts + 1,
                started_at: START,
                deadline: seconds_in(300),
            },
        });
        assert!(is_waiting);
    }

    pub fn record_outcome(
        &self,
        id: JobId,
        failure: Option<RetryDecision>,
        outcome: MessageOutcome,
    ) -> FinishOutcome {
        self.execute(RecordAttempt {
            job_id: id,
            attempt: attempt(failure.map(|_| "no")),
            response: ResponseRecord::default(),
            failure,
            disable_reason: None,
            message_outcome: Some(outcome),
        })
    }

    /// Sends the message, which Meta accepts as `wamid`.
    pub fn deliver(&self, id: JobId, wamid: &str) {
        self.begin_delivery(id);
        self.record_outcome(id, None, MessageOutcome::Accepted(wamid.into()));
    }

    /// Ingests a status of the message `wamid` without callback data.
    pub fn ingest_status(&self, wamid: &str, status: StatusKind) {
        self.ingest_callback(wamid, None, status);
    }

    pub fn ingest_callback(&self, wamid: &str, callback: Option<CallbackData>, status: StatusKind) {
        let statuses = vec![StatusUpdate {
            wamid: wamid.into(),
            callback,
            status,
            occurred_at: Some(START),
        }];
        self.execute(IngestWebhook {
            statuses,
            ..IngestWebhook::default()
        });
    }

    /// Lists the violations that the integrity check finds in the tables of receipts.
    pub fn receipt_violations(&self) -> Vec<&'static str> {
        let violations = check_integrity(&self.store).unwrap().violations.into_iter();
        let invariants = violations.map(|finding| finding.invariant);
        invariants
            .filter(|invariant| invariant.contains("receipt"))
            .collect()
    }

    pub fn callback(&self, job: JobId) -> CallbackData {
        let delivery = self.read().delivery(job).unwrap().unwrap();
        CallbackData {
            job_id: job,
            webhook_id: delivery.webhook_id,
        }
    }
}
