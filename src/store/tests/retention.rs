//! Tests of retention: the rows removed, the effect of wrong clocks, and the cost of a round.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Clock;
use crate::domain::ids::{Customer, JobId, LeadId, MessageId, SubmissionId};
use crate::domain::job::Job;
use crate::domain::job::retry::RetryDecision;
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::{AbandonTimeouts, Draft};
use crate::domain::submission::inbound::Inbound;
use crate::domain::time::{Millis, Timestamp};
use crate::reloadable::Reloadable;
use crate::store::engine::Rows;
use crate::store::rows::schema::{CUSTOMER_AGENTS, RENAMED_CUSTOMERS};
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{
    AcceptInbound, AcceptOutcome, CloseLead, FailAttempt, FinishJob, FinishOutcome, GetCompletion,
    NewLead, PurgeCursor, PurgeResult, PurgeSlice, RetentionQueue, SaveDraft, StoreError,
};

use super::support::{START, StoreBench, attempt, flow, form, open_store, team, webhook_form};
use super::test_disks::{FailingDisk, FaultSwitches};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);
const SUBMISSION_RETENTION: Millis = days(90);

const fn days(days: u64) -> Millis {
    Millis::from_secs(days * 24 * 60 * 60)
}

/// Transaction that applies a change of a test to the tables.
struct EditTables<F>(F);

