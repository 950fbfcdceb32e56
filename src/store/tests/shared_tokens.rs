//! Tests of several customers under one key: each has a submission, and copies find the right one.

use redb::Database;
use serde_json::{Value, json};

use crate::domain::ids::{Customer, FlowName, FlowToken, SubmissionId};
use crate::domain::submission::draft::Draft;
use crate::domain::submission::inbound::{Inbound, InboundSubmission, UnparsableMessage};
use crate::domain::submission::{IdempotencyKey, SubmissionChannel};
use crate::domain::time::Millis;
use crate::store::rows::schema::SUBMISSIONS;
use crate::store::{AcceptInbound, AcceptOutcome, DraftOutcome, FindSubmissionKey, SaveDraft};

use super::damage::flip_row_byte;
use super::support::{START, StoreBench, flow, form, webhook_form};

pub(super) const DAY: Millis = Millis::from_secs(24 * 60 * 60);

pub(super) fn customer(number: u64) -> Customer {
    Customer::new(
        Some(&format!("DE.{number}")),
        Some(&format!("4915{number:08}")),
    )
}

pub(super) fn message(token: &str, number: u64, copy: &str, data: &str) -> InboundSubmission {
    let mut form = webhook_form(token, &format!("wamid.{number}.{copy}"), data);
    form.submission.customer = customer(number);
    form
}

/// Form that ended at the endpoint of an encrypted flow, so no field names its customer.
pub(super) fn unnamed(token: &str, data: &str) -> InboundSubmission {
    let mut form = form(token, data);
    form.submission.customer = Customer::default();
    form.submission.channel = SubmissionChannel::Encrypted;
    form
}

