//! Tests of messages that arrive days after their form was accepted. Meta resends messages for a
//! week.

use crate::domain::ids::{Customer, SubmissionId};
use crate::domain::submission::inbound::{Inbound, InboundSubmission, UnparsableMessage};
use crate::domain::submission::{IdempotencyKey, SubmissionChannel};
use crate::domain::time::Millis;
use crate::store::{
    AcceptInbound, AcceptOutcome, FindSubmissionKey, FinishMessageJob, FinishOutcome,
    RetryDeadLetter, StoreOptions,
};

use super::support::{StoreBench, attempt, form, open_store, webhook_form};

const HOUR: u64 = 60 * 60 * 1000;
const DAY: u64 = 24 * HOUR;
/// Default of `retention.message_id_ttl`, in milliseconds.
const MESSAGE_ID_TTL: u64 = 8 * DAY;

const DUPLICATE_OF_FIRST: AcceptOutcome = AcceptOutcome::Duplicate {
    original: Some(SubmissionId::new(1)),
};

fn purge(bench: &StoreBench, submissions: u64) {
    bench.purge(
        100,
        Millis::new(submissions),
        Millis::new(DAY),
        Millis::new(DAY),
    );
}

/// Advances the clock and then purges, as a server does.
fn advance_and_purge(bench: &StoreBench, ms: u64) {
    bench.clock.advance(Millis::new(ms));
    purge(bench, 90 * DAY);
}

fn is_new(accepted: &AcceptOutcome) -> bool {
    matches!(accepted, AcceptOutcome::New { .. })
}

#[test]
fn late_message_matches_submission_for_the_message_id_ttl() {
    for channel in [SubmissionChannel::Plain, SubmissionChannel::Encrypted] {
        let bench = StoreBench::new();
        let mut submitted = form("t", "{}");
        submitted.submission.channel = channel;
        assert!(is_new(&bench.accept(submitted)));
        advance_and_purge(&bench, 7 * DAY);
        assert_eq!(
            bench.accept(webhook_form("t", "wamid.1", "{}")),
            DUPLICATE_OF_FIRST
        );
        assert_eq!(
            bench.accept(webhook_form("t", "wamid.1", "{}")),
            DUPLICATE_OF_FIRST,
            "Meta sends it again"
        );
        let late_arrivals = bench
            .store
            .read()
            .unwrap()
            .late_arrivals(SubmissionId::new(1))
            .unwrap();
        assert_eq!(
            late_arrivals
                .iter()
                .filter_map(|late_arrival| late_arrival.message_id.as_ref())
                .count(),
            1
        );
        assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 1);
        bench.assert_invariants();
    }
}

#[test]
fn message_after_the_ttl_is_new_submission() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    bench.clock.advance(Millis::new(8 * DAY));
    assert!(
        is_new(&bench.accept(webhook_form("t", "wamid.1", "{}"))),
        "whether it was swept or not"
    );
}

#[test]
fn token_is_new_at_endpoint_after_the_idempotency_ttl() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    advance_and_purge(&bench, DAY);
    assert!(is_new(&bench.accept(form("t", "{}"))));
    // The message belongs to the last submission of the token.
    assert_eq!(
        bench.accept(webhook_form("t", "wamid.1", "{}")),
        AcceptOutcome::Duplicate {
            original: Some(SubmissionId::new(2))
        }
    );
}

#[test]
fn token_is_new_by_webhook_after_the_idempotency_ttl() {
    let bench = StoreBench::new();
    assert!(is_new(&bench.accept(webhook_form("t", "wamid.1", "{}"))));
    advance_and_purge(&bench, DAY - 1);
    assert_eq!(
        bench.accept(webhook_form("t", "wamid.2", "{}")),
        DUPLICATE_OF_FIRST
    );
    advance_and_purge(&bench, 1);
    assert!(is_new(&bench.accept(webhook_form("t", "wamid.3", "{}"))));
    assert_eq!(
        bench.accept(webhook_form("t", "wamid.1", "{}")),
        DUPLICATE_OF_FIRST,
        "what Meta sends again is none"
    );
}

