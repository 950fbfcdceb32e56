//! Tests of damaged rows: the store skips them, and they block no other row.

use crate::domain::job::JobState;
use crate::domain::job::retry::RetryDecision;
use crate::store::rows::schema::{
    AGENTS, BOOKINGS, DEAD_LETTERS, DELIVERIES, LATE_ARRIVALS, MESSAGE_LOG, RETRIED_DEAD_LETTERS,
    SUBMISSIONS, TOKEN_LOG,
};
use crate::store::{FinishOutcome, check_integrity};

use super::file_edits::flip_row_byte;
use super::support::{START, StoreBench, form, open_read_only, webhook_form};

#[test]
fn unreadable_rows_block_nothing_else() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    bench.add_agent("bob", None);
    bench.accept_new("a");
    bench.accept(webhook_form("b", "wamid.b", "{}"));
    bench.edit_file(|txn| {
        flip_row_byte(txn, TOKEN_LOG, 1);
        flip_row_byte(txn, MESSAGE_LOG, 1);
        flip_row_byte(txn, AGENTS, 1);
        flip_row_byte(txn, BOOKINGS, 1);
    });
    let store = open_read_only(bench.path(), &bench.clock);
    let report = check_integrity(&store).unwrap();
    store.close().unwrap();
    let violations = report.violations.iter();
    let unreadable = violations.filter(|found| found.invariant == "every row can be read");
    assert_eq!(unreadable.count(), 4, "{:?}", report.violations);

    let bench = bench.reopen();
    // Two keys and an agent. Nothing in memory is derived from a booking.
    assert_eq!(bench.store.unreadable_rows(), 3);
    assert!(
        bench.is_duplicate(form("b", "{}")),
        "the other keys are known"
    );
    let job = bench.accept_new("c");
    bench.finish_job(job);
    let agents = bench.read().agents().unwrap();
    let [(_, bob)] = &agents[..] else {
        panic!("{agents:?}")
    };
    assert_eq!((bob.name.as_str(), bob.current_leads), ("bob", 1));
}

#[test]
fn damaged_key_is_reported() {
    let bench = StoreBench::new();
    bench.accept_new("a");
    bench.edit_file(|txn| {
        let mut late_arrivals = txn.open(LATE_ARRIVALS).unwrap();
        late_arrivals.apply_raw(b"short", Some(b"row")).unwrap();
    });
    let store = open_read_only(bench.path(), &bench.clock);
    let report = check_integrity(&store).unwrap();
    store.close().unwrap();
    let mut violations = report.violations.iter();
    let damaged = violations.find(|found| found.invariant == "every key can be read");
    let location = damaged.map(|found| found.location.as_str());
    assert_eq!(location, Some("table late_arrivals, key (0, 0)"));
}

#[test]
fn unreadable_dead_letter_blocks_no_bulk_retry_or_discard() {
    use crate::store::{DiscardDeadLetters, RetryDeadLetters};
    for (table, is_retry) in [
        (DEAD_LETTERS.by_number().rows_as_bytes(), true),
        (DELIVERIES.by_number().rows_as_bytes(), true),
        (DELIVERIES.by_number().rows_as_bytes(), false),
    ] {
        let bench = StoreBench::new();
        bench.subscribe(&["crm"], &[]);
        for token in ["a", "b", "c"] {
            bench.accept_new(token);
        }
        let ids = bench.delivery_ids();
        for id in &ids {
            bench.record_attempt(*id, Some(RetryDecision::GiveUp), None);
        }
        let bench = bench.reopen_damaged(table, ids[1].get());
        let outcome = if is_retry {
            let jobs = ids.iter().map(|id| (*id, START)).collect();
            bench.execute(RetryDeadLetters { jobs })
        } else {
            let job_ids = ids.clone();
            bench.execute(DiscardDeadLetters { job_ids })
        };
        assert_eq!(outcome.changed, 2, "{outcome:?}");
        let unreadable: Vec<_> = outcome.unreadable.iter().map(|(id, _)| *id).collect();
        assert_eq!(unreadable, [ids[1]]);
    }
}

#[test]
fn message_that_needs_damaged_row_is_dead_letter_again() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    let job = bench.accept_dead_letter("wamid.1");
    let bench = bench.reopen_damaged(SUBMISSIONS, 1);
    for number in 1..=2 {
        bench.retry_dead_letter(job);
        let finished = bench.finish_message(job, webhook_form("t", "wamid.1", "{}"));
        let is_dead = matches!(finished, FinishOutcome::DeadLettered { .. });
        assert!(is_dead, "{finished:?}");
        let read = bench.read();
        let row = read.job(job).unwrap().unwrap();
        assert_eq!((row.state, row.attempts), (JobState::Dead, number));
        let letter = read.dead_letter(job).unwrap().unwrap();
        assert!(letter.reason.contains("submissions"), "{letter:?}");
        assert_eq!(letter.payload, "{}");
    }
}

#[test]
fn damaged_retried_dead_letter_stays_as_damaged_row() {
    let bench = StoreBench::new();
    bench.subscribe(&[], &["ops"]);
    let job = bench.accept_dead_letter("wamid.1");
    bench.retry_dead_letter(job);
    let bench = bench.reopen_damaged(RETRIED_DEAD_LETTERS, job.get());
    bench.fail_job(job, "no", RetryDecision::GiveUp);
    assert_eq!(bench.job(job).state, JobState::Dead);
    let error = bench.read().dead_letter(job).unwrap_err().to_string();
    assert!(error.contains("checksum"), "{error}");
    assert_eq!(bench.event_kinds(), ["job.dead", "job.dead"]);
    let findings = check_integrity(&bench.store).unwrap().violations;
    let is_reported = findings
        .iter()
        .any(|finding| finding.location.contains("dead"));
    assert!(is_reported, "{findings:?}");
}

#[test]
fn job_with_damaged_submission_becomes_dead_letter() {
    let bench = StoreBench::new();
    bench.subscribe(&[], &["ops"]);
    let job = bench.accept_new("t");
    let bench = bench.reopen_damaged(SUBMISSIONS, 1);
    let reason = "row 1 of table submissions has a wrong checksum";
    bench.fail_job(job, reason, RetryDecision::GiveUp);
    assert_eq!(bench.event_kinds(), ["job.dead"]);
    let read = bench.read();
    assert_eq!(read.job(job).unwrap().unwrap().state, JobState::Dead);
    let letter = read.dead_letter(job).unwrap().unwrap();
    assert_eq!((&*letter.reason, &*letter.payload), (reason, ""));
}
