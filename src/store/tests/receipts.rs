//! Tests of receipts: deliveries that wait for a status of their message, or for their customer.

use crate::domain::delivery::receipt::{CallbackData, DeliveryStage};
use crate::domain::event::EventKind;
use crate::domain::ids::{Customer, JobId};
use crate::domain::job::JobState;
use crate::domain::job::retry::RetryDecision;
use crate::domain::time::Millis;
use crate::store::{
    DeferDelivery, DeferReason, FinishOutcome, MessageOutcome, PurgeCursor, RetentionQueue,
};

use super::corruptions::CorruptRow;
use super::purge_rounds::{days, purge_slice};
use super::receipt_bench::{
    DELIVERED, READ, SENT, TRANSIENT, UNDELIVERABLE, UNPAID, seconds_in, start_bench,
};
use super::support::{destination, webhook_form};

#[test]
fn status_is_matched_by_wamid_or_callback() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.deliver(id, "wamid.1");
    assert_eq!(bench.job(id).state, JobState::Done);
    bench.ingest_status("wamid.1", SENT);
    assert_eq!(bench.receipt(id).stage, Some(DeliveryStage::Sent));
    bench.ingest_callback("wamid.1", Some(bench.callback(id)), READ);
    bench.ingest_status("wamid.1", DELIVERED);
    // The stage never goes back.
    assert_eq!(bench.receipt(id).stage, Some(DeliveryStage::Read));
}

#[test]
fn unrelated_status_changes_nothing() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    bench.ingest_status("wamid.9", UNDELIVERABLE);
    let other = CallbackData {
        webhook_id: "msg_other".into(),
        ..bench.callback(id)
    };
    bench.ingest_callback("wamid.9", Some(other), UNDELIVERABLE);
    let gone = CallbackData {
        job_id: JobId::new(999),
        ..bench.callback(id)
    };
    bench.ingest_callback("wamid.9", Some(gone), UNDELIVERABLE);
    assert_eq!(bench.job(id).state, JobState::Scheduled);
    assert_eq!(bench.receipt(id).error, None);
}

#[test]
fn status_confirms_attempt_with_unknown_outcome() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    let at = seconds_in(300);
    bench.record_outcome(
        id,
        Some(RetryDecision::RetryAt { at }),
        MessageOutcome::Unknown,
    );
    assert_eq!(bench.job(id).due_at, at);
    assert_eq!(bench.receipt(id).pending_attempt.unwrap().deadline, at);
    bench.ingest_callback("wamid.1", Some(bench.callback(id)), SENT);
    let job = bench.job(id);
    assert_eq!(job.state, JobState::Done);
    assert_eq!(job.attempts, 1);
    assert_eq!(job.last_error.as_deref(), None);
    assert_eq!(job.success.unwrap().number, 1);
    let mut attempts = bench.read().attempts(id).unwrap().into_iter();
    assert!(attempts.all(|(_, attempt)| attempt.unwrap().error.is_none()));
    assert!(bench.due_deliveries("wa").is_empty());
    assert_eq!(bench.receipt(id).wamid.as_deref(), Some("wamid.1"));
    assert_eq!(bench.receipt(id).pending_attempt, None);
}

#[test]
fn status_before_response_counts_the_attempt_once() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    bench.ingest_callback("wamid.1", Some(bench.callback(id)), SENT);
    assert_eq!(bench.job(id).state, JobState::Done);
    assert_eq!(bench.job(id).attempts, 1);
    let outcome = MessageOutcome::Accepted("wamid.1".into());
    let recorded = bench.record_outcome(id, None, outcome);
    assert_eq!(recorded, FinishOutcome::AlreadyFinished);
    assert_eq!(bench.job(id).attempts, 1);
}

#[test]
fn failed_status_before_response_supersedes_it() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    bench.ingest_callback("wamid.1", Some(bench.callback(id)), TRANSIENT);
    assert_eq!(bench.job(id).state, JobState::Scheduled);
    assert_eq!(bench.job(id).attempts, 1);
    let outcome = MessageOutcome::Accepted("wamid.1".into());
    let recorded = bench.record_outcome(id, None, outcome);
    assert_eq!(recorded, FinishOutcome::AlreadyFinished);
    assert_eq!(bench.job(id).state, JobState::Scheduled);
    assert_eq!(bench.job(id).attempts, 1);
}

