//! Test of an integrity check that runs beside a server under load.
//!
//! Each snapshot of the check is short-lived. So the file does not grow more than without the
//! check.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::store::check_integrity;
use crate::store::integrity::SLICE_ROWS;

use super::support::{StoreBench, form, inbound};

/// Number of commits in each phase. A commit rewrites about ten pages, and a snapshot would prevent
/// their reuse.
const COMMITS: u32 = 300;

#[test]
fn integrity_check_beside_server_holds_no_long_snapshot() {
    let bench = StoreBench::with_subscribers();
    bench.add_agent("ann", None);
    for chunk in 0..20 {
        let forms = (0..200).map(|n| inbound(form(&format!("{chunk}-{n}"), "{}")));
        bench.accept_all(forms.collect());
    }
    let load = |phase: &str| {
        let before = bench.store.file_bytes();
        for n in 0..COMMITS {
            let job = bench.accept_new(&format!("{phase}-{n}"));
            bench.finish_job(job);
        }
        bench.store.file_bytes().saturating_sub(before)
    };
    // The first phase brings the file to the size that this load needs.
    load("first");
    let growth_alone = load("alone");
    let ended = Arc::new(AtomicBool::new(false));
    let checking = {
        let (store, ended) = (bench.store.clone(), Arc::clone(&ended));
        thread::spawn(move || {
            let mut reports = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                reports.push(check_integrity(&store).unwrap());
            }
            reports
        })
    };
    let growth_beside = load("beside");
    ended.store(true, Ordering::SeqCst);
    let reports = checking.join().unwrap();
    for report in &reports {
        assert_eq!(report.violations, []);
        assert!(
            report.longest_slice <= SLICE_ROWS,
            "{} rows in one snapshot",
            report.longest_slice
        );
        assert!(
            report.rows_read > 20_000,
            "{} rows in all",
            report.rows_read
        );
    }
    let growth_max = growth_alone.saturating_mul(3).saturating_add(4 << 20);
    assert!(
        growth_beside <= growth_max,
        "the file grew by {growth_alone} bytes without, and by {growth_beside} beside {} checks",
        reports.len()
    );
}
