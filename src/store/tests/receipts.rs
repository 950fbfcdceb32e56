//! Tests of receipts: deliveries that wait for a status of their message, or for their customer.

use std::collections::BTreeSet;

use super::corruptions::CorruptRow;
use super::support::{START, StoreBench, attempt, flow, form, webhook_form};
use crate::domain::delivery::ResponseRecord;
use crate::domain::delivery::cloud_error::CloudError;
use crate::domain::delivery::receipt::{
    CallbackData, DeliveryStage, PendingAttempt, Receipt, StatusKind, StatusUpdate,
};
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::{Subscription, Subscriptions};
use crate::domain::ids::{Customer, DestinationName, JobId};
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Job, JobState};
use crate::domain::submission::draft::AbandonTimeouts;
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::time::{Millis, Timestamp};
use crate::reloadable::Reloadable;
use crate::store::{
    BeginDelivery, DeferDelivery, DeferReason, FinishOutcome, IngestWebhook, MessageOutcome,
    PauseDestination, PurgeCursor, PurgeSlice, RecordAttempt, RetentionQueue,
};

const UNDELIVERABLE: CloudError = CloudError {
    code: 131_026,
    is_transient: false,
};
const TRANSIENT: CloudError = CloudError {
    code: 131_016,
    is_transient: false,
};
const UNPAID: CloudError = CloudError {
    code: 131_042,
    is_transient: false,
};

fn destination_name(text: &str) -> DestinationName {
    DestinationName::new(text).unwrap()
}

/// Starts a store in which `wa` is subscribed to accepted submissions, and `ops` to alerts.
fn start_bench() -> StoreBench {
    let bench = StoreBench::with_options(|options| {
        let route = |to: &str, events: BTreeSet<EventKind>| Subscription {
            destination: destination_name(to),
            events,
        };
        let of_flow = route("wa", BTreeSet::from([EventKind::SubmissionAccepted]));
        let alerts = vec![route(
            "ops",
            EventKind::ALL
                .into_iter()
                .filter(|kind| kind.is_alert())
                .collect(),
        )];
        options.subscriptions = Reloadable::new(Subscriptions {
            flows: [(flow(), vec![of_flow])].into(),
            alerts,
            ..Subscriptions::default()
        });
    });
    bench.accept(unnamed_form("a"));
    bench
}

/// Form that does not name its customer.
fn unnamed_form(token: &str) -> InboundSubmission {
    let mut form = form(token, "{}");
    form.submission.customer = Customer::default();
    form
}

fn seconds_in(seconds: u64) -> Timestamp {
    START.plus(Millis::from_secs(seconds))
}

impl StoreBench {
    fn due_deliveries(&self, destination: &str) -> Vec<JobId> {
        self.store
            .read()
            .unwrap()
            .due_deliveries(&destination_name(destination), Timestamp::MAX, 100)
            .unwrap()
    }

    fn only_delivery(&self) -> JobId {
        let due = self.due_deliveries("wa");
        assert_eq!(due.len(), 1);
        due[0]
    }

    fn job(&self, id: JobId) -> Job {
        self.store.read().unwrap().job(id).unwrap().unwrap()
    }

    fn receipt(&self, id: JobId) -> Receipt {
        self.store
            .read()
            .unwrap()
            .receipt(id)
            .unwrap()
            .unwrap_or_default()
    }

    fn begin_delivery(&self, id: JobId) {
        let open = PendingAttempt {
            number: self.job(id).attempts + 1,
            started_at: START,
            deadline: seconds_in(300),
        };
        assert!(
            self.store
                .execute_blocking(BeginDelivery {
                    job_id: id,
                    pending_attempt: open
                })
                .unwrap()
        );
    }

    fn record_outcome(
        &self,
        id: JobId,
        failed: Option<RetryDecision>,
        trace: MessageOutcome,
    ) -> FinishOutcome {
        let (attempt, exchange) = (attempt(failed.map(|_| "no")), ResponseRecord::default());
        let record = RecordAttempt {
            job_id: id,
            attempt,
            response: exchange,
            failure: failed,
            disable_reason: None,
            message_outcome: Some(trace),
        };
        self.store.execute_blocking(record).unwrap()
    }