#[test]
fn second_late_message_is_new_submission() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    bench.accept(form("t", r#"{"another":"press"}"#));
    advance_and_purge(&bench, 2 * DAY);
    assert_eq!(
        bench.accept(webhook_form("t", "wamid.1", "{}")),
        DUPLICATE_OF_FIRST,
        "no message came with the other press"
    );
    assert!(is_new(&bench.accept(webhook_form("t", "wamid.2", "{}"))));

    bench.accept_new("in time");
    assert!(!is_new(
        &bench.accept(webhook_form("in time", "wamid.3", "{}"))
    ));
    advance_and_purge(&bench, 2 * DAY);
    assert!(is_new(
        &bench.accept(webhook_form("in time", "wamid.4", "{}"))
    ));
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
        message_key: form.message_key,
        cross_flow_keys: key.into_iter().collect(),
        late_arrival: Some(Box::new(form.submission.clone())),
        reason: "no flow claims it".to_owned(),
        payload: "{}".to_owned(),
    };
    (form, unreadable)
}

#[test]
fn reference_and_unmatched_message_find_their_submission() {
    let bench = StoreBench::new();
    for token in ["a", "b"] {
        bench.accept_new(token);
    }
    advance_and_purge(&bench, 3 * DAY);
    let (by_reference, _) = unmatched_message(form("a", "{}").form_key, "wamid.a");
    assert_eq!(bench.accept(by_reference), DUPLICATE_OF_FIRST);
    let (_, unmatched) = unmatched_message(form("b", "{}").form_key, "wamid.b");
    let arrivals = vec![Inbound::Unparsable(Box::new(unmatched))];
    let original = Some(SubmissionId::new(2));
    assert_eq!(
        bench
            .store
            .execute_blocking(AcceptInbound { inbound: arrivals })
            .unwrap(),
        [AcceptOutcome::Duplicate { original }]
    );
    bench.assert_invariants();
}

#[test]
fn retried_message_finds_its_submission() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    let (_, unreadable) = unmatched_message(None, "wamid.1");
    let arrivals = vec![Inbound::Unparsable(Box::new(unreadable))];
    let AcceptOutcome::DeadLetter { job_id: job } = bench
        .store
        .execute_blocking(AcceptInbound { inbound: arrivals })
        .unwrap()
        .remove(0)
    else {
        panic!()
    };
    advance_and_purge(&bench, 3 * DAY);
    bench
        .store
        .execute_blocking(RetryDeadLetter {
            job_id: job,
            payload: None,
        })
        .unwrap();
    let form = Box::new(webhook_form("t", "wamid.1", "{}"));
    let finished = bench
        .store
        .execute_blocking(FinishMessageJob {
            job_id: job,
            attempt: attempt(None),
            form,
        })
        .unwrap();
    assert_eq!(
        finished,
        FinishOutcome::Done {
            submission_id: Some(SubmissionId::new(1)),
            lead_id: None,
            agent: None
        }
    );
    bench.assert_invariants();
}

#[test]
fn late_message_finds_evicted_key_until_it_expires() {
    let few = |options: &mut StoreOptions| options.max_idempotency_keys = 3;
    let bench = StoreBench::with_options(few);
    for number in 0..20 {
        bench.accept_new(&format!("t{number}"));
    }
    advance_and_purge(&bench, 6 * DAY);
    let path = bench.path();
    bench.store.close().unwrap();
    let store = open_store(path, &bench.clock, few);
    let bench = StoreBench { store, ..bench };
    assert!(
        bench.store.writer_stats().keys <= 4,
        "{:?}",
        bench.store.writer_stats()
    );
    for number in 0..10 {
        let late = webhook_form(&format!("t{number}"), &format!("wamid.{number}"), "{}");
        assert_eq!(
            bench.accept(late),
            AcceptOutcome::Duplicate {
                original: Some(SubmissionId::new(number + 1))
            }
        );
    }
    assert!(
        bench.store.writer_stats().keys <= 4,
        "{:?}",
        bench.store.writer_stats()
    );
    advance_and_purge(&bench, 2 * DAY);
    for number in 10..20 {
        assert!(is_new(&bench.accept(webhook_form(
            &format!("t{number}"),
            &format!("wamid.{number}"),
            "{}"
        ))));
    }
}

