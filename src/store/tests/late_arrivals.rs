//! Tests of messages that arrive days after their form was accepted. Meta resends messages for a
//! week.

use crate::domain::ids::Customer;
use crate::domain::submission::inbound::{InboundSubmission, UnparsableMessage};
use crate::domain::submission::{IdempotencyKey, SubmissionChannel};
use crate::domain::time::Millis;
use crate::store::{AcceptOutcome, FindSubmissionKey, StoreOptions};

use super::purge_rounds::{DAY, days, just_under};
use super::support::{StoreBench, copy_of, done_without_lead, form, unparsable, webhook_form};

/// Default of `retention.message_id_ttl`.
const MESSAGE_ID_TTL: Millis = days(8);

/// Advances the clock and then purges, as a server does.
fn advance_and_purge(bench: &StoreBench, length: Millis) {
    bench.clock.advance(length);
    bench.purge_round();
}

#[test]
fn late_message_matches_submission_for_the_message_id_ttl() {
    for channel in [SubmissionChannel::Plain, SubmissionChannel::Encrypted] {
        let bench = StoreBench::new();
        let mut submitted = form("t", "{}");
        submitted.submission.channel = channel;
        assert!(bench.is_new(submitted));
        advance_and_purge(&bench, days(7));
        bench.assert_copy(webhook_form("t", "wamid.1", "{}"), 1);
        // Meta sends it again.
        bench.assert_copy(webhook_form("t", "wamid.1", "{}"), 1);
        let late_arrivals = bench.late_arrivals(1).into_iter();
        let messages = late_arrivals.filter(|late_arrival| late_arrival.message_id.is_some());
        assert_eq!(messages.count(), 1);
        assert_eq!(bench.counts().submissions, 1);
        bench.assert_invariants();
    }
}

#[test]
fn message_after_the_ttl_is_new_submission() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    bench.clock.advance(MESSAGE_ID_TTL);
    assert!(
        bench.is_new(webhook_form("t", "wamid.1", "{}")),
        "whether it was swept or not"
    );
}

#[test]
fn token_is_new_at_endpoint_after_the_idempotency_ttl() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    advance_and_purge(&bench, DAY);
    assert!(bench.is_new(form("t", "{}")));
    // The message belongs to the last submission of the token.
    bench.assert_copy(webhook_form("t", "wamid.1", "{}"), 2);
}

#[test]
fn token_is_new_by_webhook_after_the_idempotency_ttl() {
    let bench = StoreBench::new();
    assert!(bench.is_new(webhook_form("t", "wamid.1", "{}")));
    advance_and_purge(&bench, just_under(DAY));
    bench.assert_copy(webhook_form("t", "wamid.2", "{}"), 1);
    advance_and_purge(&bench, Millis::new(1));
    assert!(bench.is_new(webhook_form("t", "wamid.3", "{}")));
    // A message that Meta sends again is no new form.
    bench.assert_copy(webhook_form("t", "wamid.1", "{}"), 1);
}

#[test]
fn second_late_message_is_new_submission() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    bench.accept(form("t", r#"{"another":"press"}"#));
    advance_and_purge(&bench, days(2));
    // No message came with the second press.
    bench.assert_copy(webhook_form("t", "wamid.1", "{}"), 1);
    assert!(bench.is_new(webhook_form("t", "wamid.2", "{}")));

    bench.accept_new("in time");
    assert!(!bench.is_new(webhook_form("in time", "wamid.3", "{}")));
    advance_and_purge(&bench, days(2));
    assert!(bench.is_new(webhook_form("in time", "wamid.4", "{}")));
}

/// Message without a matching flow, or of another flow, for a form with the key `key`.
fn unmatched_message(
    key: Option<IdempotencyKey>,
    message: &str,
) -> (InboundSubmission, UnparsableMessage) {
    let mut form = webhook_form("another", message, "{}");
    form.form_key = None;
    form.message_reference = key;
    let unreadable = UnparsableMessage {
        cross_flow_keys: key.into_iter().collect(),
        late_arrival: Some(Box::new(form.submission.clone())),
        ..unparsable(form.message_key)
    };
    (form, unreadable)
}

#[test]
fn reference_and_unmatched_message_find_their_submission() {
    let bench = StoreBench::new();
    for token in ["a", "b"] {
        bench.accept_new(token);
    }
    advance_and_purge(&bench, days(3));
    let (by_reference, _) = unmatched_message(form("a", "{}").form_key, "wamid.a");
    bench.assert_copy(by_reference, 1);
    let (_, unmatched) = unmatched_message(form("b", "{}").form_key, "wamid.b");
    assert_eq!(bench.accept_unparsable_message(unmatched), copy_of(2));
    bench.assert_invariants();
}

#[test]
fn retried_message_finds_its_submission() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    let (_, unreadable) = unmatched_message(None, "wamid.1");
    let AcceptOutcome::DeadLetter { job_id } = bench.accept_unparsable_message(unreadable) else {
        panic!()
    };
    advance_and_purge(&bench, days(3));
    bench.retry_dead_letter(job_id);
    let finished = bench.finish_message(job_id, webhook_form("t", "wamid.1", "{}"));
    assert_eq!(finished, done_without_lead(1));
    bench.assert_invariants();
}