    /// Sends the message, which Meta accepts as `wamid`.
    fn deliver(&self, id: JobId, wamid: &str) {
        self.begin_delivery(id);
        self.record_outcome(id, None, MessageOutcome::Accepted(wamid.into()));
    }

    fn ingest_status(&self, wamid: &str, callback: Option<CallbackData>, status: StatusKind) {
        let statuses = vec![StatusUpdate {
            wamid: wamid.into(),
            callback,
            status,
            occurred_at: Some(START),
        }];
        self.store
            .execute_blocking(IngestWebhook {
                statuses,
                ..IngestWebhook::default()
            })
            .unwrap();
    }

    /// Lists the violations that the integrity check finds in the tables of receipts.
    fn receipt_violations(&self) -> Vec<&'static str> {
        let report = crate::store::check_integrity(&self.store).unwrap();
        let invariants = report
            .violations
            .into_iter()
            .map(|finding| finding.invariant);
        invariants
            .filter(|invariant| invariant.contains("receipt"))
            .filter(|invariant| !invariant.contains("read again"))
            .collect()
    }

    fn callback(&self, job: JobId) -> CallbackData {
        let delivery = self.store.read().unwrap().delivery(job).unwrap().unwrap();
        CallbackData {
            job_id: job,
            webhook_id: delivery.webhook_id,
        }
    }
}

#[test]
fn status_is_matched_by_wamid_or_callback() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.deliver(id, "wamid.1");
    assert_eq!(bench.job(id).state, JobState::Done);
    bench.ingest_status("wamid.1", None, StatusKind::Reached(DeliveryStage::Sent));
    assert_eq!(bench.receipt(id).stage, Some(DeliveryStage::Sent));
    bench.ingest_status(
        "wamid.1",
        Some(bench.callback(id)),
        StatusKind::Reached(DeliveryStage::Read),
    );
    bench.ingest_status(
        "wamid.1",
        None,
        StatusKind::Reached(DeliveryStage::Delivered),
    );
    assert_eq!(
        bench.receipt(id).stage,
        Some(DeliveryStage::Read),
        "it never goes back"
    );
}

#[test]
fn unrelated_status_changes_nothing() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    bench.ingest_status("wamid.9", None, StatusKind::Failed(UNDELIVERABLE));
    let other = CallbackData {
        webhook_id: "msg_other".into(),
        ..bench.callback(id)
    };
    bench.ingest_status("wamid.9", Some(other), StatusKind::Failed(UNDELIVERABLE));
    let gone = CallbackData {
        job_id: JobId::new(999),
        ..bench.callback(id)
    };
    bench.ingest_status("wamid.9", Some(gone), StatusKind::Failed(UNDELIVERABLE));
    assert_eq!(
        (bench.job(id).state, bench.receipt(id).error),
        (JobState::Scheduled, None)
    );
}

#[test]
fn status_confirms_attempt_with_unknown_outcome() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    bench.record_outcome(
        id,
        Some(RetryDecision::RetryAt {
            at: seconds_in(300),
        }),
        MessageOutcome::Unknown,
    );
    assert_eq!(
        (
            bench.job(id).due_at,
            bench.receipt(id).pending_attempt.map(|open| open.deadline)
        ),
        (seconds_in(300), Some(seconds_in(300)))
    );
    bench.ingest_status(
        "wamid.1",
        Some(bench.callback(id)),
        StatusKind::Reached(DeliveryStage::Sent),
    );
    let job = bench.job(id);
    assert_eq!(
        (job.state, job.attempts, job.last_error.as_deref()),
        (JobState::Done, 1, None)
    );
    assert_eq!(job.success.unwrap().number, 1);
    let attempts = bench.store.read().unwrap().attempts(id).unwrap();
    assert!(
        attempts
            .into_iter()
            .all(|(_, attempt)| attempt.unwrap().error.is_none())
    );
    assert!(bench.due_deliveries("wa").is_empty());
    assert_eq!(
        (
            bench.receipt(id).wamid.as_deref(),
            bench.receipt(id).pending_attempt
        ),
        (Some("wamid.1"), None)
    );
}