#[test]
fn purged_submission_awaits_no_message() {
    let bench = StoreBench::new();
    let job = bench.accept_new("t");
    bench
        .store
        .execute_blocking(crate::store::FinishJob {
            job_id: job,
            attempt: attempt(None),
            lead: None,
        })
        .unwrap();
    bench.clock.advance(Millis::new(3 * DAY));
    purge(&bench, 2 * DAY);
    let again = bench.accept(webhook_form("t", "wamid.2", r#"{"new":"form"}"#));
    assert!(is_new(&again), "{again:?}");
    assert_eq!(
        bench.store.read().unwrap().counts().unwrap().submissions,
        1,
        "and it is kept"
    );
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
    advance_and_purge(&bench, DAY - 1);
    assert_eq!(
        bench.accept(message(1)),
        DUPLICATE_OF_FIRST,
        "within a day, one token is one form whichever door it comes through"
    );
    advance_and_purge(&bench, 2 * DAY);
    bench.accept_new("other");
    advance_and_purge(&bench, 2 * DAY);
    assert!(is_new(&bench.accept(message(2))));
}

#[test]
fn late_message_of_other_customer_is_new_submission() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    advance_and_purge(&bench, 2 * DAY);
    let mut late = webhook_form("t", "wamid.1", "{}");
    late.submission.customer = Customer::from_text("491511111111");
    assert!(is_new(&bench.accept(late)), "the form was 1234567890's");
    bench.accept_new("u");
    advance_and_purge(&bench, 2 * DAY);
    let mut late = webhook_form("u", "wamid.2", "{}");
    late.submission.customer.id = Some("DE.1".into());
    assert!(
        !is_new(&bench.accept(late)),
        "the same number, and an id beside it"
    );
}

#[test]
fn first_message_is_stored_despite_the_late_arrivals_bound() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    for number in 0..40 {
        bench.accept(form("t", &format!("{{\"n\":{number}}}")));
    }
    assert_eq!(
        bench.accept(webhook_form("t", "wamid.1", "{}")),
        DUPLICATE_OF_FIRST
    );
    let late_arrivals = bench
        .store
        .read()
        .unwrap()
        .late_arrivals(SubmissionId::new(1))
        .unwrap();
    assert_eq!(
        (
            late_arrivals.len(),
            late_arrivals.last().unwrap().message_id.is_some()
        ),
        (17, true)
    );
    assert_eq!(
        bench.accept(webhook_form("t", "wamid.2", "{}")),
        DUPLICATE_OF_FIRST
    );
    assert_eq!(
        bench
            .store
            .read()
            .unwrap()
            .late_arrivals(SubmissionId::new(1))
            .unwrap()
            .len(),
        17,
        "but only the first one"
    );
}

#[test]
fn final_submission_is_duplicate_for_the_message_id_ttl() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    advance_and_purge(&bench, MESSAGE_ID_TTL - 1);
    let key = form("t", "{}").form_key.unwrap();
    let found = |reject_resubmission| {
        bench
            .store
            .execute_blocking(FindSubmissionKey {
                keys: vec![key],
                customer: Customer::default(),
                reject_resubmission,
            })
            .unwrap()
    };
    assert_eq!((found(true), found(false)), (Some(key), None));
    let again = |reject_resubmission| {
        bench.accept(InboundSubmission {
            reject_resubmission,
            ..form("t", "{}")
        })
    };
    assert_eq!(again(true), DUPLICATE_OF_FIRST);
    assert!(is_new(&again(false)));
}
