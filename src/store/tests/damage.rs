//! Damage that was not there when the file was opened, or that nobody looked for: rows are done without, and pages end the
//! store wherever they are met.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redb::{Database, ReadableTable, TableDefinition};

use crate::clock::ManualClock;
use crate::domain::ids::SubmissionId;
use crate::store::batch::{Batch, Transaction};
use crate::store::tables::{AGENTS, BOOKINGS, MESSAGE_LOG, REVIVED, Rows, SUBMISSIONS, TOKEN_LOG};
use crate::store::{
    Accepted, Health, KeepAnswer, KeptAnswer, RowProblem, Store, StoreError, StoreOptions, StoredSubmission, check,
};

use super::disks::FailingDisk;
use super::faults::{on_failing_disk, wait_until};
use super::support::{Bench, START, attempt, by_webhook, form, open, open_to_look};

/// Changes a byte of the row `key`, as a bad disk does behind redb's back.
pub(super) fn damage(database: &Database, table: Rows, key: u64) {
    let table: TableDefinition<'_, u64, &[u8]> = table;
    let txn = database.begin_write().unwrap();
    {
        let mut table = txn.open_table(table).unwrap();
        let mut row = table.get(key).unwrap().map_or_else(|| vec![1; 9], |row| row.value().to_vec());
        let last = row.len() - 1;
        row[last] ^= 1;
        table.insert(key, row.as_slice()).unwrap();
    }
    txn.commit().unwrap();
}

#[test]
fn rows_that_cannot_be_read_keep_nothing_else_from_being_served() {
    let bench = Bench::new();
    bench.add_agent("ann", None);
    bench.add_agent("bob", None);
    bench.accept_new("a");
    bench.accept(by_webhook("b", "wamid.b", "{}"));
    bench.store.close().unwrap();
    {
        let database = Database::open(bench.path()).unwrap();
        for (table, key) in [(TOKEN_LOG, 1), (MESSAGE_LOG, 1), (AGENTS, 1), (BOOKINGS, 1)] {
            damage(&database, table, key);
        }
    }
    let store = open_to_look(bench.path(), &bench.clock);
    let found = check(&store).unwrap();
    store.close().unwrap();
    let unreadable = found.findings.iter().filter(|finding| finding.invariant == "every row can be read");
    assert_eq!(unreadable.count(), 4, "{:?}", found.findings);

    let bench = bench.reopen();
    assert_eq!(bench.store.rows_left_out(), 3, "two keys and an agent; nothing in memory follows from a booking");
    assert!(matches!(bench.accept(form("b", "{}")), Accepted::Duplicate { .. }), "the other keys are known");
    let job = bench.accept_new("c");
    bench.finish(job);
    let read = bench.store.read().unwrap();
    let agents = read.agents().unwrap();
    assert_eq!(agents.iter().map(|(_, agent)| (agent.name.as_str(), agent.current)).collect::<Vec<_>>(), [("bob", 1)]);
}

/// Opens the file at `path` and waits for the end of that.
fn outcome(options: StoreOptions) -> (Store, Result<(), StoreError>) {
    let store = Store::start(options, Arc::new(ManualClock::at(START))).unwrap();
    let (tell, told) = crossbeam_channel::bounded(1);
    let opening = store.clone();
    std::thread::spawn(move || tell.send(opening.wait_open()));
    let opened = told.recv_timeout(Duration::from_mins(1)).expect("it is opening for ever");
    (store, opened)
}

#[test]
fn a_page_of_zeros_ends_the_store_or_is_not_needed_and_never_leaves_it_opening() {
    let bench = Bench::new();
    for n in 0..200 {
        let job = bench.accept_new(&format!("t{n}"));
        bench.finish(job);
    }
    bench.store.close().unwrap();
    let whole = std::fs::read(bench.path()).unwrap();
    let (pages, mut ended) = (whole.len() / 4096, 0);
    for page in (1..pages).step_by(pages.div_ceil(120)) {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.redb");
        std::fs::write(&path, &bytes).unwrap();
        let options = StoreOptions { free_space_min: 0, verify_always: false, ..StoreOptions::new(path) };
        let (store, opened) = outcome(options);
        match opened {
            Ok(()) => {}
            Err(StoreError::Damaged(_) | StoreError::Foreign { .. }) => ended += 1,
            Err(other) => panic!("page {page}: {other}"),
        }
        drop(store);
    }
    assert!(ended > 0, "no page of zeros was in use");
}

