//! A desk on a store of its own, and things that happen there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::admin::{AdminError, AgentSettings, Desk, Live, Question};
use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::current::Current;
use crate::domain::arrival::{Arrival, Asks, Form, Unreadable};
use crate::domain::booking_rule::BookingRule;
use crate::domain::delivery::Exchange;
use crate::domain::gauge::Reading;
use crate::domain::ids::{AgentName, CalendarName, Customer, FlowName, JobId, TeamName};
use crate::domain::job::Attempt;
use crate::domain::refusals::Refused;
use crate::domain::retry::Verdict;
use crate::domain::routes::Routes;
use crate::domain::time::{Millis, Timestamp};
use crate::gateways::Board;
use crate::intake::Catalog;
use crate::store::{Accept, Accepted, Fail, Finish, LeadOrder, NoteDelivery, Store, StoreOptions};

/// 2026-11-24T08:00:00Z, a Tuesday.
pub const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

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
    open = { tue = ["09:00-12:00"], wed = ["09:00-12:00"] }
    slot = "1h"
    capacity = 1
    ahead = "60d"
"#;

/// A desk, its store, and the folder that the file is in.
pub struct Office {
    pub folder: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub desk: Desk,
    pub config: Config,
}

impl Office {
    /// On the file of a server that has ended.
    pub fn new() -> Self {
        Self::with(None, Routes::default())
    }

    /// On the same, where flow `visit` delivers to `crm`.
    pub fn telling() -> Self {
        Self::with(None, config().routes)
    }

    /// In a running server.
    pub fn running(jobs: Vec<JobId>) -> Self {
        Self::live(jobs, BTreeMap::new())
    }

    /// In a running server whose endpoints did so.
    pub fn watched(readings: BTreeMap<FlowName, Reading>) -> Self {
        Self::live(Vec::new(), readings)
    }

    fn live(jobs: Vec<JobId>, readings: BTreeMap<FlowName, Reading>) -> Self {
        let hints = vec!["this is a rehearsal".to_owned()];
        let live = Live {
            listen: "127.0.0.1:8080".parse().unwrap(),
            running: Arc::new(move || jobs.clone()),
            endpoints: Arc::new(move || readings.clone()),
            refused: Arc::new(Refused::default),
            gateways: Board::default(),
            hints: Current::new(hints),
            lanes: Arc::new(BTreeMap::new),
            test: Arc::new(|name, _, _| Err(AdminError::no_destination(name))),
            resume: Arc::new(|_| {}),
            sign: Arc::new(|_| None),
            public_key: Arc::new(|_| None),
            reload: Arc::new(|| Err(AdminError::invalid("this config is wrong"))),
        };
        Self::with(Some(live), Routes::default())
    }

    fn with(live: Option<Live>, routes: Routes) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(START));
        let as_clock: Arc<dyn Clock> = clock.clone();
        let mut options = StoreOptions::new(folder.path().join("data.redb"));
        options.free_space_min = 0;
        options.routes = Current::new(routes);
        let store = Store::start(options, Arc::clone(&as_clock)).unwrap();
        store.wait_open().unwrap();
        let config = config();
        let desk = Desk::new(store.clone(), as_clock, Current::new(Catalog::from(&config)), live);
        Self { folder, clock, store, desk, config }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("data.redb.sock")
    }

    /// The rows of an answer.
    pub fn rows(&self, question: Question) -> Result<Vec<Value>, AdminError> {
        let mut rows = Vec::new();
        self.desk.answer(question, &mut |row| {
            rows.push(row);
            true
        })?;
        Ok(rows)
    }

    /// The one row of an answer.
    #[track_caller]
    pub fn row(&self, question: Question) -> Value {
        let mut rows = self.rows(question).unwrap();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    /// Why there is no answer.
    #[track_caller]
    pub fn refusal(&self, question: Question) -> AdminError {
        self.rows(question).unwrap_err()
    }

    pub fn add_agent(&self, name: &str, max: Option<u32>) {
        let settings = AgentSettings { max, ..AgentSettings::default() };
        self.row(Question::AddAgent { name: agent(name), team: team("sales"), settings });
    }

    /// A form that was accepted, and its job.
    pub fn accept(&self, token: &str) -> JobId {
        self.accept_form(form(token, "{\"name\":\"Ann\"}"))
    }

    /// A form for each number, in order.
    pub fn accept_many(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.accept(&format!("t{number}"));
        }
    }

    /// A form that took a slot of the calendar.
    pub fn book(&self, token: &str, date: &str, time: &str) -> JobId {
        let chair = CalendarName::new("chair").unwrap();
        let calendar = Arc::clone(&self.config.calendars[&chair]);
        let rule = BookingRule { calendar: chair, date: "date".to_owned(), time: "time".to_owned() };
        let fields = format!(r#"{{"date":"{date}","time":"{time}"}}"#);
        self.accept_form(Form { asks: Some(Asks { rule, calendar }), ..form(token, &fields) })
    }

    fn accept_form(&self, form: Form) -> JobId {
        match self.store.ask(Accept { arrivals: vec![Arrival::Form(Box::new(form))] }).unwrap().remove(0) {
            Accepted::New { job, .. } => job,
            other => panic!("{other:?}"),
        }
    }

    /// The job comes to its end, with a lead.
    pub fn finish(&self, job: JobId) {
        let order = LeadOrder {
            flow: flow(),
            team: team("sales"),
            sticky: false,
            customer: Customer::from_text("1234567890"),
            chosen: None,
        };
        self.store.ask(Finish { job, attempt: attempt(None), lead: Some(order) }).unwrap();
    }

    /// An attempt of the job fails, and another one follows.
    pub fn fail(&self, job: JobId, why: &str) {
        let verdict = Verdict::Again { at: START };
        self.store.ask(Fail { job, attempt: attempt(Some(why)), verdict }).unwrap();
    }

    /// The job becomes a dead letter.
    pub fn bury(&self, job: JobId, why: &str) {
        self.store.ask(Fail { job, attempt: attempt(Some(why)), verdict: Verdict::Dead }).unwrap();
    }

    /// A delivery was answered with `status`, and what follows from it.
    pub fn answered(&self, job: JobId, status: u16, answer: &str, failed: Option<Verdict>) {
        let exchange = Exchange { status: Some(status), answer: answer.into() };
        let error = failed.map(|_| format!("answered {status}"));
        self.store
            .ask(NoteDelivery { job, attempt: attempt(error.as_deref()), exchange, failed, disable: None, trace: None })
            .unwrap();
    }

    /// A message of which nothing can be made, which is a dead letter from the start.
    pub fn unreadable(&self, payload: &str, reason: &str) -> JobId {
        let unreadable = Unreadable {
            message_key: None,
            elsewhere: Vec::new(),
            join: None,
            reason: reason.to_owned(),
            payload: payload.to_owned(),
        };
        match self.store.ask(Accept { arrivals: vec![Arrival::Unreadable(Box::new(unreadable))] }).unwrap().remove(0) {
            Accepted::DeadLetter { job } => job,
            other => panic!("{other:?}"),
        }
    }
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
    Attempt { number: 0, started_at: START, took: Millis::new(3), error: error.map(str::to_owned) }
}

fn form(token: &str, data: &str) -> Form {
    Form::plain(&flow(), token, data)
}
