//! Tests requests about gateways on the file of a stopped server.

use serde_json::json;

use super::support::{AdminHarness, START, assert_fields, assert_unreadable};
use crate::admin::AdminQuery;
use crate::domain::gateway::{GatewayKind, HistoryEntry, SessionState};
use crate::domain::ids::GatewayName;
use crate::store::RecordSessionState;
use crate::store::tests::corruptions::CorruptGateway;

fn name(text: &str) -> GatewayName {
    GatewayName::new(text).unwrap()
}

/// Stores a gateway with two history entries.
fn record_history(harness: &AdminHarness, gateway: &str) {
    let entry = |detail: &str| HistoryEntry {
        at: START,
        state: "close".into(),
        action: None,
        detail: detail.into(),
    };
    harness.execute(RecordSessionState {
        gateway: name(gateway),
        state: SessionState::unprobed(GatewayKind::Waha, START),
        history: vec![entry("first"), entry("second")],
        alerts: Vec::new(),
    });
}

#[test]
fn unreadable_gateway_row_hides_no_other() {
    let harness = AdminHarness::new();
    for (gateway, line) in [("a", None), ("b", Some(1))] {
        record_history(&harness, gateway);
        let gateway = name(gateway);
        harness.execute(CorruptGateway { gateway, line });
    }

    let list = harness.rows(AdminQuery::Gateways).unwrap();
    assert_unreadable(&list[0], &json!({"name": "a"}), "table gateway_sessions");
    assert_fields(&list[1], &json!({"name": "b", "state": "unknown"}));

    let one = harness.row(AdminQuery::Gateway { name: name("a") });
    assert_eq!(one["state"], "unreadable");
    assert_eq!(one["history"][0]["detail"], "second");
    let other = harness.row(AdminQuery::Gateway { name: name("b") });
    assert_eq!(other["state"], "unknown");
    assert_eq!(other["history"][0]["detail"], "second");
    let line = &other["history"][1];
    assert_unreadable(line, &json!({"number": 1}), "table gateway_history");
}
