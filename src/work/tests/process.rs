//! What the server's own jobs do.

use std::sync::Arc;

use super::support::{Desk, config, flow, team};
use crate::config::Config;
use crate::current::Current;
use crate::domain::arrival::{Arrival, Unreadable};
use crate::domain::ids::JobId;
use crate::domain::job::JobState;
use crate::domain::time::Millis;
use crate::store::{Accept, Accepted, Revive};
use crate::work::Rules;
use crate::work::process::{Carrier, JobError, Outcome};
use crate::work::worker::Handler;

const UNREADABLE: &str = r#"{"message":{"interactive":{"nfm_reply":{"response_json":7}}}}"#;
const READABLE: &str =
    r#"{"message":{"from":"4915112345678","interactive":{"nfm_reply":{"response_json":"{\"flow_token\":\"t\"}"}}}}"#;

fn rules(config: &Config) -> Current<Rules> {
    Current::new(Rules::from(config))
}

/// Accepts one form and runs its job under `config`.
fn run(config: &Config) -> Result<Outcome, JobError> {
    let desk = Desk::new();
    let id = desk.accept("a");
    let snapshot = desk.store.read().unwrap();
    let job = snapshot.job(id).unwrap().unwrap();
    Carrier { rules: rules(config) }.run(&snapshot, id, &job)
}

#[test]
fn a_submission_becomes_a_lead_of_its_flows_team() {
    let Ok(Outcome::Carried { lead: Some(order) }) = run(&config()) else { panic!("no lead") };
    assert_eq!((order.flow, order.team, order.sticky), (flow(), team(), false));
    assert_eq!(order.customer.phone.as_deref(), Some("1234567890"));
}

#[test]
fn a_flow_may_make_no_leads() {
    let mut config = config();
    let flow = Arc::make_mut(config.flows.get_mut(&flow()).unwrap());
    flow.lead = None;
    assert!(matches!(run(&config), Ok(Outcome::Carried { lead: None })));
}

#[test]
fn a_flow_that_has_gone_is_named() {
    let mut config = config();
    config.flows.clear();
    let error = run(&config).unwrap_err();
    assert!(error.to_string().starts_with("flow `appointment` is not in the config"), "{error}");
}

/// A desk with a message that nobody could read.
fn with_unreadable() -> (Desk, JobId) {
    let mut desk = Desk::new();
    desk.worker.handler = Arc::new(Carrier { rules: rules(&config()) });
    let message = Unreadable {
        message_key: None,
        elsewhere: Vec::new(),
        join: None,
        reason: "it makes no sense".to_owned(),
        payload: UNREADABLE.to_owned(),
    };
    let arrivals = vec![Arrival::Unreadable(Box::new(message))];
    match desk.store.ask(Accept { arrivals }).unwrap().remove(0) {
        Accepted::DeadLetter { job } => (desk, job),
        other => panic!("{other:?}"),
    }
}

fn revive(desk: &mut Desk, job: JobId, payload: Option<&str>) {
    desk.store.ask(Revive { job, payload: payload.map(str::to_owned) }).unwrap();
    desk.clock.advance(Millis::from_secs(1));
    desk.work();
}

#[test]
fn a_corrected_message_becomes_a_submission_that_is_carried_on() {
    let (mut desk, message) = with_unreadable();
    revive(&mut desk, message, Some(READABLE));
    assert_eq!(desk.job(message).state, JobState::Done);
    desk.clock.advance(Millis::from_secs(1));
    let [process] = desk.work()[..] else { panic!("one job") };
    let (message, process) = (desk.job(message), desk.job(process));
    assert_eq!(message.submission, process.submission);
    assert_eq!(process.state, JobState::Done);
    assert!(process.lead.is_some());
}

#[test]
fn a_message_that_still_makes_no_sense_is_a_dead_letter_again_at_once() {
    let (mut desk, message) = with_unreadable();
    revive(&mut desk, message, None);
    let job = desk.job(message);
    assert_eq!((job.state, job.attempts), (JobState::Dead, 1));
    assert!(job.last_error.unwrap().contains("response_json"));
}
