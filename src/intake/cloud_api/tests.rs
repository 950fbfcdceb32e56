//! Tests the parsing of Meta's batches: the examples in `tests/vectors/webhooks.json`, and cases
//! that they do not cover.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::domain::flow::{Flow, FlowMatcher};
use crate::domain::ids::{Customer, FlowName, FlowToken};
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::Inbound;
use crate::domain::time::Timestamp;

fn catalog(flows: &[(&str, FlowMatcher)]) -> Catalog {
    let flow = |(name, matcher): &(&str, FlowMatcher)| {
        let name = FlowName::new(name).unwrap();
        let flow = Flow {
            matcher: matcher.clone(),
            ..Flow::new(name.clone(), format!("/{name}"))
        };
        (name, Arc::new(flow))
    };
    Catalog {
        flows: flows.iter().map(flow).collect(),
        calendars: BTreeMap::new(),
        destination_hosts: BTreeMap::new(),
        max_ages: BTreeMap::new(),
    }
}

/// Returns a matcher for messages to this phone number ID.
fn number(id: &str) -> FlowMatcher {
    FlowMatcher {
        phone_number_ids: vec![id.to_owned()],
        ..FlowMatcher::default()
    }
}

/// Returns the idempotency key of a token in a flow.
fn key_in(flow: &str, token: &str) -> IdempotencyKey {
    IdempotencyKey::for_token(
        &FlowName::new(flow).unwrap(),
        &FlowToken::new(token).unwrap(),
    )
}

fn one_flow() -> Catalog {
    catalog(&[("form", FlowMatcher::default())])
}

/// Returns the name of a submission in the vectors: its usable token or, without one, its message
/// ID.
fn submission_name(form: &InboundSubmission) -> String {
    let token = form
        .submission
        .flow_token
        .as_ref()
        .filter(|token| token.is_usable())
        .map(ToString::to_string);
    token.unwrap_or_else(|| form.submission.message_id.as_ref().unwrap().to_string())
}

fn submissions(batch: &WebhookBatch) -> Vec<&InboundSubmission> {
    let items = batch.inbound.iter();
    items
        .filter_map(|item| match item {
            Inbound::Submission(form) => Some(form.as_ref()),
            Inbound::Unparsable(_) => None,
        })
        .collect()
}

fn only_submission(batch: &WebhookBatch) -> &InboundSubmission {
    match submissions(batch)[..] {
        [form] => form,
        _ => panic!("{batch:?}"),
    }
}

fn names(batch: &WebhookBatch) -> Vec<String> {
    let submissions = submissions(batch);
    submissions.into_iter().map(submission_name).collect()
}

#[test]
fn webhook_vectors_parse_as_expected() {
    let file: Value =
        serde_json::from_str(include_str!("../../../tests/vectors/webhooks.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let (case_name, expected) = (&case["name"], &case["expect"]);
        let webhook_batch = parse(&one_flow(), case["body"].as_str().unwrap().as_bytes()).unwrap();
        let mut names = names(&webhook_batch);
        // The store detects a copy inside the batch, not the parser.
        names.dedup();
        if let Some(expected_names) = expected["submissions"].as_array() {
            assert_eq!(names, *expected_names, "{case_name}");
        }
        let other_messages = usize::try_from(webhook_batch.other_messages).unwrap();
        for (name, count) in [
            ("other_messages", other_messages),
            ("statuses", webhook_batch.statuses.len()),
            ("health_events", webhook_batch.health_events.len()),
        ] {
            if let Some(expected_count) = expected[name].as_u64() {
                let expected_count = usize::try_from(expected_count);
                assert_eq!(Ok(count), expected_count, "{case_name}: {name}");
            }
        }
        let refused = webhook_batch.inbound.len() - submissions(&webhook_batch).len();
        let expected_refused = expected["refused"].as_array().map_or(0, Vec::len);
        assert_eq!(refused, expected_refused, "{case_name}");
        for form in submissions(&webhook_batch) {
            let fields = &expected["fields"][submission_name(form)];
            for (field, value) in fields.as_object().into_iter().flatten() {
                let data: Value = serde_json::from_str(&form.submission.data).unwrap();
                assert_eq!(&data[field], value, "{case_name}: {field}");
            }
            if let Some(customer) = expected["user"][submission_name(form)].as_str() {
                let name = form.submission.customer.name();
                assert_eq!(name, Some(customer), "{case_name}");
            }
        }
    }
}

#[test]
fn health_event_payload_is_unchanged() {
    let value =
        r#"{"event":"ENDPOINT_\u004cATENCY", "flow_id":"17","p90_latency":1500.50,"new":{"x":[]}}"#;
    let body = format!(
        r#"{{"entry":[{{"time":1684969340,"changes":[{{"field":"flows","value":{value}}},{{"field":"flows","value":7}}]}},
        {{"time":"1684969341","changes":[{{"field":"flows","value":{{"flow_id":18}}}},{{"field":"flows"}}]}}]}}"#
    );
    let events = parse(&one_flow(), body.as_bytes()).unwrap().health_events;
    let parsed: Vec<_> = events
        .iter()
        .map(|event| {
            let seconds = event.sent_at.unwrap().as_millis() / 1000;
            format!("{seconds} {} {}", event.name, event.meta_flow_id)
        })
        .collect();
    let expected = "1684969340 ENDPOINT_LATENCY 17, 1684969340  , 1684969341  18, 1684969341  ";
    assert_eq!(parsed.join(", "), expected);
    let texts: Vec<&str> = events.iter().map(|event| &*event.payload).collect();
    assert_eq!(texts, [value, "7", r#"{"flow_id":18}"#, "null"]);
}

fn batch(messages: &str) -> Vec<u8> {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":
        {{"metadata":{{"phone_number_id":"555"}},"contacts":[{{"wa_id":"4915112345678","user_id":"DE.1"}}],
        "messages":[{messages}]}}}}]}}]}}"#
    )
    .into_bytes()
}