impl<F> Transaction for EditTables<F>
where
    F: Fn(&mut WriteContext<'_>) -> Result<(), StoreError> + Send + 'static,
{
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> Result<(), StoreError> {
        (self.0)(ctx)
    }
}

/// Finishes many jobs in one commit.
struct FinishJobs(Vec<JobId>);

impl Transaction for FinishJobs {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> Result<(), StoreError> {
        for job in &self.0 {
            FinishJob {
                job_id: *job,
                attempt: attempt(None),
                lead: Some(new_lead()),
            }
            .apply(ctx)?;
        }
        Ok(())
    }
}

fn new_lead() -> NewLead {
    NewLead {
        flow: flow(),
        team: team(),
        is_sticky: false,
        customer: Customer::default(),
        chosen_agent: None,
    }
}

/// Purges one round and returns the sum of the results of its slices.
fn purge_round(bench: &StoreBench) -> PurgeResult {
    let abandon_timeouts: AbandonTimeouts = [(flow(), DAY)].into_iter().collect();
    let mut sum = PurgeResult {
        rows_read: 0,
        rows_removed: 0,
        unreadable_rows: 0,
        first_error: None,
        next: None,
    };
    let mut from = Some(PurgeCursor::Keys);
    while let Some(cursor) = from {
        let slice = PurgeSlice {
            cursor,
            max_rows: 1000,
            submission_retention: SUBMISSION_RETENTION,
            attempt_retention: DAY,
            abandon_timeouts: abandon_timeouts.clone(),
        };
        let purged = bench.store.execute_blocking(slice).unwrap();
        sum.rows_read += purged.rows_read;
        sum.rows_removed += purged.rows_removed;
        sum.unreadable_rows += purged.unreadable_rows;
        sum.first_error = sum.first_error.or(purged.first_error);
        from = purged.next;
    }
    sum
}

/// Advances the clock by `length`, with regular retention rounds, as in a running server.
fn run_for(bench: &StoreBench, length: Millis) {
    let mut left = length.get();
    while left > 0 {
        let step = left.min(12 * 60 * 60 * 1000);
        bench.clock.advance(Millis::new(step));
        purge_round(bench);
        left -= step;
    }
}

/// Submits a form and finishes its job, so that only the retention time protects it.
fn submit_finished(bench: &StoreBench, token: &str) {
    let job = bench.accept_new(token);
    let finish = FinishJob {
        job_id: job,
        attempt: attempt(None),
        lead: None,
    };
    assert!(matches!(
        bench.store.execute_blocking(finish).unwrap(),
        FinishOutcome::Done { .. }
    ));
}

fn submission_count(bench: &StoreBench) -> u64 {
    bench.store.read().unwrap().counts().unwrap().submissions
}

fn save_draft(bench: &StoreBench, token: &str) {
    let draft = Draft {
        flow: flow(),
        flow_token: None,
        customer: Customer::default(),
        screen: "A".into(),
        data: "{}".into(),
        updated_at: Timestamp::ZERO,
    };
    let key = IdempotencyKey::for_message(&MessageId::new(token).unwrap());
    bench
        .store
        .execute_blocking(SaveDraft {
            key,
            draft,
            encrypted_request_key: None,
            reject_resubmission: false,
        })
        .unwrap();
}

/// Closes the file, advances the clock, and opens the file again.
fn closed_for(bench: StoreBench, length: Millis) -> StoreBench {
    bench.store.close().unwrap();
    bench.clock.advance(length);
    let store = open_store(bench.path(), &bench.clock, |options| {
        options.subscriptions = Reloadable::part_of(&bench.subscriptions, Arc::clone);
    });
    StoreBench { store, ..bench }
}

/// Restarts the store with the wall clock set to `now`.
fn restart_at(bench: StoreBench, now: Timestamp) -> StoreBench {
    bench.store.close().unwrap();
    bench.clock.jump_to(now);
    StoreBench {
        store: open_store(bench.path(), &bench.clock, |_| {}),
        ..bench
    }
}

#[track_caller]
fn is_duplicate(
    bench: &StoreBench,
    form: crate::domain::submission::inbound::InboundSubmission,
) -> bool {
    matches!(bench.accept(form), AcceptOutcome::Duplicate { .. })
}

#[test]
fn new_rows_keep_their_age_after_long_downtime() {
    let bench = StoreBench::with_subscribers();
    save_draft(&bench, "left");
    let bench = closed_for(bench, days(7));
    save_draft(&bench, "open");
    let mut sent = form("t", "{}");
    let key = sent.form_key.unwrap();
    sent.custom_completion = Some(r#"{"visit":17}"#.into());
    bench.accept(sent);
    bench.accept(webhook_form("hook", "wamid.1", "{}"));
    let hours = |hours: u64| Millis::from_secs(hours * 60 * 60);
    let left = || {
        bench
            .event_kinds()
            .iter()
            .filter(|kind| **kind == "draft.abandoned")
            .count()
    };
    for _ in 0..22 {
        run_for(&bench, hours(1));
    }
    assert_eq!(left(), 1, "only the draft from before");
    assert!(is_duplicate(&bench, form("t", "{}")));
    assert!(
        bench
            .store
            .execute_blocking(GetCompletion { key })
            .unwrap()
            .is_some()
    );
    run_for(&bench, hours(3));
    assert_eq!(left(), 2);
    assert!(
        bench
            .store
            .execute_blocking(GetCompletion { key })
            .unwrap()
            .is_none()
    );
    run_for(&bench, days(6));
    assert!(is_duplicate(&bench, webhook_form("hook", "wamid.1", "{}")));
    run_for(&bench, days(2));
    assert!(matches!(
        bench.accept(webhook_form("hook", "wamid.1", "{}")),
        AcceptOutcome::New { .. }
    ));
    bench.assert_invariants();
}

#[test]
fn rows_from_before_and_after_a_long_pause_go_each_at_their_own_age() {
    let bench = StoreBench::new();
    submit_finished(&bench, "before");
    let bench = closed_for(bench, days(80));
    submit_finished(&bench, "after");
    run_for(&bench, days(9));
    assert_eq!(submission_count(&bench), 2);
    run_for(&bench, days(2));
    assert_eq!(submission_count(&bench), 1, "the older one is 91 days old");
    let bench = closed_for(bench, days(30));
    run_for(&bench, days(48));
    assert_eq!(submission_count(&bench), 1);
    run_for(&bench, days(2));
    assert_eq!(submission_count(&bench), 0);
    bench.assert_invariants();
}

#[test]
fn clock_correction_while_closed_removes_nothing_early() {
    let bench = StoreBench::new();
    submit_finished(&bench, "before");
    let bench = restart_at(bench, START.minus(days(365)));
    run_for(&bench, DAY);
    submit_finished(&bench, "behind");
    let bench = restart_at(bench, START.plus(DAY));
    for _ in 0..23 {
        run_for(&bench, Millis::from_secs(60 * 60));
    }
    assert!(is_duplicate(&bench, form("behind", "{}")));
    run_for(&bench, days(87));
    assert_eq!(submission_count(&bench), 2);
    run_for(&bench, days(2));
    assert_eq!(submission_count(&bench), 1);
    run_for(&bench, days(2));
    assert_eq!(
        submission_count(&bench),
        0,
        "nor is anything kept longer for it"
    );
}

#[test]
fn clock_correction_while_idle_survives_crash() {
    let bench = StoreBench::new();
    bench.store.close().unwrap();
    std::fs::remove_file(bench.path()).unwrap();
    bench.clock.jump_to(START.minus(days(365)));
    let bench = StoreBench {
        store: open_store(bench.path(), &bench.clock, |_| {}),
        ..bench
    };
    submit_finished(&bench, "t");
    bench.clock.jump_to(START);
    purge_round(&bench);
    let crashed = StoreBench::new();
    crashed.store.close().unwrap();
    std::fs::copy(bench.path(), crashed.path()).unwrap();
    let clock = Arc::clone(&bench.clock);
    let crashed = StoreBench {
        store: open_store(crashed.path(), &clock, |_| {}),
        clock,
        ..crashed
    };
    run_for(&crashed, days(89));
    assert_eq!(submission_count(&crashed), 1);
    run_for(&crashed, days(2));
    assert_eq!(submission_count(&crashed), 0);
}

#[test]
fn start_with_clock_ahead_keeps_customer_changes() {
    let bench = StoreBench::new();
    let change = |ctx: &mut WriteContext<'_>| {
        ctx.tables
            .renamed_customers
            .put_bytes((&[7; 16], START), b"change")?;
        Ok(())
    };
    bench.store.execute_blocking(EditTables(change)).unwrap();
    let bench = restart_at(bench, START.plus(days(100)));
    purge_round(&bench);
    let read = bench.store.read().unwrap();
    let changes = read.with_read_txn(|txn| txn.open(RENAMED_CUSTOMERS)?.len());
    assert_eq!(changes.unwrap(), 1);
}

#[test]
fn start_with_clock_ahead_purges_nothing() {
    let mut bench = StoreBench::new();
    for token in ["a", "b", "c"] {
        submit_finished(&bench, token);
    }
    save_draft(&bench, "d");
    bench.store.close().unwrap();
    bench.clock.jump_to(START.plus(days(100)));
    bench = StoreBench {
        store: open_store(bench.path(), &bench.clock, |_| {}),
        ..bench
    };
    for _ in 0..4 {
        purge_round(&bench);
        bench.clock.advance(Millis::from_secs(60));
    }
    bench.clock.jump_to(START.plus(Millis::from_secs(240)));
    for _ in 0..2 {
        run_for(&bench, Millis::from_secs(60));
        let counts = bench.store.read().unwrap().counts().unwrap();
        assert_eq!((counts.submissions, counts.drafts), (3, 1));
        for token in ["a", "b", "c"] {
            assert!(
                matches!(
                    bench.accept(form(token, "{}")),
                    AcceptOutcome::Duplicate { .. }
                ),
                "{token}"
            );
        }
        bench = bench.reopen();
    }
    run_for(&bench, days(89));
    assert_eq!(submission_count(&bench), 3);
    run_for(&bench, days(2));
    assert_eq!(
        submission_count(&bench),
        0,
        "nor is anything kept longer for it"
    );
    bench.assert_invariants();
}

#[test]
fn submission_from_clock_ahead_blocks_no_purge() {
    let bench = StoreBench::new();
    bench.clock.jump_to(START.plus(days(400)));
    submit_finished(&bench, "ahead");
    bench.clock.jump_to(START);
    for token in 0..6 {
        submit_finished(&bench, &format!("t{token}"));
    }
    run_for(&bench, days(91));
    assert_eq!(submission_count(&bench), 0);
    bench.assert_invariants();
}

#[test]
fn clock_set_from_1970_purges_on_time() {
    for set_while_running in [true, false] {
        let mut bench = StoreBench::new();
        bench.store.close().unwrap();
        std::fs::remove_file(bench.path()).unwrap();
        bench.clock.jump_to(Timestamp::from_millis(5_000));
        bench = StoreBench {
            store: open_store(bench.path(), &bench.clock, |_| {}),
            ..bench
        };
        submit_finished(&bench, "then");
        if set_while_running {
            bench.clock.jump_to(START);
        } else {
            bench.store.close().unwrap();
            bench.clock.jump_to(START);
            bench = StoreBench {
                store: open_store(bench.path(), &bench.clock, |_| {}),
                ..bench
            };
        }
        submit_finished(&bench, "now");
        run_for(&bench, days(89));
        assert_eq!(
            submission_count(&bench),
            2,
            "set while running: {set_while_running}"
        );
        bench = bench.reopen();
        run_for(&bench, days(2));
        assert_eq!(
            submission_count(&bench),
            0,
            "set while running: {set_while_running}"
        );
    }
}

#[test]
fn downtime_counts_toward_retention_after_many_restarts() {
    let mut bench = StoreBench::new();
    submit_finished(&bench, "t");
    // A hundred days with a running time of one minute each.
    for _ in 0..100 {
        bench.store.close().unwrap();
        bench.clock.advance(DAY);
        bench = StoreBench {
            store: open_store(bench.path(), &bench.clock, |_| {}),
            ..bench
        };
        bench.clock.advance(Millis::from_secs(60));
    }
    purge_round(&bench);
    assert_eq!(
        submission_count(&bench),
        1,
        "it has not lived long enough to know"
    );
    run_for(&bench, days(13));
    assert_eq!(submission_count(&bench), 0);
}

#[test]
fn reopen_after_full_disk_ignores_wall_clock_jump() {
    let switches = Arc::new(FaultSwitches::default());
    let bench = StoreBench::with_options(|options| {
        let switches = Arc::clone(&switches);
        options.backend_factory =
            Arc::new(move |file| Ok(FailingDisk::open(file, Arc::clone(&switches))));
    });
    submit_finished(&bench, "before");
    switches.no_space.store(true, Ordering::SeqCst);
    let arrivals = vec![Inbound::Submission(Box::new(form("during", "{}")))];
    assert!(
        bench
            .store
            .execute_blocking(AcceptInbound { inbound: arrivals })
            .is_err()
    );
    bench.clock.jump_to(bench.clock.now().plus(days(400)));
    bench.clock.advance(Millis::from_secs(60 * 60));
    switches.no_space.store(false, Ordering::SeqCst);
    let is_open = (0..2000).any(|_| {
        bench.clock.advance(Millis::new(50));
        std::thread::park_timeout(std::time::Duration::from_millis(5));
        let arrivals = vec![Inbound::Submission(Box::new(form("before", "{}")))];
        bench
            .store
            .execute_blocking(AcceptInbound { inbound: arrivals })
            .is_ok()
    });
    assert!(is_open, "{:?}", bench.store.health());
    run_for(&bench, days(1));
    assert_eq!(submission_count(&bench), 1);
    run_for(&bench, days(88));
    assert_eq!(submission_count(&bench), 1, "also after a while");
    run_for(&bench, days(2));
    assert_eq!(submission_count(&bench), 0);
}

#[test]
fn unreadable_row_stays_and_blocks_no_purge() {
    let bench = StoreBench::with_subscribers();
    for token in 0..20 {
        let job = bench.accept_new(&format!("t{token}"));
        bench.finish_job(job);
        bench
            .store
            .execute_blocking(CloseLead {
                lead_id: LeadId::new(token + 1),
            })
            .unwrap();
    }
    for delivery in bench.deliveries() {
        bench.record_attempt(delivery.0, None, None);
    }
    for draft in ["d1", "d2"] {
        save_draft(&bench, draft);
    }
    let corrupt_rows = |ctx: &mut WriteContext<'_>| {
        let corrupt = b"spoilt";
        let delivery = ctx.tables.deliveries.first()?.unwrap().key();
        ctx.tables
            .submissions
            .put_bytes(SubmissionId::new(1), corrupt)?;
        ctx.tables.leads.put_bytes(LeadId::new(2), corrupt)?;
        ctx.tables.deliveries.put_bytes(delivery, corrupt)?;
        ctx.tables.token_log.put_bytes(1, corrupt)?;
        let draft = *ctx.tables.drafts.first()?.unwrap().key();
        ctx.tables.drafts.put_bytes(&draft, corrupt)?;
        Ok(())
    };
    bench
        .store
        .execute_blocking(EditTables(corrupt_rows))
        .unwrap();
    bench.clock.advance(days(91));
    let purged = purge_round(&bench);
    assert_eq!(
        submission_count(&bench),
        2,
        "all but the two that can't be read"
    );
    let counts = bench.store.read().unwrap().counts().unwrap();
    assert_eq!(counts.drafts, 1);
    let left = bench
        .store
        .read()
        .unwrap()
        .list_all_rows::<Job>()
        .unwrap()
        .len();
    assert_eq!(
        left, 5,
        "of the two submissions, of the delivery, and two that tell of a draft that was left"
    );
    // Two queues contain the draft, so it counts twice. The store neither reports the draft as
    // abandoned nor removes it.
    assert_eq!(purged.unreadable_rows, 6);
    assert!(purged.first_error.unwrap().contains("row"));
    assert_eq!(
        bench.store.writer_stats().keys,
        1,
        "only what can't be read is still in memory"
    );
    assert_eq!(
        purge_round(&bench).unreadable_rows,
        0,
        "they are looked at again after a day, and not before"
    );
    bench.clock.advance(DAY);
    assert_eq!(purge_round(&bench).unreadable_rows, 5, "the key is gone");
}

