//! Messages that come for a form days after it was taken: Meta sends them again for a week.

use crate::domain::arrival::{Arrival, Form, Unreadable};
use crate::domain::ids::{Customer, SubmissionId};
use crate::domain::submission::{Channel, IdempotencyKey};
use crate::domain::time::Millis;
use crate::store::{Accept, Accepted, FindKey, FinishMessage, Finished, Revive, StoreOptions};

use super::support::{Bench, attempt, by_webhook, form, open};

const HOUR: u64 = 60 * 60 * 1000;
const DAY: u64 = 24 * HOUR;
/// As long as messages are remembered, as shipped.
const WEEK: u64 = 8 * DAY;

const FIRST: Accepted = Accepted::Duplicate { of: Some(SubmissionId::new(1)) };

fn sweep(bench: &Bench, submissions: u64) {
    bench.sweep(100, Millis::new(submissions), Millis::new(DAY), Millis::new(DAY));
}

/// Days go by, with the sweeps that go with them.
fn wait(bench: &Bench, ms: u64) {
    bench.clock.advance(Millis::new(ms));
    sweep(bench, 90 * DAY);
}

fn is_new(accepted: &Accepted) -> bool {
    matches!(accepted, Accepted::New { .. })
}

#[test]
fn the_message_of_a_form_joins_it_for_as_long_as_meta_sends_again() {
    for channel in [Channel::Plain, Channel::Encrypted] {
        let bench = Bench::new();
        let mut ended = form("t", "{}");
        ended.submission.channel = channel;
        assert!(is_new(&bench.accept(ended)));
        wait(&bench, 7 * DAY);
        assert_eq!(bench.accept(by_webhook("t", "wamid.1", "{}")), FIRST);
        assert_eq!(bench.accept(by_webhook("t", "wamid.1", "{}")), FIRST, "Meta sends it again");
        let joins = bench.store.read().unwrap().joins(SubmissionId::new(1)).unwrap();
        assert_eq!(joins.iter().filter_map(|join| join.message_id.as_ref()).count(), 1);
        assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 1);
        bench.check();
    }
}

#[test]
fn after_that_nobody_knows_the_form() {
    let bench = Bench::new();
    bench.accept_new("t");
    bench.clock.advance(Millis::new(8 * DAY));
    assert!(is_new(&bench.accept(by_webhook("t", "wamid.1", "{}"))), "whether it was swept or not");
}

#[test]
fn the_flows_own_path_takes_a_token_again_after_a_day() {
    let bench = Bench::new();
    bench.accept_new("t");
    wait(&bench, DAY);
    assert!(is_new(&bench.accept(form("t", "{}"))));
    // The message belongs to whichever was the last.
    assert_eq!(bench.accept(by_webhook("t", "wamid.1", "{}")), Accepted::Duplicate { of: Some(SubmissionId::new(2)) });
}

#[test]
fn a_form_that_comes_by_webhook_only_is_a_new_one_under_its_old_token_after_a_day() {
    let bench = Bench::new();
    assert!(is_new(&bench.accept(by_webhook("t", "wamid.1", "{}"))));
    wait(&bench, DAY - 1);
    assert_eq!(bench.accept(by_webhook("t", "wamid.2", "{}")), FIRST);
    wait(&bench, 1);
    assert!(is_new(&bench.accept(by_webhook("t", "wamid.3", "{}"))));
    assert_eq!(bench.accept(by_webhook("t", "wamid.1", "{}")), FIRST, "what Meta sends again is none");
}

