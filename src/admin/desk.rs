//! Where every question is answered: over the socket of a running server, or in the command line on a stopped one's file.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::current::Current;
use crate::domain::event::EventKind;
use crate::domain::gauge::Reading;
use crate::domain::ids::{AgentId, DestinationName, FlowName, JobId, TeamName};
use crate::domain::phone_number::PhoneNumber;
use crate::domain::refusals::Refused;
use crate::domain::time::Timestamp;
use crate::gateways::Board;
use crate::intake::Catalog;
use crate::store::{Health, Snapshot, Store, StoreError};

use super::protocol::{AdminError, Question};
use super::views::{DestinationView, JobCounts, LaneView, LeadCounts, ReloadView, StatusView, TestView, WriterView};
use super::{changes, destinations, flow_health, gateways, lists, numbers};

/// What only a running server knows.
#[derive(Clone)]
pub struct Live {
    /// Where it takes submissions.
    pub listen: SocketAddr,
    /// Jobs that are handed out.
    pub running: Arc<dyn Fn() -> Vec<JobId> + Send + Sync>,
    /// How the endpoints of encrypted flows did in the last half hour.
    pub endpoints: Arc<dyn Fn() -> BTreeMap<FlowName, Reading> + Send + Sync>,
    /// What the listener refused.
    pub refused: Arc<dyn Fn() -> Refused + Send + Sync>,
    /// Where the keepers of unofficial gateways are asked for something.
    pub gateways: Board,
    /// What an admin should know about its config: a development secret, unsigned flows, a reload that came to nothing.
    pub hints: Current<Vec<String>>,
    /// How the lanes of destinations do.
    pub lanes: Arc<dyn Fn() -> BTreeMap<DestinationName, LaneView> + Send + Sync>,
    /// Sends a test to a destination.
    pub test: Arc<Test>,
    /// Forgets what is known of a destination's troubles: an admin lets it go on.
    pub resume: Arc<dyn Fn(&DestinationName) + Send + Sync>,
    /// Signs a body as Meta does.
    pub sign: Arc<Sign>,
    /// The public half of a flow's newest key, as PEM.
    pub public_key: Arc<PublicKeyOf>,
    /// Reads the config again.
    pub reload: Arc<dyn Fn() -> Result<ReloadView, AdminError> + Send + Sync>,
}

/// Sends a test to a destination, or an example of an event, and gives what came of it. The number is whom to write to.
pub type Test =
    dyn Fn(&DestinationName, Option<&PhoneNumber>, Option<EventKind>) -> Result<TestView, AdminError> + Send + Sync;

/// Signs a body as Meta does; `None` where there is no secret.
pub type Sign = dyn Fn(&[u8]) -> Option<String> + Send + Sync;

/// Gives the public half of a flow's newest key, as PEM; `None` for a flow that is not encrypted.
pub type PublicKeyOf = dyn Fn(&FlowName) -> Option<String> + Send + Sync;

/// Answers questions about one store.
#[derive(Clone)]
pub struct Desk {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    catalog: Current<Catalog>,
    pub(super) live: Option<Live>,
}

/// Takes the rows of an answer. False: nobody reads them any more.
pub(super) type Out<'a> = dyn FnMut(Value) -> bool + 'a;