fn reply(id: &str, response: &str) -> String {
    let response = Value::from(response);
    format!(
        r#"{{"from":"4915112345678","id":"{id}","timestamp":"1749416383","type":"interactive",
        "interactive":{{"type":"nfm_reply","nfm_reply":{{"name":"flow","body":"Sent","response_json":{response}}}}}}}"#
    )
}

#[test]
fn batch_survives_unparsable_message() {
    let broken = [
        reply("wamid.2", "{not json"),
        reply("wamid.3", "[1]"),
        reply("wamid.4", &"{\"a\":".repeat(9000)),
        r#"{"id":"wamid.5","interactive":{"nfm_reply":{"name":"flow","response_json":{"a":1}}}}"#
            .to_owned(),
        r#"{"id":"wamid.6","interactive":{"nfm_reply":{"name":"flow","response_json":"\ud800"}}}"#
            .to_owned(),
        r#"{"id":"wamid.7","interactive":{"nfm_reply":{"name":"flow"}}}"#.to_owned(),
        reply("wamid.8", r#"{"flow_token":"unused"}"#).replace(r#""id":"wamid.8","#, ""),
        "7".to_owned(),
    ];
    let form = reply("wamid.1", r#"{"flow_token":"t-1"}"#);
    let messages = format!("{form},{}", broken.join(","));
    let batch = parse(&one_flow(), &batch(&messages)).unwrap();
    assert_eq!(names(&batch), ["t-1"]);
    assert_eq!(batch.inbound.len(), 1 + broken.len());
}

#[test]
fn unparsable_layers_become_dead_letters() {
    for odd in [
        r#"{"entry":7}"#,
        r#"{"entry":[7]}"#,
        r#"{"entry":[{"changes":7}]}"#,
        r#"{"entry":[{"changes":[7]}]}"#,
        r#"{"entry":[{"changes":[{}]}]}"#,
        r#"{"entry":[{"changes":[{"field":"messages","value":{"messages":{}}}]}]}"#,
        r#"{"entry":[{"changes":[{"field":"messages","value":"x"}]}]}"#,
    ] {
        let batch = parse(&one_flow(), odd.as_bytes()).unwrap();
        let is_unparsable = matches!(batch.inbound.as_slice(), [Inbound::Unparsable(_)]);
        assert!(is_unparsable, "{odd}");
    }
    let null = r#"{"entry":[{"changes":[{"field":"messages","value":null}]}]}"#;
    for empty in ["{}", r#"{"entry":null}"#, null] {
        let batch = parse(&one_flow(), empty.as_bytes()).unwrap();
        assert!(batch.inbound.is_empty(), "{empty}");
    }
    for no_object in ["", "7", "[]", "{"] {
        let error = parse(&one_flow(), no_object.as_bytes()).err();
        assert!(error.is_some(), "{no_object}");
    }
}

#[test]
fn unmatched_form_is_reparsed_after_config_change() {
    let body = batch(&reply("wamid.1", r#"{"flow_token":"t-1","a":"b"}"#));
    let rules = [
        ("one", number("1")),
        ("three", FlowMatcher::default()),
        ("two", number("2")),
    ];
    let batch = parse(&catalog(&rules), &body).unwrap();
    let [Inbound::Unparsable(unparsable)] = batch.inbound.as_slice() else {
        panic!("{batch:?}")
    };
    assert!(unparsable.reason.contains("no flow"), "{unparsable:?}");
    // The flow without a rule may know the form by its token.
    assert_eq!(unparsable.cross_flow_keys, [key_in("three", "t-1")]);

    let matching = catalog(&[("one", number("1")), ("two", number("555"))]);
    let form = reparse(&matching, &unparsable.payload).unwrap();
    assert_eq!(form.submission.flow.as_str(), "two");
    assert_eq!(form.message_key, unparsable.message_key);
    let customer = Customer::new(Some("DE.1"), Some("4915112345678"));
    assert_eq!(form.submission.customer, customer);
}

#[test]
fn form_is_searched_only_in_flows_that_can_match() {
    let field = |value: &str| {
        let fields = BTreeMap::from([("a".to_owned(), value.to_owned())]);
        FlowMatcher {
            fields,
            ..FlowMatcher::default()
        }
    };
    let both = FlowMatcher {
        phone_number_ids: vec!["555".to_owned()],
        ..field("b")
    };
    let default = FlowMatcher {
        is_default: true,
        ..FlowMatcher::default()
    };
    let rules = [
        ("default", default),
        ("fits", both),
        ("fits_less", field("b")),
        ("other_field", field("c")),
        ("other_number", number("556")),
        ("without_rule", FlowMatcher::default()),
    ];
    let body = batch(&reply("wamid.1", r#"{"flow_token":"t-1","a":"b"}"#));
    let batch = parse(&catalog(&rules), &body).unwrap();
    let form = only_submission(&batch);
    assert_eq!(form.submission.flow.as_str(), "fits");
    assert_eq!(form.form_key, Some(key_in("fits", "t-1")));
    let others = ["fits_less", "without_rule"].map(|flow| key_in(flow, "t-1"));
    assert_eq!(form.cross_flow_keys, others);
}

/// Parses a webhook body with one change of `field`. The value has metadata and the fields `more`.
fn parse_change(field: &str, more: &str) -> WebhookBatch {
    let metadata = r#"{"display_phone_number":"+1 (555) 078-3881","phone_number_id":"555"}"#;
    let value = format!(r#"{{"metadata":{metadata},{more}}}"#);
    let body = format!(r#"{{"entry":[{{"changes":[{{"field":"{field}","value":{value}}}]}}]}}"#);
    parse(&one_flow(), body.as_bytes()).unwrap()
}

const CONTACTS: &str = r#""contacts":[{"wa_id":"4915112345678","user_id":"DE.1"}]"#;

/// Returns a form of a customer, and the same form sent by the business.
fn form_and_echo() -> [String; 2] {
    let form = reply("wamid.1", r#"{"flow_token":"t-1","a":"b"}"#);
    let echo = form.replace("4915112345678", "15550783881");
    [form, echo.replace("wamid.1", "wamid.2")]
}

#[test]
fn standby_forms_are_submissions_and_echoes_are_not() {
    let [form, echo] = form_and_echo();
    let messages = format!(r#""messages":[{form},{echo}]"#);
    let status = r#""statuses":[{"id":"wamid.9","status":"read","timestamp":"1"}]"#;
    let echoes = format!(r#""message_echoes":[{form}]"#);
    for value in [
        format!("{CONTACTS},{messages},{status}"),
        format!(r#""standby":{{{CONTACTS},{messages},{echoes},{status}}}"#),
        format!(r#"{CONTACTS},"standby":{{{messages},{status}}}"#),
    ] {
        let batch = parse_change("standby", &value);
        let form = only_submission(&batch);
        assert_eq!(submission_name(form), "t-1", "{value}");
        let customer = &form.submission.customer;
        assert_eq!(customer.id.as_deref(), Some("DE.1"), "{value}");
        let counts = (batch.inbound.len(), batch.other_messages);
        assert_eq!(counts, (1, 1), "{value}");
        let counts = (batch.statuses.len(), batch.other_updates);
        assert_eq!(counts, (1, 0), "{value}");
    }
    let echoes = parse_change("standby", &format!(r#""standby":{{{echoes}}}"#));
    assert!(echoes.inbound.is_empty());
    let echo = parse_change("messages", &format!(r#"{CONTACTS},"messages":[{echo}]"#));
    assert_eq!((echo.inbound.len(), echo.other_messages), (0, 1));
}

#[test]
fn business_number_is_known_only_from_messages_of_customers() {
    let [form, echo] = form_and_echo();
    for (field, messages, expected) in [
        ("standby", format!("{echo},{form}"), "555 15550783881"),
        ("messages", echo, ""),
    ] {
        let batch = parse_change(field, &format!(r#""messages":[{messages}]"#));
        let numbers = batch.business_numbers.into_iter();
        let numbers: Vec<_> = numbers
            .map(|(id, number)| format!("{id} {number}"))
            .collect();
        assert_eq!(numbers.join(", "), expected);
    }
}

#[test]
fn messages_in_unknown_field_become_dead_letters() {
    let [form, _] = form_and_echo();
    let text = r#"{"from":"4915112345678","id":"wamid.2","type":"text","text":{"body":"Hi"}}"#;
    let echo = text.replace("4915112345678", "15550783881");
    let messages = format!(r#""messages":[{form},{text},{echo}]"#);
    for value in [
        format!("{CONTACTS},{messages}"),
        format!(r#"{CONTACTS},"new_field":{{{messages}}}"#),
    ] {
        let batch = parse_change("new_field", &value);
        let [Inbound::Unparsable(unparsable), Inbound::Unparsable(_)] = batch.inbound.as_slice()
        else {
            panic!("{value}: {batch:?}")
        };
        assert_eq!((batch.other_messages, batch.other_updates), (1, 0));
        let is_named = unparsable.reason.contains("\"new_field\"");
        assert!(is_named, "{unparsable:?}");
        let form = reparse(&one_flow(), &unparsable.payload).unwrap();
        assert_eq!(submission_name(&form), "t-1");
        assert_eq!(form.message_key, unparsable.message_key);
        assert_eq!(form.submission.customer.id.as_deref(), Some("DE.1"));
    }
    let odd = parse_change("new_field", r#""messages":{"0":{}}"#);
    let is_unparsable = matches!(odd.inbound.as_slice(), [Inbound::Unparsable(_)]);
    assert!(is_unparsable, "{odd:?}");
    for none in [
        r#""messages":[]"#,
        r#""messages":null"#,
        r#""event":"APPROVED""#,
        r#""history":[{"threads":[]}]"#,
    ] {
        let batch = parse_change("new_field", none);
        assert_eq!((batch.inbound.len(), batch.other_updates), (0, 1), "{none}");
    }
}

#[test]
fn unused_token_is_no_key() {
    let body = batch(&reply("wamid.1", r#"{"flow_token":"unused"}"#));
    let batch = parse(&one_flow(), &body).unwrap();
    let form = only_submission(&batch);
    assert_eq!((form.form_key, form.cross_flow_keys.len()), (None, 0));
    assert!(form.message_key.is_some());
    let sent_at = Timestamp::from_millis(1_749_416_383_000);
    assert_eq!(form.submission.sent_at, Some(sent_at));
}

#[test]
fn customer_is_completed_from_own_contact_only() {
    let ann_and_bob = r#"[{"wa_id":"1","user_id":"A"},{"wa_id":"2","user_id":"B"}]"#;
    let ann = r#"[{"wa_id":"1","user_id":"A"}]"#;
    for (contacts, from, phone, id) in [
        (ann_and_bob, r#""from":"2","#, Some("2"), Some("B")),
        (ann_and_bob, r#""from_user_id":"A","#, Some("1"), Some("A")),
        (ann_and_bob, r#""from":"3","#, Some("3"), None),
        (ann, "", Some("1"), Some("A")),
        // The only contact is somebody else's.
        (ann, r#""from":"2","#, Some("2"), None),
        ("[7]", r#""from":"2","#, Some("2"), None),
        ("7", "", None, None),
    ] {
        let message = reply("wamid.1", "{}").replace(r#""from":"4915112345678","#, from);
        let value = format!(r#""contacts":{contacts},"messages":[{message}]"#);
        let batch = parse_change("messages", &value);
        let customer = &only_submission(&batch).submission.customer;
        assert_eq!(*customer, Customer::new(id, phone), "{contacts} {from}");
    }
}