#[test]
fn unreadable_key_blocks_no_eviction() {
    let bench = StoreBench::with_options(|options| options.max_idempotency_keys = 3);
    bench.accept_new("first");
    bench
        .store
        .execute_blocking(EditTables(|ctx: &mut WriteContext<'_>| {
            ctx.tables.token_log.put_bytes(1, b"spoilt")?;
            Ok(())
        }))
        .unwrap();
    for token in 0..10 {
        bench.accept_new(&format!("t{token}"));
    }
    for token in 0..10 {
        assert!(
            matches!(
                bench.accept(form(&format!("t{token}"), "{}")),
                AcceptOutcome::Duplicate { .. }
            ),
            "t{token}"
        );
    }
}

#[test]
fn lowered_key_bound_evicts_gradually() {
    let bench = StoreBench::new();
    let arrivals = (0..2000)
        .map(|token| Inbound::Submission(Box::new(form(&format!("t{token}"), "{}"))))
        .collect();
    bench
        .store
        .execute_blocking(AcceptInbound { inbound: arrivals })
        .unwrap();
    bench.store.close().unwrap();
    let bench = StoreBench {
        store: open_store(bench.path(), &bench.clock, |options| {
            options.max_idempotency_keys = 3;
        }),
        ..bench
    };
    for token in ["a", "b", "c"] {
        bench.accept_new(token);
    }
    assert!(
        bench.store.writer_stats().keys >= 1998,
        "{:?}",
        bench.store.writer_stats()
    );
    purge_round(&bench);
    assert_eq!(bench.store.writer_stats().keys, 3);
    for token in (0..2000).step_by(97) {
        assert!(
            matches!(
                bench.accept(form(&format!("t{token}"), "{}")),
                AcceptOutcome::Duplicate { .. }
            ),
            "t{token}"
        );
    }
}