#[test]
fn failed_status_code_decides_retry_or_dead_letter() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.deliver(id, "wamid.1");
    bench.ingest_status("wamid.1", TRANSIENT);
    let job = bench.job(id);
    assert_eq!(job.state, JobState::Scheduled);
    assert_eq!(job.due_at, seconds_in(1));
    assert_eq!(job.success, None);
    assert!(job.last_error.unwrap().contains("131016"));
    assert_eq!(bench.due_deliveries("wa"), [id]);

    bench.deliver(id, "wamid.2");
    bench.ingest_callback("wamid.1", Some(bench.callback(id)), UNDELIVERABLE);
    assert_eq!(
        bench.job(id).state,
        JobState::Done,
        "that was the message before"
    );
    bench.ingest_status("wamid.2", UNDELIVERABLE);
    assert_eq!(bench.job(id).state, JobState::Dead);
    let dead_letter = bench.read().dead_letter(id).unwrap().unwrap();
    assert!(dead_letter.reason.contains("131026"), "{dead_letter:?}");
    assert!(
        dead_letter.payload.contains("submission.accepted"),
        "{dead_letter:?}"
    );
    bench.ingest_status("wamid.2", UNDELIVERABLE);
    assert_eq!(bench.due_deliveries("ops").len(), 1, "one alert");
    // The index has no row of the message before.
    assert_eq!(bench.receipt_violations(), [""; 0]);
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
        bench.ingest_status(wamid, UNPAID);
    }
    assert_eq!(bench.due_deliveries("wa"), [first, second]);
    let suspension = bench.read().suspension(&destination("wa")).unwrap();
    assert!(suspension.disabled.unwrap().1.contains("131042"));
    let alerts = bench.due_deliveries("ops");
    assert_eq!(alerts.len(), 1, "and no dead letter");
    let event = bench.read().event(alerts[0]).unwrap().unwrap();
    assert_eq!(event.kind, EventKind::DestinationStopped);
    let data = r#""destination":{"name":"wa","reason":"error 131042"#;
    assert!(event.body.contains(data), "{}", event.body);
    bench.pause_destination("wa", false);
    let suspension = bench.read().suspension(&destination("wa")).unwrap();
    assert!(suspension.is_lifted());
}

#[test]
fn delivery_is_deferred_until_its_customer_is_known() {
    let bench = start_bench();
    let id = bench.only_delivery();
    let until = DeferReason::AwaitingCustomer(bench.job(id).submission_id.unwrap());
    let defer = || {
        bench.execute(DeferDelivery {
            job_id: id,
            due_at: seconds_in(3600),
            reason: until,
        });
    };
    defer();
    assert_eq!(bench.job(id).due_at, seconds_in(3600));
    assert_eq!(bench.job(id).attempts, 0);
    bench.clock.advance(Millis::from_secs(5));
    let mut message = webhook_form("a", "wamid.in", "{}");
    message.submission.customer = Customer::from_text("491511234567");
    bench.accept(message);
    assert_eq!(bench.job(id).due_at, seconds_in(5));
    let pending = bench.read().pending_delivery_with_customer(id).unwrap();
    let customer = pending.unwrap().customer.unwrap();
    assert_eq!(customer.phone.as_deref(), Some("491511234567"));
    // The delivery does not wait for a known customer.
    defer();
    assert_eq!(bench.job(id).due_at, seconds_in(5));
}

#[test]
fn delivery_without_customer_needs_no_submission_row() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.execute(CorruptRow {
        table: "submissions",
        key: 1,
    });
    let read = bench.read();
    assert!(read.pending_delivery(id).unwrap().is_some());
    assert!(read.pending_delivery_with_customer(id).is_err());
}

#[test]
fn deferred_delivery_survives_restart() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.begin_delivery(id);
    bench.execute(DeferDelivery {
        job_id: id,
        due_at: seconds_in(300),
        reason: DeferReason::AwaitingStatus,
    });
    let bench = bench.reopen();
    assert_eq!(bench.job(id).due_at, seconds_in(300));
    assert_eq!(
        bench.receipt(id).pending_attempt.map(|open| open.number),
        Some(1)
    );
}

#[test]
fn retention_of_resent_message_counts_from_last_end() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.deliver(id, "wamid.1");
    bench.clock.advance(days(6));
    bench.ingest_status("wamid.1", TRANSIENT);
    bench.deliver(id, "wamid.2");
    bench.clock.advance(days(6));
    bench.purge(100, days(10), days(10), days(1));
    assert_eq!(
        bench.job(id).state,
        JobState::Done,
        "six days since the last end"
    );
    bench.clock.advance(days(5));
    bench.purge(100, days(10), days(10), days(1));
    assert_eq!(bench.read().job(id).unwrap(), None);
}

#[test]
fn receipt_is_purged_with_its_delivery() {
    let bench = start_bench();
    let id = bench.only_delivery();
    bench.deliver(id, "wamid.1");
    bench.clock.advance(days(100));
    bench.execute(purge_slice(PurgeCursor::Queue(RetentionQueue::Jobs), 100));
    assert_eq!(bench.read().receipt(id).unwrap(), None);
    bench.ingest_status("wamid.1", UNDELIVERABLE);
    assert_eq!(bench.read().job(id).unwrap(), None);
    assert_eq!(bench.receipt_violations(), [""; 0]);
}
