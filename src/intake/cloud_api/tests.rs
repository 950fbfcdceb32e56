//! Tests the parsing of Meta's batches: the vectors, and cases that the vectors do not cover.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::domain::flow::FlowMatcher;
use crate::domain::ids::FlowName;

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
    let is_submission = |arrival: &'_ Inbound| matches!(arrival, Inbound::Submission(_));
    batch
        .inbound
        .iter()
        .filter(|a| is_submission(a))
        .map(|a| match a {
            Inbound::Submission(form) => form.as_ref(),
            Inbound::Unparsable(_) => unreachable!(),
        })
        .collect()
}

#[test]
fn webhook_vectors_parse_as_expected() {
    let file: Value =
        serde_json::from_str(include_str!("../../../tests/vectors/webhooks.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let (case_name, expected) = (&case["name"], &case["expect"]);
        let webhook_batch = parse(&one_flow(), case["body"].as_str().unwrap().as_bytes()).unwrap();
        let mut names: Vec<String> = submissions(&webhook_batch)
            .into_iter()
            .map(submission_name)
            .collect();
        // The store detects a copy inside the batch, not the parser.
        names.dedup();
        if let Some(expected_names) = expected["submissions"].as_array() {
            assert_eq!(names, *expected_names, "{case_name}");
        }
        for (count, name) in [
            (webhook_batch.other_messages, "other_messages"),
            (
                u64::try_from(webhook_batch.statuses.len()).unwrap(),
                "statuses",
            ),
            (
                u64::try_from(webhook_batch.health_events.len()).unwrap(),
                "health_events",
            ),
        ] {
            if let Some(expected_count) = expected[name].as_u64() {
                assert_eq!(count, expected_count, "{case_name}: {name}");
            }
        }
        let refused = webhook_batch.inbound.len() - submissions(&webhook_batch).len();
        assert_eq!(
            refused,
            expected["refused"].as_array().map_or(0, Vec::len),
            "{case_name}"
        );
        for form in submissions(&webhook_batch) {
            let fields = &expected["fields"][submission_name(form)];
            for (field, value) in fields.as_object().into_iter().flatten() {
                let data: Value = serde_json::from_str(&form.submission.data).unwrap();
                assert_eq!(&data[field], value, "{case_name}: {field}");
            }
            if let Some(customer) = expected["user"][submission_name(form)].as_str() {
                assert_eq!(
                    form.submission.customer.name(),
                    Some(customer),
                    "{case_name}"
                );
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
            (
                &*event.name,
                &*event.meta_flow_id,
                event.sent_at.unwrap().as_millis(),
            )
        })
        .collect();
    let (first, second) = (1_684_969_340_000, 1_684_969_341_000);
    assert_eq!(
        parsed,
        [
            ("ENDPOINT_LATENCY", "17", first),
            ("", "", first),
            ("", "18", second),
            ("", "", second)
        ]
    );
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
    let messages = [&[reply("wamid.1", r#"{"flow_token":"t-1"}"#)], &broken[..]]
        .concat()
        .join(",");
    let batch = parse(&one_flow(), &batch(&messages)).unwrap();
    assert_eq!(
        submissions(&batch)
            .into_iter()
            .map(submission_name)
            .collect::<Vec<_>>(),
        ["t-1"]
    );
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
        assert!(
            matches!(batch.inbound.as_slice(), [Inbound::Unparsable(_)]),
            "{odd}"
        );
    }
    for empty in [
        "{}",
        r#"{"entry":null}"#,
        r#"{"entry":[{"changes":[{"field":"messages","value":null}]}]}"#,
    ] {
        assert!(
            parse(&one_flow(), empty.as_bytes())
                .unwrap()
                .inbound
                .is_empty(),
            "{empty}"
        );
    }
    for no_object in ["", "7", "[]", "{"] {
        assert!(
            parse(&one_flow(), no_object.as_bytes()).is_err(),
            "{no_object}"
        );
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
    assert!(
        unparsable.reason.contains("no flow"),
        "{}",
        unparsable.reason
    );
    let three = key_in("three", "t-1");
    assert_eq!(
        unparsable.cross_flow_keys,
        [three],
        "it may be known by its token all the same, where no rule says otherwise"
    );

    let form = reparse(
        &catalog(&[("one", number("1")), ("two", number("555"))]),
        &unparsable.payload,
    )
    .unwrap();
    assert_eq!(form.submission.flow.as_str(), "two");
    assert_eq!(form.message_key, unparsable.message_key);
    assert_eq!(form.submission.customer.id.as_deref(), Some("DE.1"));
    assert_eq!(
        form.submission.customer.phone.as_deref(),
        Some("4915112345678")
    );
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
    let batch = parse(
        &catalog(&rules),
        &batch(&reply("wamid.1", r#"{"flow_token":"t-1","a":"b"}"#)),
    )
    .unwrap();
    let [form] = submissions(&batch)[..] else {
        panic!("{batch:?}")
    };
    assert_eq!(
        (form.submission.flow.as_str(), form.form_key),
        ("fits", Some(key_in("fits", "t-1")))
    );
    assert_eq!(
        form.cross_flow_keys,
        ["fits_less", "without_rule"].map(|flow| key_in(flow, "t-1"))
    );
}

/// Returns a webhook body with one change of `field`. The value has metadata and the fields `more`.
fn webhook_with_change(field: &str, more: &str) -> Vec<u8> {
    format!(
        r#"{{"entry":[{{"changes":[{{"field":"{field}","value":{{"metadata":{{"display_phone_number":"+1 (555) 078-3881",
        "phone_number_id":"555"}},{more}}}}}]}}]}}"#
    )
    .into_bytes()
}

