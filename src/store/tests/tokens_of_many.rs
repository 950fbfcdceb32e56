//! A token that several customers use, under retention, crowding, claims in any order and damaged rows.

use redb::Database;
use serde_json::json;

use crate::domain::draft::Draft;
use crate::domain::ids::{Customer, FlowName, FlowToken, JobId, SubmissionId};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;
use crate::store::tables::{DRAFTS, LEADS, SUBMISSIONS};
use crate::store::{Accepted, DraftKept, FindKey, Finish, KeepDraft};

use super::customers::{DAY, copy_of, customer, data, message, new, unnamed};
use super::damage::damage;
use super::support::{Bench, START, attempt, flow, form};

const fn days(number: u64) -> Millis {
    Millis::new(number * DAY.get())
}

/// A store that remembers tokens for longer than messages.
fn with_long_memory() -> Bench {
    Bench::with(|options| options.token_ttl = days(30))
}

/// Time passes, and retention removes what is older than `submissions`.
fn wait(bench: &Bench, time: Millis, submissions: Millis) {
    bench.clock.advance(time);
    bench.sweep(100, submissions, DAY, DAY);
}

fn find(bench: &Bench, keys: Vec<IdempotencyKey>, customer: Customer, for_good: bool) -> Option<IdempotencyKey> {
    bench.store.ask(FindKey { keys, customer, for_good }).unwrap()
}

/// Closes the store, damages the submission `id`, and opens the store again.
fn with_damaged_submission(bench: Bench, id: u64) -> Bench {
    bench.store.close().unwrap();
    damage(&Database::open(bench.path()).unwrap(), SUBMISSIONS, id);
    bench.reopen()
}

