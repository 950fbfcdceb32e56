//! Handles the requests of an operator, in a running server or in a command that opened the file of
//! a stopped server.
//!
//! See [`super::queries`] for lists and single objects, and [`super::commands`] for
//! changes. See [`super::transport`] for the socket.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::domain::event::EventKind;
use crate::domain::health::refusal_counters::RefusalStats;
use crate::domain::health::window::WindowStats;
use crate::domain::ids::{AgentId, DestinationName, FlowName, JobId, TeamName};
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::Timestamp;
use crate::gateways::GatewayRegistry;
use crate::intake::Catalog;
use crate::reloadable::Reloadable;
use crate::store::{Snapshot, Store, StoreError, StoreHealth};

use super::protocol::{AdminError, AdminRequest};
use super::responses::{
    DestinationRow, DestinationStatsRow, DestinationTestRow, JobCounts, LeadCounts, ReloadRow,
    StatusRow, WriterStatus,
};
use super::{commands, destinations, flow_health, gateways, number_warnings, queries};

/// Data and functions that only a running server has.
#[derive(Clone)]
pub struct ServerHooks {
    /// Address on which the server accepts submissions.
    pub listen: SocketAddr,
    /// Returns the IDs of jobs in flight.
    pub running_jobs: Arc<dyn Fn() -> Vec<JobId> + Send + Sync>,
    /// Returns the endpoint statistics of encrypted flows, for the last 30 minutes.
    pub endpoint_health: Arc<dyn Fn() -> BTreeMap<FlowName, WindowStats> + Send + Sync>,
    /// Returns the counters of the requests that the listener refused.
    pub refusals: Arc<dyn Fn() -> RefusalStats + Send + Sync>,
    /// Registry of the session monitors of unofficial gateways.
    pub gateway_registry: GatewayRegistry,
    /// Warnings about the config: a development secret, unsigned flows, or a failed reload.
    pub warnings: Reloadable<Vec<String>>,
    /// Returns the statistics of the destination workers.
    pub destination_stats:
        Arc<dyn Fn() -> BTreeMap<DestinationName, DestinationStatsRow> + Send + Sync>,
    /// Sends a test to a destination.
    pub test_destination: Arc<TestDestinationFn>,
    /// Resets the circuit breaker and the pause of a destination that an admin resumes.
    pub resume_destination: Arc<dyn Fn(&DestinationName) + Send + Sync>,
    /// Signs a body as Meta does.
    pub sign_body: Arc<SignBodyFn>,
    /// Returns the public key of a flow's newest key pair, as PEM.
    pub flow_public_key: Arc<FlowPublicKeyFn>,
    /// Reloads the config.
    pub reload_config: Arc<dyn Fn() -> Result<ReloadRow, AdminError> + Send + Sync>,
}

/// Function that sends a test, or an example of an event, to a destination and returns the result.
/// The phone number is the recipient of a test message.
pub type TestDestinationFn = dyn Fn(
        &DestinationName,
        Option<&PhoneNumber>,
        Option<EventKind>,
    ) -> Result<DestinationTestRow, AdminError>
    + Send
    + Sync;

/// Function that signs a body as Meta does. Returns `None` if there is no app secret.
pub type SignBodyFn = dyn Fn(&[u8]) -> Option<String> + Send + Sync;

/// Function that returns the public key of a flow's newest key pair, as PEM. Returns `None` for a
/// flow that is not encrypted.
pub type FlowPublicKeyFn = dyn Fn(&FlowName) -> Option<String> + Send + Sync;

/// Handles requests about one store.
#[derive(Clone)]
pub struct AdminHandler {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    catalog: Reloadable<Catalog>,
    pub(super) server: Option<ServerHooks>,
}

/// Receives the rows of a response. Returns `false` if the reader has disconnected.
pub(super) type RowSink<'a> = dyn FnMut(Value) -> bool + 'a;

