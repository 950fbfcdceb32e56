//! Provides the test harness: an admin handler with a new store, and functions that change the
//! store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::admin::{
    AdminCommand, AdminError, AdminHandler, AdminRequest, AgentSettings, ErrorCode, JobSelector,
    ListFilter, ServerHooks,
};
use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::domain::access::Principal;
use crate::domain::booking::slot_request::BookingSettings;
use crate::domain::delivery::ResponseRecord;
use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::health::refusal_counters::RefusalStats;
use crate::domain::health::window::WindowStats;
use crate::domain::ids::{AgentName, CalendarName, Customer, FlowName, JobId, TeamName};
use crate::domain::job::Attempt;
use crate::domain::job::retry::RetryDecision;
use crate::domain::rate_limiter::Rate;
use crate::domain::submission::inbound::{
    Inbound, InboundSubmission, SlotSelector, UnparsableMessage,
};
use crate::domain::time::{Millis, Timestamp};
use crate::gateways::GatewayRegistry;
use crate::intake::Catalog;
use crate::reloadable::Reloadable;
use crate::store::{
    AcceptInbound, AcceptOutcome, FailAttempt, FinishJob, NewLead, RecordAttempt, Store,
    StoreOptions, Transaction,
};
use crate::telemetry::LogFilter;

/// Start time of the manual clock: 2026-11-24T08:00:00Z, a Tuesday.
pub const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

/// Decision after a failed attempt that is retried at once.
pub const RETRY_AT_START: RetryDecision = RetryDecision::RetryAt { at: START };

const CONFIG: &str = r#"
    [flows.visit]
    path = "/visit"
    encryption = "none"
    booking = { calendar = "chair", date = "date", time = "time" }
    lead = { team = "sales" }
    deliver = ["crm"]
    [destinations.crm]
    url = "https://crm.example/hooks?token=hush"
    [flows.home]
    path = "/home"
    encryption = "required"
    private_keys = ["file:key.pem"]
    [calendars.chair]
    timezone = "UTC"
    hours = { tue = ["09:00-12:00"], wed = ["09:00-12:00"] }
    slot_length = "1h"
    capacity = 1
    max_advance = "60d"
"#;

/// Admin handler with its store and the folder of the data file.
pub struct AdminHarness {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub handler: AdminHandler,
    pub config: Config,
}

impl AdminHarness {
    /// Creates a harness for the file of a stopped server.
    pub fn new() -> Self {
        Self::build(None, Subscriptions::default())
    }

    /// Creates a harness for the file of a stopped server, in which flow `visit` delivers to `crm`.
    pub fn with_deliveries() -> Self {
        Self::build(None, config().subscriptions)
    }

    /// Creates a harness for a running server with these jobs in flight and endpoint statistics.
    pub fn with_server(jobs: Vec<JobId>, endpoint_health: BTreeMap<FlowName, WindowStats>) -> Self {
        let server = ServerHooks {
            listen: "127.0.0.1:8080".parse().unwrap(),
            running_jobs: Arc::new(move || jobs.clone()),
            endpoint_health: Arc::new(move || endpoint_health.clone()),
            refusals: Arc::new(RefusalStats::default),
            backup_status: Arc::new(|| None),
            gateway_registry: GatewayRegistry::default(),
            warnings: Reloadable::new(vec!["this is a rehearsal".to_owned()]),
            destination_stats: Arc::new(BTreeMap::new),
            test_destination: Arc::new(|name, _, _| Err(AdminError::missing("destination", name))),
            resume_destination: Arc::new(|_| {}),
            sign_body: Arc::new(|_| None),
            flow_public_key: Arc::new(|_| None),
            log_filter: LogFilter::create("info", false).1,
            reload_config: Arc::new(|| Err(AdminError::invalid("this config is wrong"))),
        };
        Self::build(Some(server), Subscriptions::default())
    }

