//! Tests of drafts, while a customer moves back and forth between screens.

use crate::domain::ids::{Customer, FlowToken};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::draft::Draft;
use crate::store::{DraftOutcome, SaveDraft};

use super::support::{START, StoreBench, flow};

#[test]
fn unnamed_screen_preserves_the_draft_customer() {
    let bench = StoreBench::new();
    let token = FlowToken::new("t").unwrap();
    let key = IdempotencyKey::for_token(&flow(), &token);
    let save = |customer: &str, data: &str| {
        let draft = Draft {
            flow: flow(),
            flow_token: Some(token.clone()),
            customer: Customer::from_text(customer),
            screen: "FIRST".into(),
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
    assert_eq!(save("16505551234", r#"{"a":1}"#), DraftOutcome::Saved);
    assert_eq!(save("", r#"{"b":2}"#), DraftOutcome::Saved);
    let stored = bench.store.read().unwrap().draft(key).unwrap().unwrap();
    assert_eq!(
        (stored.customer, &*stored.data),
        (Customer::from_text("16505551234"), r#"{"a":1,"b":2}"#)
    );
}

#[test]
fn drafts_are_read_in_bounded_slices() {
    let bench = StoreBench::new();
    let data = format!(r#"{{"a":"{}"}}"#, "x".repeat(900 << 10));
    for token in 0..7 {
        let token = FlowToken::new(&format!("t{token}")).unwrap();
        let draft = Draft {
            flow: flow(),
            flow_token: Some(token.clone()),
            customer: Customer::default(),
            screen: "FIRST".into(),
            data: data.clone().into(),
            updated_at: START,
        };
        let key = IdempotencyKey::for_token(&flow(), &token);
        bench
            .store
            .execute_blocking(SaveDraft {
                key,
                draft,
                encrypted_request_key: None,
                reject_resubmission: false,
            })
            .unwrap();
    }
    let read = |after| bench.store.read().unwrap().drafts(after, |_| true).unwrap();
    let (first, next) = read(None);
    let (second, after_last) = read(next);
    assert_eq!((first.len(), second.len(), after_last), (5, 2, None));
}