#[test]
fn purge_slice_is_bounded_by_bytes() {
    let bench = StoreBench::new();
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(250_000));
    for token in 0..12 {
        let AcceptOutcome::New { job_id: job, .. } =
            bench.accept(form(&format!("t{token}"), &large))
        else {
            panic!("no new one")
        };
        bench
            .store
            .execute_blocking(FinishJob {
                job_id: job,
                attempt: attempt(None),
                lead: None,
            })
            .unwrap();
    }
    bench.clock.advance(days(91));
    let slice = || PurgeSlice {
        cursor: PurgeCursor::Queue(RetentionQueue::Submissions),
        max_rows: 1000,
        submission_retention: SUBMISSION_RETENTION,
        attempt_retention: DAY,
        abandon_timeouts: AbandonTimeouts::default(),
    };
    for left in [7, 2] {
        let purged = bench.store.execute_blocking(slice()).unwrap();
        assert_eq!(
            (purged.rows_read, purged.rows_removed, purged.next),
            (5, 5, Some(slice().cursor))
        );
        assert_eq!(submission_count(&bench), left);
    }
}

#[test]
fn slice_of_failed_attempts_is_bounded_by_removed_rows() {
    let bench = StoreBench::new();
    for token in ["a", "b", "c"] {
        let job = bench.accept_new(token);
        for _ in 0..5 {
            let verdict = RetryDecision::RetryAt { at: START };
            bench
                .store
                .execute_blocking(FailAttempt {
                    job_id: job,
                    attempt: attempt(Some("no")),
                    decision: verdict,
                })
                .unwrap();
        }
        bench
            .store
            .execute_blocking(FinishJob {
                job_id: job,
                attempt: attempt(None),
                lead: None,
            })
            .unwrap();
    }
    bench.clock.advance(days(2));
    let place = PurgeCursor::Queue(RetentionQueue::Attempts);
    let slice = || PurgeSlice {
        cursor: place,
        max_rows: 8,
        submission_retention: SUBMISSION_RETENTION,
        attempt_retention: DAY,
        abandon_timeouts: AbandonTimeouts::default(),
    };
    let swept = bench.store.execute_blocking(slice()).unwrap();
    assert_eq!(
        (swept.rows_read, swept.rows_removed, swept.next),
        (2, 10, Some(place))
    );
    let swept = bench.store.execute_blocking(slice()).unwrap();
    assert_eq!((swept.rows_read, swept.rows_removed), (1, 5));
    assert_ne!(swept.next, Some(place));
}

