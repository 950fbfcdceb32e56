//! Tests of damage that appears after the file was opened, or that no verification has found.
//!
//! The store skips damaged rows. A damaged page stops the store wherever a reader or the writer
//! finds the page.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redb::{Database, ReadableTable, TableDefinition};

use crate::clock::ManualClock;
use crate::domain::ids::SubmissionId;
use crate::store::rows::schema::{
    AGENTS, BOOKINGS, MESSAGE_LOG, RETRIED_DEAD_LETTERS, SUBMISSIONS, TOKEN_LOG,
};
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{
    AcceptOutcome, CachedResponse, RowProblem, Store, StoreError, StoreHealth, StoreOptions,
    StoreResponse, check_integrity,
};

use super::disk_faults::{open_on_failing_disk, wait_until};
use super::support::{START, StoreBench, attempt, form, open_read_only, open_store, webhook_form};
use super::test_disks::FailingDisk;

/// Changes a byte of the row `key` without redb, as a bad disk does.
pub(super) fn flip_row_byte(database: &Database, table: TableDefinition<'_, u64, &[u8]>, key: u64) {
    let txn = database.begin_write().unwrap();
    {
        let mut table = txn.open_table(table).unwrap();
        let mut row = table
            .get(key)
            .unwrap()
            .map_or_else(|| vec![1; 9], |row| row.value().to_vec());
        let last = row.len() - 1;
        row[last] ^= 1;
        table.insert(key, row.as_slice()).unwrap();
    }
    txn.commit().unwrap();
}

#[test]
fn unreadable_rows_block_nothing_else() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    bench.add_agent("bob", None);
    bench.accept_new("a");
    bench.accept(webhook_form("b", "wamid.b", "{}"));
    bench.store.close().unwrap();
    {
        let database = Database::open(bench.path()).unwrap();
        for table in [
            TOKEN_LOG.definition(),
            MESSAGE_LOG.definition(),
            AGENTS.definition(),
            BOOKINGS.definition(),
        ] {
            flip_row_byte(&database, table, 1);
        }
    }
    let store = open_read_only(bench.path(), &bench.clock);
    let report = check_integrity(&store).unwrap();
    store.close().unwrap();
    let unreadable = report
        .violations
        .iter()
        .filter(|violation| violation.invariant == "every row can be read");
    assert_eq!(unreadable.count(), 4, "{:?}", report.violations);

    let bench = bench.reopen();
    assert_eq!(
        bench.store.unreadable_rows(),
        3,
        "two keys and an agent; nothing in memory follows from a booking"
    );
    assert!(
        matches!(
            bench.accept(form("b", "{}")),
            AcceptOutcome::Duplicate { .. }
        ),
        "the other keys are known"
    );
    let job = bench.accept_new("c");
    bench.finish_job(job);
    let read = bench.store.read().unwrap();
    let agents = read.agents().unwrap();
    assert_eq!(
        agents
            .iter()
            .map(|(_, agent)| (agent.name.as_str(), agent.current_leads))
            .collect::<Vec<_>>(),
        [("bob", 1)]
    );
}

/// Opens the file that `options` name. Waits until the file is open or the open has failed, at most
/// one minute.
fn open_within_deadline(options: StoreOptions) -> (Store, Result<(), StoreError>) {
    let store = Store::start(options, Arc::new(ManualClock::at(START))).unwrap();
    let (opened_tx, opened_rx) = crossbeam_channel::bounded(1);
    let opening_store = store.clone();
    std::thread::spawn(move || opened_tx.send(opening_store.wait_open()));
    let opened = opened_rx
        .recv_timeout(Duration::from_mins(1))
        .expect("it is opening for ever");
    (store, opened)
}

#[test]
fn zeroed_page_fails_the_open_or_is_unused() {
    let bench = StoreBench::new();
    for n in 0..200 {
        let job = bench.accept_new(&format!("t{n}"));
        bench.finish_job(job);
    }
    bench.store.close().unwrap();
    let whole = std::fs::read(bench.path()).unwrap();
    let (pages, mut failed_opens) = (whole.len() / 4096, 0);
    for page in (1..pages).step_by(pages.div_ceil(120)) {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.redb");
        std::fs::write(&path, &bytes).unwrap();
        let options = StoreOptions {
            min_free_bytes: 0,
            verify_always: false,
            ..StoreOptions::new(path)
        };
        let (store, opened) = open_within_deadline(options);
        match opened {
            Ok(()) => {}
            Err(StoreError::Damaged(_) | StoreError::NotADataFile { .. }) => failed_opens += 1,
            Err(other) => panic!("page {page}: {other}"),
        }
        drop(store);
    }
    assert!(failed_opens > 0, "no page of zeros was in use");
}

