//! Tests of power cuts, full disks, failing syncs and damaged bytes.
//!
//! Each acknowledged row is in the file, or the store reports the file as damaged. No other result
//! is allowed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::ManualClock;
use crate::store::{
    Store, StoreError, StoreHealth, StoreOptions, StoredSubmission, check_integrity,
};

use super::support::{START, StoreBench, form, open_store};
use super::test_disks::{DiskRecording, RecordingDisk};

#[test]
fn every_crash_image_contains_acknowledged_submissions() {
    let recording = Arc::new(DiskRecording::default());
    let bench = StoreBench::with_options(|options| {
        let recording = Arc::clone(&recording);
        options.backend_factory =
            Arc::new(move |file| RecordingDisk::open(file, Arc::clone(&recording)));
    });
    // The store creates the file under a temporary name. The test can open only images from after
    // the rename.
    recording.images.lock().unwrap().clear();
    bench.add_agent("ann", None);
    for n in 0..12 {
        let job = bench.accept_new(&format!("t{n}"));
        recording.acknowledged.fetch_add(1, Ordering::SeqCst);
        if n % 3 == 0 {
            bench.finish_job(job);
        }
    }
    bench.store.close().unwrap();
    let images = std::mem::take(&mut *recording.images.lock().unwrap());
    assert!(images.len() > 24, "{} images", images.len());
    for (index, image) in images.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.redb");
        std::fs::write(&path, &image.bytes).unwrap();
        let store = open_store(path, &Arc::new(ManualClock::at(START)), |_| {});
        let bench = StoreBench {
            folder,
            clock: Arc::new(ManualClock::at(START)),
            store,
            subscriptions: Arc::default(),
        };
        bench.assert_invariants();
        let (counts, acknowledged) = (bench.counts(), image.acknowledged);
        assert!(
            counts.submissions >= acknowledged,
            "image {index}: {counts:?}, {acknowledged} acked"
        );
        for n in 0..acknowledged {
            let is_known = bench.is_duplicate(form(&format!("t{n}"), "{}"));
            assert!(is_known, "image {index}, t{n}");
        }
    }
}

#[test]
fn full_disk_recovers_when_space_is_freed() {
    let (bench, switches) = StoreBench::on_failing_disk();
    bench.accept_new("before");
    switches.no_space.store(true, Ordering::SeqCst);
    let refused = bench.try_accept(form("during", "{}"));
    assert!(matches!(refused, Err(StoreError::NoSpace)), "{refused:?}");
    // Each attempt to open the file again hides the last commit for a moment.
    let shown = std::cell::RefCell::new(None);
    bench.wait_until(|store| {
        let is_full = matches!(store.health(), StoreHealth::NoSpace);
        shown.replace(store.read_last().ok().filter(|_| is_full));
        shown.borrow().is_some()
    });
    // Stored rows are readable, but no worker may process them.
    let last = shown.take().unwrap();
    assert_eq!(last.counts().unwrap().submissions, 1);
    assert_eq!(last.list_all_rows::<StoredSubmission>().unwrap().len(), 1);
    assert!(matches!(bench.store.read(), Err(StoreError::NotOpen)));
    let counts = bench.store.read_with(|read| read.counts());
    assert!(matches!(counts, Err(StoreError::NotOpen)), "{counts:?}");
    switches.no_space.store(false, Ordering::SeqCst);
    bench.wait_until(|store| matches!(store.health(), StoreHealth::Ready));
    // From here on, the store reuses pages of this snapshot. The snapshot is not readable any more,
    // and this must not count as damage.
    let rows = last.list_all_rows::<StoredSubmission>();
    assert!(!matches!(
        rows,
        Err(StoreError::Damaged(_) | StoreError::Engine(_))
    ));
    assert!(bench.is_duplicate(form("before", "{}")));
    bench.accept_new("after");
    bench.assert_invariants();
}

#[test]
fn close_on_full_disk_preserves_acknowledged_submissions() {
    for refused_first in [false, true] {
        let (bench, switches) = StoreBench::on_failing_disk();
        bench.accept_new("before");
        switches.no_space.store(true, Ordering::SeqCst);
        if refused_first {
            let refused = bench.try_accept(form("during", "{}"));
            assert!(matches!(refused, Err(StoreError::NoSpace)), "{refused:?}");
        }
        bench.store.close().unwrap();
        switches.no_space.store(false, Ordering::SeqCst);
        let bench = bench.reopen();
        assert!(bench.is_duplicate(form("before", "{}")));
        bench.assert_invariants();
    }
}

#[test]
fn failed_sync_fails_the_store_even_if_reported_as_no_space() {
    let (bench, switches) = StoreBench::on_failing_disk();
    let failure = bench.store.failure_receiver();
    switches.sync_fails.store(true, Ordering::SeqCst);
    let refused = bench.try_accept(form("t", "{}"));
    assert!(
        matches!(refused, Err(StoreError::Untrusted(_))),
        "{refused:?}"
    );
    let failed = failure.recv_timeout(Duration::from_secs(10));
    assert!(matches!(failed, Ok(StoreError::Untrusted(_))), "{failed:?}");
    assert!(bench.store.close().is_err());
}

#[test]
fn flipped_bit_is_reported_or_harmless() {
    let bench = StoreBench::new();
    for n in 0..200 {
        bench.accept_new(&format!("t{n}"));
    }
    bench.store.close().unwrap();
    let whole = std::fs::read(bench.path()).unwrap();
    let mut reported = 0;
    for step in 0..60 {
        let mut bytes = whole.clone();
        let at = step * bytes.len() / 60 + 33;
        bytes[at] ^= 0x10;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.redb");
        std::fs::write(&path, &bytes).unwrap();
        let options = StoreOptions {
            min_free_bytes: 0,
            ..StoreOptions::new(path)
        };
        let store = Store::start(options, Arc::new(ManualClock::at(START))).unwrap();
        match store.wait_open() {
            Err(StoreError::Damaged(_) | StoreError::NotADataFile { .. }) => reported += 1,
            Err(other) => panic!("byte {at}: {other}"),
            Ok(()) => {
                let read = store.read().unwrap();
                assert_eq!(check_integrity(&store).unwrap().violations, [], "byte {at}");
                assert_eq!(read.counts().unwrap().submissions, 200, "byte {at}");
            }
        }
    }
    assert!(reported > 0, "no flipped bit hit a page in use");
}
