//! Tests each role against each request.

use serde::Deserialize;
use serde_json::{Value, json};

use super::support::AdminHarness;
use crate::admin::{
    AdminCommand, AdminError, AdminQuery, AdminRequest, AuditFilter, ErrorCode, ServerCommand,
};
use crate::domain::access::{AccountPrincipal, Principal, Role};
use crate::domain::ids::{AccountName, AgentName};

fn account(role: Role, agent: Option<&str>) -> Principal {
    Principal::Account(AccountPrincipal {
        name: AccountName::new("ann").unwrap(),
        role,
        agent: agent.map(|name| AgentName::new(name).unwrap()),
    })
}

fn parse(request: &Value) -> AdminRequest {
    let mut fields = request.as_object().unwrap().clone();
    let name = fields.remove("request").unwrap();
    let with_fields = json!({name.as_str().unwrap(): fields});
    let forms = [name, with_fields];
    let queries = forms
        .iter()
        .find_map(|form| AdminQuery::deserialize(form).ok());
    let commands = forms
        .iter()
        .find_map(|form| AdminCommand::deserialize(form).ok());
    let server = forms
        .iter()
        .find_map(|form| ServerCommand::deserialize(form).ok());
    let found = [
        queries.map(AdminRequest::from),
        commands.map(AdminRequest::from),
        server.map(AdminRequest::from),
    ];
    let mut found = found.into_iter().flatten();
    found.next().unwrap_or_else(|| panic!("{request}"))
}

fn send(
    harness: &AdminHarness,
    principal: &Principal,
    request: &Value,
) -> Result<Vec<Value>, AdminError> {
    let request = parse(request);
    let mut rows = Vec::new();
    harness.handler.handle(principal, request, &mut |row| {
        rows.push(row);
        true
    })?;
    Ok(rows)
}

fn is_forbidden<T>(result: Result<T, AdminError>) -> bool {
    result.is_err_and(|error| error.code == ErrorCode::Forbidden)
}

/// Request, and `true` for a viewer and for an agent if the role allows it.
#[expect(clippy::too_many_lines, reason = "one line for each request")]
fn requests() -> Vec<(Value, bool, bool)> {
    let limits = json!({"rows": 0, "scan": 0});
    let list = json!({"limit": 0});
    let named = |request: &str, fields: &Value| {
        let mut object = fields.clone();
        object["request"] = request.into();
        object
    };
    let job = json!({"one": {"id": 1, "payload": null}});
    let mut all = Vec::new();
    let mut add = |request: &str, fields: &Value, viewer, agent| {
        all.push((named(request, fields), viewer, agent));
    };
    let none = json!({});
    let id = json!({"id": 1});
    for request in [
        "status",
        "destinations",
        "flows",
        "gateways",
        "accounts",
        "check_integrity",
    ] {
        add(request, &none, true, false);
    }
    for request in [
        "submissions",
        "drafts",
        "jobs",
        "dead_letters",
        "deliveries",
        "flow_errors",
        "audit_log",
    ] {
        add(request, &list, true, false);
    }
    for request in ["job", "dead_letter", "delivery"] {
        add(request, &id, true, false);
    }
    for request in ["lead", "booking", "submission"] {
        add(request, &id, true, true);
    }
    for request in ["leads", "agents", "bookings", "slots"] {
        add(request, &list, true, true);
    }
    add("calendars", &none, true, true);
    add("copy_data", &none, false, false);
    add(
        "trace",
        &json!({"text": "x", "limits": limits}),
        true,
        false,
    );
    add(
        "customer",
        &json!({"name": "x", "limits": limits}),
        true,
        false,
    );
    add("customers", &json!({"limits": limits}), true, false);
    add("flow_health", &none, true, false);
    add("gateway", &json!({"name": "x"}), true, false);
    for request in [
        "retry_dead_letters",
        "discard_dead_letters",
        "discard_deliveries",
    ] {
        add(request, &job, false, false);
    }
    for request in [
        "pause_destination",
        "resume_destination",
        "remove_agent",
        "remove_account",
        "reset_account",
        "sign_out_accounts",
        "restart_gateway",
        "test_destination",
    ] {
        add(request, &json!({"name": "x"}), false, false);
    }
    for request in ["pause_agent", "resume_agent"] {
        add(request, &json!({"name": "Zoe"}), false, true);
    }
    add("close_lead", &id, false, true);
    add("close_leads", &json!({"dry_run": true}), false, false);
    add(
        "assign_lead",
        &json!({"id": 1, "agent": "Zoe"}),
        false,
        false,
    );
    add(
        "add_agent",
        &json!({"name": "x", "team": "x", "settings": {}}),
        false,
        false,
    );
    add(
        "set_agent",
        &json!({"name": "Zoe", "settings": {}}),
        false,
        false,
    );
    let absence = json!({"name": "Zoe", "from": "2026-12-01", "to": "2026-12-02"});
    add("set_agent_absence", &absence, false, false);
    add(
        "import_agents",
        &json!({"agents": [], "dry_run": true}),
        false,
        false,
    );
    let forms = json!({"flow": "visit", "books": false, "rows": [], "dry_run": true});
    add("import_forms", &forms, false, false);
    for request in ["create_feed", "revoke_feed"] {
        add(request, &json!({"target": {"agent": "Zoe"}}), false, false);
    }
    add(
        "invite_account",
        &json!({"name": "x", "role": "owner"}),
        false,
        false,
    );
    add(
        "set_account_role",
        &json!({"name": "ann", "role": "owner"}),
        false,
        false,
    );
    add("cancel_booking", &id, false, false);
    let slot = json!({"id": 1, "date": "2026-12-01", "time": "10:00"});
    add("move_booking", &slot, false, false);
    add("sign_body", &json!({"body": ""}), false, false);
    add("flow_public_key", &json!({"flow": "x"}), false, false);
    for request in ["log_level", "reload_config", "promote"] {
        add(request, &none, false, false);
    }
    all
}

