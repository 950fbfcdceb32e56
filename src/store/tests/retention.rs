//! Retention: what goes, when it goes by clocks that are wrong, and what a round costs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Clock;
use crate::domain::arrival::Arrival;
use crate::domain::draft::{Draft, Patience};
use crate::domain::ids::{Customer, JobId, LeadId, MessageId, SubmissionId};
use crate::domain::job::Job;
use crate::domain::retry::Verdict;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::{Millis, Timestamp};
use crate::store::batch::{Batch, Transaction};
use crate::store::{
    Accept, Accepted, CloseLead, Fail, Finish, Finished, KeepDraft, LeadOrder, Place, Queue, RecallEnd, StoreError,
    Sweep, Swept,
};

use super::disks::{FailingDisk, Switches};
use super::support::{Bench, START, attempt, by_webhook, flow, form, open, team};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);
const KEPT: Millis = days(90);

const fn days(days: u64) -> Millis {
    Millis::from_secs(days * 24 * 60 * 60)
}

/// A change that a test makes to the tables.
struct Change<F>(F);

impl<F> Transaction for Change<F>
where
    F: Fn(&mut Batch<'_, '_>) -> Result<(), StoreError> + Send + 'static,
{
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        batch.dirty = true;
        (self.0)(batch)
    }
}

/// Ends many jobs in one commit.
struct FinishAll(Vec<JobId>);

impl Transaction for FinishAll {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        for job in &self.0 {
            Finish { job: *job, attempt: attempt(None), lead: Some(order()) }.apply(batch)?;
        }
        Ok(())
    }
}

fn order() -> LeadOrder {
    LeadOrder { flow: flow(), team: team(), sticky: false, customer: Customer::default(), chosen: None }
}

/// Sweeps a round and adds up what its slices say.
fn round(bench: &Bench) -> Swept {
    let patience: Patience = [(flow(), DAY)].into_iter().collect();
    let mut sum = Swept { read: 0, removed: 0, unreadable: 0, first_error: None, next: None };
    let mut from = Some(Place::Keys);
    while let Some(place) = from {
        let slice = Sweep { from: place, most: 1000, submissions: KEPT, attempts: DAY, patience: patience.clone() };
        let swept = bench.store.ask(slice).unwrap();
        sum.read += swept.read;
        sum.removed += swept.removed;
        sum.unreadable += swept.unreadable;
        sum.first_error = sum.first_error.or(swept.first_error);
        from = swept.next;
    }
    sum
}

/// Days go by with a round every so often, as they do in a server that runs.
fn live(bench: &Bench, length: Millis) {
    let mut left = length.get();
    while left > 0 {
        let step = left.min(12 * 60 * 60 * 1000);
        bench.clock.advance(Millis::new(step));
        round(bench);
        left -= step;
    }
}

/// A form that is done: only its retention keeps it.
fn done(bench: &Bench, token: &str) {
    let job = bench.accept_new(token);
    let finish = Finish { job, attempt: attempt(None), lead: None };
    assert!(matches!(bench.store.ask(finish).unwrap(), Finished::Done { .. }));
}

fn submissions(bench: &Bench) -> u64 {
    bench.store.read().unwrap().counts().unwrap().submissions
}

fn keep_draft(bench: &Bench, token: &str) {
    let draft = Draft {
        flow: flow(),
        flow_token: None,
        customer: Customer::default(),
        screen: "A".into(),
        data: "{}".into(),
        updated_at: Timestamp::ZERO,
    };
    let key = IdempotencyKey::of_message(&MessageId::new(token).unwrap());
    bench.store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap();
}

/// Closes the file, lets time go by, and opens the file again.
fn closed_for(bench: Bench, length: Millis) -> Bench {
    bench.store.close().unwrap();
    bench.clock.advance(length);
    let store = open(bench.path(), &bench.clock, |options| options.routes = bench.routes.clone());
    Bench { store, ..bench }
}

/// A restart with the wall clock set to `now`.
fn restart_at(bench: Bench, now: Timestamp) -> Bench {
    bench.store.close().unwrap();
    bench.clock.jump_to(now);
    Bench { store: open(bench.path(), &bench.clock, |_| {}), ..bench }
}

#[track_caller]
fn is_duplicate(bench: &Bench, form: crate::domain::arrival::Form) -> bool {
    matches!(bench.accept(form), Accepted::Duplicate { .. })
}

