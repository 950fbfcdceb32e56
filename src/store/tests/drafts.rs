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
