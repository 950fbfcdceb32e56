//! Tests of the slices of retention: the rows removed, the bounds of a slice, and unreadable rows.

use crate::domain::ids::{Customer, JobId, LeadId, SubmissionId};
use crate::domain::job::Job;
use crate::domain::job::retry::RetryDecision;
use crate::domain::time::Millis;
use crate::store::engine::Rows;
use crate::store::rows::schema::CUSTOMER_AGENTS;
use crate::store::{
    AcceptOutcome, FinishJob, FinishOutcome, NewLead, PurgeCursor, RetentionQueue, Transaction,
    WriteContext,
};

use super::corruptions::EditTables;
use super::purge_rounds::{DAY, days, purge_slice};
use super::support::{START, StoreBench, attempt, form, inbound, new_lead, row_count};

/// Finishes these jobs in one commit.
fn finish_all(bench: &StoreBench, jobs: Vec<JobId>) {
    bench.execute(EditTables(move |ctx: &mut WriteContext<'_>| {
        jobs.iter().try_for_each(|job_id| {
            let lead = NewLead {
                is_sticky: false,
                ..new_lead(Customer::default())
            };
            let finish = FinishJob {
                job_id: *job_id,
                attempt: attempt(None),
                lead: Some(lead),
            };
            finish.apply(ctx).map(|_| ())
        })
    }));
}

#[test]
fn unreadable_row_stays_and_blocks_no_purge() {
    let bench = StoreBench::with_subscribers();
    for token in 0..20 {
        let job = bench.accept_new(&format!("t{token}"));
        bench.finish_job(job);
        bench.close_lead(token + 1);
    }
    for delivery in bench.deliveries() {
        bench.record_attempt(delivery.0, None, None);
    }
    for draft in ["d1", "d2"] {
        bench.save_unnamed_draft(draft);
    }
    let corrupt_rows = |ctx: &mut WriteContext<'_>| {
        let (tables, corrupt) = (&mut ctx.tables, b"spoilt");
        let delivery = tables.deliveries.first()?.unwrap().key();
        let draft = *tables.drafts.first()?.unwrap().key();
        tables
            .submissions
            .put_bytes(SubmissionId::new(1), corrupt)?;
        tables.leads.put_bytes(LeadId::new(2), corrupt)?;
        tables.deliveries.put_bytes(delivery, corrupt)?;
        tables.token_log.put_bytes(1, corrupt)?;
        tables.drafts.put_bytes(&draft, corrupt).map(|_| ())
    };
    bench.execute(EditTables(corrupt_rows));
    bench.clock.advance(days(91));
    let purged = bench.purge_round();
    assert_eq!(bench.submission_count(), 2, "the unreadable ones");
    assert_eq!(bench.counts().drafts, 1);
    // The jobs of the two submissions and of the delivery, and two deliveries of the event of an
    // abandoned draft.
    assert_eq!(bench.read().list_all_rows::<Job>().unwrap().len(), 5);
    // Two queues contain the draft, so it counts twice. The lead counts twice as well: as part of
    // its submission, and in the queue of open leads. The store neither reports the draft as
    // abandoned nor removes it.
    assert_eq!(purged.unreadable_rows, 7);
    assert!(purged.first_error.unwrap().contains("row"));
    assert_eq!(bench.store.writer_stats().keys, 1, "the unreadable one");
    // The store checks unreadable rows again after a day.
    assert_eq!(bench.purge_round().unreadable_rows, 0);
    bench.clock.advance(DAY);
    assert_eq!(bench.purge_round().unreadable_rows, 6, "the key is gone");
}

#[test]
fn unreadable_key_blocks_no_eviction() {
    let bench = StoreBench::with_options(|options| options.max_idempotency_keys = 3);
    bench.accept_new("first");
    bench.execute(EditTables(|ctx: &mut WriteContext<'_>| {
        ctx.tables.token_log.put_bytes(1, b"spoilt").map(|_| ())
    }));
    for token in 0..10 {
        bench.accept_new(&format!("t{token}"));
    }
    for token in 0..10 {
        let token = format!("t{token}");
        assert!(bench.is_duplicate(form(&token, "{}")), "{token}");
    }
}

