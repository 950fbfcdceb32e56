//! Tests timelines and customers: ambiguous numbers, known names, and the limit of a search.

use serde_json::json;

use super::support::{AdminHarness, flow};
use crate::admin::{AdminQuery, CustomerFilter, ErrorCode, SearchLimits};
use crate::domain::ids::Customer;
use crate::domain::submission::inbound::InboundSubmission;

const ALL: SearchLimits = SearchLimits { rows: 0, scan: 0 };

fn accept_from(harness: &AdminHarness, token: &str, id: Option<&str>, phone: Option<&str>) {
    let mut form = InboundSubmission::plain(&flow(), token, "{\"name\":\"Ann\"}");
    form.submission.customer = Customer::new(id, phone);
    harness.accept_form(form);
}

fn customer(name: &str) -> AdminQuery {
    AdminQuery::Customer {
        name: name.to_owned(),
        limits: ALL,
    }
}

#[test]
fn forms_under_each_name_belong_to_one_customer() {
    let harness = AdminHarness::new();
    accept_from(&harness, "a", Some("DE.1"), None);
    accept_from(&harness, "b", Some("DE.1"), Some("491511234567"));
    accept_from(&harness, "c", None, Some("491511234567"));
    accept_from(&harness, "d", Some("DE.2"), None);
    for name in ["DE.1", "+49 151 1234567"] {
        let row = harness.row(customer(name));
        let ids: Vec<_> = row["submissions"].as_array().unwrap().iter().collect();
        let ids: Vec<_> = ids.iter().map(|row| row["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, [3, 2, 1], "{name}");
        assert_eq!(row["known_as"], json!(["DE.1", "491511234567"]), "{name}");
    }
    harness.assert_error(customer("DE.9"), ErrorCode::NotFound, "customers find");
}

#[test]
fn number_of_two_customers_is_ambiguous() {
    let harness = AdminHarness::new();
    accept_from(&harness, "a", Some("DE.1"), Some("491511234567"));
    accept_from(&harness, "b", Some("DE.2"), Some("491511234567"));
    let names = "2 customers: show one by its ID: DE.2, DE.1";
    harness.assert_error(customer("+491511234567"), ErrorCode::Invalid, names);
    let row = harness.row(customer("DE.1"));
    assert_eq!(row["customer"], "DE.1");
    let listed = harness.rows(AdminQuery::Customers(CustomerFilter {
        text: Some("1234567".to_owned()),
        flow: None,
        since: None,
        limits: ALL,
    }));
    assert_eq!(listed.unwrap().len(), 2);
}

#[test]
fn search_names_its_limit() {
    let harness = AdminHarness::new();
    harness.accept_many(0..5001);
    accept_from(&harness, "a", Some("DE.1"), None);
    let first = AdminQuery::Trace {
        text: "token:t0".to_owned(),
        limits: SearchLimits {
            rows: 10,
            scan: 5000,
        },
    };
    let limit = "the search ended after 5000 rows of submissions: `--scan 0` searches all";
    harness.assert_error(first, ErrorCode::Failed, limit);
    let all = AdminQuery::Trace {
        text: "token:t0".to_owned(),
        limits: ALL,
    };
    let rows = harness.rows(all).unwrap();
    assert!(rows.iter().all(|row| row["submission_id"] == 1), "{rows:?}");
}

#[test]
fn number_shows_all_its_meanings() {
    let harness = AdminHarness::new();
    harness.add_agent("Ann", None);
    harness.accept("a");
    harness.accept_and_finish("b");
    let trace = |text: &str| {
        let rows = harness.rows(AdminQuery::Trace {
            text: text.to_owned(),
            limits: ALL,
        });
        let rows = rows.unwrap();
        let mut subjects: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {}", row["subject"], row["meanings"]))
            .collect();
        subjects.dedup();
        subjects
    };
    let one = "\"submission 1\" [\"job 1\"]";
    let two = "\"submission 2\" [\"lead 1\"]";
    assert_eq!(trace("1"), [one, two]);
    assert_eq!(trace("lead:1"), [two]);
}
