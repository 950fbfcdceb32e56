//! Defines the data and functions with which admin requests are answered: the store, the clock, the
//! config and, in a running server, its hooks.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::backup::BackupStatus;
use crate::clock::Clock;
use crate::domain::event::EventKind;
use crate::domain::health::refusal_counters::RefusalStats;
use crate::domain::health::window::WindowStats;
use crate::domain::ids::{AgentId, AgentName, DestinationName, FlowName, JobId};
use crate::domain::phone_number::PhoneNumber;
use crate::domain::time::Timestamp;
use crate::gateways::GatewayRegistry;
use crate::intake::Catalog;
use crate::reloadable::Reloadable;
use crate::store::{Snapshot, Store};
use crate::telemetry::LogFilter;

use super::error::AdminError;
use super::responses::{DestinationStatsRow, DestinationTestRow, ReloadRow};

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
    /// Returns the status of the backups. `None`: no backups are configured.
    pub backup_status: Arc<dyn Fn() -> Option<BackupStatus> + Send + Sync>,
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
    /// Filter of the log.
    pub log_filter: LogFilter,
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

/// Data and functions with which requests about one store are answered.
#[derive(Clone)]
pub(super) struct AdminContext {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) catalog: Reloadable<Catalog>,
    /// `None` if no server runs on the file.
    pub(super) server: Option<ServerHooks>,
}

impl AdminContext {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the flows and calendars of the config.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load()
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, AdminError> {
        Ok(self.store.read_last()?)
    }

    /// Fails if there is no agent with this name, or the agent was removed.
    pub(super) fn require_agent(&self, name: &AgentName) -> Result<(), AdminError> {
        let agents = self.snapshot()?.agents()?;
        let mut current = agents.iter().filter(|(_, agent)| !agent.is_removed);
        if current.any(|(_, agent)| agent.name == *name) {
            Ok(())
        } else {
            Err(AdminError::missing("agent", name))
        }
    }

    /// Returns the jobs in flight. The set is empty if no server runs.
    pub(super) fn running_jobs(&self) -> HashSet<JobId> {
        let jobs = self.server.as_ref().map(|server| (server.running_jobs)());
        jobs.into_iter().flatten().collect()
    }
}

/// Receives the rows of a response. Returns `false` if the reader has disconnected.
pub(super) type RowSink<'a> = dyn FnMut(Value) -> bool + 'a;

/// Sends one row.
pub(super) fn send_row(sink: &mut RowSink<'_>, row: impl Serialize) -> Result<(), AdminError> {
    sink(to_json(row)?);
    Ok(())
}

/// Sends rows in order.
pub(super) fn send_rows<R: Serialize>(
    sink: &mut RowSink<'_>,
    rows: impl IntoIterator<Item = R>,
) -> Result<(), AdminError> {
    rows.into_iter().try_for_each(|row| send_row(sink, row))
}

pub(super) fn to_json(row: impl Serialize) -> Result<Value, AdminError> {
    serde_json::to_value(row).map_err(|error| AdminError::failed(error.to_string()))
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
