//! Tests of the change log: its bound, damage, and copies beside commits.

use super::support::StoreBench;
use crate::store::rows::change_log::{read_header, write_header};
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{
    BeginChangeLog, ChangeLogState, DataCopy, EndChangeLog, Lineage, StoreError, StoreResult,
};

fn begin(bench: &StoreBench, state: ChangeLogState) -> u64 {
    let lineage = Some(Lineage {
        id: "aa".to_owned(),
        epoch: 0,
    });
    bench.execute(BeginChangeLog { state, lineage })
}

fn generation() -> ChangeLogState {
    ChangeLogState::Generation {
        name: "000000-0000000000000-aa".to_owned(),
    }
}

#[test]
fn entries_are_recorded_in_order_and_trimmed_except_the_last() {
    let bench = StoreBench::new();
    bench.add_agent("before", None);
    assert_eq!(begin(&bench, generation()), 0);
    for name in ["a", "b", "c"] {
        bench.add_agent(name, None);
    }
    let entries = bench
        .store
        .read_change_log(0, u64::MAX, usize::MAX)
        .unwrap();
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    bench.store.trim_change_log(3).unwrap();
    assert_eq!(bench.store.first_change_log_entry().unwrap(), Some(3));
    // The removal itself is no entry.
    assert!(
        bench
            .store
            .read_change_log(3, u64::MAX, 1)
            .unwrap()
            .is_empty()
    );
    let lost = bench.store.read_change_log(1, u64::MAX, 1).unwrap_err();
    assert!(matches!(lost, StoreError::ChangeLogLost), "{lost}");
    bench.assert_invariants();
}

#[test]
fn log_that_outgrows_its_limit_is_given_up() {
    let bench = StoreBench::with_options(|options| options.max_change_log_bytes = 2000);
    begin(&bench, generation());
    for number in 0..50 {
        bench.add_agent(&format!("agent-{number}"), None);
    }
    let (header, last) = bench.store.change_log_state().unwrap();
    assert_eq!(header.state, ChangeLogState::Overflowed);
    assert!(last.unwrap().bytes_so_far <= 2000);
    let error = bench.store.read_change_log(0, u64::MAX, 1).unwrap_err();
    assert!(matches!(error, StoreError::ChangeLogLost), "{error}");
    bench.store.tidy_change_log().unwrap();
    // The numbers continue.
    let last = begin(&bench, generation());
    bench.add_agent("again", None);
    let entries = bench.store.read_change_log(last, u64::MAX, 1).unwrap();
    assert_eq!(entries.first().map(|entry| entry.number), Some(last + 1));
    bench.assert_invariants();
}

#[test]
fn copy_keeps_the_entries_that_it_needs() {
    let bench = StoreBench::new();
    bench.add_agent("before", None);
    let mut copy = DataCopy::begin(&bench.store).unwrap();
    let other = DataCopy::begin(&bench.store).unwrap();
    while copy.next_rows().unwrap().is_some() {
        bench.add_agent("meanwhile", None);
    }
    drop(other);
    bench.store.tidy_change_log().unwrap();
    let end = copy.end().unwrap();
    let (last, changes) = copy.changes_until(0, &end).unwrap().unwrap();
    assert_eq!(last, end.last_entry);
    assert!(!changes.is_empty() && copy.changes_until(last, &end).unwrap().is_none());
    assert_eq!(end.row_counts["agents"], 2);
    // After the last copy, commits are no longer recorded.
    drop(copy);
    bench.store.tidy_change_log().unwrap();
    let (header, last) = bench.store.change_log_state().unwrap();
    bench.add_agent("after", None);
    assert_eq!(header.state, ChangeLogState::Inactive);
    assert_eq!(bench.store.change_log_state().unwrap().1, last);
}

/// Continues the log as if it had recorded all commits.
struct PretendUnbroken;

impl Transaction for PretendUnbroken {
    type Outcome = ();

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<()> {
        let log = &mut ctx.tables.change_log;
        let mut header = read_header(log)?.unwrap_or_default();
        header.state = generation();
        write_header(log, &header)
    }
}

#[test]
fn commit_of_a_version_without_the_log_is_noticed() {
    let bench = StoreBench::new();
    begin(&bench, generation());
    assert!(bench.store.has_logged_all_commits().unwrap());
    bench.add_agent("logged", None);
    assert!(bench.store.has_logged_all_commits().unwrap());
    bench.execute(EndChangeLog);
    bench.add_agent("unlogged", None);
    bench.execute(PretendUnbroken);
    assert!(!bench.store.has_logged_all_commits().unwrap());
    begin(&bench, generation());
    bench.add_agent("again", None);
    assert!(bench.store.has_logged_all_commits().unwrap());
}
