//! Tests that compare emitted events with `docs/events/`.
//!
//! The folder has a schema for each kind of event. Its README has an example of each, which must
//! equal the body that the steps of this test produce.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::domain::booking::calendar::{Calendar, CalendarSpec};
use crate::domain::event::EventKind;
use crate::domain::gateway::{GatewayAlert, GatewayKind, SessionHealth, SessionState};
use crate::domain::health::assessment::{Assessment, Severity};
use crate::domain::health::meta_event::HealthEvent;
use crate::domain::health::number_traffic::tests::{ObservedNumber, office_hours};
use crate::domain::ids::{Customer, GatewayName};
use crate::domain::job::retry::RetryDecision;
use crate::domain::submission::SubmissionChannel;
use crate::domain::submission::draft::Draft;
use crate::domain::submission::inbound::InboundSubmission;
use crate::store::RecordBackupAlerts;
use crate::store::{
    AcceptOutcome, CancelBooking, IngestWebhook, MoveBooking, RecordHealth, RecordSessionState,
    RecordTraffic,
};

use super::booking_forms::{booking_form, calendar_spec};
use super::purge_rounds::DAY;
use super::support::{START, StoreBench, draft, flow, token_key, webhook_form};

fn schema_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events")
}

/// Schema of one kind, with the parts that all schemas share.
fn schema(kind: &str) -> Validator {
    let file = schema_folder().join(format!("{kind}.schema.json"));
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let schema: Value = serde_json::from_str(&text).unwrap();
    let options = jsonschema::options().with_base_uri(format!("file://{}", file.display()));
    options
        .should_validate_formats(true)
        .build(&schema)
        .unwrap_or_else(|error| panic!("{kind}: {error}"))
}

fn chair_calendar() -> Arc<Calendar> {
    let calendar = Calendar::new(CalendarSpec {
        time_zone: jiff::tz::TimeZone::get("Europe/Berlin").unwrap(),
        ..calendar_spec("chair")
    });
    Arc::new(calendar.unwrap())
}

/// Form that requests nine o'clock on the next day, whether the slot is available or not.
fn chair_form(calendar: &Arc<Calendar>, token: &str) -> InboundSubmission {
    let data = r#"{"name":"Ann","date":"2026-11-25","time":"09:00"}"#;
    let mut form = InboundSubmission {
        allows_new_choice: false,
        ..booking_form(calendar, token, data)
    };
    form.submission.channel = SubmissionChannel::Encrypted;
    form.submission.customer = Customer::default();
    form
}

