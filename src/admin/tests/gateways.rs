//! Tests requests about gateways on the file of a stopped server.

use serde_json::json;

use super::support::{AdminHarness, START, assert_contains, assert_fields};
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
    let standing = SessionState::unprobed(GatewayKind::Waha, START);
    let entries = vec![entry("first"), entry("second")];
    harness.execute(RecordSessionState {
        gateway: name(gateway),
        state: standing,
        history: entries,
        alerts: Vec::new(),
    });
}

#[test]
fn unreadable_gateway_row_hides_no_other() {
    let harness = AdminHarness::new();
    for gateway in ["a", "b"] {
        record_history(&harness, gateway);
    }
    harness.execute(CorruptGateway {
        gateway: name("a"),
        line: None,
    });
    harness.execute(CorruptGateway {
        gateway: name("b"),
        line: Some(1),
    });

    let list = harness.rows(AdminQuery::Gateways).unwrap();
    assert_fields(&list[0], &json!({"name": "a", "state": "unreadable"}));
    assert_contains(list[0]["error"].as_str().unwrap(), "table gateway_sessions");
    assert_fields(&list[1], &json!({"name": "b", "state": "unknown"}));

    let one = harness.row(AdminQuery::Gateway { name: name("a") });
    assert_eq!(one["state"], "unreadable");
    assert_eq!(one["history"][0]["detail"], "second");
    let other = harness.row(AdminQuery::Gateway { name: name("b") });
    assert_eq!(other["state"], "unknown");
    assert_eq!(other["history"][0]["detail"], "second");
    let line = &other["history"][1];
    assert_fields(line, &json!({"number": 1, "state": "unreadable"}));
    assert_contains(line["error"].as_str().unwrap(), "table gateway_history");
}
