//! `flowgate demo`: sends a load of forms to a temporary server, kills the server, and verifies the
//! stored result.
//!
//! ```text
//! plan ──forms──▶ load_generator ══HTTP══▶ server (killed in the middle)
//!                        │ log               │ command line, --json
//!                        └──▶ verification ◀─┘ ──▶ report
//! ```
//! The demo uses only the interfaces of customers and admins: HTTP and the command line. It never
//! opens the data file.

mod error;
mod load_generator;
mod observed;
mod plan;
mod report;
mod server;
mod verification;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::admin::StatusRow;
use crate::bootstrap::resolve::app_secrets::random_hex;
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::domain::time::{Millis, Timestamp};
pub use error::DemoError;
use load_generator::{LoadGenerator, SendLog};
use observed::{ObservedState, SlotRecord};
use plan::{CONCURRENT_FORMS, SLOT_CAPACITY, Workload, WorkloadForm, demo_agents};
use report::DemoReport;
use server::{DemoFolder, DemoServer};
use verification::find_discrepancies;

/// Maximum time after the last response until all jobs are finished.
const SETTLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Arguments of `demo`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct DemoArgs {
    /// Number of forms per second, 1 to 100000
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Duration of the load in seconds, 1 to 3600
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
}

/// Runs the demo and prints its report. Returns `true` if the verification found no discrepancy.
///
/// # Errors
/// Returns [`DemoError`] if the demo has no result.
pub fn run(args: DemoArgs) -> Result<bool, DemoError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let secret = random_hex(&SystemEntropy);
    let workload = Workload {
        rate: args.rate,
        seconds: args.seconds,
    };

    let mut folder = DemoFolder::create(&secret)?;
    let (observed, log) = run_load(workload, secret, &folder, &clock).inspect_err(|_| {
        folder.retain();
    })?;
    let discrepancies = find_discrepancies(&observed);
    let report = DemoReport {
        observed: &observed,
        stats: &log.stats,
        discrepancies: &discrepancies,
    };
    print_line(&report.to_string());
    if !discrepancies.is_empty() {
        print_line(&format!(
            "The data file and the log of the server are in {}",
            folder.retain().display()
        ));
    }
    Ok(discrepancies.is_empty())
}

/// Runs the load and collects the state of the server for the verification.
fn run_load(
    workload: Workload,
    secret: String,
    folder: &DemoFolder,
    clock: &Arc<dyn Clock>,
) -> Result<(ObservedState, SendLog), DemoError> {
    let server = DemoServer::start(folder.path().to_owned())?;
    print_line(&format!(
        "Temporary server on http://{}: {} forms per second for {} s, one in ten a duplicate,\n\
         kill -9 in the middle, then {CONCURRENT_FORMS} concurrent forms for the last place of a slot.\n",
        server.listen(),
        workload.rate,
        workload.seconds
    ));
    for (name, weight, max) in demo_agents(workload.unique_forms()) {
        let max = max.map(|max| format!(" --max {max}")).unwrap_or_default();
        let command = format!("agents add {name} --team sales --weight {weight}{max}");
        server.run_json::<serde_json::Value>(&command)?;
    }
    let slot = free_slot(&server, clock.now())?;
    let bar = progress_bar(workload);
    let (server_address, address) = watch::channel(Some(server.listen()));
    let progress = bar.clone();
    let load_generator =
        LoadGenerator::new(secret, Arc::clone(clock), address, move || progress.inc(1));
    let demo_run = DemoRun {
        workload,
        slot: &slot,
        load_generator: Arc::new(load_generator),
        server_address,
        bar,
        clock: &**clock,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DemoError::Spawn)?;
    let (server, log) = runtime.block_on(demo_run.execute(server))?;

    wait_for_jobs(&server, &**clock)?;
    let observed = ObservedState {
        outcomes: log.outcomes.clone(),
        submissions: server.run_json("submissions list --limit 0")?,
        leads: server.run_json("leads list --limit 0")?,
        agents: server.run_json("agents list --limit 0")?,
        slot: slots_on(&server, &slot.date)?
            .into_iter()
            .find(|now| now.time == slot.time)
            .unwrap_or(slot),
        check_output: server.check()?,
    };
    Ok((observed, log))
}

/// State of the demo while it sends forms.
struct DemoRun<'a> {
    workload: Workload,
    slot: &'a SlotRecord,
    load_generator: Arc<LoadGenerator>,
    /// Publishes the address of the server to the load generator. `None` while the server is down.
    server_address: watch::Sender<Option<SocketAddr>>,
    bar: ProgressBar,
    clock: &'a dyn Clock,
}