#[test]
fn status_before_response_counts_the_attempt_once() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    bench.ingest_status(
        "wamid.1",
        Some(bench.callback(id)),
        StatusKind::Reached(DeliveryStage::Sent),
    );
    assert_eq!(
        (bench.job(id).state, bench.job(id).attempts),
        (JobState::Done, 1)
    );
    assert_eq!(
        bench.record_outcome(id, None, MessageOutcome::Accepted("wamid.1".into())),
        FinishOutcome::AlreadyFinished
    );
    assert_eq!(bench.job(id).attempts, 1);
}

#[test]
fn failed_status_before_response_supersedes_it() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    bench.ingest_status(
        "wamid.1",
        Some(bench.callback(id)),
        StatusKind::Failed(TRANSIENT),
    );
    assert_eq!(
        (bench.job(id).state, bench.job(id).attempts),
        (JobState::Scheduled, 1)
    );
    assert_eq!(
        bench.record_outcome(id, None, MessageOutcome::Accepted("wamid.1".into())),
        FinishOutcome::AlreadyFinished
    );
    assert_eq!(
        (bench.job(id).state, bench.job(id).attempts),
        (JobState::Scheduled, 1)
    );
}

#[test]
fn failed_status_code_decides_retry_or_dead_letter() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.deliver(id, "wamid.1");
    bench.ingest_status("wamid.1", None, StatusKind::Failed(TRANSIENT));
    let job = bench.job(id);
    assert_eq!(
        (job.state, job.due_at, job.success),
        (JobState::Scheduled, seconds_in(1), None)
    );
    assert!(job.last_error.unwrap().contains("131016"));
    assert_eq!(bench.due_deliveries("wa"), [id]);

    bench.deliver(id, "wamid.2");
    bench.ingest_status(
        "wamid.1",
        Some(bench.callback(id)),
        StatusKind::Failed(UNDELIVERABLE),
    );
    assert_eq!(
        bench.job(id).state,
        JobState::Done,
        "that was the message before"
    );
    bench.ingest_status("wamid.2", None, StatusKind::Failed(UNDELIVERABLE));
    assert_eq!(bench.job(id).state, JobState::Dead);
    let dead_letter = bench
        .store
        .read()
        .unwrap()
        .dead_letter(id)
        .unwrap()
        .unwrap();
    assert!(
        dead_letter.reason.contains("131026")
            && dead_letter.payload.contains("submission.accepted"),
        "{dead_letter:?}"
    );
    bench.ingest_status("wamid.2", None, StatusKind::Failed(UNDELIVERABLE));
    assert_eq!(bench.due_deliveries("ops").len(), 1, "one alert");
    assert_eq!(
        bench.receipt_violations(),
        [""; 0],
        "the message before is forgotten"
    );
}