const CONTACTS: &str = r#""contacts":[{"wa_id":"4915112345678","user_id":"DE.1"}]"#;

#[test]
fn standby_forms_are_submissions_and_echoes_are_not() {
    let form = reply("wamid.1", r#"{"flow_token":"t-1"}"#);
    let echo = form
        .replace("4915112345678", "15550783881")
        .replace("wamid.1", "wamid.2");
    let status = r#""statuses":[{"id":"wamid.9","status":"read","timestamp":"1"}]"#;
    for value in [
        format!(r#"{CONTACTS},"messages":[{form},{echo}],{status}"#),
        format!(
            r#""standby":{{{CONTACTS},"messages":[{form},{echo}],"message_echoes":[{form}],{status}}}"#
        ),
        format!(r#"{CONTACTS},"standby":{{"messages":[{form},{echo}],{status}}}"#),
    ] {
        let batch = parse(&one_flow(), &webhook_with_change("standby", &value)).unwrap();
        let [form] = submissions(&batch)[..] else {
            panic!("{value}: {batch:?}")
        };
        assert_eq!(
            (
                submission_name(form).as_str(),
                form.submission.customer.id.as_deref()
            ),
            ("t-1", Some("DE.1")),
            "{value}"
        );
        assert_eq!(
            (batch.inbound.len(), batch.other_messages),
            (1, 1),
            "{value}"
        );
        assert_eq!(
            (batch.statuses.len(), batch.other_updates),
            (1, 0),
            "{value}"
        );
    }
    let numbers = |field: &str, messages: &str| {
        let batch = parse(
            &one_flow(),
            &webhook_with_change(field, &format!(r#""messages":[{messages}]"#)),
        )
        .unwrap();
        batch
            .business_numbers
            .into_iter()
            .map(|(id, number)| format!("{id} {number}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        numbers("standby", &format!("{echo},{form}")),
        ["555 15550783881"]
    );
    assert_eq!(
        numbers("messages", &echo),
        [""; 0],
        "what the business sends says nothing of what it receives"
    );
    let echoes = parse(
        &one_flow(),
        &webhook_with_change(
            "standby",
            &format!(r#""standby":{{"message_echoes":[{form}]}}"#),
        ),
    )
    .unwrap();
    assert!(echoes.inbound.is_empty());
    let echo = parse(
        &one_flow(),
        &webhook_with_change("messages", &format!(r#"{CONTACTS},"messages":[{echo}]"#)),
    )
    .unwrap();
    assert_eq!((echo.inbound.len(), echo.other_messages), (0, 1));
}

#[test]
fn messages_in_unknown_field_become_dead_letters() {
    let form = reply("wamid.1", r#"{"flow_token":"t-1","a":"b"}"#);
    let text = r#"{"from":"4915112345678","id":"wamid.2","type":"text","text":{"body":"Hi"}}"#;
    let echo = text.replace("4915112345678", "15550783881");
    for value in [
        format!(r#"{CONTACTS},"messages":[{form},{text},{echo}]"#),
        format!(r#"{CONTACTS},"new_field":{{"messages":[{form},{text},{echo}]}}"#),
    ] {
        let batch = parse(&one_flow(), &webhook_with_change("new_field", &value)).unwrap();
        let [Inbound::Unparsable(unparsable), Inbound::Unparsable(_)] = batch.inbound.as_slice()
        else {
            panic!("{value}: {batch:?}")
        };
        assert_eq!((batch.other_messages, batch.other_updates), (1, 0));
        assert!(
            unparsable.reason.contains("\"new_field\""),
            "{}",
            unparsable.reason
        );
        let form = reparse(&one_flow(), &unparsable.payload).unwrap();
        assert_eq!(
            (submission_name(&form).as_str(), form.message_key),
            ("t-1", unparsable.message_key)
        );
        assert_eq!(form.submission.customer.id.as_deref(), Some("DE.1"));
    }
    let odd = parse(
        &one_flow(),
        &webhook_with_change("new_field", r#""messages":{"0":{}}"#),
    )
    .unwrap();
    assert!(
        matches!(odd.inbound.as_slice(), [Inbound::Unparsable(_)]),
        "{odd:?}"
    );
    for none in [
        r#""messages":[]"#,
        r#""messages":null"#,
        r#""event":"APPROVED""#,
        r#""history":[{"threads":[]}]"#,
    ] {
        let batch = parse(&one_flow(), &webhook_with_change("new_field", none)).unwrap();
        assert_eq!((batch.inbound.len(), batch.other_updates), (0, 1), "{none}");
    }
}

#[test]
fn unused_token_is_no_key() {
    let body = batch(&reply("wamid.1", r#"{"flow_token":"unused"}"#));
    let batch = parse(&one_flow(), &body).unwrap();
    let [form] = submissions(&batch)[..] else {
        panic!("{batch:?}")
    };
    assert_eq!((form.form_key, form.cross_flow_keys.len()), (None, 0));
    assert!(form.message_key.is_some());
    assert_eq!(
        form.submission.sent_at,
        Some(Timestamp::from_millis(1_749_416_383_000))
    );
}

#[test]
fn customer_is_completed_from_own_contact_only() {
    let customer_of = |contacts: &str, from: &str| {
        let message = reply("wamid.1", "{}").replace(r#""from":"4915112345678","#, from);
        let body = format!(
            r#"{{"entry":[{{"changes":[{{"field":"messages","value":{{"contacts":{contacts},"messages":[{message}]}}}}]}}]}}"#
        );
        let delivery = parse(&one_flow(), body.as_bytes()).unwrap();
        let customer = &submissions(&delivery)[0].submission.customer;
        (
            customer.phone.clone().unwrap_or_default().to_string(),
            customer.id.clone().unwrap_or_default().to_string(),
        )
    };
    let both = |phone: &str, id: &str| (phone.to_owned(), id.to_owned());
    let ann_and_bob = r#"[{"wa_id":"1","user_id":"A"},{"wa_id":"2","user_id":"B"}]"#;
    assert_eq!(customer_of(ann_and_bob, r#""from":"2","#), both("2", "B"));
    assert_eq!(
        customer_of(ann_and_bob, r#""from_user_id":"A","#),
        both("1", "A")
    );
    assert_eq!(customer_of(ann_and_bob, r#""from":"3","#), both("3", ""));
    assert_eq!(
        customer_of(r#"[{"wa_id":"1","user_id":"A"}]"#, ""),
        both("1", "A")
    );
    assert_eq!(
        customer_of(r#"[{"wa_id":"1","user_id":"A"}]"#, r#""from":"2","#),
        both("2", ""),
        "somebody else's"
    );
    assert_eq!(customer_of("[7]", r#""from":"2","#), both("2", ""));
    assert_eq!(customer_of("7", ""), both("", ""));
}