impl DemoRun<'_> {
    /// Runs the load, restarts the server after half of the forms, and sends the concurrent forms
    /// in the last quarter.
    async fn execute(self, server: DemoServer) -> Result<(DemoServer, SendLog), DemoError> {
        let background = tokio::spawn({
            let (load_generator, workload) = (Arc::clone(&self.load_generator), self.workload);
            async move { load_generator.run(workload).await }
        });
        // These forms book all places of the slot but one.
        self.visit_concurrently("early", SLOT_CAPACITY - 1).await;

        tokio::time::sleep(self.workload.due_at(self.workload.form_count() / 2)).await;
        self.bar.set_message("kill -9");
        let killed_at = self.clock.elapsed();
        let server = self.restart_server(server).await?;
        let outage = self.clock.elapsed().saturating_sub(killed_at);
        self.bar.set_message("restarted");

        tokio::time::sleep(self.workload.due_at(self.workload.form_count() / 4)).await;
        self.bar
            .set_message("concurrent requests for the last slot");
        self.visit_concurrently("rival", CONCURRENT_FORMS).await;
        self.bar.set_message("remaining load");

        // The task ends when each of its forms has an outcome. A panic of the task would show as
        // missing forms.
        let _ = background.await;
        self.bar.finish_and_clear();
        let mut log = self.load_generator.take_log();
        log.stats.outage_duration = outage;
        Ok((server, log))
    }

    /// Sends this number of forms for the slot at once.
    async fn visit_concurrently(&self, token_prefix: &str, number: u32) {
        let SlotRecord { date, time, .. } = self.slot;
        let form = |each| WorkloadForm::visit(&format!("{token_prefix}-{each}"), date, time);
        let forms = (0..number).map(form).collect();
        self.load_generator.run_concurrent(forms).await;
    }

    /// Kills the server and starts another one on the same data file. Meanwhile further forms fall
    /// due.
    async fn restart_server(&self, server: DemoServer) -> Result<DemoServer, DemoError> {
        let server_address = self.server_address.clone();
        let restarted = tokio::task::spawn_blocking(move || {
            let folder = server.kill()?;
            server_address.send_replace(None);
            let server = DemoServer::start(folder)?;
            server_address.send_replace(Some(server.listen()));
            Ok(server)
        });
        restarted
            .await
            .unwrap_or_else(|ended| Err(DemoError::Spawn(io::Error::other(ended))))
    }
}

/// Returns a slot of the day after tomorrow. At any hour, the slot stays in the future during the
/// whole demo.
fn free_slot(server: &DemoServer, now: Timestamp) -> Result<SlotRecord, DemoError> {
    const DAY: u64 = 24 * 60 * 60;
    let day = now.plus(Millis::from_secs(2 * DAY)).to_string();
    let date = day.split('T').next().unwrap_or_default();
    let slots = slots_on(server, date)?;
    let nothing = || DemoError::Command {
        command: "slots list".to_owned(),
        why: format!("no slot on {date}"),
    };
    slots.into_iter().next().ok_or_else(nothing)
}

fn slots_on(server: &DemoServer, date: &str) -> Result<Vec<SlotRecord>, DemoError> {
    server.run_json(&format!(
        "slots list --calendar chair --from {date} --to {date} --limit 0"
    ))
}

/// Waits until no job is scheduled or running.
fn wait_for_jobs(server: &DemoServer, clock: &dyn Clock) -> Result<(), DemoError> {
    let deadline = clock.elapsed() + SETTLE_TIMEOUT;
    loop {
        let rows: Vec<StatusRow> = server.run_json("status")?;
        let left = rows.iter().map(|row| row.jobs.scheduled + row.jobs.running);
        let left = left.sum();
        match left {
            0 => return Ok(()),
            left if clock.elapsed() > deadline => {
                return Err(DemoError::JobsUnfinished {
                    count: left,
                    waited: SETTLE_TIMEOUT,
                });
            }
            // Starting the command takes longer than a useful pause, so the loop has none.
            _ => {}
        }
    }
}

fn progress_bar(workload: Workload) -> ProgressBar {
    let all = workload.form_count() + CONCURRENT_FORMS + SLOT_CAPACITY - 1;
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} answered  {msg}");
    let bar = ProgressBar::new(u64::from(all));
    style
        .map(|style| bar.clone().with_style(style))
        .unwrap_or(bar)
}

/// Prints a line to standard output. An error is ignored, because it only means that no program
/// reads the output.
fn print_line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