    fn build(server: Option<ServerHooks>, routes: Subscriptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let as_clock: Arc<dyn Clock> = clock.clone();
        let mut options = StoreOptions::new(folder.path().join("data.redb"));
        options.min_free_bytes = 0;
        options.subscriptions = Reloadable::new(routes);
        let store = Store::start(options, Arc::clone(&as_clock)).unwrap();
        store.wait_open().unwrap();
        let config = config();
        let handler = AdminHandler::new(
            store.clone(),
            as_clock,
            Reloadable::new(Catalog::from(&config)),
            server,
        );
        Self {
            folder,
            clock,
            store,
            handler,
            config,
        }
    }

    pub fn socket_path(&self) -> PathBuf {
        self.folder.path().join("data.redb.sock")
    }

    /// Executes a transaction.
    #[track_caller]
    pub fn execute<T: Transaction>(&self, transaction: T) -> T::Outcome {
        self.store.execute_blocking(transaction).unwrap()
    }

    /// Returns the rows of a response.
    pub fn rows(&self, request: impl Into<AdminRequest>) -> Result<Vec<Value>, AdminError> {
        let mut rows = Vec::new();
        self.handler
            .handle(&Principal::Shell, request.into(), &mut |row| {
                rows.push(row);
                true
            })?;
        Ok(rows)
    }

    /// Returns the IDs of the rows of a response.
    #[track_caller]
    pub fn ids(&self, request: impl Into<AdminRequest>) -> Vec<u64> {
        ids(&self.rows(request).unwrap())
    }

    /// Returns the only row of a response.
    #[track_caller]
    pub fn row(&self, request: impl Into<AdminRequest>) -> Value {
        let mut rows = self.rows(request).unwrap();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    /// Returns the error of a request.
    #[track_caller]
    pub fn error(&self, request: impl Into<AdminRequest>) -> AdminError {
        self.rows(request).unwrap_err()
    }

    /// Asserts that a request fails with this code and a message that contains `part`.
    #[track_caller]
    pub fn assert_error(&self, request: impl Into<AdminRequest>, code: ErrorCode, part: &str) {
        let error = self.error(request);
        assert_eq!(error.code, code, "{error}");
        assert_contains(&error.message, part);
    }

    pub fn add_agent(&self, name: &str, max: Option<u32>) {
        self.row(AdminCommand::AddAgent {
            name: agent(name),
            team: team("sales"),
            settings: AgentSettings {
                max_leads: max,
                ..AgentSettings::default()
            },
        });
    }

    /// Accepts a form and returns its job.
    pub fn accept(&self, token: &str) -> JobId {
        self.accept_form(form(token, "{\"name\":\"Ann\"}"))
    }

    /// Accepts a form whose job then creates a lead.
    pub fn accept_and_finish(&self, token: &str) {
        self.finish(self.accept(token));
    }

    /// Accepts one form for each number, in order.
    pub fn accept_many(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.accept(&format!("t{number}"));
        }
    }

