//! Tests of the drafts of a shared token: each customer continues their own draft.

use serde_json::json;

use crate::domain::ids::Customer;
use crate::domain::submission::inbound::InboundSubmission;
use crate::store::DraftOutcome;

use super::customer_forms::{customer, form_of, message, stored_data};
use super::support::{StoreBench, draft, token_key};

#[test]
fn draft_belongs_to_its_customer() {
    let bench = StoreBench::new();
    let key = token_key("t");
    let save = |owner: Customer, data: &str| bench.save_draft(key, draft(Some("t"), owner, data));
    let draft_data = |owner: &Customer| {
        let draft = bench.read().customer_draft(key, owner).unwrap();
        draft.map(|draft| draft.data.to_string())
    };
    let submit = |owner: u64, data: &str| {
        bench.accept_submission(InboundSubmission {
            draft_key: Some(key),
            ..form_of("t", owner, data)
        })
    };
    save(customer(1), r#"{"name":"Ann"}"#);
    assert_eq!(draft_data(&customer(2)), None);
    save(customer(2), r#"{"name":"Bob"}"#);
    for (owner, data) in [(1, r#"{"name":"Ann"}"#), (2, r#"{"name":"Bob"}"#)] {
        assert_eq!(draft_data(&customer(owner)).as_deref(), Some(data));
    }
    assert_eq!(submit(2, r#"{"last":2}"#), 1);
    assert_eq!(stored_data(&bench, 1).0, json!({"name": "Bob", "last": 2}));
    assert_eq!(save(customer(2), "{}"), DraftOutcome::AlreadySubmitted);
    assert_eq!(
        save(customer(1), r#"{"more":1}"#),
        DraftOutcome::Saved,
        "another customer's form ends no draft"
    );
    assert_eq!(submit(1, r#"{"last":1}"#), 2);
    assert_eq!(
        stored_data(&bench, 2).0,
        json!({"name": "Ann", "more": 1, "last": 1})
    );
    for owner in [customer(1), customer(2), Customer::default()] {
        assert_eq!(draft_data(&owner), None);
    }
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
        let unnamed = draft(Some(token), Customer::default(), r#"{"name":"Cyd"}"#);
        bench.save_draft(token_key(token), unnamed);
        token_key(token)
    };
    let submit = |token: &str, number: u64, draft_key| {
        let form = InboundSubmission {
            draft_key,
            ..message(token, number, token, r#"{"own":1}"#)
        };
        stored_data(&bench, bench.accept_submission(form)).0
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
        bench.read().draft(key).unwrap(),
        None,
        "and nobody else gets it"
    );
}
