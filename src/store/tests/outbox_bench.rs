//! Events, deliveries and attempts of a test store.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::clock::Clock;
use crate::domain::delivery::{Delivery, Event, ResponseRecord};
use crate::domain::ids::JobId;
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Attempt, Job, JobKind};
use crate::domain::time::{Millis, Timestamp};
use crate::store::{FinishOutcome, PauseDestination, RecordAttempt};

use super::support::{StoreBench, attempt, destination, rows};

impl StoreBench {
    /// Lists all stored deliveries in order.
    pub fn deliveries(&self) -> Vec<(JobId, Job, Delivery)> {
        let read = self.read();
        let jobs = rows::<Job>(&read).into_iter().rev();
        jobs.filter(|(_, job)| job.kind == JobKind::Deliver)
            .map(|(id, job)| (id, job, read.delivery(id).unwrap().unwrap()))
            .collect()
    }

    /// Lists the IDs of all stored deliveries in order.
    pub fn delivery_ids(&self) -> Vec<JobId> {
        let deliveries = self.deliveries().into_iter();
        deliveries.map(|(id, ..)| id).collect()
    }

    /// Lists the scheduled deliveries to a destination that no other delivery holds back, soonest
    /// first.
    pub fn due_deliveries(&self, name: &str) -> Vec<JobId> {
        self.read()
            .due_deliveries(&destination(name), Timestamp::MAX, 100)
            .unwrap()
    }

    pub fn job(&self, id: JobId) -> Job {
        self.read().job(id).unwrap().unwrap()
    }

    /// Lists all stored events in the order in which they became true.
    pub fn events(&self) -> Vec<Event> {
        let read = self.read();
        let deliveries = self.deliveries().into_iter();
        let ids: BTreeSet<JobId> = deliveries
            .map(|(_, _, delivery)| delivery.event_id)
            .collect();
        let events = ids.into_iter().map(|id| read.event(id).unwrap().unwrap());
        events.collect()
    }

    /// Lists the kinds of all stored events in order.
    pub fn event_kinds(&self) -> Vec<&'static str> {
        self.events()
            .iter()
            .map(|event| event.kind.as_str())
            .collect()
    }

    /// Returns the data of the last event of this kind.
    pub fn last_event_data(&self, kind: &str) -> Value {
        let events = self.events();
        let event = events.iter().rfind(|event| event.kind.as_str() == kind);
        let mut body: Value = serde_json::from_str(&event.unwrap().body).unwrap();
        body["data"].take()
    }

    pub fn pause_destination(&self, name: &str, is_paused: bool) {
        self.execute(PauseDestination {
            destination: destination(name),
            is_paused,
        });
    }

    /// Retry decision: due in one minute.
    pub fn retry_in_a_minute(&self) -> RetryDecision {
        RetryDecision::RetryAt {
            at: self.clock.now().plus(Millis::from_secs(60)),
        }
    }

    /// Records an attempt of a delivery that is made now, with `failure` or as a success.
    pub fn record_attempt(
        &self,
        job: JobId,
        failure: Option<RetryDecision>,
        disable_reason: Option<&str>,
    ) -> FinishOutcome {
        let status = if failure.is_none() { 200 } else { 500 };
        self.execute(RecordAttempt {
            job_id: job,
            attempt: Attempt {
                started_at: self.clock.now(),
                ..attempt(failure.map(|_| "responded with 500"))
            },
            response: ResponseRecord {
                status: Some(status),
                body_excerpt: "so it is".into(),
            },
            failure,
            disable_reason: disable_reason.map(Into::into),
            message_outcome: None,
        })
    }
}
