//! Tests the jobs that process submissions and messages.

use std::sync::Arc;

use super::support::{JobHarness, config, flow, settings, team};
use crate::config::Config;
use crate::domain::ids::JobId;
use crate::domain::job::JobState;
use crate::domain::submission::inbound::{Inbound, UnparsableMessage};
use crate::jobs::handler::{JobError, JobHandler, JobOutcome, SubmissionHandler};
use crate::reloadable::Reloadable;
use crate::store::{AcceptInbound, AcceptOutcome, RetryDeadLetter};

const UNREADABLE: &str = r#"{"message":{"interactive":{"nfm_reply":{"response_json":7}}}}"#;
const READABLE: &str = r#"{"message":{"from":"4915112345678","interactive":{"nfm_reply":{"response_json":"{\"flow_token\":\"t\"}"}}}}"#;

/// Accepts one form and runs its job under `config`.
fn run(config: &Config) -> Result<JobOutcome, JobError> {
    let harness = JobHarness::new();
    let id = harness.accept("a");
    let snapshot = harness.read();
    let job = snapshot.job(id).unwrap().unwrap();
    SubmissionHandler {
        settings: Reloadable::new(settings(config)),
    }
    .run(&snapshot, id, &job)
}

#[test]
fn submission_becomes_lead_of_flow_team() {
    let Ok(JobOutcome::SubmissionProcessed { lead: Some(order) }) = run(&config()) else {
        panic!("no lead")
    };
    assert_eq!((order.flow, order.team), (flow(), team()));
    assert!(!order.is_sticky);
    assert_eq!(order.customer.phone.as_deref(), Some("1234567890"));
}

#[test]
fn flow_without_lead_rule_creates_no_lead() {
    let mut config = config();
    let flow = Arc::make_mut(config.flows.get_mut(&flow()).unwrap());
    flow.lead = None;
    let outcome = run(&config);
    assert!(matches!(
        outcome,
        Ok(JobOutcome::SubmissionProcessed { lead: None })
    ));
}

#[test]
fn removed_flow_is_named_in_error() {
    let mut config = config();
    config.flows.clear();
    let error = run(&config).unwrap_err().to_string();
    let expected = "flow `appointment` is not in the config";
    assert!(error.starts_with(expected), "{error}");
}

/// Creates a harness with an unparsable message.
fn harness_with_unparsable_message() -> (JobHarness, JobId) {
    let mut harness = JobHarness::new();
    harness.worker.handler = Arc::new(SubmissionHandler {
        settings: Reloadable::new(settings(&config())),
    });
    let message = UnparsableMessage {
        message_key: None,
        cross_flow_keys: Vec::new(),
        late_arrival: None,
        reason: "it makes no sense".to_owned(),
        payload: UNREADABLE.to_owned(),
    };
    let inbound = vec![Inbound::Unparsable(Box::new(message))];
    match harness.execute(AcceptInbound { inbound }).remove(0) {
        AcceptOutcome::DeadLetter { job_id: job } => (harness, job),
        other => panic!("{other:?}"),
    }
}

fn retry_dead_letter(harness: &mut JobHarness, job: JobId, payload: Option<&str>) {
    harness.execute(RetryDeadLetter {
        job_id: job,
        payload: payload.map(str::to_owned),
    });
    harness.advance_secs(1);
    harness.run_due();
}

#[test]
fn corrected_message_becomes_processed_submission() {
    let (mut harness, message) = harness_with_unparsable_message();
    retry_dead_letter(&mut harness, message, Some(READABLE));
    assert_eq!(harness.job(message).state, JobState::Done);
    harness.advance_secs(1);
    let [process] = harness.run_due()[..] else {
        panic!("one job")
    };
    let (message, process) = (harness.job(message), harness.job(process));
    assert_eq!(message.submission_id, process.submission_id);
    assert_eq!(process.state, JobState::Done);
    assert!(process.lead_id.is_some());
}

#[test]
fn message_that_stays_unparsable_is_dead_letter_again() {
    let (mut harness, message) = harness_with_unparsable_message();
    retry_dead_letter(&mut harness, message, None);
    let job = harness.job(message);
    assert_eq!((job.state, job.attempts), (JobState::Dead, 1));
    assert!(job.last_error.unwrap().contains("response_json"));
}
