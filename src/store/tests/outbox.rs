//! What the outside is told and when, and what time takes away of it: by stories. `outbox_model` asks for everything else.

use crate::clock::Clock;
use crate::domain::draft::Draft;
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::{AgentName, Customer, FlowName, FlowToken, JobId};
use crate::domain::job::{JobEvent, JobState, NotAllowed};
use crate::domain::retry::Verdict;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;
use crate::domain::verdict::{self, Judgement};
use crate::store::{
    AgentChange, ChangeAgent, Discard, GiveUpDeliveries, JobChanged, KeepDraft, NoteHealth, PauseDestination, Place,
    Queue, Receive, Revive, SettleDeliveries, Sweep,
};

use super::support::{Bench, START, destination, flow, form};

const MINUTE: Millis = Millis::from_secs(60);
const DAY: Millis = Millis::from_secs(24 * 60 * 60);
const MONTH: Millis = Millis::from_secs(30 * 24 * 60 * 60);

fn key(token: &str) -> IdempotencyKey {
    IdempotencyKey::of_token(&flow(), &FlowToken::new(token).unwrap())
}

fn keep(bench: &Bench, token: &str, data: &str) {
    let draft = Draft {
        flow: flow(),
        flow_token: FlowToken::new(token).ok(),
        customer: Customer::from_text("16505551234"),
        screen: "DETAILS".into(),
        data: data.into(),
        updated_at: START,
    };
    bench.store.ask(KeepDraft { key: key(token), draft, request: None, for_good: false }).unwrap();
}

/// A round of the sweeper, for which users have half an hour.
fn look(bench: &Bench) {
    bench.sweep(3, MONTH, DAY, Millis::from_secs(30 * 60));
}

fn body(bench: &Bench, kind: &str) -> serde_json::Value {
    let event = bench.events().into_iter().rfind(|event| event.kind.as_str() == kind).unwrap();
    serde_json::from_str(&event.body).unwrap()
}

#[test]
fn leads_of_an_agent_who_goes_are_told_once_as_what_they_are_in_the_end() {
    let bench = Bench::new();
    bench.add_agent("ann", None);
    for token in ["a", "b"] {
        bench.finish(bench.accept_new(token));
    }
    bench.add_agent("bob", Some(1));
    bench.tell(&["crm"], &[]);
    let name = AgentName::new("ann").unwrap();
    bench.store.ask(ChangeAgent { name, change: AgentChange::Remove }).unwrap();
    assert_eq!(bench.told(), ["lead.assigned", "lead.waiting"]);
    assert_eq!(body(&bench, "lead.assigned")["data"]["lead"]["agent"], "bob");
    assert_eq!(body(&bench, "lead.waiting")["data"]["submission"]["flow_token"], "b");
    bench.check();
}

#[test]
fn a_lead_that_nobody_can_take_is_told_to_wait_when_it_is_made_and_not_again() {
    let bench = Bench::telling();
    bench.finish(bench.accept_new("a"));
    assert_eq!(bench.told(), ["submission.accepted", "lead.waiting"]);
    bench.add_agent("ann", None);
    assert_eq!(bench.told(), ["submission.accepted", "lead.waiting", "lead.assigned"]);
}

