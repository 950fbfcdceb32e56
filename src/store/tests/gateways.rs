//! Tests of gateway sessions: history within limits, alerts with the state, each message once.

use std::collections::BTreeSet;

use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::{Subscription, Subscriptions};
use crate::domain::gateway::{GatewayAlert, GatewayKind, HistoryEntry, SessionState};
use crate::domain::ids::{DestinationName, GatewayName};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::InboundSubmission;
use crate::reloadable::Reloadable;
use crate::store::{AcceptOutcome, IngestGatewayMessages, IngestedMessages, RecordSessionState};

use super::support::{START, StoreBench, form};

fn gateway_name(text: &str) -> GatewayName {
    GatewayName::new(text).unwrap()
}

fn record_state(bench: &StoreBench, gateway: &str, entries: usize, alert: Option<GatewayAlert>) {
    let entry = |number| HistoryEntry {
        at: START,
        state: "close".into(),
        action: None,
        detail: format!("{number}").into(),
    };
    bench.execute(RecordSessionState {
        gateway: gateway_name(gateway),
        state: SessionState::unprobed(GatewayKind::Evolution, START),
        history: (0..entries).map(entry).collect(),
        alerts: alert.into_iter().collect(),
    });
}

fn history(bench: &StoreBench, gateway: &str) -> Vec<String> {
    let read = bench.read();
    let entries = read
        .gateway_history(&gateway_name(gateway), 10_000)
        .unwrap()
        .into_iter();
    entries
        .map(|(_, entry)| entry.unwrap().detail.into())
        .collect()
}

fn ingest(
    bench: &StoreBench,
    gateway: &str,
    form_id: Option<&str>,
    others: &[&str],
) -> IngestedMessages {
    let key = |id: &str| IdempotencyKey::for_gateway_message(&gateway_name(gateway), id);
    let text = |id| InboundSubmission {
        form_key: None,
        message_key: Some(key(id)),
        ..form(id, "{}")
    };
    bench.execute(IngestGatewayMessages {
        gateway: gateway_name(gateway),
        submissions: form_id.map(text).into_iter().collect(),
        other_keys: others.iter().map(|id| key(id)).collect(),
    })
}

#[test]
fn gateway_history_is_bounded_per_gateway() {
    let bench = StoreBench::new();
    record_state(&bench, "a", 1500, None);
    record_state(&bench, "b", 3, None);
    record_state(&bench, "a", 1, None);
    let a = history(&bench, "a");
    assert_eq!(
        (a.len(), a[0].as_str(), a[1].as_str(), a[999].as_str()),
        (1000, "0", "1499", "501")
    );
    assert_eq!(history(&bench, "b"), ["2", "1", "0"]);
    bench.assert_invariants();
    let bench = bench.reopen();
    let states = bench.read().session_states().unwrap().into_iter();
    let names: Vec<_> = states.map(|(name, _)| name).collect();
    assert_eq!(names, [gateway_name("a"), gateway_name("b")]);
}

#[test]
fn gateway_alert_carries_its_session_state() {
    let to = DestinationName::new("ops").unwrap();
    let alerts = vec![Subscription {
        destination: to.clone(),
        events: BTreeSet::from([EventKind::GatewayDown]),
    }];
    let bench = StoreBench::with_options(|options| {
        options.subscriptions = Reloadable::new(Subscriptions {
            alerts,
            ..Subscriptions::default()
        });
    });
    record_state(&bench, "a", 0, Some(GatewayAlert::NeedsPerson));
    record_state(&bench, "a", 0, Some(GatewayAlert::Down));
    let read = bench.read();
    let due = read.due_deliveries(&to, START, 10).unwrap();
    assert_eq!(due.len(), 1, "no delivery for the other kind");
    let body = read.pending_delivery(due[0]).unwrap().unwrap().body;
    for part in [
        r#""type":"gateway.down""#,
        r#""name":"a","kind":"evolution""#,
    ] {
        assert!(body.contains(part), "{body}");
    }
}

#[test]
fn gateway_message_is_deduplicated_by_gateway_and_id() {
    let bench = StoreBench::new();
    let ingested = ingest(&bench, "a", Some("f"), &["m", "n", "m"]);
    assert!(matches!(ingested.outcomes[..], [AcceptOutcome::New { .. }]));
    assert_eq!(ingested.new_messages, 2);
    let ingested = ingest(&bench, "a", Some("f"), &["m"]);
    assert!(matches!(
        ingested.outcomes[..],
        [AcceptOutcome::Duplicate { original: Some(_) }]
    ));
    assert_eq!(ingested.new_messages, 0);
    let of_other = ingest(&bench, "b", Some("f"), &[]);
    assert!(matches!(of_other.outcomes[..], [AcceptOutcome::New { .. }]));
    let last_seen = |name: &str| bench.read().gateway_last_seen(&gateway_name(name)).unwrap();
    assert_eq!(last_seen("a"), Some(START));
    assert_eq!(last_seen("c"), None);
    bench.assert_invariants();
}
