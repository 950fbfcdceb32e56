//! A token that several customers use, under retention, crowding, claims in any order and damaged rows.

use serde_json::json;

use crate::domain::draft::Draft;
use crate::domain::ids::{Customer, FlowToken};
use crate::store::{DraftKept, KeepDraft};

use super::customers::{copy_of, customer, data, message, new};
use super::support::{Bench, START, flow, form};

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