#[test]
fn panic_while_idle_fails_the_store() {
    let (bench, switches) = open_on_failing_disk();
    let failure = bench.store.failure_receiver();
    switches.sync_panics.store(true, Ordering::SeqCst);
    bench
        .clock
        .advance(crate::domain::time::Millis::from_secs(1));
    assert!(matches!(
        failure.recv_timeout(Duration::from_secs(20)),
        Ok(StoreError::Damaged(_))
    ));
    assert!(matches!(bench.store.health(), StoreHealth::Failed(_)));
    assert!(matches!(bench.store.close(), Err(StoreError::Damaged(_))));
}

#[test]
fn damaged_page_met_by_reader_fails_the_store() {
    let (bench, switches) = open_on_failing_disk();
    for n in 0..200 {
        bench.accept_new(&format!("t{n}"));
    }
    bench.store.close().unwrap();
    let store = open_store(bench.path(), &bench.clock, |options| {
        // Without a page cache, each page is read from the disk.
        (options.page_cache_bytes, options.verify_always) = (0, false);
        let switches = Arc::clone(&switches);
        options.backend_factory =
            Arc::new(move |file| Ok(FailingDisk::open(file, Arc::clone(&switches))));
    });
    let failure = store.failure_receiver();
    let read = store.read().unwrap();
    switches.reads_zeros.store(true, Ordering::SeqCst);
    let found = (1..=200).find_map(|id| read.submission(SubmissionId::new(id)).err());
    assert!(matches!(found, Some(StoreError::Damaged(_))), "{found:?}");
    assert!(matches!(
        failure.recv_timeout(Duration::from_secs(10)),
        Ok(StoreError::Damaged(_))
    ));
    assert!(matches!(store.health(), StoreHealth::Failed(_)));
    assert!(matches!(store.read().map(|_| ()), Err(StoreError::NotOpen)));
    switches.reads_zeros.store(false, Ordering::SeqCst);
    drop(read);
    assert!(
        matches!(store.close(), Err(StoreError::Damaged(_))),
        "and its end is no clean one"
    );
}

/// Fails like a transaction that reads a damaged row.
struct FailingTransaction;

impl Transaction for FailingTransaction {
    type Outcome = ();

    fn apply(&self, _: &mut WriteContext<'_>) -> Result<(), StoreError> {
        Err(SUBMISSIONS.row_error(SubmissionId::new(1), RowProblem::Checksum))
    }
}

#[test]
fn failed_transaction_cost_is_independent_of_cached_responses() {
    let count_reads = |response_count: u8| {
        let (bench, switches) = open_on_failing_disk();
        for number in 0..response_count {
            let request = crate::domain::submission::IdempotencyKey::from_bytes([number; 16]);
            let response = CachedResponse {
                status: 200,
                body: "a".repeat(100_000).into(),
            };
            bench
                .store
                .execute_blocking(StoreResponse {
                    encrypted_request_key: request,
                    response,
                })
                .unwrap();
        }
        bench.store.close().unwrap();
        let store = open_store(bench.path(), &bench.clock, |options| {
            options.page_cache_bytes = 0;
            let switches = Arc::clone(&switches);
            options.backend_factory =
                Arc::new(move |file| Ok(FailingDisk::open(file, Arc::clone(&switches))));
        });
        let before = switches.read_count.load(Ordering::SeqCst);
        for _ in 0..10 {
            store.execute_blocking(FailingTransaction).unwrap_err();
        }
        switches.read_count.load(Ordering::SeqCst) - before
    };
    let (few, many) = (count_reads(2), count_reads(200));
    assert!(
        many <= few * 3 + 100,
        "{few} reads of the disk with 2 answers, {many} with 200"
    );
}

#[test]
fn readers_distinguish_full_disk_from_damage() {
    let (bench, switches) = open_on_failing_disk();
    bench.accept_new("before");
    let read = bench.store.read().unwrap();
    switches.no_space.store(true, Ordering::SeqCst);
    let arrivals = vec![crate::domain::submission::inbound::Inbound::Submission(
        Box::new(form("during", "{}")),
    )];
    assert!(matches!(
        bench
            .store
            .execute_blocking(crate::store::AcceptInbound { inbound: arrivals }),
        Err(StoreError::NoSpace)
    ));
    wait_until(&bench, |store| {
        matches!(store.health(), StoreHealth::NoSpace)
    });
    // The file of the snapshot is closed.
    let late = read.submission(SubmissionId::new(1));
    assert!(
        matches!(
            late,
            Ok(Some(_)) | Err(StoreError::NotOpen | StoreError::NoSpace)
        ),
        "{late:?}"
    );
    assert!(
        matches!(bench.store.health(), StoreHealth::NoSpace),
        "the store continues"
    );
}

