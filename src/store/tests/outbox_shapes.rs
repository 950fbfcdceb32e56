//! What is really sent, held against what `docs/events/` says of it: a schema for each kind of event, and an example in its
//! README, which is the body that the story here leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::domain::arrival::{Asks, Form};
use crate::domain::booking_rule::BookingRule;
use crate::domain::calendar::{Calendar, CalendarSpec, Span};
use crate::domain::draft::Draft;
use crate::domain::event::EventKind;
use crate::domain::gateway::{Alert, Condition, GatewayKind, Standing};
use crate::domain::health_event::HealthEvent;
use crate::domain::ids::{BookingId, CalendarName, Customer, FlowToken, GatewayName};
use crate::domain::retry::Verdict as Next;
use crate::domain::submission::{Channel, IdempotencyKey};
use crate::domain::time::Millis;
use crate::domain::traffic::tests::{Watched, office};
use crate::domain::verdict::{Judgement, Verdict};
use crate::store::{
    Accepted, CancelBooking, Fail, KeepDraft, MoveBooking, NoteGateway, NoteHealth, NoteTraffic, Receive,
};

use super::support::{Bench, START, attempt, by_webhook, flow, form};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events")
}

/// The schema of one kind, with the parts that it shares with the others.
fn schema(kind: &str) -> Validator {
    let file = folder().join(format!("{kind}.schema.json"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let schema: Value = serde_json::from_str(&text).unwrap();
    let options = jsonschema::options().with_base_uri(format!("file://{}", file.display()));
    options.should_validate_formats(true).build(&schema).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

fn chair() -> Arc<Calendar> {
    let calendar = Calendar::new(CalendarSpec {
        name: CalendarName::new("chair").unwrap(),
        zone: jiff::tz::TimeZone::get("Europe/Berlin").unwrap(),
        week: std::array::from_fn(|_| vec![Span::parse("09:00-12:00").unwrap()]),
        closed: BTreeSet::new(),
        opened: BTreeMap::new(),
        slot: Millis::from_secs(3600),
        buffer: Millis::ZERO,
        capacity: 1,
        ahead: Millis::from_secs(60 * 24 * 3600),
        notice: Millis::ZERO,
    });
    Arc::new(calendar.unwrap())
}

/// A form that asks for nine o'clock on the next day, whether it can be had or not.
fn visit(calendar: &Arc<Calendar>, token: &str) -> Form {
    let rule = BookingRule { calendar: calendar.name().clone(), date: "date".to_owned(), time: "time".to_owned() };
    let asks = Some(Asks { rule, calendar: Arc::clone(calendar) });
    let data = r#"{"name":"Ann","date":"2026-11-25","time":"09:00"}"#;
    let mut form = Form { asks, answerable: false, ..form(token, data) };
    form.submission.channel = Channel::Encrypted;
    form.submission.customer = Customer::default();
    form
}

/// All that can happen so far, in an order in which each event is told once before any of its kind is told again.
fn story() -> Vec<(EventKind, Value)> {
    let (bench, chair) = (Bench::new(), chair());
    bench.tell(&["crm"], &["ops"]);
    // A form that books, is known by its user later, waits for an agent and gets one; its time is moved, and given up.
    let Accepted::New { job, booking: Some(booking), .. } = bench.accept(visit(&chair, "wa-7f3a")) else { panic!() };
    let mut message = by_webhook("wa-7f3a", "wamid.HBgL", r#"{"name":"Ann"}"#);
    message.submission.customer = Customer::from_text("4915112345678");
    bench.accept(message);
    bench.finish(job);
    bench.add_agent("maria", None);
    move_away(&bench, &chair, booking);
    bench.store.ask(CancelBooking { booking }).unwrap();
    // One that books, and one that loses against it.
    bench.accept(visit(&chair, "wa-81bc"));
    let Accepted::New { job, .. } = bench.accept(visit(&chair, "wa-9d02")) else { panic!() };
    // One that is left.
    let token = FlowToken::new("wa-c4e1").unwrap();
    let draft = Draft {
        flow: flow(),
        flow_token: Some(token.clone()),
        customer: Customer::default(),
        screen: "DATE".into(),
        data: r#"{"name":"Tom","service":"cut"}"#.into(),
        updated_at: START,
    };
    let key = IdempotencyKey::of_token(&flow(), &token);
    bench.store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap();
    let day = Millis::from_secs(24 * 60 * 60);
    bench.clock.advance(day);
    bench.sweep(100, Millis::new(90 * day.get()), day, day);
    in_trouble(&bench);
    // A delivery that dies and one whose destination wants no more; a form and a message of which nothing could be made.
    let deliveries = bench.deliveries();
    bench.note(deliveries[0].0, Some(Next::Dead), None);
    bench.note(deliveries[1].0, Some(Next::Dead), Some("it answered 410 Gone: it wants no more"));
    bench.store.ask(Fail { job, attempt: attempt(Some("no")), verdict: Next::Dead }).unwrap();
    bench.accept_unreadable("wamid.odd");
    dropped(&bench, "STOPPED", Condition::Down, Alert::Down);
    dropped(&bench, "SCAN_QR_CODE", Condition::NeedsPerson, Alert::NeedsPerson);
    bench.check();
    let events = bench.events().into_iter();
    events.map(|event| (event.kind, serde_json::from_str(&event.body).unwrap())).collect()
}

fn move_away(bench: &Bench, chair: &Arc<Calendar>, booking: BookingId) {
    let calendar = Arc::clone(chair);
    let (date, time) = (jiff::civil::date(2026, 11, 26), jiff::civil::time(10, 0, 0, 0));
    bench.store.ask(MoveBooking { booking, calendar, date, time }).unwrap();
}

/// A gateway's session is not what it was.
fn dropped(bench: &Bench, state: &str, condition: Condition, alert: Alert) {
    let unasked = Standing::unasked(GatewayKind::Waha, START);
    let standing = Standing { state: state.into(), condition, ..unasked };
    let gateway = GatewayName::new("office").unwrap();
    bench.store.ask(NoteGateway { gateway, standing, entries: Vec::new(), tell: vec![alert] }).unwrap();
}

/// The endpoint's own figures, and Meta.
fn in_trouble(bench: &Bench) {
    let judgement = Judgement {
        verdict: Verdict::Alert,
        findings: vec!["error rate of 12.5 % is over Meta's threshold of 10 %".to_owned()],
        advice: "`flowgate keys check` says for which phone number Meta holds a key that is not ours".to_owned(),
    };
    bench.store.ask(NoteHealth { flow: flow(), judgement }).unwrap();
    let mut number = Watched::new();
    number.watch(4 * 7 * 24 * 60, office);
    number.watch(10 * 60, |_| false);
    bench
        .store
        .ask(NoteTraffic { numbers: vec![("106540352242922".into(), number.traffic)], gone: Vec::new() })
        .unwrap();
    let said = |name, value: Value| HealthEvent::new(Some(START), name, "17", &value.to_string());
    let events = vec![
        said("ENDPOINT_LATENCY", json!({"alert_state": "ACTIVATED", "threshold": 5000, "message": "It is slow"})),
        said("FLOW_STATUS_CHANGE", json!({"new_status": "BLOCKED"})),
        said("FLOW_VERSION_EXPIRY_WARNING", json!({"warning": "version 3.0 expires soon"})),
    ];
    bench.store.ask(Receive { events, ..Receive::default() }).unwrap();
}

#[test]
fn what_is_sent_has_the_shape_that_its_schema_says() {
    let story = story();
    for (kind, body) in &story {
        let schema = schema(kind.as_str());
        let wrong: Vec<_> = schema.iter_errors(body).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(wrong, [""; 0], "{kind}: {body}");
        // What it must have, it must have.
        let parts: Vec<String> = body["data"].as_object().unwrap().keys().cloned().collect();
        let is_needed = |part: &String| {
            let mut less = body.clone();
            less["data"].as_object_mut().unwrap().remove(part);
            !schema.is_valid(&less)
        };
        assert!(parts.iter().any(is_needed), "{kind} needs none of {parts:?}");
    }
    let told: BTreeSet<_> = story.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(told, EventKind::ALL.into(), "each kind was told");
}

#[test]
fn each_kind_has_a_schema_and_no_schema_is_of_none() {
    let mut described: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".schema.json").map(str::to_owned))
        .collect();
    assert!(described.remove("parts"));
    let kinds: BTreeSet<String> = EventKind::ALL.into_iter().map(|kind| kind.as_str().to_owned()).collect();
    assert_eq!(described, kinds);
    for kind in kinds {
        let other = json!({"type": "other.kind", "timestamp": "2026-11-24T08:00:00.000Z", "version": 1, "data": {}});
        assert!(!schema(&kind).is_valid(&other), "{kind} is told from others");
    }
}

#[test]
fn the_examples_in_the_readme_are_what_is_really_sent() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let (mut shown, mut missing) = (BTreeSet::new(), Vec::new());
    for (kind, body) in story() {
        assert!(readme.contains(&format!("\n### `{kind}`\n")), "{kind} has no chapter");
        let example = format!("```json\n{}\n```", serde_json::to_string_pretty(&body).unwrap());
        if shown.insert(kind) && !readme.contains(&example) {
            missing.push(format!("EXAMPLE {kind}\n{example}"));
        }
    }
    assert!(missing.is_empty(), "docs/events/README.md does not show what is sent:\n{}", missing.join("\n"));
}
