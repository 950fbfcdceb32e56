//! Tests requests about gateways on the file of a stopped server.

use serde_json::json;

use super::support::{AdminHarness, START};
use crate::admin::AdminRequest;
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
    harness
        .store
        .execute_blocking(RecordSessionState {
            gateway: name(gateway),
            state: standing,
            history: entries,
            alerts: Vec::new(),
        })
        .unwrap();
}

#[test]
fn unreadable_gateway_row_hides_no_other() {
    let harness = AdminHarness::new();
    for gateway in ["a", "b"] {
        record_history(&harness, gateway);
    }
    harness
        .store
        .execute_blocking(CorruptGateway {
            gateway: name("a"),
            line: None,
        })
        .unwrap();
    harness
        .store
        .execute_blocking(CorruptGateway {
            gateway: name("b"),
            line: Some(1),
        })
        .unwrap();

    let list = harness.rows(AdminRequest::Gateways).unwrap();
    assert_eq!(
        (&list[0]["name"], &list[0]["state"]),
        (&json!("a"), &json!("unreadable"))
    );
    assert!(
        list[0]["error"]
            .as_str()
            .unwrap()
            .contains("table gateway_sessions"),
        "{}",
        list[0]
    );
    assert_eq!(
        (&list[1]["name"], &list[1]["state"]),
        (&json!("b"), &json!("unknown"))
    );

    let one = harness.row(AdminRequest::Gateway { name: name("a") });
    assert_eq!(
        (&one["state"], &one["history"][0]["detail"]),
        (&json!("unreadable"), &json!("second"))
    );
    let other = harness.row(AdminRequest::Gateway { name: name("b") });
    assert_eq!(
        (&other["state"], &other["history"][0]["detail"]),
        (&json!("unknown"), &json!("second"))
    );
    let line = &other["history"][1];
    assert_eq!(
        (&line["number"], &line["state"]),
        (&json!(1), &json!("unreadable"))
    );
    assert!(
        line["error"]
            .as_str()
            .unwrap()
            .contains("table gateway_history"),
        "{line}"
    );
}