#[test]
fn a_panic_while_nothing_is_to_be_done_ends_the_store_and_tells_so() {
    let (bench, switches) = on_failing_disk();
    let failure = bench.store.failure();
    switches.sync_panics.store(true, Ordering::SeqCst);
    bench.clock.advance(crate::domain::time::Millis::from_secs(1));
    assert!(matches!(failure.recv_timeout(Duration::from_secs(20)), Ok(StoreError::Damaged(_))));
    assert!(matches!(bench.store.health(), Health::Failed(_)));
    assert!(matches!(bench.store.close(), Err(StoreError::Damaged(_))));
}

#[test]
fn a_page_that_makes_no_sense_to_a_reader_ends_the_store() {
    let (bench, switches) = on_failing_disk();
    for n in 0..200 {
        bench.accept_new(&format!("t{n}"));
    }
    bench.store.close().unwrap();
    let store = open(bench.path(), &bench.clock, |options| {
        // So that pages are read from the disk.
        (options.cache_bytes, options.verify_always) = (0, false);
        let switches = Arc::clone(&switches);
        options.medium = Arc::new(move |file| Ok(FailingDisk::open(file, Arc::clone(&switches))));
    });
    let failure = store.failure();
    let read = store.read().unwrap();
    switches.zeros.store(true, Ordering::SeqCst);
    let found = (1..=200).find_map(|id| read.submission(SubmissionId::new(id)).err());
    assert!(matches!(found, Some(StoreError::Damaged(_))), "{found:?}");
    assert!(matches!(failure.recv_timeout(Duration::from_secs(10)), Ok(StoreError::Damaged(_))));
    assert!(matches!(store.health(), Health::Failed(_)));
    assert!(matches!(store.read().map(|_| ()), Err(StoreError::NotOpen)));
    switches.zeros.store(false, Ordering::SeqCst);
    drop(read);
    assert!(matches!(store.close(), Err(StoreError::Damaged(_))), "and its end is no clean one");
}

/// Fails like a change that meets a damaged row.
struct Fails;

impl Transaction for Fails {
    type Outcome = ();

    fn apply(&self, _: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        Err(StoreError::row::<StoredSubmission>("1", RowProblem::Checksum))
    }
}

#[test]
fn a_change_that_fails_costs_the_same_however_many_answers_are_kept() {
    let reads = |answers: u8| {
        let (bench, switches) = on_failing_disk();
        for number in 0..answers {
            let request = crate::domain::submission::IdempotencyKey::from_bytes([number; 16]);
            let answer = KeptAnswer { status: 200, body: "a".repeat(100_000).into() };
            bench.store.ask(KeepAnswer { request, answer }).unwrap();
        }
        bench.store.close().unwrap();
        let store = open(bench.path(), &bench.clock, |options| {
            options.cache_bytes = 0;
            let switches = Arc::clone(&switches);
            options.medium = Arc::new(move |file| Ok(FailingDisk::open(file, Arc::clone(&switches))));
        });
        let before = switches.reads.load(Ordering::SeqCst);
        for _ in 0..10 {
            store.ask(Fails).unwrap_err();
        }
        switches.reads.load(Ordering::SeqCst) - before
    };
    let (few, many) = (reads(2), reads(200));
    assert!(many <= few * 3 + 100, "{few} reads of the disk with 2 answers, {many} with 200");
}