#[test]
fn after_a_week_closed_new_keys_ends_and_drafts_keep_their_own_time() {
    let bench = Bench::telling();
    keep_draft(&bench, "left");
    let bench = closed_for(bench, days(7));
    keep_draft(&bench, "open");
    let mut sent = form("t", "{}");
    let key = sent.form_key.unwrap();
    sent.end = Some(r#"{"visit":17}"#.into());
    bench.accept(sent);
    bench.accept(by_webhook("hook", "wamid.1", "{}"));
    let hours = |hours: u64| Millis::from_secs(hours * 60 * 60);
    let left = || bench.told().iter().filter(|kind| **kind == "draft.abandoned").count();
    for _ in 0..22 {
        live(&bench, hours(1));
    }
    assert_eq!(left(), 1, "only the draft from before");
    assert!(is_duplicate(&bench, form("t", "{}")));
    assert!(bench.store.ask(RecallEnd { form: key }).unwrap().is_some());
    live(&bench, hours(3));
    assert_eq!(left(), 2);
    assert!(bench.store.ask(RecallEnd { form: key }).unwrap().is_none());
    live(&bench, days(6));
    assert!(is_duplicate(&bench, by_webhook("hook", "wamid.1", "{}")));
    live(&bench, days(2));
    assert!(matches!(bench.accept(by_webhook("hook", "wamid.1", "{}")), Accepted::New { .. }));
    bench.check();
}

#[test]
fn rows_from_before_and_after_a_long_pause_go_each_at_their_own_age() {
    let bench = Bench::new();
    done(&bench, "before");
    let bench = closed_for(bench, days(80));
    done(&bench, "after");
    live(&bench, days(9));
    assert_eq!(submissions(&bench), 2);
    live(&bench, days(2));
    assert_eq!(submissions(&bench), 1, "the older one is 91 days old");
    let bench = closed_for(bench, days(30));
    live(&bench, days(48));
    assert_eq!(submissions(&bench), 1);
    live(&bench, days(2));
    assert_eq!(submissions(&bench), 0);
    bench.check();
}

#[test]
fn a_clock_that_was_behind_and_is_set_right_while_the_file_is_closed_removes_nothing_early() {
    let bench = Bench::new();
    done(&bench, "before");
    let bench = restart_at(bench, START.minus(days(365)));
    live(&bench, DAY);
    done(&bench, "behind");
    let bench = restart_at(bench, START.plus(DAY));
    for _ in 0..23 {
        live(&bench, Millis::from_secs(60 * 60));
    }
    assert!(is_duplicate(&bench, form("behind", "{}")));
    live(&bench, days(87));
    assert_eq!(submissions(&bench), 2);
    live(&bench, days(2));
    assert_eq!(submissions(&bench), 1);
    live(&bench, days(2));
    assert_eq!(submissions(&bench), 0, "nor is anything kept longer for it");
}

#[test]
fn a_clock_set_right_in_an_idle_server_is_known_to_the_start_after_a_crash() {
    let bench = Bench::new();
    bench.store.close().unwrap();
    std::fs::remove_file(bench.path()).unwrap();
    bench.clock.jump_to(START.minus(days(365)));
    let bench = Bench { store: open(bench.path(), &bench.clock, |_| {}), ..bench };
    done(&bench, "t");
    bench.clock.jump_to(START);
    round(&bench);
    let crashed = Bench::new();
    crashed.store.close().unwrap();
    std::fs::copy(bench.path(), crashed.path()).unwrap();
    let clock = Arc::clone(&bench.clock);
    let crashed = Bench { store: open(crashed.path(), &clock, |_| {}), clock, ..crashed };
    live(&crashed, days(89));
    assert_eq!(submissions(&crashed), 1);
    live(&crashed, days(2));
    assert_eq!(submissions(&crashed), 0);
}

#[test]
fn a_start_with_the_clock_ahead_forgets_no_new_number_of_a_customer() {
    let bench = Bench::new();
    let change = |batch: &mut Batch<'_, '_>| {
        batch.tables.renamed.insert((&[7; 16], START.as_millis()), b"change".as_slice())?;
        Ok(())
    };
    bench.store.ask(Change(change)).unwrap();
    let bench = restart_at(bench, START.plus(days(100)));
    round(&bench);
    let read = bench.store.read().unwrap();
    let table = read.reading(|txn| Ok(txn.open_table(crate::store::tables::RENAMED)?)).unwrap();
    assert_eq!(redb::ReadableTableMetadata::len(&table).unwrap(), 1);
}

#[test]
fn a_start_with_the_clock_a_hundred_days_ahead_removes_nothing_and_forgets_no_token() {
    let mut bench = Bench::new();
    for token in ["a", "b", "c"] {
        done(&bench, token);
    }
    keep_draft(&bench, "d");
    bench.store.close().unwrap();
    bench.clock.jump_to(START.plus(days(100)));
    bench = Bench { store: open(bench.path(), &bench.clock, |_| {}), ..bench };
    for _ in 0..4 {
        round(&bench);
        bench.clock.advance(Millis::from_secs(60));
    }
    bench.clock.jump_to(START.plus(Millis::from_secs(240)));
    for _ in 0..2 {
        live(&bench, Millis::from_secs(60));
        let counts = bench.store.read().unwrap().counts().unwrap();
        assert_eq!((counts.submissions, counts.drafts), (3, 1));
        for token in ["a", "b", "c"] {
            assert!(matches!(bench.accept(form(token, "{}")), Accepted::Duplicate { .. }), "{token}");
        }
        bench = bench.reopen();
    }
    live(&bench, days(89));
    assert_eq!(submissions(&bench), 3);
    live(&bench, days(2));
    assert_eq!(submissions(&bench), 0, "nor is anything kept longer for it");
    bench.check();
}

#[test]
fn a_form_that_came_while_the_clock_ran_ahead_keeps_no_other_one() {
    let bench = Bench::new();
    bench.clock.jump_to(START.plus(days(400)));
    done(&bench, "ahead");
    bench.clock.jump_to(START);
    for token in 0..6 {
        done(&bench, &format!("t{token}"));
    }
    live(&bench, days(91));
    assert_eq!(submissions(&bench), 0);
    bench.check();
}

#[test]
fn a_clock_that_begins_in_1970_and_is_set_later_removes_nothing_early_and_keeps_nothing_for_years() {
    for set_while_running in [true, false] {
        let mut bench = Bench::new();
        bench.store.close().unwrap();
        std::fs::remove_file(bench.path()).unwrap();
        bench.clock.jump_to(Timestamp::from_millis(5_000));
        bench = Bench { store: open(bench.path(), &bench.clock, |_| {}), ..bench };
        done(&bench, "then");
        if set_while_running {
            bench.clock.jump_to(START);
        } else {
            bench.store.close().unwrap();
            bench.clock.jump_to(START);
            bench = Bench { store: open(bench.path(), &bench.clock, |_| {}), ..bench };
        }
        done(&bench, "now");
        live(&bench, days(89));
        assert_eq!(submissions(&bench), 2, "set while running: {set_while_running}");
        bench = bench.reopen();
        live(&bench, days(2));
        assert_eq!(submissions(&bench), 0, "set while running: {set_while_running}");
    }
}

#[test]
fn time_spent_closed_counts_in_the_end_also_for_a_server_that_is_restarted_often() {
    let mut bench = Bench::new();
    done(&bench, "t");
    // A hundred days of which the server runs a minute each.
    for _ in 0..100 {
        bench.store.close().unwrap();
        bench.clock.advance(DAY);
        bench = Bench { store: open(bench.path(), &bench.clock, |_| {}), ..bench };
        bench.clock.advance(Millis::from_secs(60));
    }
    round(&bench);
    assert_eq!(submissions(&bench), 1, "it has not lived long enough to know");
    live(&bench, days(13));
    assert_eq!(submissions(&bench), 0);
}

#[test]
fn a_reopening_after_a_full_disk_goes_by_the_time_that_the_process_lived() {
    let switches = Arc::new(Switches::default());
    let bench = Bench::with(|options| {
        let switches = Arc::clone(&switches);
        options.medium = Arc::new(move |file| Ok(FailingDisk::open(file, Arc::clone(&switches))));
    });
    done(&bench, "before");
    switches.no_space.store(true, Ordering::SeqCst);
    let arrivals = vec![Arrival::Form(Box::new(form("during", "{}")))];
    assert!(bench.store.ask(Accept { arrivals }).is_err());
    bench.clock.jump_to(bench.clock.now().plus(days(400)));
    bench.clock.advance(Millis::from_secs(60 * 60));
    switches.no_space.store(false, Ordering::SeqCst);
    let is_open = (0..2000).any(|_| {
        bench.clock.advance(Millis::new(50));
        std::thread::park_timeout(std::time::Duration::from_millis(5));
        let arrivals = vec![Arrival::Form(Box::new(form("before", "{}")))];
        bench.store.ask(Accept { arrivals }).is_ok()
    });
    assert!(is_open, "{:?}", bench.store.health());
    live(&bench, days(1));
    assert_eq!(submissions(&bench), 1);
    live(&bench, days(88));
    assert_eq!(submissions(&bench), 1, "also after a while");
    live(&bench, days(2));
    assert_eq!(submissions(&bench), 0);
}

#[test]
fn a_row_that_cannot_be_read_stays_and_keeps_nothing_behind_it() {
    let bench = Bench::telling();
    for token in 0..20 {
        let job = bench.accept_new(&format!("t{token}"));
        bench.finish(job);
        bench.store.ask(CloseLead { lead: LeadId::new(token + 1) }).unwrap();
    }
    for delivery in bench.deliveries() {
        bench.note(delivery.0, None, None);
    }
    for draft in ["d1", "d2"] {
        keep_draft(&bench, draft);
    }
    let spoil = |batch: &mut Batch<'_, '_>| {
        let spoilt: &[u8] = b"spoilt";
        let jobs = &batch.tables.jobs;
        let mut delivering = None;
        for row in redb::ReadableTable::iter(jobs)? {
            let id = row?.0.value();
            if redb::ReadableTable::get(&batch.tables.deliveries, id)?.is_some() {
                delivering = Some(id);
                break;
            }
        }
        batch.tables.submissions.insert(1, spoilt)?;
        batch.tables.leads.insert(2, spoilt)?;
        batch.tables.deliveries.insert(delivering.unwrap(), spoilt)?;
        batch.tables.token_log.insert(1, spoilt)?;
        let first = redb::ReadableTable::first(&batch.tables.drafts)?.map(|(key, _)| *key.value()).unwrap();
        batch.tables.drafts.insert(&first, spoilt)?;
        Ok(())
    };
    bench.store.ask(Change(spoil)).unwrap();
    bench.clock.advance(days(91));
    let swept = round(&bench);
    assert_eq!(submissions(&bench), 2, "all but the two that can't be read");
    let counts = bench.store.read().unwrap().counts().unwrap();
    assert_eq!(counts.drafts, 1);
    let left = bench.store.read().unwrap().list_all::<Job>().unwrap().len();
    assert_eq!(left, 5, "of the two submissions, of the delivery, and two that tell of a draft that was left");
    // The draft is passed twice: it is neither told of nor removed.
    assert_eq!(swept.unreadable, 6);
    assert!(swept.first_error.unwrap().contains("row"));
    assert_eq!(bench.store.figures().keys, 1, "only what can't be read is still in memory");
    assert_eq!(round(&bench).unreadable, 0, "they are looked at again after a day, and not before");
    bench.clock.advance(DAY);
    assert_eq!(round(&bench).unreadable, 5, "the key is gone");
}

#[test]
fn a_key_that_cannot_be_read_keeps_no_other_one_in_memory() {
    let bench = Bench::with(|options| options.keys_max = 3);
    bench.accept_new("first");
    bench
        .store
        .ask(Change(|batch: &mut Batch<'_, '_>| {
            batch.tables.token_log.insert(1, b"spoilt".as_slice())?;
            Ok(())
        }))
        .unwrap();
    for token in 0..10 {
        bench.accept_new(&format!("t{token}"));
    }
    for token in 0..10 {
        assert!(matches!(bench.accept(form(&format!("t{token}"), "{}")), Accepted::Duplicate { .. }), "t{token}");
    }
}

#[test]
fn a_lowered_bound_of_keys_costs_a_commit_no_more_than_it_brings() {
    let bench = Bench::new();
    let arrivals = (0..2000).map(|token| Arrival::Form(Box::new(form(&format!("t{token}"), "{}")))).collect();
    bench.store.ask(Accept { arrivals }).unwrap();
    bench.store.close().unwrap();
    let bench = Bench { store: open(bench.path(), &bench.clock, |options| options.keys_max = 3), ..bench };
    for token in ["a", "b", "c"] {
        bench.accept_new(token);
    }
    assert!(bench.store.figures().keys >= 1998, "{:?}", bench.store.figures());
    round(&bench);
    assert_eq!(bench.store.figures().keys, 3);
    for token in (0..2000).step_by(97) {
        assert!(matches!(bench.accept(form(&format!("t{token}"), "{}")), Accepted::Duplicate { .. }), "t{token}");
    }
}

#[test]
fn a_slice_ends_at_a_mebibyte_of_rows() {
    let bench = Bench::new();
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(250_000));
    for token in 0..12 {
        let Accepted::New { job, .. } = bench.accept(form(&format!("t{token}"), &large)) else { panic!("no new one") };
        bench.store.ask(Finish { job, attempt: attempt(None), lead: None }).unwrap();
    }
    bench.clock.advance(days(91));
    let slice = || Sweep {
        from: Place::Queue(Queue::Submissions),
        most: 1000,
        submissions: KEPT,
        attempts: DAY,
        patience: Patience::default(),
    };
    for left in [7, 2] {
        let swept = bench.store.ask(slice()).unwrap();
        assert_eq!((swept.read, swept.removed, swept.next), (5, 5, Some(slice().from)));
        assert_eq!(submissions(&bench), left);
    }
}

