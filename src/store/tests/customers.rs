//! Several customers under one key: each has a submission, and each one's copies are known.

use redb::Database;
use serde_json::{Value, json};

use crate::domain::arrival::{Arrival, Form, Unreadable};
use crate::domain::draft::Draft;
use crate::domain::ids::{Customer, FlowName, FlowToken, SubmissionId};
use crate::domain::submission::{Channel, IdempotencyKey};
use crate::domain::time::Millis;
use crate::store::tables::SUBMISSIONS;
use crate::store::{Accept, Accepted, DraftKept, FindKey, KeepDraft};

use super::damage::damage;
use super::support::{Bench, START, by_webhook, flow, form};

pub(super) const DAY: Millis = Millis::from_secs(24 * 60 * 60);

pub(super) fn customer(number: u64) -> Customer {
    Customer::new(Some(&format!("DE.{number}")), Some(&format!("4915{number:08}")))
}

pub(super) fn message(token: &str, who: u64, copy: &str, data: &str) -> Form {
    let mut form = by_webhook(token, &format!("wamid.{who}.{copy}"), data);
    form.submission.customer = customer(who);
    form
}

/// A form that ended at an encrypted flow's path, where nothing names its customer.
pub(super) fn unnamed(token: &str, data: &str) -> Form {
    let mut form = form(token, data);
    form.submission.customer = Customer::default();
    form.submission.channel = Channel::Encrypted;
    form
}

