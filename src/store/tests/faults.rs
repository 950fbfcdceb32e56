//! Power cuts, full disks, failing syncs, damaged bytes: what was acknowledged is there, or the file says that it is
//! damaged. Never anything in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::clock::ManualClock;
use crate::current::Current;
use crate::domain::routes::Routes;
use crate::store::{Accepted, Health, Store, StoreError, StoreOptions, StoredSubmission, check};

use super::disks::{FailingDisk, Recording, RecordingDisk, Switches};
use super::support::{Bench, START, form, open};

#[test]
fn every_image_of_the_disk_opens_and_holds_what_was_acknowledged() {
    let recording = Arc::new(Recording::default());
    let bench = Bench::with(|options| {
        let recording = Arc::clone(&recording);
        options.medium = Arc::new(move |file| RecordingDisk::open(file, Arc::clone(&recording)));
    });
    // The file is made under another name before it is served: images from then on are ours to open.
    recording.images.lock().unwrap().clear();
    bench.add_agent("ann", None);
    for n in 0..12 {
        let job = bench.accept_new(&format!("t{n}"));
        recording.acknowledged.fetch_add(1, Ordering::SeqCst);
        if n % 3 == 0 {
            bench.finish(job);
        }
    }
    bench.store.close().unwrap();
    let images = std::mem::take(&mut *recording.images.lock().unwrap());
    assert!(images.len() > 24, "{} images", images.len());
    for (place, image) in images.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.redb");
        std::fs::write(&path, &image.bytes).unwrap();
        let store = open(path, &Arc::new(ManualClock::at(START)), |_| {});
        let routes = Current::new(Routes::default());
        let bench = Bench { folder, clock: Arc::new(ManualClock::at(START)), store, routes };
        bench.check();
        let counts = bench.store.read().unwrap().counts().unwrap();
        assert!(counts.submissions >= image.acknowledged, "image {place}: {counts:?}, {} acked", image.acknowledged);
        for n in 0..image.acknowledged {
            let again = bench.accept(form(&format!("t{n}"), "{}"));
            assert!(matches!(again, Accepted::Duplicate { .. }), "image {place}, t{n}: {again:?}");
        }
    }
}

pub(super) fn on_failing_disk() -> (Bench, Arc<Switches>) {
    let switches = Arc::new(Switches::default());
    let bench = Bench::with(|options| {
        let switches = Arc::clone(&switches);
        options.medium = Arc::new(move |file| Ok(FailingDisk::open(file, Arc::clone(&switches))));
    });
    (bench, switches)
}

/// Waits until `holds`; the clock of the store goes on meanwhile.
pub(super) fn wait_until(bench: &Bench, holds: impl Fn(&Store) -> bool) {
    for _ in 0..2000 {
        if holds(&bench.store) {
            return;
        }
        bench.clock.advance(crate::domain::time::Millis::new(50));
        thread::park_timeout(Duration::from_millis(5));
    }
    panic!("still {:?}", bench.store.health());
}

#[test]
fn a_full_disk_refuses_and_goes_on_by_itself_once_there_is_room() {
    let (bench, switches) = on_failing_disk();
    bench.accept_new("before");
    switches.no_space.store(true, Ordering::SeqCst);
    let arrivals = vec![crate::domain::arrival::Arrival::Form(Box::new(form("during", "{}")))];
    let refused = bench.store.ask(crate::store::Accept { arrivals });
    assert!(matches!(refused, Err(StoreError::NoSpace)), "{refused:?}");
    // Each attempt to open the file again hides the last commit for a moment.
    let shown = std::cell::RefCell::new(None);
    wait_until(&bench, |store| {
        let is_full = matches!(store.health(), Health::NoSpace);
        shown.replace(store.read_last().ok().filter(|_| is_full));
        shown.borrow().is_some()
    });
    // What was stored can be looked at; nobody acts on it.
    let last = shown.take().unwrap();
    assert_eq!(last.counts().unwrap().submissions, 1);
    assert_eq!(last.list_all::<StoredSubmission>().unwrap().len(), 1);
    assert!(matches!(bench.store.read().map(|_| ()), Err(StoreError::NotOpen)));
    assert!(matches!(bench.store.look(|read| read.counts()), Err(StoreError::NotOpen)));
    switches.no_space.store(false, Ordering::SeqCst);
    wait_until(&bench, |store| matches!(store.health(), Health::Ready));
    // From now on pages of it are used again: it can't be read any more, which is no damage.
    assert!(!matches!(last.list_all::<StoredSubmission>(), Err(StoreError::Damaged(_) | StoreError::Engine(_))));
    assert!(matches!(bench.accept(form("before", "{}")), Accepted::Duplicate { .. }));
    bench.accept_new("after");
    bench.check();
}

#[test]
fn a_full_disk_lets_the_store_end_and_keeps_what_was_acknowledged() {
    for refused_first in [false, true] {
        let (bench, switches) = on_failing_disk();
        bench.accept_new("before");
        switches.no_space.store(true, Ordering::SeqCst);
        if refused_first {
            let arrivals = vec![crate::domain::arrival::Arrival::Form(Box::new(form("during", "{}")))];
            assert!(matches!(bench.store.ask(crate::store::Accept { arrivals }), Err(StoreError::NoSpace)));
        }
        bench.store.close().unwrap();
        switches.no_space.store(false, Ordering::SeqCst);
        let bench = bench.reopen();
        assert!(matches!(bench.accept(form("before", "{}")), Accepted::Duplicate { .. }));
        bench.check();
    }
}

#[test]
fn a_failed_sync_ends_the_store_even_if_the_disk_calls_it_want_of_space() {
    let (bench, switches) = on_failing_disk();
    let failure = bench.store.failure();
    switches.sync_fails.store(true, Ordering::SeqCst);
    let arrivals = vec![crate::domain::arrival::Arrival::Form(Box::new(form("t", "{}")))];
    let refused = bench.store.ask(crate::store::Accept { arrivals });
    assert!(matches!(refused, Err(StoreError::Untrusted(_))), "{refused:?}");
    assert!(matches!(failure.recv_timeout(Duration::from_secs(10)), Ok(StoreError::Untrusted(_))));
    assert!(bench.store.close().is_err());
}

#[test]
fn a_file_with_flipped_bits_is_damaged_or_whole_and_never_wrong() {
    let bench = Bench::new();
    for n in 0..200 {
        bench.accept_new(&format!("t{n}"));
    }
    bench.store.close().unwrap();
    let whole = std::fs::read(bench.path()).unwrap();
    let mut told = 0;
    for step in 0..60 {
        let mut bytes = whole.clone();
        let at = step * bytes.len() / 60 + 33;
        bytes[at] ^= 0x10;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.redb");
        std::fs::write(&path, &bytes).unwrap();
        let options = StoreOptions { free_space_min: 0, ..StoreOptions::new(path) };
        let store = Store::start(options, Arc::new(ManualClock::at(START))).unwrap();
        match store.wait_open() {
            Err(StoreError::Damaged(_) | StoreError::Foreign { .. }) => told += 1,
            Err(other) => panic!("byte {at}: {other}"),
            Ok(()) => {
                let read = store.read().unwrap();
                assert_eq!(check(&store).unwrap().findings, [], "byte {at}");
                assert_eq!(read.counts().unwrap().submissions, 200, "byte {at}");
            }
        }
    }
    assert!(told > 0, "no flipped bit hit a page in use");
}