#[test]
fn a_full_disk_is_told_apart_from_damage_by_readers() {
    let (bench, switches) = on_failing_disk();
    bench.accept_new("before");
    let read = bench.store.read().unwrap();
    switches.no_space.store(true, Ordering::SeqCst);
    let arrivals = vec![crate::domain::arrival::Arrival::Form(Box::new(form("during", "{}")))];
    assert!(matches!(bench.store.ask(crate::store::Accept { arrivals }), Err(StoreError::NoSpace)));
    wait_until(&bench, |store| matches!(store.health(), Health::NoSpace));
    // Its file is closed.
    let late = read.submission(SubmissionId::new(1));
    assert!(matches!(late, Ok(Some(_)) | Err(StoreError::NotOpen | StoreError::NoSpace)), "{late:?}");
    assert!(matches!(bench.store.health(), Health::NoSpace), "and the store goes on");
}

/// The file as a crash at this moment would leave it, opened.
fn after_a_crash(bench: &Bench, folder: &tempfile::TempDir) -> Store {
    let path = folder.path().join("crashed.redb");
    std::fs::copy(bench.path(), &path).unwrap();
    open(path, &bench.clock, |_| {})
}

#[test]
fn a_delivery_that_takes_the_process_down_three_times_is_a_dead_letter() {
    use crate::domain::job::JobState;
    use crate::store::{ClearSuspect, MarkSuspect, Suspect};
    let bench = Bench::telling();
    assert_eq!(bench.store.suspect_deliveries(), []);
    bench.accept_new("a");
    bench.accept_new("b");
    let mut ids: Vec<_> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
    ids.sort_unstable();
    let folder = tempfile::tempdir().unwrap();
    let store = after_a_crash(&bench, &folder);
    let mut suspects = store.suspect_deliveries();
    suspects.sort_unstable();
    assert_eq!(suspects, ids, "the first ones of each lane");

    let job = ids[0];
    for mark in 1..=2 {
        assert_eq!(store.ask(MarkSuspect { job }).unwrap(), Suspect::Run);
        assert_eq!(store.read().unwrap().job(job).unwrap().unwrap().crashes, mark);
    }
    store.ask(ClearSuspect { job }).unwrap();
    for _ in 0..3 {
        assert_eq!(store.ask(MarkSuspect { job }).unwrap(), Suspect::Run, "what did no harm is no suspect any more");
    }
    assert_eq!(store.ask(MarkSuspect { job }).unwrap(), Suspect::Buried);
    let read = store.read().unwrap();
    assert_eq!(read.job(job).unwrap().unwrap().state, JobState::Dead);
    assert!(read.dead(job).unwrap().unwrap().reason.contains("3 times"));
    drop(read);
    assert_eq!(check(&store).unwrap().findings, []);
}

#[test]
fn a_letter_that_cannot_be_read_keeps_no_other_from_being_run_again_or_given_up() {
    use crate::store::tables::{DEAD, DELIVERIES};
    use crate::store::{DiscardMany, ReviveMany};
    let dead = |bench: &Bench| -> Vec<_> {
        for token in ["a", "b", "c"] {
            bench.accept_new(token);
        }
        let ids: Vec<_> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
        for id in &ids {
            bench.note(*id, Some(crate::domain::retry::Verdict::Dead), None);
        }
        ids
    };
    for (table, revives) in [(DEAD, true), (DELIVERIES, true), (DELIVERIES, false)] {
        let bench = Bench::new();
        bench.tell(&["crm"], &[]);
        let ids = dead(&bench);
        bench.store.close().unwrap();
        damage(&Database::open(bench.path()).unwrap(), table, ids[1].get());
        let bench = bench.reopen();
        let many = if revives {
            let jobs = ids.iter().map(|id| (*id, START)).collect();
            bench.store.ask(ReviveMany { jobs }).unwrap()
        } else {
            bench.store.ask(DiscardMany { jobs: ids.clone() }).unwrap()
        };
        assert_eq!(many.changed, 2, "{many:?}");
        assert_eq!(many.unreadable.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ids[1]]);
    }
}