#[test]
fn retained_rows_are_read_once_a_day() {
    let mut bench = StoreBench::new();
    for slice in 0..10 {
        let arrivals = (0..1000)
            .map(|token| Inbound::Submission(Box::new(form(&format!("t{slice}-{token}"), "{}"))))
            .collect();
        let accepted = bench
            .store
            .execute_blocking(AcceptInbound { inbound: arrivals })
            .unwrap();
        let jobs = accepted.into_iter().map(|accepted| match accepted {
            AcceptOutcome::New { job_id: job, .. } => job,
            other => panic!("{other:?}"),
        });
        bench
            .store
            .execute_blocking(FinishJobs(jobs.collect()))
            .unwrap();
    }
    bench.clock.advance(days(91));
    let first = purge_round(&bench);
    assert_eq!(submission_count(&bench), 10_000, "their leads are open");
    assert!(first.rows_read >= 10_000, "{first:?}");
    for _ in 0..3 {
        bench.clock.advance(Millis::from_secs(60));
        assert_eq!(purge_round(&bench).rows_read, 0);
        bench = bench.reopen();
    }
    for lead in 1..=3 {
        bench
            .store
            .execute_blocking(CloseLead {
                lead_id: LeadId::new(lead),
            })
            .unwrap();
    }
    bench.clock.advance(DAY);
    assert_eq!(purge_round(&bench).rows_removed, 3);
    assert_eq!(submission_count(&bench), 9_997);
}

