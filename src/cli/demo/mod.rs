//! `flowgate demo`: the main job under a storm, on a server of its own, and a report that can fail.
//!
//! ```text
//! plan ──forms──▶ storm ══HTTP══▶ server (killed in the middle)
//!                   │ ledger            │ command line, --json
//!                   └──────▶ verdict ◀──┘ ──▶ report
//! ```
//! Everything goes the way that customers and admins go: HTTP and the command line. Nothing here opens the data file.

pub mod plan;
pub mod report;
pub mod server;
pub mod storm;
pub mod verdict;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use tokio::sync::watch;

use crate::cli::secrets::random_hex;
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::domain::time::{Millis, Timestamp};
use plan::{CAPACITY, Form, Plan, RIVALS, team};
use report::Report;
use server::{Folder, Server};
use storm::{Ledger, Storm};
use verdict::{Evidence, Slot, faults};

/// How long the last jobs may take after the last answer.
const SETTLING: Duration = Duration::from_mins(1);

/// What the storm is to be like.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct DemoArgs {
    /// Forms a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
}

/// The demo could not be held at all. That something was lost is no error but its verdict.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file of the demo.
    #[error("can't write {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The system gives no process or thread.
    #[error("can't run the demo's server: {0}")]
    Spawn(#[source] io::Error),
    /// The server ended before it was ready.
    #[error("the demo's server ended before it was ready: see {}", log.display())]
    NotReady {
        /// Its log.
        log: PathBuf,
    },
    /// A command against the server failed.
    #[error("`flowgate {command}` failed: {why}")]
    Command {
        /// The command.
        command: String,
        /// What it said.
        why: String,
    },
    /// Jobs were left over.
    #[error("{left} jobs were still waiting {} s after the last answer", SETTLING.as_secs())]
    NotSettled {
        /// How many.
        left: u64,
    },
}

/// Holds the demo and prints its report. Says whether nothing was lost, doubled, or otherwise wrong.
///
/// # Errors
/// [`DemoError`] where there is nothing to report on.
pub fn run(args: DemoArgs) -> Result<bool, DemoError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let secret = random_hex(&SystemEntropy);
    let plan = Plan { rate: args.rate, seconds: args.seconds };

    let mut folder = Folder::make(&secret)?;
    let (evidence, ledger) = hold(plan, secret, &folder, &clock).inspect_err(|_| {
        folder.keep();
    })?;
    let faults = faults(&evidence);
    let report = Report { evidence: &evidence, sending: &ledger.sending, faults: &faults };
    say(&report.to_string());
    if !faults.is_empty() {
        say(&format!("The data file and the server's log are kept in {}", folder.keep().display()));
    }
    Ok(faults.is_empty())
}

/// The storm from its first form to the last row of evidence.
fn hold(plan: Plan, secret: String, folder: &Folder, clock: &Arc<dyn Clock>) -> Result<(Evidence, Ledger), DemoError> {
    let server = Server::start(folder.path().to_owned())?;
    say(&format!(
        "A server of its own on http://{}: {} forms a second for {} s, one in ten a duplicate,\n\
         a kill -9 in the middle, then {RIVALS} at once for the last place of a slot.\n",
        server.listen(),
        plan.rate,
        plan.seconds
    ));
    for (name, weight, max) in team(plan.forms()) {
        let (weight, max) = (weight.to_string(), max.map(|max| max.to_string()));
        let mut command = vec!["agents", "add", name, "--team", "sales", "--weight", &weight];
        command.extend(max.iter().flat_map(|max| ["--max", max]));
        server.ask::<serde_json::Value>(&command)?;
    }
    let slot = free_slot(&server, clock.now())?;
    let bar = progress_bar(plan);
    let (now_at, address) = watch::channel(Some(server.listen()));
    let answered = bar.clone();
    let storm = Storm::new(secret, Arc::clone(clock), address, move || answered.inc(1));
    let weather = Weather { plan, slot: &slot, storm: Arc::new(storm), now_at, bar, clock: &**clock };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DemoError::Spawn)?;
    let (server, ledger) = runtime.block_on(weather.come_over(server))?;

    settle(&server, &**clock)?;
    let evidence = Evidence {
        sent: ledger.sent.clone(),
        submissions: server.ask(&["submissions", "list", "--limit", "0"])?,
        leads: server.ask(&["leads", "list", "--limit", "0"])?,
        agents: server.ask(&["agents", "list", "--limit", "0"])?,
        slot: slots_on(&server, &slot.date)?.into_iter().find(|now| now.time == slot.time).unwrap_or(slot),
        check: server.check()?,
    };
    Ok((evidence, ledger))
}