#[test]
fn tokens_are_remembered_for_longer_than_messages_where_the_config_says_so() {
    let bench = with_long_memory();
    for who in 1..=2 {
        new(&bench.accept(message("t", who, "a", "{}")));
    }
    new(&bench.accept(form("closed", "{}")));
    wait(&bench, days(9), days(90));
    for who in 1..=2 {
        assert_eq!(bench.accept(message("t", who, "b", "{}")), copy_of(who));
    }
    assert_eq!(bench.accept(unnamed("t", r#"{"plan":"a"}"#)), Accepted::TokenShared, "the mark lasts as long");
    let closed = form("closed", "{}").form_key.unwrap();
    assert_eq!(find(&bench, vec![closed], Customer::default(), true), Some(closed));
    wait(&bench, days(21), days(90));
    assert_eq!(new(&bench.accept(message("t", 1, "c", "{}"))), 4);
}

#[test]
fn other_customers_are_served_after_retention_removed_the_first_submission_of_a_token() {
    let bench = with_long_memory();
    for (token, who) in [("t", 1), ("t", 2), ("u", 1)] {
        let Accepted::New { job, .. } = bench.accept(message(token, who, token, "{}")) else { panic!("a new one") };
        bench.store.ask(Finish { job, attempt: attempt(None), lead: None }).unwrap();
    }
    wait(&bench, days(3), days(2));
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 0);
    let mut plain = form("t", "{}");
    plain.submission.customer = customer(3);
    assert_eq!(new(&bench.accept(plain.clone())), 4, "the token is known to be several customers'");
    assert_eq!(bench.accept(plain), copy_of(4));
    assert_eq!(new(&bench.accept(message("u", 2, "a", r#"{"n":2}"#))), 5, "no message is dropped");
    assert_eq!(bench.accept(message("u", 2, "b", "{}")), copy_of(5));
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 2);
}

#[test]
fn the_reference_of_a_form_counts_once_its_token_is_crowded() {
    let bench = Bench::new();
    for number in 1..=17 {
        assert_ne!(bench.accept(unnamed("t", &format!(r#"{{"n":{number}}}"#))), Accepted::TokenShared);
    }
    let mut last = unnamed("t", r#"{"n":18}"#);
    assert_eq!(bench.accept(last.clone()), Accepted::TokenShared);
    last.form_key = Some(IdempotencyKey::of_press(&flow(), "LAST", r#"{"n":18}"#, 1));
    assert_eq!(new(&bench.accept(last.clone())), 2);
    let mut reply = message("t", 18, "a", "{}");
    reply.reference = last.form_key;
    assert_eq!(bench.accept(reply), copy_of(2));
    assert_eq!(bench.accept(message("t", 1, "a", "{}")), copy_of(1), "the first form is still its customer's");
    bench.check();
}

#[test]
fn answers_that_came_before_the_first_claim_are_in_doubt() {
    let press = |bench: &Bench, plan: &str| bench.accept(unnamed("t", &format!(r#"{{"plan":"{plan}"}}"#)));
    let early = Bench::new();
    press(&early, "a");
    press(&early, "b");
    assert_eq!(early.accept(message("t", 2, "m", "{}")), copy_of(1), "nothing tells that these are customer 1's");
    assert_eq!(new(&early.accept(message("t", 1, "m", "{}"))), 2);
    let (answers, problems) = data(&early, 2);
    assert_eq!(answers, json!({"plan": "b"}));
    assert!(problems.iter().any(|problem| problem.contains("another customer's")), "{problems:?}");

    let late = Bench::new();
    press(&late, "a");
    assert_eq!(late.accept(message("t", 1, "m", "{}")), copy_of(1));
    press(&late, "b");
    assert_eq!(new(&late.accept(message("t", 2, "m", "{}"))), 2);
    assert_eq!(data(&late, 2), (json!({"plan": "b"}), Vec::new()));
}

#[test]
fn a_message_does_not_claim_answers_that_contradict_its_fields_if_a_copy_fits_them() {
    let bench = Bench::new();
    for plan in ["a", "b"] {
        bench.accept(unnamed("t", &format!(r#"{{"plan":"{plan}","size":1}}"#)));
    }
    assert_eq!(new(&bench.accept(message("t", 2, "m", r#"{"plan":"b"}"#))), 2);
    assert_eq!(data(&bench, 2), (json!({"plan": "b", "size": 1}), Vec::new()));
    assert_eq!(bench.accept(message("t", 1, "m", "{}")), copy_of(1));
    assert_eq!(bench.accept(message("t", 2, "n", r#"{"plan":"b"}"#)), copy_of(2));
    bench.check();
}

#[test]
fn a_damaged_draft_refuses_no_customer_of_its_token() {
    let bench = Bench::new();
    new(&bench.accept(message("t", 1, "a", "{}")));
    let key = form("t", "{}").form_key.unwrap();
    bench.store.close().unwrap();
    {
        let database = Database::open(bench.path()).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(DRAFTS).unwrap().insert(key.as_bytes(), b"damaged".as_slice()).unwrap();
        txn.commit().unwrap();
    }
    let bench = bench.reopen();
    let mut second = message("t", 2, "a", "{}");
    second.draft_key = Some(key);
    assert_eq!(new(&bench.accept(second)), 2);
    assert_eq!(bench.store.read().unwrap().draft(key).unwrap(), None, "the row is removed");
    bench.check();
}

#[test]
fn a_damaged_submission_of_one_flow_refuses_no_form_of_another() {
    let bench = Bench::new();
    new(&bench.accept(form("t", "{}")));
    let bench = with_damaged_submission(bench, 1);
    let damaged = form("t", "{}").form_key.unwrap();
    let other = FlowName::new("feedback").unwrap();
    let mut own = message("t", 2, "a", "{}");
    own.elsewhere.push(damaged);
    own.form_key = Some(IdempotencyKey::of_token(&other, &FlowToken::new("t").unwrap()));
    own.submission.flow = other;
    assert_eq!(new(&bench.accept(own.clone())), 2);
    let found = find(&bench, vec![damaged, own.form_key.unwrap()], customer(2), false);
    assert_eq!(found, own.form_key, "the damaged one is skipped");
}

#[test]
fn a_message_is_kept_where_the_lead_of_its_submission_is_damaged() {
    let bench = Bench::new();
    bench.add_agent("ann", None);
    new(&bench.accept(unnamed("t", "{}")));
    bench.finish(JobId::new(1));
    bench.store.close().unwrap();
    damage(&Database::open(bench.path()).unwrap(), LEADS, 1);
    let bench = bench.reopen();
    assert_eq!(bench.accept(message("t", 1, "a", "{}")), copy_of(1));
    assert_eq!(bench.store.read().unwrap().joins(SubmissionId::new(1)).unwrap().len(), 1);
}

#[test]
fn a_number_written_in_two_ways_is_one_customer_of_a_token() {
    let bench = Bench::new();
    let by = |number: &str, copy: &str| {
        let mut form = message("t", 2, copy, "{}");
        form.submission.customer = Customer::from_text(number);
        form
    };
    let key = form("t", "{}").form_key.unwrap();
    let keeps = |number: &str, data: &str| {
        let draft = Draft {
            flow: flow(),
            flow_token: FlowToken::new("t").ok(),
            customer: Customer::from_text(number),
            screen: "B".into(),
            data: data.into(),
            updated_at: START,
        };
        bench.store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap()
    };
    new(&bench.accept(message("t", 1, "a", "{}")));
    assert_eq!(keeps("5215512345678", r#"{"a":1}"#), DraftKept::Kept);
    assert_eq!(keeps("525512345678", r#"{"b":2}"#), DraftKept::Kept);
    let mut first = by("525512345678", "a");
    first.draft_key = Some(key);
    assert_eq!(new(&bench.accept(first)), 2);
    assert_eq!(data(&bench, 2).0, json!({"a": 1, "b": 2}));
    assert_eq!(bench.accept(by("5215512345678", "b")), copy_of(2));
    assert_eq!(keeps("5215512345678", "{}"), DraftKept::AlreadySubmitted);
    bench.check();
}
