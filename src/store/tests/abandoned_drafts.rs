//! Tests of abandoned drafts: each emits one event until it goes on.

use serde_json::Value;

use crate::domain::ids::{Customer, FlowName};
use crate::domain::time::Millis;
use crate::store::{PurgeCursor, PurgeResult, PurgeSlice, RetentionQueue};

use super::purge_rounds::{DAY, days, purge_slice};
use super::support::{StoreBench, draft, flow, form, token_key};

const MINUTE: Millis = Millis::from_secs(60);
const HALF_HOUR: Millis = Millis::from_secs(30 * 60);
const MONTH: Millis = days(30);

fn save_draft(bench: &StoreBench, token: &str, data: &str) {
    let customer = Customer::from_text("16505551234");
    bench.save_draft(token_key(token), draft(Some(token), customer, data));
}

/// Purges one round with an abandon timeout of half an hour.
fn purge_round(bench: &StoreBench) {
    bench.purge(3, MONTH, DAY, HALF_HOUR);
}

/// Returns the answer `name` of the draft in the last event.
fn abandoned_name(bench: &StoreBench) -> Value {
    bench.last_event_data("draft.abandoned")["draft"]["answers"]["name"].take()
}

/// Purges one slice of abandoned drafts, with an abandon timeout for `flow` only.
fn purge_slice_of(bench: &StoreBench, flow: FlowName) -> PurgeResult {
    let cursor = PurgeCursor::Queue(RetentionQueue::AbandonedDrafts);
    bench.execute(PurgeSlice {
        abandon_timeouts: [(flow, MINUTE)].into_iter().collect(),
        ..purge_slice(cursor, 1000)
    })
}

#[test]
fn abandoned_draft_emits_once_until_it_goes_on() {
    let bench = StoreBench::with_subscribers();
    save_draft(&bench, "t", r#"{"name":"Ann"}"#);
    bench.clock.advance(Millis::from_secs(30 * 60 - 1));
    purge_round(&bench);
    assert_eq!(bench.event_kinds(), [""; 0], "it may go on");
    bench.clock.advance(Millis::from_secs(1));
    purge_round(&bench);
    purge_round(&bench);
    let bench = bench.reopen();
    purge_round(&bench);
    assert_eq!(bench.event_kinds(), ["draft.abandoned"]);
    assert_eq!(abandoned_name(&bench), "Ann");
    save_draft(&bench, "t", r#"{"name":"Anna"}"#);
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 1, "they came back");
    bench.clock.advance(DAY);
    purge_round(&bench);
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 2);
    assert_eq!(abandoned_name(&bench), "Anna");
    bench.assert_invariants();
}

#[test]
fn submitted_draft_clears_its_abandoned_mark() {
    let bench = StoreBench::with_subscribers();
    save_draft(&bench, "t", "{}");
    bench.clock.advance(DAY);
    purge_round(&bench);
    let mut last = form("t", "{}");
    last.draft_key = Some(token_key("t"));
    bench.accept(last);
    purge_round(&bench);
    assert_eq!(
        bench.event_kinds(),
        ["draft.abandoned", "submission.accepted"]
    );
    bench.assert_invariants();
}

#[test]
fn draft_abandoned_during_downtime_emits_before_purge() {
    let bench = StoreBench::with_subscribers();
    save_draft(&bench, "t", "{}");
    bench.clock.advance(MONTH);
    bench.clock.advance(MINUTE);
    purge_round(&bench);
    assert_eq!(bench.event_kinds(), ["draft.abandoned"]);
    assert_eq!(bench.counts().drafts, 0);
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 1);
    bench.assert_invariants();
}

#[test]
fn abandoned_drafts_are_emitted_in_bounded_slices() {
    let bench = StoreBench::with_subscribers();
    bench.subscribe(&["crm"], &[]);
    for token in 0..70 {
        save_draft(&bench, &token.to_string(), "{}");
    }
    bench.clock.advance(DAY);
    let next = purge_slice_of(&bench, flow()).next;
    assert_eq!(
        next,
        Some(PurgeCursor::Queue(RetentionQueue::AbandonedDrafts))
    );
    assert_eq!(bench.event_kinds().len(), 64, "one slice");
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 70);

    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(600 << 10));
    for token in ["u", "v", "w"] {
        save_draft(&bench, token, &large);
    }
    bench.clock.advance(DAY);
    purge_slice_of(&bench, flow());
    assert_eq!(bench.event_kinds().len(), 72);
    purge_round(&bench);
    assert_eq!(bench.event_kinds().len(), 73);
}

#[test]
fn event_without_subscriber_is_not_emitted_later() {
    let bench = StoreBench::new();
    save_draft(&bench, "t", "{}");
    bench.clock.advance(DAY);
    purge_round(&bench);
    bench.subscribe(&["crm"], &[]);
    purge_round(&bench);
    assert_eq!(bench.event_kinds(), [""; 0]);
}

#[test]
fn draft_of_removed_flow_emits_nothing() {
    let bench = StoreBench::with_subscribers();
    save_draft(&bench, "t", "{}");
    bench.clock.advance(DAY);
    purge_slice_of(&bench, FlowName::new("other").unwrap());
    assert_eq!(bench.event_kinds(), [""; 0]);
}
