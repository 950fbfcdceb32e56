//! Tests of drafts, while a customer moves back and forth between screens.

use crate::domain::ids::Customer;
use crate::store::DraftOutcome;

use super::support::{StoreBench, draft, token_key};

#[test]
fn unnamed_screen_preserves_the_draft_customer() {
    let bench = StoreBench::new();
    let key = token_key("t");
    let save = |customer: &str, data: &str| {
        let customer = Customer::from_text(customer);
        bench.save_draft(key, draft(Some("t"), customer, data))
    };
    assert_eq!(save("16505551234", r#"{"a":1}"#), DraftOutcome::Saved);
    assert_eq!(save("", r#"{"b":2}"#), DraftOutcome::Saved);
    let stored = bench.read().draft(key).unwrap().unwrap();
    assert_eq!(stored.customer, Customer::from_text("16505551234"));
    assert_eq!(&*stored.data, r#"{"a":1,"b":2}"#);
}

#[test]
fn drafts_are_read_in_bounded_slices() {
    let bench = StoreBench::new();
    let data = format!(r#"{{"a":"{}"}}"#, "x".repeat(900 << 10));
    for token in 0..7 {
        let token = format!("t{token}");
        let large = draft(Some(&token), Customer::default(), &data);
        bench.save_draft(token_key(&token), large);
    }
    let read = |after| bench.read().drafts(after, |_| true).unwrap();
    let (first, next) = read(None);
    let (second, after_last) = read(next);
    assert_eq!((first.len(), second.len(), after_last), (5, 2, None));
}
