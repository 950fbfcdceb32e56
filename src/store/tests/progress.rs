//! Tests the progress that feeds the watchdog: the writer reports it, and a writer that hangs does
//! not.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use crate::clock::ManualClock;
use crate::store::writer::write_context::{Transaction, WriteContext};
use crate::store::{RecordAppSecret, Store, StoreError, StoreOptions};

use super::support::START;

/// Maximum wait for progress on a busy machine.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Twice the time after which an idle writer reports progress.
const TWO_IDLE_PERIODS: Duration = Duration::from_secs(2);

/// Transaction that hangs until `release` is dropped.
struct Hanging {
    release: Receiver<()>,
}

impl Transaction for Hanging {
    type Outcome = ();

    fn apply(&self, _: &mut WriteContext<'_>) -> Result<(), StoreError> {
        let _ = self.release.recv();
        Ok(())
    }
}

#[test]
fn hanging_writer_reports_no_progress() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = StoreOptions::new(folder.path().join("flowgate.redb"));
    let (progress_tx, progress) = unbounded();
    options.on_progress = Arc::new(move || {
        let _ = progress_tx.send(());
    });
    let store = Store::start(options, Arc::new(ManualClock::at(START))).unwrap();
    store.wait_open().unwrap();
    progress.recv_timeout(MAX_WAIT).expect("an idle writer");

    let (release, released) = unbounded();
    store.submit(Hanging { release: released }, |_, _| ());
    // Progress from before the transaction may still arrive.
    while progress.recv_timeout(TWO_IDLE_PERIODS).is_ok() {}
    let silent = progress.recv_timeout(TWO_IDLE_PERIODS);
    assert_eq!(silent, Err(RecvTimeoutError::Timeout));

    drop(release);
    store.execute_blocking(RecordAppSecret).unwrap();
    progress.recv_timeout(MAX_WAIT).expect("after a commit");
    store.close().unwrap();
}
