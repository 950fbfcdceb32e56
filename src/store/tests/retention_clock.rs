//! Tests of retention with a wrong wall clock and after downtime: each row has its own age.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Clock;
use crate::domain::time::{Millis, Timestamp};
use crate::store::rows::schema::RENAMED_CUSTOMERS;
use crate::store::{GetCompletion, WriteContext};

use super::corruptions::EditTables;
use super::purge_rounds::{DAY, days, hours};
use super::support::{START, StoreBench, form, row_count, webhook_form};

/// Closes the file, advances the clock, and opens the file again.
fn closed_for(bench: StoreBench, length: Millis) -> StoreBench {
    bench.store.close().unwrap();
    bench.clock.advance(length);
    bench.reopen()
}

/// Makes a new file on a server whose wall clock shows `now`.
fn created_at(now: Timestamp) -> StoreBench {
    let bench = StoreBench::new();
    bench.store.close().unwrap();
    std::fs::remove_file(bench.path()).unwrap();
    restart_at(bench, now)
}

/// Restarts the store with the wall clock set to `now`.
fn restart_at(bench: StoreBench, now: Timestamp) -> StoreBench {
    bench.store.close().unwrap();
    bench.clock.jump_to(now);
    bench.reopen()
}

#[test]
fn new_rows_keep_their_age_after_long_downtime() {
    let bench = StoreBench::with_subscribers();
    bench.save_unnamed_draft("left");
    let bench = closed_for(bench, days(7));
    bench.save_unnamed_draft("open");
    let mut sent = form("t", "{}");
    let key = sent.form_key.unwrap();
    sent.custom_completion = Some(r#"{"visit":17}"#.into());
    bench.accept(sent);
    bench.accept(webhook_form("hook", "wamid.1", "{}"));
    let left = || {
        let kinds = bench.event_kinds().into_iter();
        kinds.filter(|kind| *kind == "draft.abandoned").count()
    };
    for _ in 0..22 {
        bench.run_for(hours(1));
    }
    assert_eq!(left(), 1, "only the draft from before");
    assert!(bench.is_duplicate(form("t", "{}")));
    assert!(bench.execute(GetCompletion { key }).is_some());
    bench.run_for(hours(3));
    assert_eq!(left(), 2);
    assert!(bench.execute(GetCompletion { key }).is_none());
    bench.run_for(days(6));
    assert!(bench.is_duplicate(webhook_form("hook", "wamid.1", "{}")));
    bench.run_for(days(2));
    assert!(bench.is_new(webhook_form("hook", "wamid.1", "{}")));
    bench.assert_invariants();
}

#[test]
fn rows_from_before_and_after_a_long_pause_go_each_at_their_own_age() {
    let bench = StoreBench::new();
    bench.submit_finished("before");
    let bench = closed_for(bench, days(80));
    bench.submit_finished("after");
    bench.run_for(days(9));
    assert_eq!(bench.submission_count(), 2);
    bench.run_for(days(2));
    assert_eq!(bench.submission_count(), 1, "the older one is 91 days old");
    let bench = closed_for(bench, days(30));
    bench.run_for(days(48));
    assert_eq!(bench.submission_count(), 1);
    bench.run_for(days(2));
    assert_eq!(bench.submission_count(), 0);
    bench.assert_invariants();
}

#[test]
fn clock_correction_while_closed_removes_nothing_early() {
    let bench = StoreBench::new();
    bench.submit_finished("before");
    let bench = restart_at(bench, START.minus(days(365)));
    bench.run_for(DAY);
    bench.submit_finished("behind");
    let bench = restart_at(bench, START.plus(DAY));
    for _ in 0..23 {
        bench.run_for(hours(1));
    }
    assert!(bench.is_duplicate(form("behind", "{}")));
    bench.run_for(days(87));
    assert_eq!(bench.submission_count(), 2);
    bench.run_for(days(2));
    assert_eq!(bench.submission_count(), 1);
    bench.run_for(days(2));
    assert_eq!(bench.submission_count(), 0, "not kept longer either");
}

#[test]
fn clock_correction_while_idle_survives_crash() {
    let bench = created_at(START.minus(days(365)));
    bench.submit_finished("t");
    bench.clock.jump_to(START);
    bench.purge_round();
    let crashed = StoreBench::new();
    crashed.store.close().unwrap();
    std::fs::copy(bench.path(), crashed.path()).unwrap();
    let clock = Arc::clone(&bench.clock);
    let crashed = StoreBench { clock, ..crashed }.reopen();
    crashed.run_for(days(89));
    assert_eq!(crashed.submission_count(), 1);
    crashed.run_for(days(2));
    assert_eq!(crashed.submission_count(), 0);
}

#[test]
fn start_with_clock_ahead_keeps_customer_changes() {
    let bench = StoreBench::new();
    let change = |ctx: &mut WriteContext<'_>| {
        let table = &mut ctx.tables.renamed_customers;
        table.put_bytes((&[7; 16], START), b"change").map(|_| ())
    };
    bench.execute(EditTables(change));
    let bench = restart_at(bench, START.plus(days(100)));
    bench.purge_round();
    assert_eq!(row_count(&bench.read(), RENAMED_CUSTOMERS), 1);
}

