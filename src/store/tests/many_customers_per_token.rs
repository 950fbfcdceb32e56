//! Tests of a shared token: retention, too many copies, claims in any order, and damaged rows.

use redb::Database;
use serde_json::json;

use crate::domain::ids::{Customer, FlowName, FlowToken, JobId, SubmissionId};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::Draft;
use crate::domain::time::Millis;
use crate::store::rows::schema::{DRAFTS, LEADS, SUBMISSIONS};
use crate::store::{AcceptOutcome, DraftOutcome, FindSubmissionKey, FinishJob, SaveDraft};

use super::damage::flip_row_byte;
use super::shared_tokens::{DAY, copy_of, customer, message, new_submission, stored_data, unnamed};
use super::support::{START, StoreBench, attempt, flow, form};

const fn days(number: u64) -> Millis {
    Millis::new(number * DAY.get())
}

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
    bench
        .store
        .execute_blocking(FindSubmissionKey {
            keys,
            customer,
            reject_resubmission: for_good,
        })
        .unwrap()
}

/// Closes the store, damages submission `id`, and opens the store again.
fn with_damaged_submission(bench: StoreBench, id: u64) -> StoreBench {
    bench.store.close().unwrap();
    flip_row_byte(
        &Database::open(bench.path()).unwrap(),
        SUBMISSIONS.definition(),
        id,
    );
    bench.reopen()
}