#[test]
fn a_slice_over_failed_attempts_ends_when_it_has_removed_as_many_rows_as_it_may() {
    let bench = Bench::new();
    for token in ["a", "b", "c"] {
        let job = bench.accept_new(token);
        for _ in 0..5 {
            let verdict = Verdict::Again { at: START };
            bench.store.ask(Fail { job, attempt: attempt(Some("no")), verdict }).unwrap();
        }
        bench.store.ask(Finish { job, attempt: attempt(None), lead: None }).unwrap();
    }
    bench.clock.advance(days(2));
    let place = Place::Queue(Queue::Attempts);
    let slice = || Sweep { from: place, most: 8, submissions: KEPT, attempts: DAY, patience: Patience::default() };
    let swept = bench.store.ask(slice()).unwrap();
    assert_eq!((swept.read, swept.removed, swept.next), (2, 10, Some(place)));
    let swept = bench.store.ask(slice()).unwrap();
    assert_eq!((swept.read, swept.removed), (1, 5));
    assert_ne!(swept.next, Some(place));
}

#[test]
fn a_round_over_ten_thousand_rows_that_must_stay_reads_them_once_a_day() {
    let mut bench = Bench::new();
    for slice in 0..10 {
        let arrivals =
            (0..1000).map(|token| Arrival::Form(Box::new(form(&format!("t{slice}-{token}"), "{}")))).collect();
        let accepted = bench.store.ask(Accept { arrivals }).unwrap();
        let jobs = accepted.into_iter().map(|accepted| match accepted {
            Accepted::New { job, .. } => job,
            other => panic!("{other:?}"),
        });
        bench.store.ask(FinishAll(jobs.collect())).unwrap();
    }
    bench.clock.advance(days(91));
    let first = round(&bench);
    assert_eq!(submissions(&bench), 10_000, "their leads are open");
    assert!(first.read >= 10_000, "{first:?}");
    for _ in 0..3 {
        bench.clock.advance(Millis::from_secs(60));
        assert_eq!(round(&bench).read, 0);
        bench = bench.reopen();
    }
    for lead in 1..=3 {
        bench.store.ask(CloseLead { lead: LeadId::new(lead) }).unwrap();
    }
    bench.clock.advance(DAY);
    assert_eq!(round(&bench).removed, 3);
    assert_eq!(submissions(&bench), 9_997);
}