impl AdminHandler {
    /// Creates a handler for `store`. Only a running server provides [`ServerHooks`].
    #[must_use]
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        catalog: Reloadable<Catalog>,
        server: Option<ServerHooks>,
    ) -> Self {
        Self {
            store,
            clock,
            catalog,
            server,
        }
    }

    /// Handles one request. Sends one row per object to the sink, in order. A list stops early if
    /// the sink returns `false`.
    ///
    /// # Errors
    /// [`AdminError`] with the problem and a command to type. Rows may have been sent before the
    /// error.
    pub fn handle(&self, request: AdminRequest, sink: &mut RowSink<'_>) -> Result<(), AdminError> {
        match request {
            AdminRequest::Status => send_row(sink, self.status()?),
            AdminRequest::Submissions(filter) => queries::list_submissions(self, &filter, sink),
            AdminRequest::Submission { id } => queries::get_submission(self, id, sink),
            AdminRequest::Drafts(filter) => queries::list_drafts(self, &filter, sink),
            AdminRequest::Jobs(filter) => queries::list_jobs(self, &filter, sink),
            AdminRequest::Job { id } => queries::get_job(self, id, sink),
            AdminRequest::DeadLetters(filter) => queries::list_dead_letters(self, &filter, sink),
            AdminRequest::DeadLetter { id } => queries::get_dead_letter(self, id, sink),
            AdminRequest::Deliveries(filter) => queries::list_deliveries(self, &filter, sink),
            AdminRequest::Delivery { id } => queries::get_delivery(self, id, sink),
            AdminRequest::Destinations => destinations::list_destinations(self, sink),
            AdminRequest::PauseDestination { name } => {
                destinations::set_paused(self, &name, true, sink)
            }
            AdminRequest::ResumeDestination { name } => {
                destinations::set_paused(self, &name, false, sink)
            }
            AdminRequest::TestDestination { name, to, event } => {
                destinations::test_destination(self, &name, to.as_ref(), event, sink)
            }
            AdminRequest::Leads(filter) => queries::list_leads(self, &filter, sink),
            AdminRequest::Lead { id } => queries::get_lead(self, id, sink),
            AdminRequest::Agents(filter) => queries::list_agents(self, &filter, sink),
            AdminRequest::Bookings(filter) => queries::list_bookings(self, &filter, sink),
            AdminRequest::Booking { id } => queries::get_booking(self, id, sink),
            AdminRequest::Slots {
                calendar,
                from,
                to,
                limit,
            } => queries::list_slots(self, calendar.as_ref(), (from, to), limit, sink),
            AdminRequest::Flows => queries::list_flows(self, sink),
            AdminRequest::FlowErrors(filter) => queries::list_flow_errors(self, &filter, sink),
            AdminRequest::FlowHealth { flow } => {
                flow_health::list_flow_health(self, flow.as_ref(), sink)
            }
            AdminRequest::Gateways => gateways::list_gateways(self, sink),
            AdminRequest::Gateway { name } => gateways::get_gateway(self, &name, sink),
            AdminRequest::RestartGateway { name } => gateways::restart_gateway(self, &name, sink),
            AdminRequest::CheckIntegrity => self.check_integrity(sink),
            AdminRequest::ReloadConfig => send_row(sink, self.reload_config()?),
            AdminRequest::SignBody { body } => send_row(
                sink,
                json!({"signature": (self.server()?.sign_body)(body.as_bytes())}),
            ),
            AdminRequest::FlowPublicKey { flow } => send_row(
                sink,
                json!({"public_key": (self.server()?.flow_public_key)(&flow)}),
            ),
            command => commands::execute(self, command, sink),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the flows and calendars of the config.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load()
    }

    /// Returns the endpoint statistics by flow, or `None` if no server runs.
    pub(super) fn endpoint_health(&self) -> Option<BTreeMap<FlowName, WindowStats>> {
        self.server
            .as_ref()
            .map(|server| (server.endpoint_health)())
    }

    /// Returns the statistics of the destination workers. The map is empty if no server runs.
    pub(super) fn destination_stats(&self) -> BTreeMap<DestinationName, DestinationStatsRow> {
        self.server
            .as_ref()
            .map(|server| (server.destination_stats)())
            .unwrap_or_default()
    }

    /// Sends a test to a destination.
    pub(super) fn test_destination(
        &self,
        name: &DestinationName,
        to: Option<&PhoneNumber>,
        event: Option<EventKind>,
    ) -> Result<DestinationTestRow, AdminError> {
        (self.server()?.test_destination)(name, to, event)
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, AdminError> {
        Ok(self.store.read_last()?)
    }

    /// Returns the jobs in flight.
    pub(super) fn running_jobs(&self) -> HashSet<JobId> {
        self.server
            .as_ref()
            .map(|server| (server.running_jobs)().into_iter().collect())
            .unwrap_or_default()
    }

    fn status(&self) -> Result<StatusRow, AdminError> {
        let snapshot = self.snapshot()?;
        let mut status = self.status_without_warnings(&snapshot)?;
        status.warnings = self.warnings(&snapshot, &status, self.store.free_space().1)?;
        Ok(status)
    }

    /// Returns the status without warnings, and all destinations, from one snapshot, for a metrics
    /// scraper. The cost does not grow with the number of waiting rows.
    ///
    /// # Errors
    /// [`AdminError`] if the file can't be read.
    pub fn metrics_rows(&self) -> Result<(StatusRow, Vec<DestinationRow>), AdminError> {
        let snapshot = self.snapshot()?;
        Ok((
            self.status_without_warnings(&snapshot)?,
            destinations::destination_rows(self, &snapshot)?,
        ))
    }

    fn status_without_warnings(&self, snapshot: &Snapshot) -> Result<StatusRow, StoreError> {
        let counts = snapshot.counts()?;
        let running = u64::try_from(self.running_jobs().len())
            .unwrap_or(u64::MAX)
            .min(counts.jobs_scheduled);
        let oldest = snapshot.first_due_at()?.filter(|due| *due <= self.now());
        let (queued, capacity) = self.store.intake_queue_depth();
        let (free_bytes, _) = self.store.free_space();
        Ok(StatusRow {
            health: if self.server.is_some() {
                health_name(&self.store.health())
            } else {
                "stopped"
            }
            .to_owned(),
            listen: self.server.as_ref().map(|server| server.listen),
            submissions: counts.submissions,
            drafts: counts.drafts,
            jobs: JobCounts {
                scheduled: counts.jobs_scheduled.saturating_sub(running),
                running,
                done: counts.jobs_done,
                dead: counts.jobs_dead,
            },
            oldest_due_seconds: oldest.map(|due| self.now().since(due).get() / 1000),
            leads: LeadCounts {
                open: counts.leads_open,
                unassigned: counts.leads_unassigned,
            },
            bookings: counts.bookings_confirmed,
            writer: WriterStatus {
                queued,
                capacity,
                stats: self.store.writer_stats(),
            },
            file_bytes: self.store.file_bytes(),
            free_bytes,
            refused: self
                .refusals()
                .by_reason
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
            warnings: Vec::new(),
        })
    }

    /// Returns the problems, each with a command to type.
    fn warnings(
        &self,
        snapshot: &Snapshot,
        status: &StatusRow,
        min_free_bytes: u64,
    ) -> Result<Vec<String>, StoreError> {
        let mut warnings = self
            .server
            .as_ref()
            .map(|server| server.warnings.load().to_vec())
            .unwrap_or_default();
        if self.server.is_none() {
            warnings.push(
                "no server runs on this data file: start it with `flowgate serve`".to_owned(),
            );
        }
        if matches!(self.store.health(), StoreHealth::NoSpace) {
            warnings.push(
                "the disk is full: nothing can be stored, and this status may be out of date; free disk space, then the server continues by \
                 itself"
                    .to_owned(),
            );
        } else if status.free_bytes.is_some_and(|free| free < min_free_bytes) {
            warnings.push(format!(
                "the disk is nearly full: with less than {} MiB free, new submissions get 503; free disk space",
                min_free_bytes.div_ceil(1 << 20)
            ));
        }
        if status.jobs.dead > 0 {
            let dead = pluralize(status.jobs.dead, "dead letter", "dead letters");
            warnings.push(format!(
                "{dead}: `flowgate dead-letters list` shows the reasons, `flowgate dead-letters retry ID` retries one"
            ));
        }
        if self.server.is_some()
            && status
                .oldest_due_seconds
                .is_some_and(|seconds| seconds > 60)
        {
            warnings.push(
                "the oldest job is overdue by more than a minute: `flowgate jobs list --state scheduled`".to_owned(),
            );
        }
        warnings.extend(self.refusals().warnings());
        let parts = [
            destinations::warnings(self, snapshot),
            flow_health::warnings(self, snapshot),
            gateways::warnings(self, snapshot),
            number_warnings::warnings(self, snapshot),
            unassigned_lead_warnings(snapshot),
        ];
        for part in parts {
            match part {
                Ok(part) => warnings.extend(part),
                // One unreadable row must not hide the other warnings.
                Err(error) if error.affects_one_row() => warnings.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        warnings.extend(unreadable_rows_warning(self.store.unreadable_rows()));
        Ok(warnings)
    }

    /// Returns the counters of refused requests. They are empty if no server runs.
    fn refusals(&self) -> RefusalStats {
        self.server
            .as_ref()
            .map(|server| (server.refusals)())
            .unwrap_or_default()
    }

    fn server(&self) -> Result<&ServerHooks, AdminError> {
        self.server.as_ref().ok_or_else(AdminError::server_required)
    }

    fn reload_config(&self) -> Result<ReloadRow, AdminError> {
        (self.server()?.reload_config)()
    }

    fn check_integrity(&self, sink: &mut RowSink<'_>) -> Result<(), AdminError> {
        #[derive(Serialize)]
        struct ViolationRow {
            invariant: &'static str,
            location: String,
        }
        #[derive(Serialize)]
        struct CheckSummaryRow {
            rows: u64,
            violations: u64,
        }
        let report = crate::store::check_integrity(&self.store)?;
        for finding in report.violations {
            send_row(
                sink,
                ViolationRow {
                    invariant: finding.invariant,
                    location: finding.location,
                },
            )?;
        }
        send_row(
            sink,
            CheckSummaryRow {
                rows: report.rows_read,
                violations: report.violation_count,
            },
        )?;
        if let Some(damage) = report.damage {
            return Err(damage.into());
        }
        match report.violation_count {
            0 => Ok(()),
            violations => Err(AdminError::failed(format!(
                "{violations} things are not as they should be: keep a copy of the file"
            ))),
        }
    }
}

/// Returns a warning for each team whose leads wait for an agent.
fn unassigned_lead_warnings(snapshot: &Snapshot) -> Result<Vec<String>, StoreError> {
    let sizes: BTreeMap<TeamName, u64> = snapshot.agents_by_team()?.into_iter().collect();
    let warning = |(team, waiting)| {
        let waiting = pluralize(waiting, "lead waits", "leads wait");
        match sizes.get(&team) {
            None => format!(
                "{waiting} for an agent, but team {team} has no agent: `flowgate agents add NAME --team {team}`"
            ),
            Some(agents) => {
                format!(
                    "{waiting}: none of the {agents} agents of team {team} is available: see `flowgate agents`"
                )
            }
        }
    };
    Ok(snapshot
        .waiting_leads_by_team()?
        .into_iter()
        .map(warning)
        .collect())
}

/// Returns a warning if the store skipped unreadable rows.
fn unreadable_rows_warning(rows: u64) -> Option<String> {
    let singular = "row of the data file is unreadable and was skipped";
    let plural = "rows of the data file are unreadable and were skipped";
    (rows > 0).then(|| {
        format!(
            "{}: `flowgate check` lists all such rows",
            pluralize(rows, singular, plural)
        )
    })
}

/// Formats a count with the text for one or the text for several.
pub(super) fn pluralize(count: u64, singular: &str, plural: &str) -> String {
    format!("{count} {}", if count == 1 { singular } else { plural })
}

/// Names of agents. Each name is looked up at its first use and then cached.
#[derive(Default)]
pub(super) struct AgentNames(RefCell<BTreeMap<AgentId, Option<String>>>);

impl AgentNames {
    /// Returns the name of an agent. If the agent's row is unreadable, the name consists of the
    /// agent ID.
    pub(super) fn lookup(&self, snapshot: &Snapshot, agent: Option<AgentId>) -> Option<String> {
        let id = agent?;
        let find_name = || match snapshot.agent(id) {
            Ok(agent) => agent.map(|agent| agent.name.to_string()),
            Err(_) => Some(format!("agent {id}, unreadable")),
        };
        self.0
            .borrow_mut()
            .entry(id)
            .or_insert_with(find_name)
            .clone()
    }
}

/// Sends one row.
pub(super) fn send_row(sink: &mut RowSink<'_>, row: impl Serialize) -> Result<(), AdminError> {
    let value = serde_json::to_value(row).map_err(|error| AdminError::failed(error.to_string()))?;
    sink(value);
    Ok(())
}

const fn health_name(health: &StoreHealth) -> &'static str {
    match health {
        StoreHealth::Ready => "ready",
        StoreHealth::LowSpace => "low_space",
        StoreHealth::NoSpace => "no_space",
        StoreHealth::Failed(_) => "failed",
        // A running server handles no request before its store is open.
        StoreHealth::WaitingForLock | StoreHealth::Opening | StoreHealth::Closed => "closed",
    }
}