#[test]
fn account_error_disables_the_destination_once() {
    let bench = start_bench();
    let first = bench.only_delivery();
    bench.deliver(first, "wamid.1");
    bench.accept_new("b");
    let second = bench.only_delivery();
    bench.deliver(second, "wamid.2");
    for wamid in ["wamid.1", "wamid.2"] {
        bench.ingest_status(wamid, None, StatusKind::Failed(UNPAID));
    }
    assert_eq!(bench.due_deliveries("wa"), [first, second]);
    let suspension = bench
        .store
        .read()
        .unwrap()
        .suspension(&destination_name("wa"))
        .unwrap();
    assert!(suspension.disabled.unwrap().1.contains("131042"));
    let alerts = bench.due_deliveries("ops");
    assert_eq!(alerts.len(), 1, "and no dead letter");
    let read = bench.store.read().unwrap();
    let event = read.event(alerts[0]).unwrap().unwrap();
    assert_eq!(event.kind, EventKind::DestinationStopped);
    assert!(
        event
            .body
            .contains(r#""destination":{"name":"wa","reason":"error 131042"#),
        "{}",
        event.body
    );
    drop(read);
    bench
        .store
        .execute_blocking(PauseDestination {
            destination: destination_name("wa"),
            is_paused: false,
        })
        .unwrap();
    assert!(
        bench
            .store
            .read()
            .unwrap()
            .suspension(&destination_name("wa"))
            .unwrap()
            .is_lifted()
    );
}

#[test]
fn delivery_is_deferred_until_its_customer_is_known() {
    let bench = start_bench();
    let id = bench.only_delivery();
    let until = DeferReason::AwaitingCustomer(bench.job(id).submission_id.unwrap());
    let defer = || {
        bench
            .store
            .execute_blocking(DeferDelivery {
                job_id: id,
                due_at: seconds_in(3600),
                reason: until,
            })
            .unwrap();
    };
    defer();
    assert_eq!(
        (bench.job(id).due_at, bench.job(id).attempts),
        (seconds_in(3600), 0),
        "no attempt"
    );
    bench.clock.advance(Millis::from_secs(5));
    let mut message = webhook_form("a", "wamid.in", "{}");
    message.submission.customer = Customer::from_text("491511234567");
    bench.accept(message);
    assert_eq!(bench.job(id).due_at, seconds_in(5));
    let pending = bench
        .store
        .read()
        .unwrap()
        .pending_delivery_with_customer(id)
        .unwrap()
        .unwrap();
    assert_eq!(
        pending.customer.unwrap().phone.as_deref(),
        Some("491511234567")
    );
    defer();
    assert_eq!(
        bench.job(id).due_at,
        seconds_in(5),
        "one who is known is not waited for"
    );
}

#[test]
fn delivery_without_customer_needs_no_submission_row() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench
        .store
        .execute_blocking(CorruptRow {
            table: "submissions",
            key: 1,
        })
        .unwrap();
    let read = bench.store.read().unwrap();
    assert!(read.pending_delivery(id).unwrap().is_some());
    assert!(read.pending_delivery_with_customer(id).is_err());
}

#[test]
fn deferred_delivery_survives_restart() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    bench
        .store
        .execute_blocking(DeferDelivery {
            job_id: id,
            due_at: seconds_in(300),
            reason: DeferReason::AwaitingStatus,
        })
        .unwrap();
    let bench = bench.reopen();
    assert_eq!(
        (
            bench.job(id).due_at,
            bench.receipt(id).pending_attempt.map(|open| open.number)
        ),
        (seconds_in(300), Some(1))
    );
}

#[test]
fn retention_of_resent_message_counts_from_last_end() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.deliver(id, "wamid.1");
    let days = |days: u64| Millis::from_secs(days * 24 * 60 * 60);
    bench.clock.advance(days(6));
    bench.ingest_status("wamid.1", None, StatusKind::Failed(TRANSIENT));
    bench.deliver(id, "wamid.2");
    bench.clock.advance(days(6));
    bench.purge(100, days(10), days(10), days(1));
    assert_eq!(
        bench.job(id).state,
        JobState::Done,
        "the last end was six days ago"
    );
    bench.clock.advance(days(5));
    bench.purge(100, days(10), days(10), days(1));
    assert_eq!(bench.store.read().unwrap().job(id).unwrap(), None);
}

#[test]
fn receipt_is_purged_with_its_delivery() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.deliver(id, "wamid.1");
    let days = |days: u64| Millis::from_secs(days * 24 * 60 * 60);
    bench.clock.advance(days(100));
    bench
        .store
        .execute_blocking(PurgeSlice {
            cursor: PurgeCursor::Queue(RetentionQueue::Jobs),
            max_rows: 100,
            submission_retention: days(90),
            attempt_retention: days(30),
            abandon_timeouts: AbandonTimeouts::default(),
        })
        .unwrap();
    assert_eq!(bench.store.read().unwrap().receipt(id).unwrap(), None);
    bench.ingest_status("wamid.1", None, StatusKind::Failed(UNDELIVERABLE));
    assert_eq!(
        (
            bench.store.read().unwrap().job(id).unwrap(),
            bench.receipt_violations()
        ),
        (None, Vec::new())
    );
}