#[test]
fn lowered_key_bound_evicts_gradually() {
    let bench = StoreBench::new();
    let arrivals = (0..2000)
        .map(|token| inbound(form(&format!("t{token}"), "{}")))
        .collect();
    bench.accept_all(arrivals);
    let bench = bench.reopen_with(|options| options.max_idempotency_keys = 3);
    for token in ["a", "b", "c"] {
        bench.accept_new(token);
    }
    bench.assert_keys_in_memory(1998..);
    bench.purge_round();
    assert_eq!(bench.store.writer_stats().keys, 3);
    for token in (0..2000).step_by(97) {
        let token = format!("t{token}");
        assert!(bench.is_duplicate(form(&token, "{}")), "{token}");
    }
}

#[test]
fn purge_slice_is_bounded_by_bytes() {
    let bench = StoreBench::new();
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(250_000));
    for token in 0..12 {
        let job = bench.accept_job(form(&format!("t{token}"), &large));
        bench.finish_without_lead(job);
    }
    bench.clock.advance(days(91));
    let slice = || purge_slice(PurgeCursor::Queue(RetentionQueue::Submissions), 1000);
    for left in [7, 2] {
        let purged = bench.execute(slice());
        assert_eq!(purged.rows_read, 5);
        assert_eq!(purged.rows_removed, 5);
        assert_eq!(purged.next, Some(slice().cursor));
        assert_eq!(bench.submission_count(), left);
    }
}

#[test]
fn slice_of_failed_attempts_is_bounded_by_removed_rows() {
    let bench = StoreBench::new();
    for token in ["a", "b", "c"] {
        let job = bench.accept_new(token);
        for _ in 0..5 {
            bench.fail_job(job, "no", RetryDecision::RetryAt { at: START });
        }
        bench.finish_without_lead(job);
    }
    bench.clock.advance(days(2));
    let place = PurgeCursor::Queue(RetentionQueue::Attempts);
    let slice = || purge_slice(place, 8);
    let swept = bench.execute(slice());
    assert_eq!(swept.rows_read, 2);
    assert_eq!(swept.rows_removed, 10);
    assert_eq!(swept.next, Some(place));
    let swept = bench.execute(slice());
    assert_eq!((swept.rows_read, swept.rows_removed), (1, 5));
    assert_ne!(swept.next, Some(place));
}

#[test]
fn retained_rows_are_read_once_a_day() {
    let mut bench = StoreBench::new();
    for slice in 0..10 {
        let arrivals = (0..1000)
            .map(|token| inbound(form(&format!("t{slice}-{token}"), "{}")))
            .collect();
        let accepted = bench.accept_all(arrivals);
        let jobs = accepted.into_iter().map(|accepted| match accepted {
            AcceptOutcome::New { job_id, .. } => job_id,
            other => panic!("{other:?}"),
        });
        finish_all(&bench, jobs.collect());
    }
    bench.clock.advance(days(91));
    let first = bench.purge_round();
    assert_eq!(bench.submission_count(), 10_000, "their leads are open");
    assert!(first.rows_read >= 10_000, "{first:?}");
    for _ in 0..3 {
        bench.clock.advance(Millis::from_secs(60));
        assert_eq!(bench.purge_round().rows_read, 0);
        bench = bench.reopen();
    }
    for lead in 1..=3 {
        bench.close_lead(lead);
    }
    bench.clock.advance(DAY);
    assert_eq!(bench.purge_round().rows_removed, 3);
    assert_eq!(bench.submission_count(), 9_997);
}

#[test]
fn customer_is_purged_after_the_submission_retention() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    let submit_and_close = |token: &str, customer: &str| {
        let job = bench.accept_new(token);
        match bench.finish(job, Some(new_lead(Customer::from_text(customer)))) {
            FinishOutcome::Done { lead_id, .. } => bench.close_lead(lead_id.unwrap().get()),
            other => panic!("{other:?}"),
        }
    };
    let customer_count = || row_count(&bench.read(), CUSTOMER_AGENTS);
    submit_and_close("once", "16505550001");
    submit_and_close("again", "16505550002");
    bench.run_for(days(60));
    submit_and_close("and again", "16505550002");
    bench.run_for(days(31));
    assert_eq!(customer_count(), 1, "one came back");
    bench.run_for(days(60));
    assert_eq!(customer_count(), 0);
    assert_eq!(bench.submission_count(), 0);
    let first = bench.read().submission(SubmissionId::new(1));
    assert_eq!(first.unwrap(), None);
}