#[test]
fn a_customer_who_does_not_come_back_is_forgotten_after_the_retention_of_submissions() {
    let bench = Bench::new();
    bench.add_agent("ann", None);
    let come = |token: &str, customer: &str| {
        let Accepted::New { job, submission, .. } = bench.accept(form(token, "{}")) else { panic!("{token}") };
        let order = LeadOrder { sticky: true, customer: Customer::from_text(customer), ..order() };
        let finish = Finish { job, attempt: attempt(None), lead: Some(order) };
        assert!(matches!(bench.store.ask(finish).unwrap(), Finished::Done { .. }));
        bench.store.ask(CloseLead { lead: LeadId::new(submission.get()) }).unwrap();
    };
    let known = || {
        let read = bench.store.read().unwrap();
        let table = read.reading(|txn| Ok(txn.open_table(crate::store::tables::CUSTOMERS)?)).unwrap();
        redb::ReadableTableMetadata::len(&table).unwrap()
    };
    come("once", "16505550001");
    come("again", "16505550002");
    live(&bench, days(60));
    come("and again", "16505550002");
    live(&bench, days(31));
    assert_eq!(known(), 1, "one came back");
    live(&bench, days(60));
    assert_eq!(known(), 0);
    assert_eq!(submissions(&bench), 0);
    assert!(bench.store.read().unwrap().submission(SubmissionId::new(1)).unwrap().is_none());
}