#[test]
fn a_form_that_its_user_left_is_told_once_also_over_a_restart_and_again_when_they_went_on() {
    let bench = Bench::telling();
    keep(&bench, "t", r#"{"name":"Ann"}"#);
    bench.clock.advance(Millis::from_secs(30 * 60 - 1));
    look(&bench);
    assert_eq!(bench.told(), [""; 0], "it may go on");
    bench.clock.advance(Millis::from_secs(1));
    look(&bench);
    look(&bench);
    let bench = bench.reopen();
    look(&bench);
    assert_eq!(bench.told(), ["draft.abandoned"]);
    assert_eq!(body(&bench, "draft.abandoned")["data"]["draft"]["answers"]["name"], "Ann");
    keep(&bench, "t", r#"{"name":"Anna"}"#);
    look(&bench);
    assert_eq!(bench.told().len(), 1, "they came back");
    bench.clock.advance(DAY);
    look(&bench);
    look(&bench);
    assert_eq!(bench.told().len(), 2);
    assert_eq!(body(&bench, "draft.abandoned")["data"]["draft"]["answers"]["name"], "Anna");
    bench.check();
}

#[test]
fn a_form_that_is_finished_after_all_leaves_no_mark() {
    let bench = Bench::telling();
    keep(&bench, "t", "{}");
    bench.clock.advance(DAY);
    look(&bench);
    let mut last = form("t", "{}");
    last.draft_key = Some(key("t"));
    bench.accept(last);
    look(&bench);
    assert_eq!(bench.told(), ["draft.abandoned", "submission.accepted"]);
    bench.check();
}

#[test]
fn forms_left_while_the_server_was_down_for_long_are_told_before_they_are_taken_away() {
    let bench = Bench::telling();
    keep(&bench, "t", "{}");
    bench.clock.advance(MONTH);
    bench.clock.advance(MINUTE);
    look(&bench);
    assert_eq!(bench.told(), ["draft.abandoned"]);
    assert_eq!(bench.store.read().unwrap().counts().unwrap().drafts, 0);
    look(&bench);
    assert_eq!(bench.told().len(), 1);
    bench.check();
}

#[test]
fn many_left_forms_and_large_ones_are_told_a_slice_at_a_time() {
    let bench = Bench::telling();
    bench.tell(&["crm"], &[]);
    for token in 0..70 {
        keep(&bench, &token.to_string(), "{}");
    }
    bench.clock.advance(DAY);
    let patience = [(flow(), MINUTE)].into_iter().collect();
    let slice =
        Sweep { from: Place::Queue(Queue::LeftDrafts), most: 1000, submissions: MONTH, attempts: DAY, patience };
    assert!(matches!(bench.store.ask(slice).unwrap().next, Some(Place::Queue(Queue::LeftDrafts))));
    assert_eq!(bench.told().len(), 64, "one slice");
    look(&bench);
    assert_eq!(bench.told().len(), 70);

    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(600 << 10));
    for token in ["u", "v", "w"] {
        keep(&bench, token, &large);
    }
    bench.clock.advance(DAY);
    let patience = [(flow(), MINUTE)].into_iter().collect();
    let slice =
        Sweep { from: Place::Queue(Queue::LeftDrafts), most: 1000, submissions: MONTH, attempts: DAY, patience };
    bench.store.ask(slice).unwrap();
    assert_eq!(bench.told().len(), 72);
    look(&bench);
    assert_eq!(bench.told().len(), 73);
}

#[test]
fn what_nobody_was_to_be_told_of_is_not_made_up_for() {
    let bench = Bench::new();
    keep(&bench, "t", "{}");
    bench.clock.advance(DAY);
    look(&bench);
    bench.tell(&["crm"], &[]);
    look(&bench);
    assert_eq!(bench.told(), [""; 0]);
}

fn meta(at: u64, name: &str, value: &serde_json::Value) -> HealthEvent {
    HealthEvent::new(Some(START.plus(Millis::from_secs(at))), name, "17", &value.to_string())
}

fn latency(at: u64, state: &str, threshold: u32) -> HealthEvent {
    let value = serde_json::json!({"alert_state": state, "threshold": threshold, "message": "slow"});
    meta(at, "ENDPOINT_LATENCY", &value)
}

fn receive(bench: &Bench, events: &[HealthEvent]) {
    let receive = Receive { events: events.to_vec(), ..Receive::default() };
    bench.store.ask(receive).unwrap();
}

#[test]
fn what_meta_warns_of_is_told_once_and_only_while_it_stands() {
    let bench = Bench::telling();
    receive(&bench, &[latency(1, "ACTIVATED", 1000)]);
    receive(&bench, &[latency(1, "ACTIVATED", 1000)]);
    assert_eq!(bench.told(), ["flow.unhealthy"]);
    let health = &body(&bench, "flow.unhealthy")["data"]["health"];
    assert_eq!((&health["source"], &health["meta_flow_id"]), (&"meta".into(), &"17".into()));
    assert_eq!((&health["threshold"], &health["findings"][0]), (&1000.0.into(), &"slow".into()));
    receive(&bench, &[latency(3, "DEACTIVATED", 1000)]);
    receive(&bench, &[latency(2, "ACTIVATED", 5000)]);
    assert_eq!(bench.told().len(), 1, "it came late, and is over");
    receive(&bench, &[latency(4, "ACTIVATED", 1000), latency(5, "ACTIVATED", 5000)]);
    assert_eq!(bench.told().len(), 2, "the worse of the two");
    let status = |at, to: &str| meta(at, "FLOW_STATUS_CHANGE", &serde_json::json!({"new_status": to}));
    receive(&bench, &[status(6, "THROTTLED")]);
    receive(&bench, &[status(7, "PUBLISHED")]);
    assert_eq!(bench.told().len(), 3);
    bench.check();
}

fn figures(bench: &Bench, verdict: verdict::Verdict) {
    let judgement = Judgement { verdict, findings: vec!["slow".to_owned()], advice: "look".to_owned() };
    bench.store.ask(NoteHealth { flow: flow(), judgement }).unwrap();
}

#[test]
fn trouble_in_the_figures_is_told_when_it_begins_and_again_only_after_it_was_over() {
    use verdict::Verdict::{Alert, Ok, Watch};
    let bench = Bench::telling();
    for verdict in [Ok, Watch, Alert, Alert, Watch, Alert] {
        figures(&bench, verdict);
    }
    assert_eq!(bench.told(), ["flow.unhealthy"]);
    assert_eq!(body(&bench, "flow.unhealthy")["data"]["flow"], flow().as_str());
    let bench = bench.reopen();
    figures(&bench, Alert);
    assert_eq!(bench.told().len(), 1);
    figures(&bench, Ok);
    figures(&bench, Alert);
    assert_eq!(bench.told().len(), 2);
}

/// In a minute.
fn later(bench: &Bench) -> Verdict {
    Verdict::Again { at: bench.clock.now().plus(MINUTE) }
}

#[test]
fn a_destination_that_wants_no_more_is_told_of_once_to_itself_when_it_is_back() {
    let bench = Bench::new();
    bench.tell(&["crm"], &["crm", "ops"]);
    for token in ["a", "b"] {
        bench.accept_new(token);
    }
    for (job, ..) in bench.deliveries() {
        bench.note(job, Some(later(&bench)), Some("it answered 410 Gone"));
    }
    assert_eq!(bench.told(), ["submission.accepted", "submission.accepted", "destination.stopped"]);
    let stopped = &body(&bench, "destination.stopped")["data"]["destination"];
    assert_eq!(stopped, &serde_json::json!({"name": "crm", "reason": "it answered 410 Gone"}));
    let waits = |bench: &Bench| {
        let until = bench.clock.now().plus(DAY);
        bench.store.read().unwrap().lane(&destination("crm"), until, 10).unwrap().len()
    };
    assert_eq!(waits(&bench), 3, "the alert of its own waits with the rest");
    bench.store.ask(PauseDestination { destination: destination("crm"), paused: false }).unwrap();
    bench.note(bench.deliveries()[0].0, Some(later(&bench)), Some("it answered 410 Gone"));
    assert_eq!(bench.told().len(), 4, "it stopped anew");
    bench.check();
}

fn at(bench: &Bench, place: usize) -> JobId {
    bench.deliveries()[place].0
}

#[test]
fn time_takes_what_was_delivered_or_given_up_and_the_event_with_the_last_of_its_deliveries() {
    let bench = Bench::telling();
    for token in ["a", "b"] {
        bench.accept_new(token);
    }
    let [done, dead, given_up, waits] = [at(&bench, 0), at(&bench, 1), at(&bench, 2), at(&bench, 3)];
    bench.note(done, None, None);
    bench.note(dead, Some(Verdict::Dead), None);
    bench.note(given_up, Some(Verdict::Dead), None);
    assert_eq!(bench.store.ask(Discard { job: given_up }).unwrap(), JobChanged::Now(JobState::Discarded));
    // Nobody is told of dead letters any more: the two that were are delivered.
    bench.tell(&[], &[]);
    for (job, ..) in bench.deliveries().into_iter().skip(4) {
        bench.note(job, None, None);
    }
    bench.clock.advance(MONTH);
    bench.sweep(1, MONTH, DAY, DAY);
    let left: Vec<JobId> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(left.len(), 6, "not a moment earlier");
    bench.clock.advance(Millis::new(1));
    bench.sweep(1, MONTH, DAY, DAY);
    let left: Vec<JobId> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(left, [dead, waits], "a dead letter stays, and so does what waits");
    assert_eq!(bench.told(), ["submission.accepted", "submission.accepted"]);
    bench.check();
    bench.note(waits, None, None);
    bench.clock.advance(MONTH);
    bench.clock.advance(DAY);
    bench.sweep(1, MONTH, DAY, DAY);
    assert_eq!(bench.told(), ["submission.accepted"], "the event of the other delivery is told to the end");
    assert!(bench.store.read().unwrap().event(given_up).unwrap().is_none());
    bench.check();
}

#[test]
fn what_waited_and_was_given_up_goes_with_its_event_and_nothing_else_can_be_given_up_like_that() {
    let bench = Bench::new();
    bench.tell(&["crm"], &[]);
    for token in ["a", "b", "c"] {
        bench.accept_new(token);
    }
    let [waits, done, dead] = [at(&bench, 0), at(&bench, 1), at(&bench, 2)];
    bench.note(done, None, None);
    bench.note(dead, Some(Verdict::Dead), None);
    let processes = JobId::new(waits.get() - 1);
    let given_up = bench.store.ask(GiveUpDeliveries { jobs: vec![waits, done, dead, processes, JobId::new(999)] });
    let refused = |state| JobChanged::Refused(NotAllowed { state, event: JobEvent::GiveUp });
    let (unknown, refused) = (JobChanged::Unknown, [refused(JobState::Done), refused(JobState::Dead)]);
    let [is_done, is_dead] = refused;
    let now = JobChanged::Now(JobState::Discarded);
    assert_eq!(given_up.unwrap(), [now, is_done, is_dead, unknown.clone(), unknown]);
    assert!(bench.store.read().unwrap().waiting_for(&destination("crm")).unwrap().is_empty());
    bench.check();
    // Its attempt was under way: what comes of it is too late.
    bench.note(waits, None, None);
    assert_eq!(bench.store.read().unwrap().job(waits).unwrap().unwrap().state, JobState::Discarded);
    bench.clock.advance(MONTH);
    bench.clock.advance(Millis::new(1));
    bench.sweep(1, MONTH, DAY, DAY);
    assert!(bench.store.read().unwrap().event(waits).unwrap().is_none(), "the body is gone");
    assert!(bench.store.read().unwrap().event(dead).unwrap().is_some());
    bench.check();
}

#[test]
fn what_came_back_from_failed_attempts_goes_before_the_delivery_and_not_while_it_is_needed() {
    let bench = Bench::new();
    bench.tell(&["crm"], &[]);
    bench.accept_new("a");
    let job = at(&bench, 0);
    let kept = |bench: &Bench| {
        let exchanges = bench.store.read().unwrap().exchanges(job).unwrap();
        exchanges.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
    };
    bench.note(job, Some(later(&bench)), None);
    bench.note(job, Some(Verdict::Dead), None);
    bench.clock.advance(DAY);
    bench.clock.advance(DAY);
    bench.sweep(1, MONTH, DAY, DAY);
    assert_eq!(kept(&bench), [1, 2], "a dead letter shows why it died");
    bench.store.ask(Revive { job, payload: None }).unwrap();
    bench.note(job, None, None);
    bench.clock.advance(DAY);
    bench.sweep(1, MONTH, DAY, DAY);
    assert_eq!(kept(&bench), [1, 2, 3], "not a moment earlier");
    bench.clock.advance(Millis::new(1));
    bench.sweep(1, MONTH, DAY, DAY);
    assert_eq!(kept(&bench), [3], "the answer that ended it stays as long as the delivery");
    bench.check();
    bench.clock.advance(MONTH);
    bench.sweep(1, MONTH, DAY, DAY);
    assert_eq!(kept(&bench), [0; 0]);
    bench.check();
}

#[test]
fn a_delivery_that_expired_and_was_run_again_is_kept_from_its_last_end() {
    let bench = Bench::new();
    bench.tell(&["crm"], &[]);
    bench.accept_new("a");
    let job = at(&bench, 0);
    let expired = vec![(job, "too late".to_owned())];
    bench.store.ask(SettleDeliveries { expired, ..SettleDeliveries::default() }).unwrap();
    for _ in 0..20 {
        bench.clock.advance(DAY);
    }
    bench.store.ask(Revive { job, payload: None }).unwrap();
    bench.note(job, None, None);
    let attempts = |bench: &Bench| bench.store.read().unwrap().attempts(job).unwrap().len();
    let before = attempts(&bench);
    bench.clock.advance(DAY);
    bench.sweep(1, MONTH, DAY, DAY);
    assert_eq!(attempts(&bench), before, "not a moment earlier");
    bench.clock.advance(Millis::new(MONTH.get() - DAY.get()));
    bench.sweep(1, MONTH, DAY, DAY);
    assert!(attempts(&bench) < before);
    assert_eq!(bench.deliveries().len(), 1, "the first end was 50 days ago, the last one 30");
    bench.check();
    bench.clock.advance(Millis::new(1));
    bench.sweep(1, MONTH, DAY, DAY);
    assert_eq!(bench.deliveries().len(), 0);
    let read = bench.store.read().unwrap();
    let last_ends = read.reading(|txn| Ok(txn.open_table(crate::store::tables::LAST_ENDS)?)).unwrap();
    assert_eq!(redb::ReadableTableMetadata::len(&last_ends).unwrap(), 0);
    bench.check();
}

#[test]
fn a_flow_that_the_config_no_longer_has_tells_nothing() {
    let bench = Bench::telling();
    keep(&bench, "t", "{}");
    bench.clock.advance(DAY);
    let patience = [(FlowName::new("other").unwrap(), MINUTE)].into_iter().collect();
    let slice = Sweep { from: Place::Queue(Queue::LeftDrafts), most: 10, submissions: MONTH, attempts: DAY, patience };
    bench.store.ask(slice).unwrap();
    assert_eq!(bench.told(), [""; 0]);
}
