//! Gateways: history within bounds, alerts with the standing, messages once.

use std::collections::BTreeSet;

use crate::current::Current;
use crate::domain::event::EventKind;
use crate::domain::gateway::{Alert, Entry, GatewayKind, Standing};
use crate::domain::ids::{DestinationName, GatewayName};
use crate::domain::routes::{Route, Routes};
use crate::domain::submission::IdempotencyKey;
use crate::store::{Accepted, Hear, Heard, NoteGateway};

use super::support::{Bench, START, form};

fn name(text: &str) -> GatewayName {
    GatewayName::new(text).unwrap()
}

fn note(bench: &Bench, gateway: &str, entries: usize, tell: Option<Alert>) {
    let entry = |number| Entry { at: START, state: "close".into(), did: None, note: format!("{number}").into() };
    let note = NoteGateway {
        gateway: name(gateway),
        standing: Standing::unasked(GatewayKind::Evolution, START),
        entries: (0..entries).map(entry).collect(),
        tell: tell.into_iter().collect(),
    };
    bench.store.ask(note).unwrap();
}

fn history(bench: &Bench, gateway: &str) -> Vec<String> {
    let read = bench.store.read().unwrap();
    read.gateway_history(&name(gateway), 10_000)
        .unwrap()
        .into_iter()
        .map(|(_, entry)| entry.unwrap().note.into())
        .collect()
}

fn hear(bench: &Bench, gateway: &str, form_id: Option<&str>, others: &[&str]) -> Heard {
    let key = |id: &str| IdempotencyKey::of_gateway_message(&name(gateway), id);
    let text = |id| crate::domain::arrival::Form { form_key: None, message_key: Some(key(id)), ..form(id, "{}") };
    let forms = form_id.map(text).into_iter().collect();
    bench.store.ask(Hear { gateway: name(gateway), forms, others: others.iter().map(|id| key(id)).collect() }).unwrap()
}

#[test]
fn a_history_keeps_its_newest_thousand_lines_and_each_gateway_has_its_own() {
    let bench = Bench::new();
    note(&bench, "a", 1500, None);
    note(&bench, "b", 3, None);
    note(&bench, "a", 1, None);
    let a = history(&bench, "a");
    assert_eq!((a.len(), a[0].as_str(), a[1].as_str(), a[999].as_str()), (1000, "0", "1499", "501"));
    assert_eq!(history(&bench, "b"), ["2", "1", "0"]);
    bench.check();
    let bench = bench.reopen();
    let names: Vec<_> = bench.store.read().unwrap().gateways().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [name("a"), name("b")]);
}

#[test]
fn an_alert_is_told_with_the_standing_that_it_is_about() {
    let to = DestinationName::new("ops").unwrap();
    let events = BTreeSet::from([EventKind::GatewayDown]);
    let alerts = vec![Route { to: to.clone(), events }];
    let bench = Bench::with(|options| options.routes = Current::new(Routes { alerts, ..Routes::default() }));
    note(&bench, "a", 0, Some(Alert::NeedsPerson));
    note(&bench, "a", 0, Some(Alert::Down));
    let read = bench.store.read().unwrap();
    let due = read.lane(&to, START, 10).unwrap();
    assert_eq!(due.len(), 1, "of the other kind it is not told");
    let body = read.outgoing(due[0]).unwrap().unwrap().body;
    assert!(body.contains(r#""type":"gateway.down""#) && body.contains(r#""name":"a","kind":"evolution""#), "{body}");
}

#[test]
fn a_message_is_known_by_its_gateway_and_its_id() {
    let bench = Bench::new();
    let heard = hear(&bench, "a", Some("f"), &["m", "n", "m"]);
    assert!(matches!(heard.forms[..], [Accepted::New { .. }]));
    assert_eq!(heard.new, 2);
    let heard = hear(&bench, "a", Some("f"), &["m"]);
    assert!(matches!(heard.forms[..], [Accepted::Duplicate { of: Some(_) }]));
    assert_eq!(heard.new, 0);
    assert!(matches!(hear(&bench, "b", Some("f"), &[]).forms[..], [Accepted::New { .. }]), "another gateway's");
    assert_eq!(bench.store.read().unwrap().gateway_heard(&name("a")).unwrap(), Some(START));
    assert_eq!(bench.store.read().unwrap().gateway_heard(&name("c")).unwrap(), None);
    bench.check();
}
