//! Measures the disk: appends the bytes of one submission to a file and syncs them, again and
//! again. Each commit of flowgate waits for such a sync.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::error::BenchError;
use super::load::Latencies;
use crate::cli::demo::plan::WorkloadForm;
use crate::clock::Clock;

/// Time after which the measurement looks for an interrupt.
const SLICE: Duration = Duration::from_millis(100);

/// Returns the latencies of all syncs within `duration`.
pub(super) async fn measure(
    folder: &Path,
    clock: &Arc<dyn Clock>,
    duration: Duration,
) -> Result<Latencies, BenchError> {
    let path = folder.join("disk-measurement");
    let disk_error = |source| BenchError::Disk {
        path: path.clone(),
        source,
    };
    let start = clock.elapsed();
    let mut latencies = Latencies::default();
    let mut file = File::create_new(&path).map_err(disk_error)?;
    while clock.elapsed() < start + duration {
        let slice_clock = Arc::clone(clock);
        let slice = tokio::task::spawn_blocking(move || measure_slice(file, &*slice_clock));
        let ended = slice.await.map_err(io::Error::other);
        let (open_file, more) = ended.flatten().map_err(disk_error)?;
        file = open_file;
        latencies.extend(more);
    }
    Ok(latencies)
}

fn measure_slice(mut file: File, clock: &dyn Clock) -> io::Result<(File, Vec<Duration>)> {
    let start = clock.elapsed();
    let form = WorkloadForm::enquiry(0);
    let mut latencies = Vec::new();
    while clock.elapsed() < start + SLICE {
        let before = clock.elapsed();
        file.write_all(&form.body)?;
        // fdatasync(2): the data and the length, as for a commit.
        file.sync_data()?;
        latencies.push(clock.elapsed().saturating_sub(before));
    }
    Ok((file, latencies))
}
