//! Tests of a shared token: retention, too many copies, claims in any order, and damaged rows.

use serde_json::json;

use crate::domain::ids::{Customer, FlowName, FlowToken, JobId};
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;
use crate::store::rows::schema::{DRAFTS, LEADS, SUBMISSIONS};
use crate::store::{AcceptOutcome, DraftOutcome, FindSubmissionKey};

use super::customer_forms::{customer, form_of, message, stored_data, unnamed};
use super::purge_rounds::{DAY, days};
use super::support::{StoreBench, draft, flow, form, token_key};

/// Store that finds tokens for a longer time than messages.
fn with_long_memory() -> StoreBench {
    StoreBench::with_options(|options| options.idempotency_ttl = days(30))
}

/// Advances the clock and then purges with a retention of `submissions`.
fn wait(bench: &StoreBench, time: Millis, submissions: Millis) {
    bench.clock.advance(time);
    bench.purge(100, submissions, DAY, DAY);
}

fn find(
    bench: &StoreBench,
    keys: Vec<IdempotencyKey>,
    customer: Customer,
    for_good: bool,
) -> Option<IdempotencyKey> {
    bench.execute(FindSubmissionKey {
        keys,
        customer,
        reject_resubmission: for_good,
    })
}

#[test]
fn tokens_can_outlive_message_ids() {
    let bench = with_long_memory();
    for who in 1..=2 {
        bench.accept_submission(message("t", who, "a", "{}"));
    }
    bench.accept_submission(form("closed", "{}"));
    wait(&bench, days(9), days(90));
    for who in 1..=2 {
        bench.assert_copy(message("t", who, "b", "{}"), who);
    }
    assert_eq!(
        bench.accept(unnamed("t", r#"{"plan":"a"}"#)),
        AcceptOutcome::TokenShared,
        "the mark lasts as long"
    );
    let closed = token_key("closed");
    assert_eq!(
        find(&bench, vec![closed], Customer::default(), true),
        Some(closed)
    );
    wait(&bench, days(21), days(90));
    assert_eq!(bench.accept_submission(message("t", 1, "c", "{}")), 4);
}

#[test]
fn other_customers_are_served_after_retention_removed_the_first_submission_of_a_token() {
    let bench = with_long_memory();
    for (token, who) in [("t", 1), ("t", 2), ("u", 1)] {
        let job = bench.accept_job(message(token, who, token, "{}"));
        bench.finish_without_lead(job);
    }
    wait(&bench, days(3), days(2));
    assert_eq!(bench.counts().submissions, 0);
    let plain = form_of("t", 3, "{}");
    assert_eq!(
        bench.accept_submission(plain.clone()),
        4,
        "the token is known to be several customers'"
    );
    bench.assert_copy(plain, 4);
    assert_eq!(
        bench.accept_submission(message("u", 2, "a", r#"{"n":2}"#)),
        5,
        "no message is dropped"
    );
    bench.assert_copy(message("u", 2, "b", "{}"), 5);
    assert_eq!(bench.counts().submissions, 2);
}

#[test]
fn reference_counts_once_token_is_crowded() {
    let bench = StoreBench::new();
    for number in 1..=17 {
        assert_ne!(
            bench.accept(unnamed("t", &format!(r#"{{"n":{number}}}"#))),
            AcceptOutcome::TokenShared
        );
    }
    let mut last = unnamed("t", r#"{"n":18}"#);
    assert_eq!(bench.accept(last.clone()), AcceptOutcome::TokenShared);
    let key = IdempotencyKey::for_repeated_press(&flow(), "LAST", r#"{"n":18}"#, 1);
    last.form_key = Some(key);
    assert_eq!(bench.accept_submission(last.clone()), 2);
    let mut reply = message("t", 18, "a", "{}");
    reply.message_reference = last.form_key;
    bench.assert_copy(reply, 2);
    // The first form is still its customer's.
    bench.assert_copy(message("t", 1, "a", "{}"), 1);
    bench.assert_invariants();
}

#[test]
fn answers_before_first_claim_are_marked_doubtful() {
    let press = |bench: &StoreBench, plan: &str| {
        bench.accept(unnamed("t", &format!(r#"{{"plan":"{plan}"}}"#)))
    };
    let early = StoreBench::new();
    press(&early, "a");
    press(&early, "b");
    // Nothing shows that these are customer 1's.
    early.assert_copy(message("t", 2, "m", "{}"), 1);
    assert_eq!(early.accept_submission(message("t", 1, "m", "{}")), 2);
    let (answers, problems) = stored_data(&early, 2);
    assert_eq!(answers, json!({"plan": "b"}));
    let is_marked = problems
        .iter()
        .any(|problem| problem.contains("another customer"));
    assert!(is_marked, "{problems:?}");

    let late = StoreBench::new();
    press(&late, "a");
    late.assert_copy(message("t", 1, "m", "{}"), 1);
    press(&late, "b");
    assert_eq!(late.accept_submission(message("t", 2, "m", "{}")), 2);
    assert_eq!(stored_data(&late, 2), (json!({"plan": "b"}), Vec::new()));
}

#[test]
fn message_claims_answers_that_match_its_fields() {
    let bench = StoreBench::new();
    for plan in ["a", "b"] {
        bench.accept(unnamed("t", &format!(r#"{{"plan":"{plan}","size":1}}"#)));
    }
    let by_second = |copy: &str| message("t", 2, copy, r#"{"plan":"b"}"#);
    assert_eq!(bench.accept_submission(by_second("m")), 2);
    let answers = json!({"plan": "b", "size": 1});
    assert_eq!(stored_data(&bench, 2), (answers, Vec::new()));
    bench.assert_copy(message("t", 1, "m", "{}"), 1);
    bench.assert_copy(by_second("n"), 2);
    bench.assert_invariants();
}

#[test]
fn damaged_draft_rejects_no_other_customer_of_token() {
    let bench = StoreBench::new();
    bench.accept_submission(message("t", 1, "a", "{}"));
    let key = token_key("t");
    bench.edit_file(|txn| {
        let mut drafts = txn.open(DRAFTS).unwrap();
        drafts.put_bytes(key.as_bytes(), b"damaged").unwrap();
    });
    let bench = bench.reopen();
    let mut second = message("t", 2, "a", "{}");
    second.draft_key = Some(key);
    assert_eq!(bench.accept_submission(second), 2);
    assert_eq!(bench.read().draft(key).unwrap(), None, "the row is removed");
    bench.assert_invariants();
}

#[test]
fn damaged_submission_rejects_no_form_of_other_flow() {
    let bench = StoreBench::new();
    bench.accept_submission(form("t", "{}"));
    let bench = bench.reopen_damaged(SUBMISSIONS, 1);
    let damaged = token_key("t");
    let other = FlowName::new("feedback").unwrap();
    let mut own = message("t", 2, "a", "{}");
    own.cross_flow_keys.push(damaged);
    let token = FlowToken::new("t").unwrap();
    own.form_key = Some(IdempotencyKey::for_token(&other, &token));
    own.submission.flow = other;
    assert_eq!(bench.accept_submission(own.clone()), 2);
    let keys = vec![damaged, own.form_key.unwrap()];
    let found = find(&bench, keys, customer(2), false);
    assert_eq!(found, own.form_key, "the damaged one is skipped");
}

#[test]
fn message_is_stored_despite_damaged_lead() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    bench.accept_submission(unnamed("t", "{}"));
    bench.finish_job(JobId::new(1));
    let bench = bench.reopen_damaged(LEADS, 1);
    bench.assert_copy(message("t", 1, "a", "{}"), 1);
    assert_eq!(bench.late_arrivals(1).len(), 1);
}

#[test]
fn two_spellings_of_number_are_one_customer_of_token() {
    let bench = StoreBench::new();
    let by = |number: &str, copy: &str| {
        let mut form = message("t", 2, copy, "{}");
        form.submission.customer = Customer::from_text(number);
        form
    };
    let key = token_key("t");
    let keeps = |number: &str, data: &str| {
        let customer = Customer::from_text(number);
        bench.save_draft(key, draft(Some("t"), customer, data))
    };
    bench.accept_submission(message("t", 1, "a", "{}"));
    assert_eq!(keeps("5215512345678", r#"{"a":1}"#), DraftOutcome::Saved);
    assert_eq!(keeps("525512345678", r#"{"b":2}"#), DraftOutcome::Saved);
    let mut first = by("525512345678", "a");
    first.draft_key = Some(key);
    assert_eq!(bench.accept_submission(first), 2);
    assert_eq!(stored_data(&bench, 2).0, json!({"a": 1, "b": 2}));
    bench.assert_copy(by("5215512345678", "b"), 2);
    assert_eq!(keeps("5215512345678", "{}"), DraftOutcome::AlreadySubmitted);
    bench.assert_invariants();
}