#[track_caller]
pub(super) fn new_submission(accepted: &AcceptOutcome) -> u64 {
    match accepted {
        AcceptOutcome::New {
            submission_id: submission,
            ..
        } => submission.get(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn copy_of(number: u64) -> AcceptOutcome {
    AcceptOutcome::Duplicate {
        original: Some(SubmissionId::new(number)),
    }
}

pub(super) fn stored_data(bench: &StoreBench, id: u64) -> (Value, Vec<String>) {
    let row = bench
        .store
        .read()
        .unwrap()
        .submission(SubmissionId::new(id))
        .unwrap()
        .unwrap();
    (
        serde_json::from_str(&row.submission.data).unwrap(),
        row.submission.problems,
    )
}

#[test]
fn shared_token_makes_one_submission_per_customer() {
    let mut bench = StoreBench::new();
    for number in 1..=60 {
        assert_eq!(
            new_submission(&bench.accept(message("t", number, "a", "{}"))),
            number
        );
    }
    bench = bench.reopen();
    for number in 1..=60 {
        assert_eq!(
            bench.accept(message("t", number, "a", "{}")),
            copy_of(number),
            "Meta sends it again"
        );
        assert_eq!(
            bench.accept(message("t", number, "b", "{}")),
            copy_of(number),
            "sent twice"
        );
        let mut by_number = message("t", number, "c", "{}");
        by_number.submission.customer.id = None;
        assert_eq!(
            bench.accept(by_number),
            copy_of(number),
            "known by the number alone"
        );
        let mut plain = form("t", "{}");
        plain.submission.customer = customer(number);
        assert_eq!(bench.accept(plain), copy_of(number), "the other door");
    }
    assert_eq!(
        bench.store.read().unwrap().counts().unwrap().submissions,
        60
    );
    bench.assert_invariants();
}

#[test]
fn late_message_matches_submission_of_its_customer() {
    let bench = StoreBench::new();
    for number in 1..=3 {
        let mut plain = form("t", "{}");
        plain.submission.customer = customer(number);
        assert_eq!(new_submission(&bench.accept(plain)), number);
    }
    bench.clock.advance(Millis::new(7 * DAY.get()));
    for number in [2, 3, 1] {
        assert_eq!(
            bench.accept(message("t", number, "a", "{}")),
            copy_of(number)
        );
        assert_eq!(
            bench.accept(message("t", number, "a", "{}")),
            copy_of(number)
        );
    }
    bench.assert_invariants();
}

#[test]
fn awaited_message_is_reserved_for_its_customer() {
    let bench = StoreBench::new();
    let mut plain = form("t", "{}");
    plain.submission.customer = customer(1);
    new_submission(&bench.accept(plain));
    bench.clock.advance(Millis::new(2 * DAY.get()));
    assert_eq!(new_submission(&bench.accept(message("t", 2, "a", "{}"))), 2);
    assert_eq!(bench.accept(message("t", 1, "a", "{}")), copy_of(1));
}

#[test]
fn each_referring_customer_gets_the_unnamed_answers() {
    let bench = StoreBench::new();
    // Four customers submit within minutes. Nothing at the flow's endpoint distinguishes them.
    let pressed_form = || {
        let mut form = unnamed("unused", r#"{"agree":true}"#);
        form.form_key = Some(IdempotencyKey::for_repeated_press(
            &flow(),
            "LAST",
            "agree",
            1,
        ));
        form
    };
    assert_eq!(new_submission(&bench.accept(pressed_form())), 1);
    for _ in 0..3 {
        assert_eq!(bench.accept(pressed_form()), copy_of(1));
    }
    let reference = pressed_form().form_key;
    let referring_message = |number, copy: &str| {
        let mut form = message("unused", number, copy, r#"{"flowgate_ref":"it"}"#);
        (form.form_key, form.message_reference) = (None, reference);
        form
    };
    assert_eq!(
        bench.accept(referring_message(1, "a")),
        copy_of(1),
        "the first one is its customer's"
    );
    bench.clock.advance(Millis::new(2 * DAY.get()));
    for number in 2..=4 {
        assert_eq!(
            new_submission(&bench.accept(referring_message(number, "a"))),
            number
        );
        assert_eq!(
            stored_data(&bench, number),
            (json!({"agree": true, "flowgate_ref": "it"}), Vec::new())
        );
        assert_eq!(
            bench.accept(referring_message(number, "b")),
            copy_of(number)
        );
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
    assert_eq!(
        (stored_data(&bench, 2).0, stored_data(&bench, 3).0),
        (json!({"plan": "c"}), json!({"plan": "b"}))
    );
    assert!(
        stored_data(&bench, 2).1[0].contains("another customer"),
        "two copies were left to choose from"
    );
    let late_arrivals = bench
        .store
        .read()
        .unwrap()
        .late_arrivals(SubmissionId::new(1))
        .unwrap();
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
        bench
            .store
            .execute_blocking(FindSubmissionKey {
                keys: vec![key],
                customer,
                reject_resubmission: false,
            })
            .unwrap()
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
    assert_eq!(
        bench.accept(message("t", 1, "m", "{}")),
        copy_of(1),
        "the message is kept with the first"
    );
}

#[test]
fn late_arrivals_are_bounded_per_customer() {
    let bench = StoreBench::new();
    for number in 1..=3 {
        for copy in 0..40 {
            bench.accept(message(
                "t",
                number,
                &copy.to_string(),
                &format!(r#"{{"n":{copy}}}"#),
            ));
        }
    }
    let read = bench.store.read().unwrap();
    let stored: Vec<usize> = (1..=3)
        .map(|id| read.late_arrivals(SubmissionId::new(id)).unwrap().len())
        .collect();
    assert_eq!(
        (read.counts().unwrap().submissions, stored),
        (3, vec![16, 16, 16])
    );
}

#[test]
fn cross_flow_match_requires_awaited_message() {
    let bench = StoreBench::new();
    let other = FlowName::new("feedback").unwrap();
    let in_other = |copy: &str| {
        let mut form = message("t", 1, copy, r#"{"stars":5}"#);
        form.cross_flow_keys.extend(form.form_key);
        form.form_key = Some(IdempotencyKey::for_token(
            &other,
            &FlowToken::new("t").unwrap(),
        ));
        form.submission.flow = other.clone();
        form
    };
    // The form itself was accepted by webhook, so a message of another flow can't belong to it.
    assert_eq!(
        new_submission(&bench.accept(message("t", 1, "intake", "{}"))),
        1
    );
    assert_eq!(new_submission(&bench.accept(in_other("feedback"))), 2);
    let accept_unmatched = |copy: &str| {
        let form = message("t", 1, copy, "{}");
        let unparsable = UnparsableMessage {
            message_key: form.message_key,
            cross_flow_keys: form.form_key.into_iter().collect(),
            late_arrival: Some(Box::new(form.submission)),
            reason: "no flow claims it".to_owned(),
            payload: "{}".to_owned(),
        };
        bench
            .store
            .execute_blocking(AcceptInbound {
                inbound: vec![Inbound::Unparsable(Box::new(unparsable))],
            })
            .unwrap()
            .remove(0)
    };
    assert!(matches!(
        accept_unmatched("stray"),
        AcceptOutcome::DeadLetter { .. }
    ));
    bench.assert_invariants();
}

#[test]
fn gateway_message_becomes_submission_on_later_event() {
    use crate::store::IngestGatewayMessages;
    let bench = StoreBench::new();
    let gateway = crate::domain::ids::GatewayName::new("shop").unwrap();
    let key = IdempotencyKey::for_gateway_message(&gateway, "m1");
    let ingest = |forms, others| {
        bench
            .store
            .execute_blocking(IngestGatewayMessages {
                gateway: gateway.clone(),
                submissions: forms,
                other_keys: others,
            })
            .unwrap()
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
    assert_eq!(
        bench
            .reopen()
            .store
            .read()
            .unwrap()
            .counts()
            .unwrap()
            .submissions,
        1
    );
}

#[test]
fn draft_belongs_to_its_customer() {
    let bench = StoreBench::new();
    let key = form("t", "{}").form_key.unwrap();
    let save = |owner: Customer, data: &str| {
        let draft = Draft {
            flow: flow(),
            flow_token: FlowToken::new("t").ok(),
            customer: owner,
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
    let draft_data = |owner: &Customer| {
        bench
            .store
            .read()
            .unwrap()
            .customer_draft(key, owner)
            .unwrap()
            .map(|draft| draft.data.to_string())
    };
    let submit = |owner: u64, data: &str| {
        let mut form = form("t", data);
        form.draft_key = Some(key);
        form.submission.customer = customer(owner);
        bench.accept(form)
    };
    save(customer(1), r#"{"name":"Ann"}"#);
    assert_eq!(draft_data(&customer(2)), None);
    save(customer(2), r#"{"name":"Bob"}"#);
    assert_eq!(
        draft_data(&customer(1)).as_deref(),
        Some(r#"{"name":"Ann"}"#)
    );
    assert_eq!(
        draft_data(&customer(2)).as_deref(),
        Some(r#"{"name":"Bob"}"#)
    );
    assert_eq!(new_submission(&submit(2, r#"{"last":2}"#)), 1);
    assert_eq!(stored_data(&bench, 1).0, json!({"name": "Bob", "last": 2}));
    assert_eq!(save(customer(2), "{}"), DraftOutcome::AlreadySubmitted);
    assert_eq!(
        save(customer(1), r#"{"more":1}"#),
        DraftOutcome::Saved,
        "another customer's form ends no draft"
    );
    assert_eq!(new_submission(&submit(1, r#"{"last":1}"#)), 2);
    assert_eq!(
        stored_data(&bench, 2).0,
        json!({"name": "Ann", "more": 1, "last": 1})
    );
    assert_eq!(
        (
            draft_data(&customer(1)),
            draft_data(&customer(2)),
            draft_data(&Customer::default())
        ),
        (None, None, None)
    );
    // Several customers use the token now, so a draft without a customer belongs to none of them.
    assert_eq!(
        save(Customer::default(), r#"{"name":"Cyd"}"#),
        DraftOutcome::TokenShared
    );
    assert_eq!(draft_data(&Customer::default()), None);
}

#[test]
fn unnamed_draft_of_shared_token_is_ignored() {
    let bench = StoreBench::new();
    let save_draft = |token: &str| {
        let flow_token = FlowToken::new(token).ok();
        let key = IdempotencyKey::for_token(&flow(), flow_token.as_ref().unwrap());
        let draft = Draft {
            flow: flow(),
            flow_token,
            customer: Customer::default(),
            screen: "B".into(),
            data: r#"{"name":"Cyd"}"#.into(),
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
            .unwrap();
        key
    };
    let submit = |token: &str, number: u64, draft_key| {
        let form = InboundSubmission {
            draft_key,
            ..message(token, number, token, r#"{"own":1}"#)
        };
        stored_data(&bench, new_submission(&bench.accept(form))).0
    };
    let key = save_draft("t");
    assert_eq!(
        submit("t", 1, Some(key)),
        json!({"name": "Cyd", "own": 1}),
        "nothing says that it is another's"
    );
    let key = save_draft("u");
    submit("u", 1, None);
    assert_eq!(submit("u", 2, Some(key)), json!({"own": 1}));
    assert_eq!(
        bench.store.read().unwrap().draft(key).unwrap(),
        None,
        "and nobody else gets it"
    );
}

#[test]
fn damaged_submission_refuses_no_other_customer_of_its_token() {
    let bench = StoreBench::new();
    for number in 1..=2 {
        new_submission(&bench.accept(message("t", number, "a", "{}")));
    }
    bench.store.close().unwrap();
    flip_row_byte(
        &Database::open(bench.path()).unwrap(),
        SUBMISSIONS.definition(),
        1,
    );
    let bench = bench.reopen();
    assert_eq!(new_submission(&bench.accept(message("t", 3, "a", "{}"))), 3);
    for number in 2..=3 {
        assert_eq!(
            bench.accept(message("t", number, "b", "{}")),
            copy_of(number),
            "copies are known"
        );
    }
}
