//! A check beside a working server: no snapshot lives for long, so the file stays as large as it would be without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::domain::arrival::Arrival;
use crate::store::check::SLICE;
use crate::store::{Accept, check};

use super::support::{Bench, form};

/// Commits of each phase. Each rewrites some ten pages, which a snapshot would keep from being used again.
const COMMITS: u32 = 300;

#[test]
fn a_check_beside_a_working_server_lets_no_snapshot_live_and_finds_nothing_that_is_not_so() {
    let bench = Bench::telling();
    bench.add_agent("ann", None);
    for chunk in 0..20 {
        let forms = (0..200).map(|n| Arrival::Form(Box::new(form(&format!("{chunk}-{n}"), "{}"))));
        bench.store.ask(Accept { arrivals: forms.collect() }).unwrap();
    }
    let load = |phase: &str| {
        let before = bench.store.file_bytes();
        for n in 0..COMMITS {
            let job = bench.accept_new(&format!("{phase}-{n}"));
            bench.finish(job);
        }
        bench.store.file_bytes().saturating_sub(before)
    };
    // As large as it needs to be for this load.
    load("first");
    let alone = load("alone");
    let ended = Arc::new(AtomicBool::new(false));
    let checking = {
        let (store, ended) = (bench.store.clone(), Arc::clone(&ended));
        thread::spawn(move || {
            let mut reports = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                reports.push(check(&store).unwrap());
            }
            reports
        })
    };
    let beside = load("beside");
    ended.store(true, Ordering::SeqCst);
    let reports = checking.join().unwrap();
    for report in &reports {
        assert_eq!(report.findings, []);
        assert!(report.longest <= SLICE, "{} rows in one snapshot", report.longest);
        assert!(report.rows > 20_000, "{} rows in all", report.rows);
    }
    let most = alone.saturating_mul(3).saturating_add(4 << 20);
    assert!(beside <= most, "the file grew by {alone} bytes without, and by {beside} beside {} checks", reports.len());
}