#[test]
fn late_message_finds_evicted_key_until_it_expires() {
    let few = |options: &mut StoreOptions| options.max_idempotency_keys = 3;
    let late_message =
        |number: u64| webhook_form(&format!("t{number}"), &format!("wamid.{number}"), "{}");
    let bench = StoreBench::with_options(few);
    for number in 0..20 {
        bench.accept_new(&format!("t{number}"));
    }
    advance_and_purge(&bench, days(6));
    let bench = bench.reopen_with(few);
    bench.assert_keys_in_memory(..=4);
    for number in 0..10 {
        bench.assert_copy(late_message(number), number + 1);
    }
    bench.assert_keys_in_memory(..=4);
    advance_and_purge(&bench, days(2));
    for number in 10..20 {
        assert!(bench.is_new(late_message(number)));
    }
}

#[test]
fn purged_submission_awaits_no_message() {
    let bench = StoreBench::new();
    let job = bench.accept_new("t");
    bench.finish_without_lead(job);
    bench.clock.advance(days(3));
    bench.purge(100, days(2), DAY, DAY);
    assert!(bench.is_new(webhook_form("t", "wamid.2", r#"{"new":"form"}"#)));
    assert_eq!(bench.counts().submissions, 1, "and it is kept");
}

#[test]
fn late_message_of_its_flow_matches_no_other_flow() {
    let bench = StoreBench::new();
    bench.accept_new("other");
    let message = |number: u8| {
        let mut late = webhook_form("own", &format!("wamid.{number}"), r#"{"own":"form"}"#);
        late.cross_flow_keys.extend(form("other", "{}").form_key);
        late
    };
    advance_and_purge(&bench, just_under(DAY));
    // Within a day, one token is one form whichever door it comes through.
    bench.assert_copy(message(1), 1);
    advance_and_purge(&bench, days(2));
    bench.accept_new("other");
    advance_and_purge(&bench, days(2));
    assert!(bench.is_new(message(2)));
}

#[test]
fn late_message_of_other_customer_is_new_submission() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    advance_and_purge(&bench, days(2));
    let mut late = webhook_form("t", "wamid.1", "{}");
    late.submission.customer = Customer::from_text("491511111111");
    assert!(bench.is_new(late), "the form was 1234567890's");
    bench.accept_new("u");
    advance_and_purge(&bench, days(2));
    let mut late = webhook_form("u", "wamid.2", "{}");
    late.submission.customer.id = Some("DE.1".into());
    assert!(!bench.is_new(late), "the same number, and an id beside it");
}

#[test]
fn first_message_is_stored_despite_the_late_arrivals_bound() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    for number in 0..40 {
        bench.accept(form("t", &format!("{{\"n\":{number}}}")));
    }
    bench.assert_copy(webhook_form("t", "wamid.1", "{}"), 1);
    let late_arrivals = bench.late_arrivals(1);
    assert_eq!(late_arrivals.len(), 17);
    assert!(late_arrivals.last().unwrap().message_id.is_some());
    bench.assert_copy(webhook_form("t", "wamid.2", "{}"), 1);
    assert_eq!(bench.late_arrivals(1).len(), 17, "but only the first one");
}

#[test]
fn final_submission_is_duplicate_for_the_message_id_ttl() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    advance_and_purge(&bench, just_under(MESSAGE_ID_TTL));
    let key = form("t", "{}").form_key.unwrap();
    let found = |reject_resubmission| {
        bench.execute(FindSubmissionKey {
            keys: vec![key],
            customer: Customer::default(),
            reject_resubmission,
        })
    };
    assert_eq!((found(true), found(false)), (Some(key), None));
    let again = |reject_resubmission| InboundSubmission {
        reject_resubmission,
        ..form("t", "{}")
    };
    bench.assert_copy(again(true), 1);
    assert!(bench.is_new(again(false)));
}