#[test]
fn a_file_is_compacted_to_what_is_in_it_and_keeps_all_of_that() {
    let bench = Bench::new();
    for n in 0..300 {
        let mut form = form(&format!("t{n}"), "{}");
        form.submission.data = format!("{{\"text\":\"{}\"}}", "a".repeat(20_000)).into();
        bench.accept(form);
    }
    let error = crate::store::compact(&StoreOptions::new(bench.path()), START).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "a server runs: {error}");
    bench.store.close().unwrap();
    {
        let database = Database::open(bench.path()).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(crate::store::tables::SUBMISSIONS).unwrap().retain(|id, _| id > 250).unwrap();
        txn.commit().unwrap();
    }
    let sizes = crate::store::compact(&StoreOptions::new(bench.path()), START).unwrap();
    assert!(sizes.after < sizes.before / 2, "{sizes:?}");
    let bench = bench.reopen();
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 50);
    assert!(matches!(bench.accept(form("t299", "{}")), Accepted::Duplicate { .. }));
}

#[test]
fn a_message_that_needs_a_damaged_row_is_a_dead_letter_again() {
    use crate::domain::job::JobState;
    use crate::store::{FinishMessage, Finished, Revive};
    let bench = Bench::new();
    bench.accept_new("t");
    let Accepted::DeadLetter { job } = bench.accept_unreadable("wamid.1") else { panic!("a dead letter") };
    bench.store.close().unwrap();
    damage(&Database::open(bench.path()).unwrap(), SUBMISSIONS, 1);
    let bench = bench.reopen();
    for number in 1..=2 {
        bench.store.ask(Revive { job, payload: None }).unwrap();
        let form = Box::new(by_webhook("t", "wamid.1", "{}"));
        let finished = bench.store.ask(FinishMessage { job, attempt: attempt(None), form }).unwrap();
        assert!(matches!(finished, Finished::Buried { .. }), "{finished:?}");
        let read = bench.store.read().unwrap();
        let row = read.job(job).unwrap().unwrap();
        assert_eq!((row.state, row.attempts), (JobState::Dead, number));
        let letter = read.dead(job).unwrap().unwrap();
        assert!(letter.reason.contains("submissions") && letter.payload == "{}", "{letter:?}");
    }
}

#[test]
fn a_message_whose_own_letter_is_damaged_becomes_a_dead_letter_with_the_damaged_row() {
    use crate::domain::job::JobState;
    use crate::domain::retry::Verdict;
    use crate::store::{Fail, Revive};
    let bench = Bench::new();
    bench.tell(&[], &["ops"]);
    let Accepted::DeadLetter { job } = bench.accept_unreadable("wamid.1") else { panic!("a dead letter") };
    bench.store.ask(Revive { job, payload: None }).unwrap();
    bench.store.close().unwrap();
    damage(&Database::open(bench.path()).unwrap(), REVIVED, job.get());
    let bench = bench.reopen();
    bench.store.ask(Fail { job, attempt: attempt(Some("no")), verdict: Verdict::Dead }).unwrap();
    assert_eq!(bench.store.read().unwrap().job(job).unwrap().unwrap().state, JobState::Dead);
    assert!(bench.store.read().unwrap().dead(job).unwrap_err().to_string().contains("checksum"));
    assert_eq!(bench.told(), ["job.dead", "job.dead"]);
    let findings = crate::store::check(&bench.store).unwrap().findings;
    assert!(findings.iter().any(|finding| finding.place.contains("dead")), "{findings:?}");
}

#[test]
fn a_job_with_a_damaged_submission_becomes_a_dead_letter() {
    use crate::domain::job::JobState;
    use crate::domain::retry::Verdict;
    use crate::store::Fail;
    let bench = Bench::new();
    bench.tell(&[], &["ops"]);
    let job = bench.accept_new("t");
    bench.store.close().unwrap();
    damage(&Database::open(bench.path()).unwrap(), SUBMISSIONS, 1);
    let bench = bench.reopen();
    let reason = "row 1 of table submissions has a wrong checksum";
    bench.store.ask(Fail { job, attempt: attempt(Some(reason)), verdict: Verdict::Dead }).unwrap();
    assert_eq!(bench.told(), ["job.dead"]);
    let read = bench.store.read().unwrap();
    assert_eq!(read.job(job).unwrap().unwrap().state, JobState::Dead);
    let letter = read.dead(job).unwrap().unwrap();
    assert_eq!((&*letter.reason, &*letter.payload), (reason, ""));
}