/// Opens a copy of the file as a crash at this moment would leave it.
fn open_crashed_copy(bench: &StoreBench, folder: &tempfile::TempDir) -> Store {
    let path = folder.path().join("crashed.redb");
    std::fs::copy(bench.path(), &path).unwrap();
    open_store(path, &bench.clock, |_| {})
}

#[test]
fn delivery_crashing_the_process_three_times_is_dead_letter() {
    use crate::domain::job::JobState;
    use crate::store::{ClearSuspect, MarkSuspect, SuspectAction};
    let bench = StoreBench::with_subscribers();
    assert_eq!(bench.store.suspect_deliveries(), []);
    bench.accept_new("a");
    bench.accept_new("b");
    let mut ids: Vec<_> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
    ids.sort_unstable();
    let folder = tempfile::tempdir().unwrap();
    let store = open_crashed_copy(&bench, &folder);
    let mut suspects = store.suspect_deliveries();
    suspects.sort_unstable();
    assert_eq!(suspects, ids, "the first ones of each lane");

    let job = ids[0];
    for mark in 1..=2 {
        assert_eq!(
            store.execute_blocking(MarkSuspect { job_id: job }).unwrap(),
            SuspectAction::Run
        );
        assert_eq!(
            store.read().unwrap().job(job).unwrap().unwrap().crashes,
            mark
        );
    }
    store
        .execute_blocking(ClearSuspect { job_id: job })
        .unwrap();
    for _ in 0..3 {
        assert_eq!(
            store.execute_blocking(MarkSuspect { job_id: job }).unwrap(),
            SuspectAction::Run,
            "what did no harm is no suspect any more"
        );
    }
    assert_eq!(
        store.execute_blocking(MarkSuspect { job_id: job }).unwrap(),
        SuspectAction::DeadLettered
    );
    let read = store.read().unwrap();
    assert_eq!(read.job(job).unwrap().unwrap().state, JobState::Dead);
    assert!(
        read.dead_letter(job)
            .unwrap()
            .unwrap()
            .reason
            .contains("3 times")
    );
    drop(read);
    assert_eq!(check_integrity(&store).unwrap().violations, []);
}

#[test]
fn unreadable_dead_letter_blocks_no_bulk_retry_or_discard() {
    use crate::store::rows::schema::{DEAD_LETTERS, DELIVERIES};
    use crate::store::{DiscardDeadLetters, RetryDeadLetters};
    let make_dead_letters = |bench: &StoreBench| -> Vec<_> {
        for token in ["a", "b", "c"] {
            bench.accept_new(token);
        }
        let ids: Vec<_> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
        for id in &ids {
            bench.record_attempt(
                *id,
                Some(crate::domain::job::retry::RetryDecision::GiveUp),
                None,
            );
        }
        ids
    };
    for (table, is_retry) in [
        (DEAD_LETTERS.definition(), true),
        (DELIVERIES.definition(), true),
        (DELIVERIES.definition(), false),
    ] {
        let bench = StoreBench::new();
        bench.subscribe(&["crm"], &[]);
        let ids = make_dead_letters(&bench);
        bench.store.close().unwrap();
        flip_row_byte(&Database::open(bench.path()).unwrap(), table, ids[1].get());
        let bench = bench.reopen();
        let outcome = if is_retry {
            let jobs = ids.iter().map(|id| (*id, START)).collect();
            bench
                .store
                .execute_blocking(RetryDeadLetters { jobs })
                .unwrap()
        } else {
            bench
                .store
                .execute_blocking(DiscardDeadLetters {
                    job_ids: ids.clone(),
                })
                .unwrap()
        };
        assert_eq!(outcome.changed, 2, "{outcome:?}");
        assert_eq!(
            outcome
                .unreadable
                .iter()
                .map(|(id, _)| *id)
                .collect::<Vec<_>>(),
            [ids[1]]
        );
    }
}

#[test]
fn compaction_shrinks_the_file_and_preserves_rows() {
    let bench = StoreBench::new();
    for n in 0..300 {
        let mut form = form(&format!("t{n}"), "{}");
        form.submission.data = format!("{{\"text\":\"{}\"}}", "a".repeat(20_000)).into();
        bench.accept(form);
    }
    let error = crate::store::compact(&StoreOptions::new(bench.path()), START).unwrap_err();
    assert!(
        matches!(error, StoreError::InUse(_)),
        "a server runs: {error}"
    );
    bench.store.close().unwrap();
    {
        let database = Database::open(bench.path()).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(crate::store::rows::schema::SUBMISSIONS.definition())
            .unwrap()
            .retain(|id, _| id > 250)
            .unwrap();
        txn.commit().unwrap();
    }
    let sizes = crate::store::compact(&StoreOptions::new(bench.path()), START).unwrap();
    assert!(sizes.after_bytes < sizes.before_bytes / 2, "{sizes:?}");
    let bench = bench.reopen();
    assert_eq!(
        bench.store.read().unwrap().counts().unwrap().submissions,
        50
    );
    assert!(matches!(
        bench.accept(form("t299", "{}")),
        AcceptOutcome::Duplicate { .. }
    ));
}