/// The course of the demo while forms are sent.
struct Weather<'a> {
    plan: Plan,
    slot: &'a Slot,
    storm: Arc<Storm>,
    /// Tells the senders where the server is.
    now_at: watch::Sender<Option<SocketAddr>>,
    bar: ProgressBar,
    clock: &'a dyn Clock,
}

impl Weather<'_> {
    /// Blows the storm, kills the server halfway and starts it again, and lets the rivals race in the last quarter.
    async fn come_over(self, server: Server) -> Result<(Server, Ledger), DemoError> {
        let blowing = tokio::spawn({
            let (storm, plan) = (Arc::clone(&self.storm), self.plan);
            async move { storm.blow(plan).await }
        });
        // All places of the slot but one.
        self.storm.race((1..CAPACITY).map(|number| self.wish(&format!("early-{number}"))).collect()).await;

        tokio::time::sleep(self.plan.due(self.plan.sends() / 2)).await;
        self.bar.set_message("kill -9");
        let killed_at = self.clock.elapsed();
        let server = self.restart(server).await?;
        let outage = self.clock.elapsed().saturating_sub(killed_at);
        self.bar.set_message("started again");

        tokio::time::sleep(self.plan.due(self.plan.sends() / 4)).await;
        self.bar.set_message("the race for the last place");
        self.storm.race((0..RIVALS).map(|number| self.wish(&format!("rival-{number}"))).collect()).await;
        self.bar.set_message("the rest of the storm");

        // The task ends when each of its forms has a fate. A panic in it would show as forms that are missing.
        let _ = blowing.await;
        self.bar.finish_and_clear();
        let mut ledger = self.storm.take_ledger();
        ledger.sending.outage = outage;
        Ok((server, ledger))
    }

    fn wish(&self, token: &str) -> Form {
        Form::visit(token, &self.slot.date, &self.slot.time)
    }

    /// Kills the server and starts another on the same file, while forms go on falling due.
    async fn restart(&self, server: Server) -> Result<Server, DemoError> {
        let now_at = self.now_at.clone();
        let restarted = tokio::task::spawn_blocking(move || {
            let folder = server.kill()?;
            now_at.send_replace(None);
            let server = Server::start(folder)?;
            now_at.send_replace(Some(server.listen()));
            Ok(server)
        });
        restarted.await.unwrap_or_else(|ended| Err(DemoError::Spawn(io::Error::other(ended))))
    }
}

/// A slot of the day after tomorrow: whatever the hour, it is in the future all through the demo.
fn free_slot(server: &Server, now: Timestamp) -> Result<Slot, DemoError> {
    const DAY: u64 = 24 * 60 * 60;
    let day = now.plus(Millis::from_secs(2 * DAY)).to_string();
    let date = day.split('T').next().unwrap_or_default();
    let slots = slots_on(server, date)?;
    let nothing = || DemoError::Command { command: "slots list".to_owned(), why: format!("no slot on {date}") };
    slots.into_iter().next().ok_or_else(nothing)
}

fn slots_on(server: &Server, date: &str) -> Result<Vec<Slot>, DemoError> {
    server.ask(&["slots", "list", "--calendar", "chair", "--from", date, "--to", date, "--limit", "0"])
}

/// Waits until no job is left.
fn settle(server: &Server, clock: &dyn Clock) -> Result<(), DemoError> {
    #[derive(Deserialize)]
    struct Status {
        jobs: Jobs,
    }
    #[derive(Deserialize)]
    struct Jobs {
        scheduled: u64,
        running: u64,
    }
    let deadline = clock.elapsed() + SETTLING;
    loop {
        let left =
            server.ask::<Status>(&["status"])?.iter().map(|status| status.jobs.scheduled + status.jobs.running).sum();
        match left {
            0 => return Ok(()),
            left if clock.elapsed() > deadline => return Err(DemoError::NotSettled { left }),
            // Starting the command takes longer than any pause that would be worth while.
            _ => {}
        }
    }
}

fn progress_bar(plan: Plan) -> ProgressBar {
    let all = plan.sends() + RIVALS + CAPACITY - 1;
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} answered  {msg}");
    let bar = ProgressBar::new(u64::from(all));
    style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
}

/// To standard output; where nobody reads it any more, there is nobody to tell.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