#[test]
fn tokens_can_outlive_message_ids() {
    let bench = with_long_memory();
    for who in 1..=2 {
        new_submission(&bench.accept(message("t", who, "a", "{}")));
    }
    new_submission(&bench.accept(form("closed", "{}")));
    wait(&bench, days(9), days(90));
    for who in 1..=2 {
        assert_eq!(bench.accept(message("t", who, "b", "{}")), copy_of(who));
    }
    assert_eq!(
        bench.accept(unnamed("t", r#"{"plan":"a"}"#)),
        AcceptOutcome::TokenShared,
        "the mark lasts as long"
    );
    let closed = form("closed", "{}").form_key.unwrap();
    assert_eq!(
        find(&bench, vec![closed], Customer::default(), true),
        Some(closed)
    );
    wait(&bench, days(21), days(90));
    assert_eq!(new_submission(&bench.accept(message("t", 1, "c", "{}"))), 4);
}

#[test]
fn other_customers_are_served_after_retention_removed_the_first_submission_of_a_token() {
    let bench = with_long_memory();
    for (token, who) in [("t", 1), ("t", 2), ("u", 1)] {
        let AcceptOutcome::New { job_id: job, .. } = bench.accept(message(token, who, token, "{}"))
        else {
            panic!("a new one")
        };
        bench
            .store
            .execute_blocking(FinishJob {
                job_id: job,
                attempt: attempt(None),
                lead: None,
            })
            .unwrap();
    }
    wait(&bench, days(3), days(2));
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 0);
    let mut plain = form("t", "{}");
    plain.submission.customer = customer(3);
    assert_eq!(
        new_submission(&bench.accept(plain.clone())),
        4,
        "the token is known to be several customers'"
    );
    assert_eq!(bench.accept(plain), copy_of(4));
    assert_eq!(
        new_submission(&bench.accept(message("u", 2, "a", r#"{"n":2}"#))),
        5,
        "no message is dropped"
    );
    assert_eq!(bench.accept(message("u", 2, "b", "{}")), copy_of(5));
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 2);
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
    last.form_key = Some(IdempotencyKey::for_repeated_press(
        &flow(),
        "LAST",
        r#"{"n":18}"#,
        1,
    ));
    assert_eq!(new_submission(&bench.accept(last.clone())), 2);
    let mut reply = message("t", 18, "a", "{}");
    reply.message_reference = last.form_key;
    assert_eq!(bench.accept(reply), copy_of(2));
    assert_eq!(
        bench.accept(message("t", 1, "a", "{}")),
        copy_of(1),
        "the first form is still its customer's"
    );
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
    assert_eq!(
        early.accept(message("t", 2, "m", "{}")),
        copy_of(1),
        "nothing shows that these are customer 1's"
    );
    assert_eq!(new_submission(&early.accept(message("t", 1, "m", "{}"))), 2);
    let (answers, problems) = stored_data(&early, 2);
    assert_eq!(answers, json!({"plan": "b"}));
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("another customer")),
        "{problems:?}"
    );

    let late = StoreBench::new();
    press(&late, "a");
    assert_eq!(late.accept(message("t", 1, "m", "{}")), copy_of(1));
    press(&late, "b");
    assert_eq!(new_submission(&late.accept(message("t", 2, "m", "{}"))), 2);
    assert_eq!(stored_data(&late, 2), (json!({"plan": "b"}), Vec::new()));
}

#[test]
fn message_claims_answers_that_match_its_fields() {
    let bench = StoreBench::new();
    for plan in ["a", "b"] {
        bench.accept(unnamed("t", &format!(r#"{{"plan":"{plan}","size":1}}"#)));
    }
    assert_eq!(
        new_submission(&bench.accept(message("t", 2, "m", r#"{"plan":"b"}"#))),
        2
    );
    assert_eq!(
        stored_data(&bench, 2),
        (json!({"plan": "b", "size": 1}), Vec::new())
    );
    assert_eq!(bench.accept(message("t", 1, "m", "{}")), copy_of(1));
    assert_eq!(
        bench.accept(message("t", 2, "n", r#"{"plan":"b"}"#)),
        copy_of(2)
    );
    bench.assert_invariants();
}

#[test]
fn damaged_draft_rejects_no_other_customer_of_token() {
    let bench = StoreBench::new();
    new_submission(&bench.accept(message("t", 1, "a", "{}")));
    let key = form("t", "{}").form_key.unwrap();
    bench.store.close().unwrap();
    {
        let database = Database::open(bench.path()).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(DRAFTS.definition())
            .unwrap()
            .insert(key.as_bytes(), b"damaged".as_slice())
            .unwrap();
        txn.commit().unwrap();
    }
    let bench = bench.reopen();
    let mut second = message("t", 2, "a", "{}");
    second.draft_key = Some(key);
    assert_eq!(new_submission(&bench.accept(second)), 2);
    assert_eq!(
        bench.store.read().unwrap().draft(key).unwrap(),
        None,
        "the row is removed"
    );
    bench.assert_invariants();
}

#[test]
fn damaged_submission_rejects_no_form_of_other_flow() {
    let bench = StoreBench::new();
    new_submission(&bench.accept(form("t", "{}")));
    let bench = with_damaged_submission(bench, 1);
    let damaged = form("t", "{}").form_key.unwrap();
    let other = FlowName::new("feedback").unwrap();
    let mut own = message("t", 2, "a", "{}");
    own.cross_flow_keys.push(damaged);
    own.form_key = Some(IdempotencyKey::for_token(
        &other,
        &FlowToken::new("t").unwrap(),
    ));
    own.submission.flow = other;
    assert_eq!(new_submission(&bench.accept(own.clone())), 2);
    let found = find(
        &bench,
        vec![damaged, own.form_key.unwrap()],
        customer(2),
        false,
    );
    assert_eq!(found, own.form_key, "the damaged one is skipped");
}

#[test]
fn message_is_stored_despite_damaged_lead() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    new_submission(&bench.accept(unnamed("t", "{}")));
    bench.finish_job(JobId::new(1));
    bench.store.close().unwrap();
    flip_row_byte(
        &Database::open(bench.path()).unwrap(),
        LEADS.definition(),
        1,
    );
    let bench = bench.reopen();
    assert_eq!(bench.accept(message("t", 1, "a", "{}")), copy_of(1));
    assert_eq!(
        bench
            .store
            .read()
            .unwrap()
            .late_arrivals(SubmissionId::new(1))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn two_spellings_of_number_are_one_customer_of_token() {
    let bench = StoreBench::new();
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
        bench
            .store
            .execute_blocking(SaveDraft {
                key,
                draft,
                encrypted_request_key: None,
                reject_resubmission: false,
            })
            .unwrap()
    };
    new_submission(&bench.accept(message("t", 1, "a", "{}")));
    assert_eq!(keeps("5215512345678", r#"{"a":1}"#), DraftOutcome::Saved);
    assert_eq!(keeps("525512345678", r#"{"b":2}"#), DraftOutcome::Saved);
    let mut first = by("525512345678", "a");
    first.draft_key = Some(key);
    assert_eq!(new_submission(&bench.accept(first)), 2);
    assert_eq!(stored_data(&bench, 2).0, json!({"a": 1, "b": 2}));
    assert_eq!(bench.accept(by("5215512345678", "b")), copy_of(2));
    assert_eq!(keeps("5215512345678", "{}"), DraftOutcome::AlreadySubmitted);
    bench.assert_invariants();
}