/// Performs all steps that emit events. Each kind of event is emitted once before any kind is
/// emitted again.
fn emit_every_event() -> Vec<(EventKind, Value)> {
    let (bench, calendar) = (StoreBench::new(), chair_calendar());
    bench.subscribe(&["crm"], &["ops"]);
    // A form with a booking. Its customer becomes known later. Its lead waits and then gets an
    // agent, who closes it. The booking is moved and then cancelled.
    let accepted = bench.accept(chair_form(&calendar, "wa-7f3a"));
    let AcceptOutcome::New {
        job_id,
        booking_id: Some(booking_id),
        ..
    } = accepted
    else {
        panic!("{accepted:?}")
    };
    let mut message = webhook_form("wa-7f3a", "wamid.HBgL", r#"{"name":"Ann"}"#);
    message.submission.customer = Customer::from_text("4915112345678");
    bench.accept(message);
    bench.finish_job(job_id);
    bench.add_agent("maria", None);
    bench.close_lead(1);
    bench.execute(MoveBooking {
        booking_id,
        calendar: Arc::clone(&calendar),
        date: jiff::civil::date(2026, 11, 26),
        time: jiff::civil::time(10, 0, 0, 0),
    });
    bench.execute(CancelBooking { booking_id });
    // A form with a booking, and a form with a conflict over the same slot.
    bench.accept(chair_form(&calendar, "wa-81bc"));
    let job = bench.accept_job(chair_form(&calendar, "wa-9d02"));
    // An abandoned draft.
    let answers = r#"{"name":"Tom","service":"cut"}"#;
    let abandoned = Draft {
        screen: "DATE".into(),
        ..draft(Some("wa-c4e1"), Customer::default(), answers)
    };
    bench.save_draft(token_key("wa-c4e1"), abandoned);
    bench.clock.advance(DAY);
    bench.purge_round();
    record_unhealthy(&bench);
    // A delivery that becomes a dead letter, a destination that disables itself, and a form and a
    // message that become dead letters.
    let deliveries = bench.delivery_ids();
    let gone = Some("the destination responded with 410 Gone");
    bench.record_attempt(deliveries[0], Some(RetryDecision::GiveUp), None);
    bench.record_attempt(deliveries[1], Some(RetryDecision::GiveUp), gone);
    bench.fail_job(job, "no", RetryDecision::GiveUp);
    bench.accept_unparsable("wamid.odd");
    for (state, health, alert) in [
        ("STOPPED", SessionHealth::Down, GatewayAlert::Down),
        (
            "SCAN_QR_CODE",
            SessionHealth::NeedsPerson,
            GatewayAlert::NeedsPerson,
        ),
    ] {
        bench.execute(RecordSessionState {
            gateway: GatewayName::new("office").unwrap(),
            state: SessionState {
                state: state.into(),
                health,
                ..SessionState::unprobed(GatewayKind::Waha, START)
            },
            history: Vec::new(),
            alerts: vec![alert],
        });
    }
    bench.execute(RecordBackupAlerts {
        reason: Some("the backup to s3://shop is late (can't write s3://shop/log: timeout): if this machine is lost now, the last 75 s are lost"
            .to_owned()),
        alerted: Vec::new(),
    });
    bench.assert_invariants();
    let events = bench.events().into_iter();
    events
        .map(|event| (event.kind, serde_json::from_str(&event.body).unwrap()))
        .collect()
}

/// Records a health alert of the endpoint by our own measurement, and one by Meta.
fn record_unhealthy(bench: &StoreBench) {
    let assessment = Assessment {
        severity: Severity::Alert,
        findings: vec!["error rate of 12.5 % is over Meta's threshold of 10 %".to_owned()],
        suggestion: "`flowgate keys check` shows for which phone number Meta has a different key"
            .to_owned(),
    };
    let flow = flow();
    bench.execute(RecordHealth { flow, assessment });
    let mut number = ObservedNumber::new();
    number.observe(4 * 7 * 24 * 60, office_hours);
    number.observe(10 * 60, |_| false);
    bench.execute(RecordTraffic {
        numbers: vec![("106540352242922".into(), number.traffic)],
        removed: Vec::new(),
    });
    let meta_event =
        |name, value: Value| HealthEvent::new(Some(START), name, "17", &value.to_string());
    let events = vec![
        meta_event(
            "ENDPOINT_LATENCY",
            json!({"alert_state": "ACTIVATED", "threshold": 5000, "message": "It is slow"}),
        ),
        meta_event("FLOW_STATUS_CHANGE", json!({"new_status": "BLOCKED"})),
        meta_event(
            "FLOW_VERSION_EXPIRY_WARNING",
            json!({"warning": "version 3.0 expires soon"}),
        ),
    ];
    bench.execute(IngestWebhook {
        health_events: events,
        ..IngestWebhook::default()
    });
}

#[test]
fn emitted_events_match_their_schemas() {
    let events = emit_every_event();
    for (kind, body) in &events {
        let schema = schema(kind.as_str());
        let wrong: Vec<_> = schema
            .iter_errors(body)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert_eq!(wrong, [""; 0], "{kind}: {body}");
        // The schema must require at least one part of the data.
        let parts: Vec<String> = body["data"].as_object().unwrap().keys().cloned().collect();
        let is_needed = |part: &String| {
            let mut less = body.clone();
            less["data"].as_object_mut().unwrap().remove(part);
            !schema.is_valid(&less)
        };
        assert!(
            parts.iter().any(is_needed),
            "{kind} needs none of {parts:?}"
        );
    }
    let emitted: BTreeSet<_> = events.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(emitted, EventKind::ALL.into(), "each kind was emitted");
}

#[test]
fn every_event_kind_has_one_schema() {
    let names = fs::read_dir(schema_folder()).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".schema.json").map(str::to_owned)
    });
    let mut described: BTreeSet<String> = names.flatten().collect();
    assert!(described.remove("parts"));
    let kinds = EventKind::ALL.map(|kind| kind.as_str().to_owned());
    let kinds = BTreeSet::from(kinds);
    assert_eq!(described, kinds);
    for kind in kinds {
        let other = json!({
            "type": "other.kind",
            "timestamp": "2026-11-24T08:00:00.000Z",
            "version": 1,
            "data": {},
        });
        assert!(
            !schema(&kind).is_valid(&other),
            "{kind} differs from the others"
        );
    }
}

#[test]
fn readme_examples_match_emitted_events() {
    let readme = fs::read_to_string(schema_folder().join("README.md")).unwrap();
    let (mut shown, mut missing) = (BTreeSet::new(), Vec::new());
    for (kind, body) in emit_every_event() {
        let has_chapter = readme.contains(&format!("\n### `{kind}`\n"));
        assert!(has_chapter, "{kind} has no chapter");
        let json = serde_json::to_string_pretty(&body).unwrap();
        let example = format!("```json\n{json}\n```");
        if shown.insert(kind) && !readme.contains(&example) {
            missing.push(format!("EXAMPLE {kind}\n{example}"));
        }
    }
    assert!(
        missing.is_empty(),
        "docs/events/README.md does not show what is sent:\n{}",
        missing.join("\n")
    );
}