#[test]
fn a_form_has_one_late_message_and_the_next_is_a_form_of_its_own() {
    let bench = Bench::new();
    bench.accept_new("t");
    bench.accept(form("t", r#"{"another":"press"}"#));
    wait(&bench, 2 * DAY);
    assert_eq!(bench.accept(by_webhook("t", "wamid.1", "{}")), FIRST, "no message came with the other press");
    assert!(is_new(&bench.accept(by_webhook("t", "wamid.2", "{}"))));

    bench.accept_new("in time");
    assert!(!is_new(&bench.accept(by_webhook("in time", "wamid.3", "{}"))));
    wait(&bench, 2 * DAY);
    assert!(is_new(&bench.accept(by_webhook("in time", "wamid.4", "{}"))));
}

/// A message that no flow claims, or that another one does, of a form that is known as `key`.
fn elsewhere(key: Option<IdempotencyKey>, message: &str) -> (Form, Unreadable) {
    let mut form = by_webhook("another", message, "{}");
    form.form_key = None;
    form.reference = key;
    let unreadable = Unreadable {
        message_key: form.message_key,
        elsewhere: key.into_iter().collect(),
        join: Some(Box::new(form.submission.clone())),
        reason: "no flow claims it".to_owned(),
        payload: "{}".to_owned(),
    };
    (form, unreadable)
}

#[test]
fn so_does_one_that_only_refers_to_the_form_and_one_that_no_flow_claims() {
    let bench = Bench::new();
    for token in ["a", "b"] {
        bench.accept_new(token);
    }
    wait(&bench, 3 * DAY);
    let (by_reference, _) = elsewhere(form("a", "{}").form_key, "wamid.a");
    assert_eq!(bench.accept(by_reference), FIRST);
    let (_, unclaimed) = elsewhere(form("b", "{}").form_key, "wamid.b");
    let arrivals = vec![Arrival::Unreadable(Box::new(unclaimed))];
    let of = Some(SubmissionId::new(2));
    assert_eq!(bench.store.ask(Accept { arrivals }).unwrap(), [Accepted::Duplicate { of }]);
    bench.check();
}

#[test]
fn a_message_that_is_read_again_days_later_joins_its_form() {
    let bench = Bench::new();
    bench.accept_new("t");
    let (_, unreadable) = elsewhere(None, "wamid.1");
    let arrivals = vec![Arrival::Unreadable(Box::new(unreadable))];
    let Accepted::DeadLetter { job } = bench.store.ask(Accept { arrivals }).unwrap().remove(0) else { panic!() };
    wait(&bench, 3 * DAY);
    bench.store.ask(Revive { job, payload: None }).unwrap();
    let form = Box::new(by_webhook("t", "wamid.1", "{}"));
    let finished = bench.store.ask(FinishMessage { job, attempt: attempt(None), form }).unwrap();
    assert_eq!(finished, Finished::Done { submission: Some(SubmissionId::new(1)), lead: None, agent: None });
    bench.check();
}

#[test]
fn keys_past_the_bound_of_memory_are_known_as_long_and_no_longer() {
    let few = |options: &mut StoreOptions| options.keys_max = 3;
    let bench = Bench::with(few);
    for number in 0..20 {
        bench.accept_new(&format!("t{number}"));
    }
    wait(&bench, 6 * DAY);
    let path = bench.path();
    bench.store.close().unwrap();
    let store = open(path, &bench.clock, few);
    let bench = Bench { store, ..bench };
    assert!(bench.store.figures().keys <= 4, "{:?}", bench.store.figures());
    for number in 0..10 {
        let late = by_webhook(&format!("t{number}"), &format!("wamid.{number}"), "{}");
        assert_eq!(bench.accept(late), Accepted::Duplicate { of: Some(SubmissionId::new(number + 1)) });
    }
    assert!(bench.store.figures().keys <= 4, "{:?}", bench.store.figures());
    wait(&bench, 2 * DAY);
    for number in 10..20 {
        assert!(is_new(&bench.accept(by_webhook(&format!("t{number}"), &format!("wamid.{number}"), "{}"))));
    }
}

#[test]
fn a_form_that_retention_took_away_awaits_nothing() {
    let bench = Bench::new();
    let job = bench.accept_new("t");
    bench.store.ask(crate::store::Finish { job, attempt: attempt(None), lead: None }).unwrap();
    bench.clock.advance(Millis::new(3 * DAY));
    sweep(&bench, 2 * DAY);
    let again = bench.accept(by_webhook("t", "wamid.2", r#"{"new":"form"}"#));
    assert!(is_new(&again), "{again:?}");
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 1, "and it is kept");
}

#[test]
fn a_late_message_that_its_flow_claims_is_none_of_another_flows_form() {
    let bench = Bench::new();
    bench.accept_new("other");
    let message = |number: u8| {
        let mut late = by_webhook("own", &format!("wamid.{number}"), r#"{"own":"form"}"#);
        late.elsewhere.extend(form("other", "{}").form_key);
        late
    };
    wait(&bench, DAY - 1);
    assert_eq!(bench.accept(message(1)), FIRST, "within a day, one token is one form whichever door it comes through");
    wait(&bench, 2 * DAY);
    bench.accept_new("other");
    wait(&bench, 2 * DAY);
    assert!(is_new(&bench.accept(message(2))));
}

#[test]
fn a_late_message_of_somebody_else_is_a_form_of_its_own() {
    let bench = Bench::new();
    bench.accept_new("t");
    wait(&bench, 2 * DAY);
    let mut late = by_webhook("t", "wamid.1", "{}");
    late.submission.customer = Customer::from_text("491511111111");
    assert!(is_new(&bench.accept(late)), "the form was 1234567890's");
    bench.accept_new("u");
    wait(&bench, 2 * DAY);
    let mut late = by_webhook("u", "wamid.2", "{}");
    late.submission.customer.id = Some("DE.1".into());
    assert!(!is_new(&bench.accept(late)), "the same number, and an id beside it");
}

#[test]
fn however_often_a_form_was_sent_again_the_message_that_follows_is_kept_with_it() {
    let bench = Bench::new();
    bench.accept_new("t");
    for number in 0..40 {
        bench.accept(form("t", &format!("{{\"n\":{number}}}")));
    }
    assert_eq!(bench.accept(by_webhook("t", "wamid.1", "{}")), FIRST);
    let joins = bench.store.read().unwrap().joins(SubmissionId::new(1)).unwrap();
    assert_eq!((joins.len(), joins.last().unwrap().message_id.is_some()), (17, true));
    assert_eq!(bench.accept(by_webhook("t", "wamid.2", "{}")), FIRST);
    assert_eq!(bench.store.read().unwrap().joins(SubmissionId::new(1)).unwrap().len(), 17, "but only the first one");
}

#[test]
fn a_form_that_is_closed_for_good_stays_so_as_long_as_its_key_is_known() {
    let bench = Bench::new();
    bench.accept_new("t");
    wait(&bench, WEEK - 1);
    let key = form("t", "{}").form_key.unwrap();
    let found =
        |for_good| bench.store.ask(FindKey { keys: vec![key], customer: Customer::default(), for_good }).unwrap();
    assert_eq!((found(true), found(false)), (Some(key), None));
    let again = |for_good| bench.accept(Form { for_good, ..form("t", "{}") });
    assert_eq!(again(true), FIRST);
    assert!(is_new(&again(false)));
}
