//! Tests of the data file: the processes and files that the store refuses, restart and compaction.

use std::sync::Arc;

use crate::clock::ManualClock;
use crate::domain::ids::SubmissionId;
use crate::store::rows::schema::SUBMISSIONS;
use crate::store::{Store, StoreError, StoreOptions, compact};

use super::support::{START, StoreBench, form};

#[test]
fn second_process_on_the_file_is_refused() {
    let bench = StoreBench::new();
    let options = StoreOptions::new(bench.path());
    let second = Store::start(options, bench.clock.clone()).unwrap();
    let error = second.wait_open().unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("another flowgate command or server has"),
        "{error}"
    );
}

#[test]
fn ids_continue_after_restart() {
    let mut bench = StoreBench::new();
    let first = bench.accept_new("a");
    bench = bench.reopen();
    assert!(bench.accept_new("b") > first);
}

#[test]
fn foreign_file_is_refused_and_unchanged() {
    for content in [&b""[..], b"hello", &[0; 8192]] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, content).unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let store = Store::start(StoreOptions::new(path.clone()), clock).unwrap();
        let error = store.wait_open().unwrap_err();
        assert!(matches!(error, StoreError::NotADataFile { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
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
    let options = StoreOptions::new(bench.path());
    let error = compact(&options, START).unwrap_err();
    assert!(
        matches!(error, StoreError::InUse(_)),
        "a server runs: {error}"
    );
    bench.edit_file(|txn| {
        let mut submissions = txn.open(SUBMISSIONS).unwrap();
        submissions.remove_range(..=SubmissionId::new(250)).unwrap();
    });
    let sizes = compact(&options, START).unwrap();
    assert!(sizes.after_bytes < sizes.before_bytes / 2, "{sizes:?}");
    let bench = bench.reopen();
    assert_eq!(bench.counts().submissions, 50);
    assert!(bench.is_duplicate(form("t299", "{}")));
}
