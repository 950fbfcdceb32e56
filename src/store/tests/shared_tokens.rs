//! Tests of several customers under one key: each has a submission, and copies find the right one.

use serde_json::json;

use crate::domain::ids::{Customer, FlowName, FlowToken, GatewayName};
use crate::domain::submission::inbound::UnparsableMessage;
use crate::domain::submission::{IdempotencyKey, SubmissionChannel};
use crate::store::rows::schema::SUBMISSIONS;
use crate::store::{AcceptOutcome, FindSubmissionKey, IngestGatewayMessages};

use super::customer_forms::{customer, form_of, message, new_submission, stored_data, unnamed};
use super::purge_rounds::days;
use super::support::{StoreBench, copy_of, flow, unparsable};

#[test]
fn shared_token_makes_one_submission_per_customer() {
    let mut bench = StoreBench::new();
    for number in 1..=60 {
        let accepted = bench.accept_submission(message("t", number, "a", "{}"));
        assert_eq!(accepted, number);
    }
    bench = bench.reopen();
    for number in 1..=60 {
        // Meta sends it again.
        bench.assert_copy(message("t", number, "a", "{}"), number);
        // Sent twice.
        bench.assert_copy(message("t", number, "b", "{}"), number);
        let mut by_number = message("t", number, "c", "{}");
        by_number.submission.customer.id = None;
        // Known by the number alone.
        bench.assert_copy(by_number, number);
        let plain = form_of("t", number, "{}");
        // The other door.
        bench.assert_copy(plain, number);
    }
    assert_eq!(bench.counts().submissions, 60);
    bench.assert_invariants();
}

#[test]
fn late_message_matches_submission_of_its_customer() {
    let bench = StoreBench::new();
    for number in 1..=3 {
        let plain = form_of("t", number, "{}");
        assert_eq!(bench.accept_submission(plain), number);
    }
    bench.clock.advance(days(7));
    for number in [2, 3, 1] {
        bench.assert_copy(message("t", number, "a", "{}"), number);
        bench.assert_copy(message("t", number, "a", "{}"), number);
    }
    bench.assert_invariants();
}

#[test]
fn awaited_message_is_reserved_for_its_customer() {
    let bench = StoreBench::new();
    let plain = form_of("t", 1, "{}");
    bench.accept_submission(plain);
    bench.clock.advance(days(2));
    assert_eq!(bench.accept_submission(message("t", 2, "a", "{}")), 2);
    bench.assert_copy(message("t", 1, "a", "{}"), 1);
}