#[test]
fn customer_is_purged_after_the_submission_retention() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    let submit_and_close = |token: &str, customer: &str| {
        let AcceptOutcome::New {
            job_id: job,
            submission_id: submission,
            ..
        } = bench.accept(form(token, "{}"))
        else {
            panic!("{token}")
        };
        let order = NewLead {
            is_sticky: true,
            customer: Customer::from_text(customer),
            ..new_lead()
        };
        let finish = FinishJob {
            job_id: job,
            attempt: attempt(None),
            lead: Some(order),
        };
        assert!(matches!(
            bench.store.execute_blocking(finish).unwrap(),
            FinishOutcome::Done { .. }
        ));
        bench
            .store
            .execute_blocking(CloseLead {
                lead_id: LeadId::new(submission.get()),
            })
            .unwrap();
    };
    let customer_count = || {
        let read = bench.store.read().unwrap();
        let customers = read.with_read_txn(|txn| txn.open(CUSTOMER_AGENTS)?.len());
        customers.unwrap()
    };
    submit_and_close("once", "16505550001");
    submit_and_close("again", "16505550002");
    run_for(&bench, days(60));
    submit_and_close("and again", "16505550002");
    run_for(&bench, days(31));
    assert_eq!(customer_count(), 1, "one came back");
    run_for(&bench, days(60));
    assert_eq!(customer_count(), 0);
    assert_eq!(submission_count(&bench), 0);
    assert!(
        bench
            .store
            .read()
            .unwrap()
            .submission(SubmissionId::new(1))
            .unwrap()
            .is_none()
    );
}