#[test]
fn message_that_needs_damaged_row_is_dead_letter_again() {
    use crate::domain::job::JobState;
    use crate::store::{FinishMessageJob, FinishOutcome, RetryDeadLetter};
    let bench = StoreBench::new();
    bench.accept_new("t");
    let AcceptOutcome::DeadLetter { job_id: job } = bench.accept_unparsable("wamid.1") else {
        panic!("a dead letter")
    };
    bench.store.close().unwrap();
    flip_row_byte(
        &Database::open(bench.path()).unwrap(),
        SUBMISSIONS.definition(),
        1,
    );
    let bench = bench.reopen();
    for number in 1..=2 {
        bench
            .store
            .execute_blocking(RetryDeadLetter {
                job_id: job,
                payload: None,
            })
            .unwrap();
        let form = Box::new(webhook_form("t", "wamid.1", "{}"));
        let finished = bench
            .store
            .execute_blocking(FinishMessageJob {
                job_id: job,
                attempt: attempt(None),
                form,
            })
            .unwrap();
        assert!(
            matches!(finished, FinishOutcome::DeadLettered { .. }),
            "{finished:?}"
        );
        let read = bench.store.read().unwrap();
        let row = read.job(job).unwrap().unwrap();
        assert_eq!((row.state, row.attempts), (JobState::Dead, number));
        let letter = read.dead_letter(job).unwrap().unwrap();
        assert!(
            letter.reason.contains("submissions") && letter.payload == "{}",
            "{letter:?}"
        );
    }
}

#[test]
fn damaged_retried_dead_letter_stays_as_damaged_row() {
    use crate::domain::job::JobState;
    use crate::domain::job::retry::RetryDecision;
    use crate::store::{FailAttempt, RetryDeadLetter};
    let bench = StoreBench::new();
    bench.subscribe(&[], &["ops"]);
    let AcceptOutcome::DeadLetter { job_id: job } = bench.accept_unparsable("wamid.1") else {
        panic!("a dead letter")
    };
    bench
        .store
        .execute_blocking(RetryDeadLetter {
            job_id: job,
            payload: None,
        })
        .unwrap();
    bench.store.close().unwrap();
    flip_row_byte(
        &Database::open(bench.path()).unwrap(),
        RETRIED_DEAD_LETTERS.definition(),
        job.get(),
    );
    let bench = bench.reopen();
    bench
        .store
        .execute_blocking(FailAttempt {
            job_id: job,
            attempt: attempt(Some("no")),
            decision: RetryDecision::GiveUp,
        })
        .unwrap();
    assert_eq!(
        bench.store.read().unwrap().job(job).unwrap().unwrap().state,
        JobState::Dead
    );
    assert!(
        bench
            .store
            .read()
            .unwrap()
            .dead_letter(job)
            .unwrap_err()
            .to_string()
            .contains("checksum")
    );
    assert_eq!(bench.event_kinds(), ["job.dead", "job.dead"]);
    let findings = crate::store::check_integrity(&bench.store)
        .unwrap()
        .violations;
    assert!(
        findings
            .iter()
            .any(|finding| finding.location.contains("dead")),
        "{findings:?}"
    );
}

#[test]
fn job_with_damaged_submission_becomes_dead_letter() {
    use crate::domain::job::JobState;
    use crate::domain::job::retry::RetryDecision;
    use crate::store::FailAttempt;
    let bench = StoreBench::new();
    bench.subscribe(&[], &["ops"]);
    let job = bench.accept_new("t");
    bench.store.close().unwrap();
    flip_row_byte(
        &Database::open(bench.path()).unwrap(),
        SUBMISSIONS.definition(),
        1,
    );
    let bench = bench.reopen();
    let reason = "row 1 of table submissions has a wrong checksum";
    bench
        .store
        .execute_blocking(FailAttempt {
            job_id: job,
            attempt: attempt(Some(reason)),
            decision: RetryDecision::GiveUp,
        })
        .unwrap();
    assert_eq!(bench.event_kinds(), ["job.dead"]);
    let read = bench.store.read().unwrap();
    assert_eq!(read.job(job).unwrap().unwrap().state, JobState::Dead);
    let letter = read.dead_letter(job).unwrap().unwrap();
    assert_eq!((&*letter.reason, &*letter.payload), (reason, ""));
}