#[test]
fn each_referring_customer_gets_the_unnamed_answers() {
    let bench = StoreBench::new();
    // Four customers submit within minutes. Nothing at the flow's endpoint distinguishes them.
    let pressed_form = || {
        let mut form = unnamed("unused", r#"{"agree":true}"#);
        let key = IdempotencyKey::for_repeated_press(&flow(), "LAST", "agree", 1);
        form.form_key = Some(key);
        form
    };
    assert_eq!(bench.accept_submission(pressed_form()), 1);
    for _ in 0..3 {
        bench.assert_copy(pressed_form(), 1);
    }
    let reference = pressed_form().form_key;
    let referring_message = |number, copy: &str| {
        let mut form = message("unused", number, copy, r#"{"flowgate_ref":"it"}"#);
        (form.form_key, form.message_reference) = (None, reference);
        form
    };
    // The first one is its customer's.
    bench.assert_copy(referring_message(1, "a"), 1);
    bench.clock.advance(days(2));
    for number in 2..=4 {
        let accepted = bench.accept_submission(referring_message(number, "a"));
        assert_eq!(accepted, number);
        assert_eq!(
            stored_data(&bench, number),
            (json!({"agree": true, "flowgate_ref": "it"}), Vec::new())
        );
        bench.assert_copy(referring_message(number, "b"), number);
    }
    bench.assert_invariants();
}

#[test]
fn each_differing_copy_is_assigned_to_one_customer() {
    let bench = StoreBench::new();
    for plan in ["a", "b", "c"] {
        bench.accept(unnamed("t", &format!(r#"{{"plan":"{plan}"}}"#)));
    }
    let accept_message = |number, fields: &str| bench.accept(message("t", number, "m", fields));
    assert_eq!(accept_message(1, "{}"), copy_of(1));
    assert_eq!(new_submission(&accept_message(2, r#"{"plan":"c"}"#)), 2);
    assert_eq!(new_submission(&accept_message(3, "{}")), 3);
    assert_eq!(stored_data(&bench, 2).0, json!({"plan": "c"}));
    assert_eq!(stored_data(&bench, 3).0, json!({"plan": "b"}));
    assert!(
        stored_data(&bench, 2).1[0].contains("another customer"),
        "two copies were left to choose from"
    );
    let late_arrivals = bench.late_arrivals(1);
    assert!(
        late_arrivals
            .iter()
            .all(|late_arrival| late_arrival.message_id.is_some()),
        "each copy is used once: {late_arrivals:?}"
    );
    // From here on, the token is marked as shared.
    assert_eq!(
        bench.accept(unnamed("t", r#"{"plan":"d"}"#)),
        AcceptOutcome::TokenShared
    );
    let key = unnamed("t", "{}").form_key.unwrap();
    let find = |customer| {
        bench.execute(FindSubmissionKey {
            keys: vec![key],
            customer,
            reject_resubmission: false,
        })
    };
    assert_eq!(find(Customer::default()), None);
    assert!(find(customer(2)).is_some_and(|own| own != key));
    bench.assert_invariants();
}

#[test]
fn token_with_too_many_differing_copies_is_shared() {
    let bench = StoreBench::new();
    for number in 0..=16 {
        assert_ne!(
            bench.accept(unnamed("t", &format!(r#"{{"n":{number}}}"#))),
            AcceptOutcome::TokenShared
        );
    }
    assert_eq!(
        bench.accept(unnamed("t", r#"{"n":17}"#)),
        AcceptOutcome::TokenShared
    );
    // The message is kept with the first.
    bench.assert_copy(message("t", 1, "m", "{}"), 1);
}

#[test]
fn late_arrivals_are_bounded_per_customer() {
    let bench = StoreBench::new();
    for number in 1..=3 {
        for copy in 0..40 {
            let data = format!(r#"{{"n":{copy}}}"#);
            bench.accept(message("t", number, &copy.to_string(), &data));
        }
    }
    for submission in 1..=3 {
        assert_eq!(bench.late_arrivals(submission).len(), 16);
    }
    assert_eq!(bench.counts().submissions, 3);
}

#[test]
fn cross_flow_match_requires_awaited_message() {
    let bench = StoreBench::new();
    let other = FlowName::new("feedback").unwrap();
    let in_other = |copy: &str| {
        let mut form = message("t", 1, copy, r#"{"stars":5}"#);
        form.cross_flow_keys.extend(form.form_key);
        let token = FlowToken::new("t").unwrap();
        form.form_key = Some(IdempotencyKey::for_token(&other, &token));
        form.submission.flow = other.clone();
        form
    };
    // The form itself was accepted by webhook, so a message of another flow can't belong to it.
    assert_eq!(bench.accept_submission(message("t", 1, "intake", "{}")), 1);
    assert_eq!(bench.accept_submission(in_other("feedback")), 2);
    let accept_unmatched = |copy: &str| {
        let form = message("t", 1, copy, "{}");
        bench.accept_unparsable_message(UnparsableMessage {
            cross_flow_keys: form.form_key.into_iter().collect(),
            late_arrival: Some(Box::new(form.submission)),
            ..unparsable(form.message_key)
        })
    };
    assert!(matches!(
        accept_unmatched("stray"),
        AcceptOutcome::DeadLetter { .. }
    ));
    bench.assert_invariants();
}

#[test]
fn gateway_message_becomes_submission_on_later_event() {
    let bench = StoreBench::new();
    let gateway = GatewayName::new("shop").unwrap();
    let key = IdempotencyKey::for_gateway_message(&gateway, "m1");
    let ingest = |forms, others| {
        bench.execute(IngestGatewayMessages {
            gateway: gateway.clone(),
            submissions: forms,
            other_keys: others,
        })
    };
    assert_eq!(ingest(Vec::new(), vec![key]).new_messages, 1);
    let mut form = message("unused", 1, "a", "{}");
    (form.form_key, form.message_key) = (None, Some(key));
    form.submission.channel = SubmissionChannel::Gateway;
    assert_eq!(
        new_submission(&ingest(vec![form.clone()], Vec::new()).outcomes[0]),
        1
    );
    assert_eq!(ingest(vec![form], vec![key]).outcomes, [copy_of(1)]);
    assert_eq!(bench.reopen().counts().submissions, 1);
}

#[test]
fn damaged_submission_refuses_no_other_customer_of_its_token() {
    let bench = StoreBench::new();
    for number in 1..=2 {
        bench.accept_submission(message("t", number, "a", "{}"));
    }
    let bench = bench.reopen_damaged(SUBMISSIONS, 1);
    assert_eq!(bench.accept_submission(message("t", 3, "a", "{}")), 3);
    for number in 2..=3 {
        // Copies are known.
        bench.assert_copy(message("t", number, "b", "{}"), number);
    }
}