#[test]
fn each_role_may_send_its_requests_only() {
    let harness = AdminHarness::new();
    harness.add_agent("Zoe", None);
    let viewer = account(Role::Viewer, None);
    let agent = account(Role::Agent, Some("Zoe"));
    let without_agent = account(Role::Agent, None);
    for (request, viewer_may, agent_may) in requests() {
        let refused = |principal| is_forbidden(send(&harness, principal, &request));
        assert_eq!(!refused(&viewer), viewer_may, "viewer: {request}");
        assert_eq!(!refused(&agent), agent_may, "agent: {request}");
        assert!(refused(&without_agent), "{request}");
        assert!(!refused(&account(Role::Owner, None)), "owner: {request}");
    }
}

#[test]
fn agent_sees_and_closes_own_leads_only() {
    let harness = AdminHarness::new();
    harness.add_agent("Zoe", Some(1));
    harness.accept_and_finish("a");
    harness.add_agent("Ben", None);
    harness.accept_and_finish("b");
    let [zoe, ben] = ["Zoe", "Ben"].map(|name| account(Role::Agent, Some(name)));
    let list = json!({"request": "leads", "limit": 0});
    let own = send(&harness, &zoe, &list).unwrap();
    assert_eq!(own.len(), 1, "{own:?}");
    let id = own[0]["id"].clone();
    let stolen = json!({"request": "leads", "limit": 0, "agent": "Zoe"});
    let unknown = send(&harness, &ben, &stolen).unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
    for request in ["lead", "close_lead"] {
        let theirs = json!({"request": request, "id": id});
        let missing = json!({"request": request, "id": 999});
        let hidden = send(&harness, &ben, &theirs).unwrap_err();
        let absent = send(&harness, &ben, &missing).unwrap_err();
        let text = absent.message.replace("999", &id.to_string());
        assert_eq!((hidden.code, hidden.message), (absent.code, text));
        send(&harness, &zoe, &theirs).unwrap();
    }
    let pause = json!({"request": "pause_agent", "name": "Zoe"});
    assert_eq!(
        send(&harness, &ben, &pause).unwrap_err().code,
        ErrorCode::NotFound
    );
    let submission = json!({"request": "submission", "id": 1});
    send(&harness, &zoe, &submission).unwrap();
    assert!(send(&harness, &ben, &submission).is_err());
}

#[test]
fn every_change_is_in_the_audit_log() {
    let harness = AdminHarness::new();
    harness.add_agent("Zoe", None);
    let changes: Vec<_> = requests()
        .into_iter()
        .filter(|(request, _, _)| !matches!(parse(request), AdminRequest::Query(_)))
        .collect();
    let viewer = account(Role::Viewer, None);
    for (request, _, _) in &changes {
        let _ = send(&harness, &Principal::Shell, request);
        let _ = send(&harness, &viewer, request);
        let newest = harness
            .rows(AdminQuery::AuditLog(AuditFilter {
                limit: 2,
                ..AuditFilter::default()
            }))
            .unwrap();
        assert_eq!(newest[0]["request"], request["request"]);
        assert_eq!(
            (&newest[0]["by"], &newest[0]["outcome"]),
            (&json!("ann"), &json!("forbidden"))
        );
        assert_eq!(
            (&newest[1]["request"], &newest[1]["by"]),
            (&request["request"], &json!("shell"))
        );
        assert_ne!(newest[1]["outcome"], "started");
    }
    let by_ann = AuditFilter {
        by: Some("ann".to_owned()),
        ..AuditFilter::default()
    };
    let rows = harness.rows(AdminQuery::AuditLog(by_ann)).unwrap();
    assert_eq!(rows.len(), changes.len());
}
