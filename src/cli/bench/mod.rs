//! `flowgate bench`: measures the disk, a bare server and flowgate on this machine, and compares
//! them with the needs of the business.
//!
//! ```text
//! disk ─▶ bare_server ◀──┐
//!                   load ┤ ──▶ report (text with a histogram, or JSON)
//!         flowgate ◀─────┘
//! ```
//! The load and the temporary server are those of [`super::demo`]. The server and the file of the
//! disk measurement are in a temporary folder beside the data file, so they use its disk. The
//! folder is removed at the end, also after an interrupt.

mod bare_server;
mod disk;
mod error;
mod histogram;
mod load;
mod report;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::demo::server::{DemoFolder, DemoServer};
use crate::bootstrap::resolve::app_secrets::random_hex;
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::{Config, ConfigError};
use bare_server::BareServer;
pub use error::BenchError;
use load::Load;
use report::{BenchReport, Verdict};

/// Arguments of `bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Duration of each of the four measurements in seconds, 1 to 60
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub seconds: u32,
    /// Forms per second that the business needs, 1 to 100000
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Folder on the disk to measure. Default: the folder of the data file
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Measures and writes the report. Returns `true` if the machine is fast enough.
///
/// # Errors
/// Returns [`BenchError`] if a measurement is not possible.
pub fn run(
    args: &BenchArgs,
    load_config: impl FnOnce() -> Result<Config, ConfigError>,
    json: bool,
    out: &mut impl Write,
) -> Result<bool, BenchError> {
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => data_folder(&load_config()?.data),
    };
    // The server runs in another folder, so the path must be absolute.
    let folder = match folder.canonicalize() {
        Ok(folder) if folder.is_dir() => folder,
        _ => return Err(BenchError::NoFolder(folder)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::System)?;
    let report = runtime.block_on(measure_until_interrupt(args, &folder))?;
    let written = if json {
        let text = serde_json::to_string(&report).map_err(std::io::Error::from);
        text.and_then(|text| writeln!(out, "{text}"))
    } else {
        writeln!(out, "{report}")
    };
    written.map_err(BenchError::Print)?;
    Ok(report.verdict == Verdict::Enough)
}

/// Returns the folder of the data file. A relative path without a folder is in the current one.
fn data_folder(data: &Path) -> PathBuf {
    let parent = data
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// Measures. An interrupt ends the measurement, and the temporary files and processes with it.
async fn measure_until_interrupt(
    args: &BenchArgs,
    folder: &Path,
) -> Result<BenchReport, BenchError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(BenchError::System)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(BenchError::System)?;
    tokio::select! {
        report = measure(args, folder) => report,
        _ = interrupt.recv() => Err(BenchError::Interrupted),
        _ = terminate.recv() => Err(BenchError::Interrupted),
    }
}

async fn measure(args: &BenchArgs, folder: &Path) -> Result<BenchReport, BenchError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let secret = random_hex(&SystemEntropy);
    let mut temporary = DemoFolder::create_in(folder, "bench", &secret)?;
    let duration = Duration::from_secs(args.seconds.into());

    let disk = disk::measure(temporary.path(), &clock, duration).await?;
    let bare = BareServer::start().map_err(BenchError::System)?;
    let load = Load::new(&secret, &clock, bare.address());
    let bare_rate = load.max_rate(duration).await?;
    drop(bare);

    let started = DemoServer::start(temporary.path().to_owned());
    let server = started.inspect_err(|_| {
        // The error names the log of the server.
        temporary.retain();
    })?;
    server.run_json::<serde_json::Value>("agents add Ann --team sales")?;
    let load = Load::new(&secret, &clock, server.listen());
    let max_rate = load.max_rate(duration).await?;
    let steady = load.steady(args.rate, args.seconds).await;
    Ok(BenchReport::new(
        folder, &disk, bare_rate, max_rate, &steady,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_relative_data_file_is_current_folder() {
        assert_eq!(data_folder(Path::new("flowgate.redb")), Path::new("."));
        assert_eq!(
            data_folder(Path::new("/var/lib/a.redb")),
            Path::new("/var/lib")
        );
    }
}