#[test]
fn start_with_clock_ahead_purges_nothing() {
    let mut bench = StoreBench::new();
    for token in ["a", "b", "c"] {
        bench.submit_finished(token);
    }
    bench.save_unnamed_draft("d");
    bench = restart_at(bench, START.plus(days(100)));
    for _ in 0..4 {
        bench.purge_round();
        bench.clock.advance(Millis::from_secs(60));
    }
    bench.clock.jump_to(START.plus(Millis::from_secs(240)));
    for _ in 0..2 {
        bench.run_for(Millis::from_secs(60));
        let counts = bench.counts();
        assert_eq!((counts.submissions, counts.drafts), (3, 1));
        for token in ["a", "b", "c"] {
            assert!(bench.is_duplicate(form(token, "{}")), "{token}");
        }
        bench = bench.reopen();
    }
    bench.run_for(days(89));
    assert_eq!(bench.submission_count(), 3);
    bench.run_for(days(2));
    assert_eq!(bench.submission_count(), 0, "not kept longer either");
    bench.assert_invariants();
}

#[test]
fn submission_from_clock_ahead_blocks_no_purge() {
    let bench = StoreBench::new();
    bench.clock.jump_to(START.plus(days(400)));
    bench.submit_finished("ahead");
    bench.clock.jump_to(START);
    for token in 0..6 {
        bench.submit_finished(&format!("t{token}"));
    }
    bench.run_for(days(91));
    assert_eq!(bench.submission_count(), 0);
    bench.assert_invariants();
}

#[test]
fn clock_set_from_1970_purges_on_time() {
    for set_while_running in [true, false] {
        let mut bench = created_at(Timestamp::from_millis(5_000));
        bench.submit_finished("then");
        if set_while_running {
            bench.clock.jump_to(START);
        } else {
            bench = restart_at(bench, START);
        }
        bench.submit_finished("now");
        bench.run_for(days(89));
        let case = format!("set while running: {set_while_running}");
        assert_eq!(bench.submission_count(), 2, "{case}");
        bench = bench.reopen();
        bench.run_for(days(2));
        assert_eq!(bench.submission_count(), 0, "{case}");
    }
}

#[test]
fn downtime_counts_toward_retention_after_many_restarts() {
    let mut bench = StoreBench::new();
    bench.submit_finished("t");
    // A hundred days with a running time of one minute each.
    for _ in 0..100 {
        bench = closed_for(bench, DAY);
        bench.clock.advance(Millis::from_secs(60));
    }
    bench.purge_round();
    assert_eq!(bench.submission_count(), 1, "too little running time");
    bench.run_for(days(13));
    assert_eq!(bench.submission_count(), 0);
}

#[test]
fn reopen_after_full_disk_ignores_wall_clock_jump() {
    let (bench, switches) = StoreBench::on_failing_disk();
    bench.submit_finished("before");
    switches.no_space.store(true, Ordering::SeqCst);
    assert!(bench.try_accept(form("during", "{}")).is_err());
    bench.clock.jump_to(bench.clock.now().plus(days(400)));
    bench.clock.advance(hours(1));
    switches.no_space.store(false, Ordering::SeqCst);
    bench.wait_until(|_| bench.try_accept(form("before", "{}")).is_ok());
    bench.run_for(days(1));
    assert_eq!(bench.submission_count(), 1);
    bench.run_for(days(88));
    assert_eq!(bench.submission_count(), 1, "also after a while");
    bench.run_for(days(2));
    assert_eq!(bench.submission_count(), 0);
}