impl Desk {
    /// A desk for `store`; `live` where it belongs to a running server.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, catalog: Current<Catalog>, live: Option<Live>) -> Self {
        Self { store, clock, catalog, live }
    }

    /// Answers one question: a row for each thing, in order. Stops early where `out` says that nobody reads.
    ///
    /// # Errors
    /// [`AdminError`] says what was wrong, and what to type. Rows may have come before it.
    pub fn answer(&self, question: Question, out: &mut Out<'_>) -> Result<(), AdminError> {
        match question {
            Question::Status => row(out, self.status()?),
            Question::Submissions(filter) => lists::submissions(self, &filter, out),
            Question::Submission { id } => lists::submission(self, id, out),
            Question::Drafts(filter) => lists::drafts(self, &filter, out),
            Question::Jobs(filter) => lists::jobs(self, &filter, out),
            Question::Job { id } => lists::job(self, id, out),
            Question::DeadLetters(filter) => lists::dead_letters(self, &filter, out),
            Question::DeadLetter { id } => lists::dead_letter(self, id, out),
            Question::Deliveries(filter) => lists::deliveries(self, &filter, out),
            Question::Delivery { id } => lists::delivery(self, id, out),
            Question::Destinations => destinations::list(self, out),
            Question::PauseDestination { name } => destinations::pause(self, &name, true, out),
            Question::ResumeDestination { name } => destinations::pause(self, &name, false, out),
            Question::TestDestination { name, to, event } => destinations::test(self, &name, to.as_ref(), event, out),
            Question::Leads(filter) => lists::leads(self, &filter, out),
            Question::Lead { id } => lists::lead(self, id, out),
            Question::Agents(filter) => lists::agents(self, &filter, out),
            Question::Bookings(filter) => lists::bookings(self, &filter, out),
            Question::Booking { id } => lists::booking(self, id, out),
            Question::Slots { calendar, from, to, limit } => {
                lists::slots(self, calendar.as_ref(), (from, to), limit, out)
            }
            Question::Flows => lists::flows(self, out),
            Question::FlowErrors(filter) => lists::complaints(self, &filter, out),
            Question::FlowHealth { flow } => flow_health::health(self, flow.as_ref(), out),
            Question::Gateways => gateways::list(self, out),
            Question::Gateway { name } => gateways::show(self, &name, out),
            Question::RestartGateway { name } => gateways::restart(self, &name, out),
            Question::Check => self.check(out),
            Question::Reload => row(out, self.reload()?),
            Question::Sign { body } => row(out, json!({"signature": (self.live()?.sign)(body.as_bytes())})),
            Question::PublicKey { flow } => row(out, json!({"public_key": (self.live()?.public_key)(&flow)})),
            change => changes::make(self, change, out),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The flows and calendars of the config.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.get()
    }

    /// How the endpoints do; `None`: no server runs.
    pub(super) fn endpoints(&self) -> Option<BTreeMap<FlowName, Reading>> {
        self.live.as_ref().map(|live| (live.endpoints)())
    }

    /// How the lanes do; none: no server runs.
    pub(super) fn lanes(&self) -> BTreeMap<DestinationName, LaneView> {
        self.live.as_ref().map(|live| (live.lanes)()).unwrap_or_default()
    }

    /// Sends a test to a destination.
    pub(super) fn test(
        &self,
        name: &DestinationName,
        to: Option<&PhoneNumber>,
        event: Option<EventKind>,
    ) -> Result<TestView, AdminError> {
        (self.live()?.test)(name, to, event)
    }

    pub(super) fn read(&self) -> Result<Snapshot, AdminError> {
        Ok(self.store.read_last()?)
    }

    /// Jobs that run right now.
    pub(super) fn running(&self) -> HashSet<JobId> {
        self.live.as_ref().map(|live| (live.running)().into_iter().collect()).unwrap_or_default()
    }

    fn status(&self) -> Result<StatusView, AdminError> {
        let read = self.read()?;
        let mut status = self.standing(&read)?;
        status.hints = self.hints(&read, &status, self.store.free_space().1)?;
        Ok(status)
    }

    /// How things stand, without hints, and all destinations, from one snapshot: what a scraper gets. The cost does not
    /// grow with what waits.
    ///
    /// # Errors
    /// [`AdminError`] if the file can't be read.
    pub fn figures(&self) -> Result<(StatusView, Vec<DestinationView>), AdminError> {
        let read = self.read()?;
        Ok((self.standing(&read)?, destinations::all(self, &read)?))
    }

    fn standing(&self, read: &Snapshot) -> Result<StatusView, StoreError> {
        let counts = read.counts()?;
        let running = u64::try_from(self.running().len()).unwrap_or(u64::MAX).min(counts.jobs_scheduled);
        let oldest = read.first_due()?.filter(|due| *due <= self.now());
        let (waiting, room) = self.store.intake_depth();
        let (free_bytes, _) = self.store.free_space();
        Ok(StatusView {
            health: if self.live.is_some() { health_name(&self.store.health()) } else { "stopped" }.to_owned(),
            listen: self.live.as_ref().map(|live| live.listen),
            submissions: counts.submissions,
            drafts: counts.drafts,
            jobs: JobCounts {
                scheduled: counts.jobs_scheduled.saturating_sub(running),
                running,
                done: counts.jobs_done,
                dead: counts.jobs_dead,
            },
            oldest_due_seconds: oldest.map(|due| self.now().since(due).get() / 1000),
            leads: LeadCounts { open: counts.leads_open, unassigned: counts.leads_unassigned },
            bookings: counts.places_taken,
            writer: WriterView { waiting, room, figures: self.store.figures() },
            file_bytes: self.store.file_bytes(),
            free_bytes,
            refused: self.refused().by_reason.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            hints: Vec::new(),
        })
    }

    /// What is wrong, and what to type.
    fn hints(&self, read: &Snapshot, status: &StatusView, floor: u64) -> Result<Vec<String>, StoreError> {
        let mut hints = self.live.as_ref().map(|live| live.hints.get().to_vec()).unwrap_or_default();
        if self.live.is_none() {
            hints.push("no server runs on this file: `flowgate serve` starts one".to_owned());
        }
        if matches!(self.store.health(), Health::NoSpace) {
            hints.push(
                "the disk is full: nothing can be stored, and this is how things stood before; make room, flowgate goes on by \
                 itself"
                    .to_owned(),
            );
        } else if status.free_bytes.is_some_and(|free| free < floor) {
            hints.push(format!(
                "the disk is nearly full: with less than {} MiB free, new submissions get 503; make room",
                floor.div_ceil(1 << 20)
            ));
        }
        if status.jobs.dead > 0 {
            let dead = many(status.jobs.dead, "dead letter is", "dead letters are");
            hints.push(format!("{dead} kept: `flowgate dead list` shows why, `flowgate dead retry ID` runs one again"));
        }
        if self.live.is_some() && status.oldest_due_seconds.is_some_and(|seconds| seconds > 60) {
            hints.push("jobs are waiting for more than a minute: `flowgate jobs list --state scheduled`".to_owned());
        }
        hints.extend(self.refused().hints());
        let parts = [
            destinations::hints(self, read),
            flow_health::hints(self, read),
            gateways::hints(self, read),
            numbers::hints(self, read),
            waiting_leads(read),
        ];
        for part in parts {
            match part {
                Ok(part) => hints.extend(part),
                // One row that can't be read hides no other hint.
                Err(error) if error.is_of_one_change() => hints.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        hints.extend(left_out(self.store.rows_left_out()));
        Ok(hints)
    }

    /// What the listener refused; nothing where no server runs.
    fn refused(&self) -> Refused {
        self.live.as_ref().map(|live| (live.refused)()).unwrap_or_default()
    }

    fn live(&self) -> Result<&Live, AdminError> {
        self.live.as_ref().ok_or_else(AdminError::no_server)
    }

    fn reload(&self) -> Result<ReloadView, AdminError> {
        (self.live()?.reload)()
    }

    fn check(&self, out: &mut Out<'_>) -> Result<(), AdminError> {
        #[derive(Serialize)]
        struct FindingView {
            invariant: &'static str,
            place: String,
        }
        #[derive(Serialize)]
        struct Summary {
            rows: u64,
            found: u64,
        }
        let report = crate::store::check(&self.store)?;
        for finding in report.findings {
            row(out, FindingView { invariant: finding.invariant, place: finding.place })?;
        }
        row(out, Summary { rows: report.rows, found: report.found })?;
        if let Some(damage) = report.damage {
            return Err(damage.into());
        }
        match report.found {
            0 => Ok(()),
            found => {
                Err(AdminError::failed(format!("{found} things are not as they should be: keep a copy of the file")))
            }
        }
    }
}

/// Teams whose leads wait for an agent.
fn waiting_leads(read: &Snapshot) -> Result<Vec<String>, StoreError> {
    let sizes: BTreeMap<TeamName, u64> = read.team_sizes()?.into_iter().collect();
    let hint = |(team, waiting)| {
        let waiting = many(waiting, "lead waits", "leads wait");
        match sizes.get(&team) {
            None => format!("{waiting} for an agent, team {team} has none: `flowgate agents add NAME --team {team}`"),
            Some(agents) => {
                format!("{waiting}: none of the {agents} agents of team {team} can take one, see `flowgate agents`")
            }
        }
    };
    Ok(read.waiting_teams()?.into_iter().map(hint).collect())
}

/// Rows that the store goes on without.
fn left_out(rows: u64) -> Option<String> {
    let one = "row of the data file can't be read, and is left out";
    let more = "rows of the data file can't be read, and are left out";
    (rows > 0).then(|| format!("{}: `flowgate check` lists all such rows", many(rows, one, more)))
}

/// A count with its noun and verb.
pub(super) fn many(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// Names of agents, each looked up when it is first asked for.
#[derive(Default)]
pub(super) struct Names(RefCell<BTreeMap<AgentId, Option<String>>>);

impl Names {
    /// The name; that of an agent whose row can't be read is made of their number.
    pub(super) fn of(&self, read: &Snapshot, agent: Option<AgentId>) -> Option<String> {
        let id = agent?;
        let look_up = || match read.agent(id) {
            Ok(agent) => agent.map(|agent| agent.name.to_string()),
            Err(_) => Some(format!("agent {id}, unreadable")),
        };
        self.0.borrow_mut().entry(id).or_insert_with(look_up).clone()
    }
}

/// Sends one row.
pub(super) fn row(out: &mut Out<'_>, row: impl Serialize) -> Result<(), AdminError> {
    let value = serde_json::to_value(row).map_err(|error| AdminError::failed(error.to_string()))?;
    out(value);
    Ok(())
}

const fn health_name(health: &Health) -> &'static str {
    match health {
        Health::Ready => "ready",
        Health::LowSpace => "low_space",
        Health::NoSpace => "no_space",
        Health::Failed(_) => "failed",
        // A running server answers nothing before its store is open.
        Health::Waiting | Health::Opening | Health::Closed => "closed",
    }
}