#[track_caller]
pub(super) fn new(accepted: &Accepted) -> u64 {
    match accepted {
        Accepted::New { submission, .. } => submission.get(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn copy_of(number: u64) -> Accepted {
    Accepted::Duplicate { of: Some(SubmissionId::new(number)) }
}

pub(super) fn data(bench: &Bench, id: u64) -> (Value, Vec<String>) {
    let row = bench.store.read().unwrap().submission(SubmissionId::new(id)).unwrap().unwrap();
    (serde_json::from_str(&row.submission.data).unwrap(), row.submission.problems)
}

#[test]
fn one_token_for_many_customers_makes_one_submission_of_each() {
    let mut bench = Bench::new();
    for who in 1..=60 {
        assert_eq!(new(&bench.accept(message("t", who, "a", "{}"))), who);
    }
    bench = bench.reopen();
    for who in 1..=60 {
        assert_eq!(bench.accept(message("t", who, "a", "{}")), copy_of(who), "Meta sends it again");
        assert_eq!(bench.accept(message("t", who, "b", "{}")), copy_of(who), "sent twice");
        let mut by_number = message("t", who, "c", "{}");
        by_number.submission.customer.id = None;
        assert_eq!(bench.accept(by_number), copy_of(who), "known by the number alone");
        let mut plain = form("t", "{}");
        plain.submission.customer = customer(who);
        assert_eq!(bench.accept(plain), copy_of(who), "the other door");
    }
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 60);
    bench.check();
}

#[test]
fn the_message_of_each_named_customer_joins_their_form_days_later() {
    let bench = Bench::new();
    for who in 1..=3 {
        let mut plain = form("t", "{}");
        plain.submission.customer = customer(who);
        assert_eq!(new(&bench.accept(plain)), who);
    }
    bench.clock.advance(Millis::new(7 * DAY.get()));
    for who in [2, 3, 1] {
        assert_eq!(bench.accept(message("t", who, "a", "{}")), copy_of(who));
        assert_eq!(bench.accept(message("t", who, "a", "{}")), copy_of(who));
    }
    bench.check();
}

#[test]
fn a_customer_does_not_take_the_place_of_another_whose_message_is_still_awaited() {
    let bench = Bench::new();
    let mut plain = form("t", "{}");
    plain.submission.customer = customer(1);
    new(&bench.accept(plain));
    bench.clock.advance(Millis::new(2 * DAY.get()));
    assert_eq!(new(&bench.accept(message("t", 2, "a", "{}"))), 2);
    assert_eq!(bench.accept(message("t", 1, "a", "{}")), copy_of(1));
}

#[test]
fn every_customer_who_refers_to_an_unnamed_form_has_its_answers() {
    let bench = Bench::new();
    // Four customers press within minutes: nothing tells them apart at the flow's own path.
    let press = || {
        let mut form = unnamed("unused", r#"{"agree":true}"#);
        form.form_key = Some(IdempotencyKey::of_press(&flow(), "LAST", "agree", 1));
        form
    };
    assert_eq!(new(&bench.accept(press())), 1);
    for _ in 0..3 {
        assert_eq!(bench.accept(press()), copy_of(1));
    }
    let reference = press().form_key;
    let refers = |who, copy: &str| {
        let mut form = message("unused", who, copy, r#"{"flowgate_ref":"it"}"#);
        (form.form_key, form.reference) = (None, reference);
        form
    };
    assert_eq!(bench.accept(refers(1, "a")), copy_of(1), "the first one is its customer's");
    bench.clock.advance(Millis::new(2 * DAY.get()));
    for who in 2..=4 {
        assert_eq!(new(&bench.accept(refers(who, "a"))), who);
        assert_eq!(data(&bench, who), (json!({"agree": true, "flowgate_ref": "it"}), Vec::new()));
        assert_eq!(bench.accept(refers(who, "b")), copy_of(who));
    }
    bench.check();
}

#[test]
fn differing_answers_under_one_token_go_to_one_customer_each() {
    let bench = Bench::new();
    for plan in ["a", "b", "c"] {
        bench.accept(unnamed("t", &format!(r#"{{"plan":"{plan}"}}"#)));
    }
    let comes = |who, fields: &str| bench.accept(message("t", who, "m", fields));
    assert_eq!(comes(1, "{}"), copy_of(1));
    assert_eq!(new(&comes(2, r#"{"plan":"c"}"#)), 2);
    assert_eq!(new(&comes(3, "{}")), 3);
    assert_eq!((data(&bench, 2).0, data(&bench, 3).0), (json!({"plan": "c"}), json!({"plan": "b"})));
    assert!(data(&bench, 2).1[0].contains("another customer's"), "two copies were left to choose from");
    let left = bench.store.read().unwrap().joins(SubmissionId::new(1)).unwrap();
    assert!(left.iter().all(|join| join.message_id.is_some()), "each copy is used once: {left:?}");
    // From now on the token is known to be many customers'.
    assert_eq!(bench.accept(unnamed("t", r#"{"plan":"d"}"#)), Accepted::TokenShared);
    let key = unnamed("t", "{}").form_key.unwrap();
    let find = |customer| bench.store.ask(FindKey { keys: vec![key], customer, for_good: false }).unwrap();
    assert_eq!(find(Customer::default()), None);
    assert!(find(customer(2)).is_some_and(|own| own != key));
    bench.check();
}

#[test]
fn a_token_with_more_differing_answers_than_one_customer_sends_is_no_one_customers() {
    let bench = Bench::new();
    for number in 0..=16 {
        assert_ne!(bench.accept(unnamed("t", &format!(r#"{{"n":{number}}}"#))), Accepted::TokenShared);
    }
    assert_eq!(bench.accept(unnamed("t", r#"{"n":17}"#)), Accepted::TokenShared);
    assert_eq!(bench.accept(message("t", 1, "m", "{}")), copy_of(1), "the message is kept with the first");
}

#[test]
fn later_arrivals_are_bounded_for_each_customer() {
    let bench = Bench::new();
    for who in 1..=3 {
        for number in 0..40 {
            bench.accept(message("t", who, &number.to_string(), &format!(r#"{{"n":{number}}}"#)));
        }
    }
    let read = bench.store.read().unwrap();
    let kept: Vec<usize> = (1..=3).map(|id| read.joins(SubmissionId::new(id)).unwrap().len()).collect();
    assert_eq!((read.counts().unwrap().submissions, kept), (3, vec![16, 16, 16]));
}

#[test]
fn a_form_of_another_flow_is_joined_only_while_it_awaits_its_message() {
    let bench = Bench::new();
    let other = FlowName::new("feedback").unwrap();
    let in_other = |copy: &str| {
        let mut form = message("t", 1, copy, r#"{"stars":5}"#);
        form.elsewhere.extend(form.form_key);
        form.form_key = Some(IdempotencyKey::of_token(&other, &FlowToken::new("t").unwrap()));
        form.submission.flow = other.clone();
        form
    };
    // Taken by webhook itself: what another flow claims can't be its echo.
    assert_eq!(new(&bench.accept(message("t", 1, "intake", "{}"))), 1);
    assert_eq!(new(&bench.accept(in_other("feedback"))), 2);
    let unclaimed = |copy: &str| {
        let form = message("t", 1, copy, "{}");
        let letter = Unreadable {
            message_key: form.message_key,
            elsewhere: form.form_key.into_iter().collect(),
            join: Some(Box::new(form.submission)),
            reason: "no flow claims it".to_owned(),
            payload: "{}".to_owned(),
        };
        bench.store.ask(Accept { arrivals: vec![Arrival::Unreadable(Box::new(letter))] }).unwrap().remove(0)
    };
    assert!(matches!(unclaimed("stray"), Accepted::DeadLetter { .. }));
    bench.check();
}

#[test]
fn a_gateways_message_that_was_no_form_at_first_is_one_later() {
    use crate::store::Hear;
    let bench = Bench::new();
    let gateway = crate::domain::ids::GatewayName::new("shop").unwrap();
    let key = IdempotencyKey::of_gateway_message(&gateway, "m1");
    let hear = |forms, others| bench.store.ask(Hear { gateway: gateway.clone(), forms, others }).unwrap();
    assert_eq!(hear(Vec::new(), vec![key]).new, 1);
    let mut form = message("unused", 1, "a", "{}");
    (form.form_key, form.message_key) = (None, Some(key));
    form.submission.channel = Channel::Gateway;
    assert_eq!(new(&hear(vec![form.clone()], Vec::new()).forms[0]), 1);
    assert_eq!(hear(vec![form], vec![key]).forms, [copy_of(1)]);
    assert_eq!(bench.reopen().store.read().unwrap().counts().unwrap().submissions, 1);
}

#[test]
fn a_draft_is_its_own_customers() {
    let bench = Bench::new();
    let key = form("t", "{}").form_key.unwrap();
    let keep = |who: Customer, data: &str| {
        let draft = Draft {
            flow: flow(),
            flow_token: FlowToken::new("t").ok(),
            customer: who,
            screen: "B".into(),
            data: data.into(),
            updated_at: START,
        };
        bench.store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap()
    };
    let shown =
        |who: &Customer| bench.store.read().unwrap().draft_of(key, who).unwrap().map(|draft| draft.data.to_string());
    let sends = |who: u64, data: &str| {
        let mut form = form("t", data);
        form.draft_key = Some(key);
        form.submission.customer = customer(who);
        bench.accept(form)
    };
    keep(customer(1), r#"{"name":"Ann"}"#);
    assert_eq!(shown(&customer(2)), None);
    keep(customer(2), r#"{"name":"Bob"}"#);
    assert_eq!(shown(&customer(1)).as_deref(), Some(r#"{"name":"Ann"}"#));
    assert_eq!(shown(&customer(2)).as_deref(), Some(r#"{"name":"Bob"}"#));
    assert_eq!(new(&sends(2, r#"{"last":2}"#)), 1);
    assert_eq!(data(&bench, 1).0, json!({"name": "Bob", "last": 2}));
    assert_eq!(keep(customer(2), "{}"), DraftKept::AlreadySubmitted);
    assert_eq!(keep(customer(1), r#"{"more":1}"#), DraftKept::Kept, "another customer's form ends no draft");
    assert_eq!(new(&sends(1, r#"{"last":1}"#)), 2);
    assert_eq!(data(&bench, 2).0, json!({"name": "Ann", "more": 1, "last": 1}));
    assert_eq!((shown(&customer(1)), shown(&customer(2)), shown(&Customer::default())), (None, None, None));
    // Several customers use it now: what nobody is named for is nobody's.
    assert_eq!(keep(Customer::default(), r#"{"name":"Cyd"}"#), DraftKept::TokenShared);
    assert_eq!(shown(&Customer::default()), None);
}

#[test]
fn an_unnamed_draft_under_a_token_of_several_customers_is_nobodys() {
    let bench = Bench::new();
    let begins = |token: &str| {
        let flow_token = FlowToken::new(token).ok();
        let key = IdempotencyKey::of_token(&flow(), flow_token.as_ref().unwrap());
        let draft = Draft {
            flow: flow(),
            flow_token,
            customer: Customer::default(),
            screen: "B".into(),
            data: r#"{"name":"Cyd"}"#.into(),
            updated_at: START,
        };
        bench.store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap();
        key
    };
    let sends = |token: &str, who: u64, draft_key| {
        let form = Form { draft_key, ..message(token, who, token, r#"{"own":1}"#) };
        data(&bench, new(&bench.accept(form))).0
    };
    let key = begins("t");
    assert_eq!(sends("t", 1, Some(key)), json!({"name": "Cyd", "own": 1}), "nothing says that it is another's");
    let key = begins("u");
    sends("u", 1, None);
    assert_eq!(sends("u", 2, Some(key)), json!({"own": 1}));
    assert_eq!(bench.store.read().unwrap().draft(key).unwrap(), None, "and nobody else gets it");
}

#[test]
fn a_damaged_form_of_one_customer_does_not_refuse_the_others_under_its_token() {
    let bench = Bench::new();
    for who in 1..=2 {
        new(&bench.accept(message("t", who, "a", "{}")));
    }
    bench.store.close().unwrap();
    damage(&Database::open(bench.path()).unwrap(), SUBMISSIONS, 1);
    let bench = bench.reopen();
    assert_eq!(new(&bench.accept(message("t", 3, "a", "{}"))), 3);
    for who in 2..=3 {
        assert_eq!(bench.accept(message("t", who, "b", "{}")), copy_of(who), "copies are known");
    }
}