    /// Accepts a form that books a slot of the calendar.
    pub fn book(&self, token: &str, date: &str, time: &str) -> JobId {
        let chair = CalendarName::new("chair").unwrap();
        let calendar = Arc::clone(&self.config.calendars[&chair]);
        let fields = format!(r#"{{"date":"{date}","time":"{time}"}}"#);
        self.accept_form(InboundSubmission {
            slot_selector: Some(SlotSelector {
                settings: BookingSettings {
                    calendar: chair,
                    date_field: "date".to_owned(),
                    time_field: "time".to_owned(),
                },
                calendar,
            }),
            ..form(token, &fields)
        })
    }

    pub fn accept_form(&self, form: InboundSubmission) -> JobId {
        self.accept_inbound(Inbound::Submission(Box::new(form)))
    }

    /// Accepts an item and returns its job.
    fn accept_inbound(&self, item: Inbound) -> JobId {
        let inbound = vec![item];
        match self.execute(AcceptInbound { inbound }).remove(0) {
            AcceptOutcome::New { job_id, .. } | AcceptOutcome::DeadLetter { job_id } => job_id,
            other => panic!("{other:?}"),
        }
    }

    /// Finishes the job with a lead.
    pub fn finish(&self, job: JobId) {
        self.execute(FinishJob {
            job_id: job,
            attempt: attempt(None),
            lead: Some(NewLead {
                flow: flow(),
                team: team("sales"),
                is_sticky: false,
                customer: Customer::from_text("1234567890"),
                chosen_agent: None,
            }),
        });
    }

    /// Records a failed attempt of the job, which is then retried.
    pub fn record_failure(&self, job: JobId, why: &str) {
        self.fail_attempt(job, why, RETRY_AT_START);
    }

    /// Marks the job as a dead letter.
    pub fn mark_dead(&self, job: JobId, reason: &str) {
        self.fail_attempt(job, reason, RetryDecision::GiveUp);
    }

    fn fail_attempt(&self, job_id: JobId, why: &str, decision: RetryDecision) {
        self.execute(FailAttempt {
            job_id,
            attempt: attempt(Some(why)),
            decision,
        });
    }

    /// Records a response with `status` to a delivery. `failed` is the decision after a failure.
    /// `None` means success.
    pub fn record_response(
        &self,
        job: JobId,
        status: u16,
        response: &str,
        failed: Option<RetryDecision>,
    ) {
        let error = failed.map(|_| format!("responded with {status}"));
        self.execute(RecordAttempt {
            job_id: job,
            attempt: attempt(error.as_deref()),
            response: ResponseRecord {
                status: Some(status),
                body_excerpt: response.into(),
            },
            failure: failed,
            disable_reason: None,
            message_outcome: None,
        });
    }

    /// Accepts an unparsable message, which is a dead letter from the start.
    pub fn accept_unparsable(&self, payload: &str, reason: &str) -> JobId {
        let unreadable = UnparsableMessage {
            message_key: None,
            cross_flow_keys: Vec::new(),
            late_arrival: None,
            reason: reason.to_owned(),
            payload: payload.to_owned(),
        };
        self.accept_inbound(Inbound::Unparsable(Box::new(unreadable)))
    }
}

pub fn one_job(id: JobId) -> JobSelector {
    JobSelector::One { id, payload: None }
}

pub fn corrected_job(id: JobId, payload: &str) -> JobSelector {
    JobSelector::One {
        id,
        payload: Some(payload.to_owned()),
    }
}

pub fn all_jobs(dry_run: bool) -> JobSelector {
    select_jobs(ListFilter::default(), dry_run, None)
}

pub fn select_jobs(filter: ListFilter, dry_run: bool, rate: Option<Rate>) -> JobSelector {
    JobSelector::All {
        filter,
        dry_run,
        rate,
    }
}

/// Returns the IDs of rows.
pub fn ids(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

/// Returns the default filter after a change.
pub fn filter(change: impl FnOnce(&mut ListFilter)) -> ListFilter {
    let mut filter = ListFilter::default();
    change(&mut filter);
    filter
}

/// Asserts that a row has the fields of `expected`.
#[track_caller]
pub fn assert_fields(row: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&row[name], value, "{name} of {row}");
    }
}

/// Asserts that a row has the fields of `key`, and that the reason why it is unreadable contains
/// `reason`.
#[track_caller]
pub fn assert_unreadable(row: &Value, key: &Value, reason: &str) {
    assert_fields(row, key);
    assert_eq!(row["state"], "unreadable", "{row}");
    assert_contains(row["error"].as_str().unwrap(), reason);
}

#[track_caller]
pub fn assert_starts_with(text: &str, start: &str) {
    assert!(text.starts_with(start), "{text}");
}

#[track_caller]
pub fn assert_ends_with(text: &str, end: &str) {
    assert!(text.ends_with(end), "{text}");
}

#[track_caller]
pub fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "{text}");
}

fn config() -> Config {
    Config::parse(Path::new("config.toml"), CONFIG).unwrap()
}

pub fn flow() -> FlowName {
    FlowName::new("visit").unwrap()
}

pub fn team(name: &str) -> TeamName {
    TeamName::new(name).unwrap()
}

pub fn agent(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

fn attempt(error: Option<&str>) -> Attempt {
    Attempt {
        number: 0,
        started_at: START,
        duration: Millis::new(3),
        error: error.map(str::to_owned),
    }
}

fn form(token: &str, data: &str) -> InboundSubmission {
    InboundSubmission::plain(&flow(), token, data)
}
