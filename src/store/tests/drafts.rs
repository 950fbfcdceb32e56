//! Forms in the making, as a user goes forth and back.

use crate::domain::draft::Draft;
use crate::domain::ids::{Customer, FlowToken};
use crate::domain::submission::IdempotencyKey;
use crate::store::{DraftKept, KeepDraft};

use super::support::{Bench, START, flow};

#[test]
fn a_draft_stays_its_users_where_a_later_screen_does_not_say_whose_it_is() {
    let bench = Bench::new();
    let token = FlowToken::new("t").unwrap();
    let key = IdempotencyKey::of_token(&flow(), &token);
    let keep = |user: &str, data: &str| {
        let draft = Draft {
            flow: flow(),
            flow_token: Some(token.clone()),
            customer: Customer::from_text(user),
            screen: "FIRST".into(),
            data: data.into(),
            updated_at: START,
        };
        bench.store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap()
    };
    assert_eq!(keep("16505551234", r#"{"a":1}"#), DraftKept::Kept);
    assert_eq!(keep("", r#"{"b":2}"#), DraftKept::Kept);
    let kept = bench.store.read().unwrap().draft(key).unwrap().unwrap();
    assert_eq!((kept.customer, &*kept.data), (Customer::from_text("16505551234"), r#"{"a":1,"b":2}"#));
}

#[test]
fn many_drafts_are_read_a_few_megabytes_at_a_time() {
    let bench = Bench::new();
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
        let key = IdempotencyKey::of_token(&flow(), &token);
        bench.store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap();
    }
    let read = |after| bench.store.read().unwrap().drafts(after, |_| true).unwrap();
    let (first, next) = read(None);
    let (second, end) = read(next);
    assert_eq!((first.len(), second.len(), end), (5, 2, None));
}
