//! Tests of damaged pages that appear after the file was opened, or that no verification has found.
//!
//! A damaged page stops the store wherever a reader or the writer finds the page.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::ManualClock;
use crate::domain::ids::SubmissionId;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;
use crate::store::rows::schema::SUBMISSIONS;
use crate::store::{
    CachedResponse, RowProblem, Store, StoreError, StoreHealth, StoreOptions, StoreResponse,
    StoreResult, WriteContext,
};

use super::corruptions::EditTables;
use super::support::{START, StoreBench, form, open_store};

/// Opens the file that `options` name. Waits until the file is open or the open has failed, at most
/// one minute.
fn open_within_deadline(options: StoreOptions) -> (Store, StoreResult<()>) {
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
    let (bench, switches) = StoreBench::on_failing_disk();
    let failure = bench.store.failure_receiver();
    switches.sync_panics.store(true, Ordering::SeqCst);
    bench.clock.advance(Millis::from_secs(1));
    let failed = failure.recv_timeout(Duration::from_secs(20));
    assert!(matches!(failed, Ok(StoreError::Damaged(_))), "{failed:?}");
    assert!(matches!(bench.store.health(), StoreHealth::Failed(_)));
    assert!(matches!(bench.store.close(), Err(StoreError::Damaged(_))));
}

#[test]
fn damaged_page_met_by_reader_fails_the_store() {
    let (bench, switches) = StoreBench::on_failing_disk();
    for n in 0..200 {
        bench.accept_new(&format!("t{n}"));
    }
    bench.store.close().unwrap();
    let store = open_store(bench.path(), &bench.clock, |options| {
        // Without a page cache, each page is read from the disk.
        (options.page_cache_bytes, options.verify_always) = (0, false);
        switches.install(options);
    });
    let failure = store.failure_receiver();
    let read = store.read().unwrap();
    switches.reads_zeros.store(true, Ordering::SeqCst);
    let found = (1..=200).find_map(|id| read.submission(SubmissionId::new(id)).err());
    assert!(matches!(found, Some(StoreError::Damaged(_))), "{found:?}");
    let failed = failure.recv_timeout(Duration::from_secs(10));
    assert!(matches!(failed, Ok(StoreError::Damaged(_))), "{failed:?}");
    assert!(matches!(store.health(), StoreHealth::Failed(_)));
    assert!(matches!(store.read().map(|_| ()), Err(StoreError::NotOpen)));
    switches.reads_zeros.store(false, Ordering::SeqCst);
    drop(read);
    assert!(
        matches!(store.close(), Err(StoreError::Damaged(_))),
        "no clean end"
    );
}

/// Fails like a transaction that reads a damaged row.
fn fail_with_damaged_row(_: &mut WriteContext<'_>) -> StoreResult<()> {
    Err(SUBMISSIONS.row_error(SubmissionId::new(1), RowProblem::Checksum))
}

#[test]
fn failed_transaction_cost_is_independent_of_cached_responses() {
    let count_reads = |response_count: u8| {
        let (bench, switches) = StoreBench::on_failing_disk();
        for number in 0..response_count {
            let body = "a".repeat(100_000).into();
            bench.execute(StoreResponse {
                encrypted_request_key: IdempotencyKey::from_bytes([number; 16]),
                response: CachedResponse { status: 200, body },
            });
        }
        bench.store.close().unwrap();
        let store = open_store(bench.path(), &bench.clock, |options| {
            options.page_cache_bytes = 0;
            switches.install(options);
        });
        let before = switches.read_count.load(Ordering::SeqCst);
        for _ in 0..10 {
            let failed = store.execute_blocking(EditTables(fail_with_damaged_row));
            failed.unwrap_err();
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
    let (bench, switches) = StoreBench::on_failing_disk();
    bench.accept_new("before");
    let read = bench.read();
    switches.no_space.store(true, Ordering::SeqCst);
    let refused = bench.try_accept(form("during", "{}"));
    assert!(matches!(refused, Err(StoreError::NoSpace)), "{refused:?}");
    bench.wait_until(|store| matches!(store.health(), StoreHealth::NoSpace));
    // The file of the snapshot is closed.
    let late = read.submission(SubmissionId::new(1));
    let is_allowed = matches!(
        late,
        Ok(Some(_)) | Err(StoreError::NotOpen | StoreError::NoSpace)
    );
    assert!(is_allowed, "{late:?}");
    assert!(
        matches!(bench.store.health(), StoreHealth::NoSpace),
        "the store continues"
    );
}
