//! Meta's batches: the vectors, and what no vector thought of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::domain::flow::WebhookRule;
use crate::domain::ids::FlowName;

fn catalog(flows: &[(&str, WebhookRule)]) -> Catalog {
    let flow = |(name, webhook): &(&str, WebhookRule)| {
        let name = FlowName::new(name).unwrap();
        let flow = Flow { webhook: webhook.clone(), ..Flow::new(name.clone(), format!("/{name}")) };
        (name, Arc::new(flow))
    };
    Catalog {
        flows: flows.iter().map(flow).collect(),
        calendars: BTreeMap::new(),
        destinations: BTreeMap::new(),
        expires: BTreeMap::new(),
    }
}

/// The rule of a flow that takes what comes to this number.
fn number(id: &str) -> WebhookRule {
    WebhookRule { phone_number_ids: vec![id.to_owned()], ..WebhookRule::default() }
}

/// The key of this token in a flow.
fn key_in(flow: &str, token: &str) -> IdempotencyKey {
    IdempotencyKey::of_token(&FlowName::new(flow).unwrap(), &FlowToken::new(token).unwrap())
}

fn one_flow() -> Catalog {
    catalog(&[("form", WebhookRule::default())])
}

/// What the vectors call a submission: its usable token or, without one, its message id.
fn name(form: &Form) -> String {
    let token = form.submission.flow_token.as_ref().filter(|token| token.usable()).map(ToString::to_string);
    token.unwrap_or_else(|| form.submission.message_id.as_ref().unwrap().to_string())
}

fn forms(delivery: &Delivery) -> Vec<&Form> {
    let form = |arrival: &'_ Arrival| matches!(arrival, Arrival::Form(_));
    delivery
        .arrivals
        .iter()
        .filter(|a| form(a))
        .map(|a| match a {
            Arrival::Form(form) => form.as_ref(),
            Arrival::Unreadable(_) => unreachable!(),
        })
        .collect()
}

#[test]
fn every_vector_says_what_it_should() {
    let file: Value = serde_json::from_str(include_str!("../../../tests/vectors/webhooks.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let (case_name, expect) = (&case["name"], &case["expect"]);
        let delivery = read(&one_flow(), case["body"].as_str().unwrap().as_bytes()).unwrap();
        let mut names: Vec<String> = forms(&delivery).into_iter().map(name).collect();
        // That a copy inside the batch is one is the store's to see.
        names.dedup();
        if let Some(expected) = expect["submissions"].as_array() {
            assert_eq!(names, *expected, "{case_name}");
        }
        for (figure, name) in [
            (delivery.other_messages, "other_messages"),
            (u64::try_from(delivery.statuses.len()).unwrap(), "statuses"),
            (u64::try_from(delivery.health_events.len()).unwrap(), "health_events"),
        ] {
            if let Some(expected) = expect[name].as_u64() {
                assert_eq!(figure, expected, "{case_name}: {name}");
            }
        }
        let refused = delivery.arrivals.len() - forms(&delivery).len();
        assert_eq!(refused, expect["refused"].as_array().map_or(0, Vec::len), "{case_name}");
        for form in forms(&delivery) {
            let fields = &expect["fields"][name(form)];
            for (field, value) in fields.as_object().into_iter().flatten() {
                let data: Value = serde_json::from_str(&form.submission.data).unwrap();
                assert_eq!(&data[field], value, "{case_name}: {field}");
            }
            if let Some(user) = expect["user"][name(form)].as_str() {
                assert_eq!(form.submission.customer.name(), Some(user), "{case_name}");
            }
        }
    }
}

#[test]
fn health_events_keep_their_text_whatever_they_hold() {
    let value = r#"{"event":"ENDPOINT_\u004cATENCY", "flow_id":"17","p90_latency":1500.50,"new":{"x":[]}}"#;
    let body = format!(
        r#"{{"entry":[{{"time":1684969340,"changes":[{{"field":"flows","value":{value}}},{{"field":"flows","value":7}}]}},
        {{"time":"1684969341","changes":[{{"field":"flows","value":{{"flow_id":18}}}},{{"field":"flows"}}]}}]}}"#
    );
    let events = read(&one_flow(), body.as_bytes()).unwrap().health_events;
    let told: Vec<_> =
        events.iter().map(|event| (&*event.event, &*event.flow_id, event.sent_at.unwrap().as_millis())).collect();
    let (first, second) = (1_684_969_340_000, 1_684_969_341_000);
    assert_eq!(told, [("ENDPOINT_LATENCY", "17", first), ("", "", first), ("", "18", second), ("", "", second)]);
    let texts: Vec<&str> = events.iter().map(|event| &*event.value).collect();
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
fn one_message_that_cannot_be_read_does_not_fail_the_others() {
    let broken = [
        reply("wamid.2", "{not json"),
        reply("wamid.3", "[1]"),
        reply("wamid.4", &"{\"a\":".repeat(9000)),
        r#"{"id":"wamid.5","interactive":{"nfm_reply":{"name":"flow","response_json":{"a":1}}}}"#.to_owned(),
        r#"{"id":"wamid.6","interactive":{"nfm_reply":{"name":"flow","response_json":"\ud800"}}}"#.to_owned(),
        r#"{"id":"wamid.7","interactive":{"nfm_reply":{"name":"flow"}}}"#.to_owned(),
        reply("wamid.8", r#"{"flow_token":"unused"}"#).replace(r#""id":"wamid.8","#, ""),
        "7".to_owned(),
    ];
    let messages = [&[reply("wamid.1", r#"{"flow_token":"t-1"}"#)], &broken[..]].concat().join(",");
    let delivery = read(&one_flow(), &batch(&messages)).unwrap();
    assert_eq!(forms(&delivery).into_iter().map(name).collect::<Vec<_>>(), ["t-1"]);
    assert_eq!(delivery.arrivals.len(), 1 + broken.len());
}

#[test]
fn odd_layers_are_kept_and_the_rest_goes_through() {
    for odd in [
        r#"{"entry":7}"#,
        r#"{"entry":[7]}"#,
        r#"{"entry":[{"changes":7}]}"#,
        r#"{"entry":[{"changes":[7]}]}"#,
        r#"{"entry":[{"changes":[{}]}]}"#,
        r#"{"entry":[{"changes":[{"field":"messages","value":{"messages":{}}}]}]}"#,
        r#"{"entry":[{"changes":[{"field":"messages","value":"x"}]}]}"#,
    ] {
        let delivery = read(&one_flow(), odd.as_bytes()).unwrap();
        assert!(matches!(delivery.arrivals.as_slice(), [Arrival::Unreadable(_)]), "{odd}");
    }
    for empty in ["{}", r#"{"entry":null}"#, r#"{"entry":[{"changes":[{"field":"messages","value":null}]}]}"#] {
        assert!(read(&one_flow(), empty.as_bytes()).unwrap().arrivals.is_empty(), "{empty}");
    }
    for no_object in ["", "7", "[]", "{"] {
        assert!(read(&one_flow(), no_object.as_bytes()).is_err(), "{no_object}");
    }
}

#[test]
fn a_form_that_no_flow_claims_is_kept_and_can_be_read_again_once_one_does() {
    let body = batch(&reply("wamid.1", r#"{"flow_token":"t-1","a":"b"}"#));
    let rules = [("one", number("1")), ("three", WebhookRule::default()), ("two", number("2"))];
    let delivery = read(&catalog(&rules), &body).unwrap();
    let [Arrival::Unreadable(kept)] = delivery.arrivals.as_slice() else { panic!("{delivery:?}") };
    assert!(kept.reason.contains("no flow"), "{}", kept.reason);
    let three = key_in("three", "t-1");
    assert_eq!(kept.elsewhere, [three], "it may be known by its token all the same, where no rule says otherwise");

    let form = reread(&catalog(&[("one", number("1")), ("two", number("555"))]), &kept.payload).unwrap();
    assert_eq!(form.submission.flow.as_str(), "two");
    assert_eq!(form.message_key, kept.message_key);
    assert_eq!(form.submission.customer.id.as_deref(), Some("DE.1"));
    assert_eq!(form.submission.customer.phone.as_deref(), Some("4915112345678"));
}

#[test]
fn a_form_is_looked_for_only_in_flows_whose_rule_does_not_exclude_it() {
    let field = |value: &str| {
        let fields = BTreeMap::from([("a".to_owned(), value.to_owned())]);
        WebhookRule { fields, ..WebhookRule::default() }
    };
    let both = WebhookRule { phone_number_ids: vec!["555".to_owned()], ..field("b") };
    let default = WebhookRule { is_default: true, ..WebhookRule::default() };
    let rules = [
        ("default", default),
        ("fits", both),
        ("fits_less", field("b")),
        ("other_field", field("c")),
        ("other_number", number("556")),
        ("without_rule", WebhookRule::default()),
    ];
    let delivery = read(&catalog(&rules), &batch(&reply("wamid.1", r#"{"flow_token":"t-1","a":"b"}"#))).unwrap();
    let [form] = forms(&delivery)[..] else { panic!("{delivery:?}") };
    assert_eq!((form.submission.flow.as_str(), form.form_key), ("fits", Some(key_in("fits", "t-1"))));
    assert_eq!(form.elsewhere, ["fits_less", "without_rule"].map(|flow| key_in(flow, "t-1")));
}

/// A change of `field`, whose value has `more` beside its metadata.
fn change(field: &str, more: &str) -> Vec<u8> {
    format!(
        r#"{{"entry":[{{"changes":[{{"field":"{field}","value":{{"metadata":{{"display_phone_number":"+1 (555) 078-3881",
        "phone_number_id":"555"}},{more}}}}}]}}]}}"#
    )
    .into_bytes()
}

const CONTACTS: &str = r#""contacts":[{"wa_id":"4915112345678","user_id":"DE.1"}]"#;

#[test]
fn forms_in_standby_are_forms_in_both_shapes_and_what_the_business_says_is_not() {
    let form = reply("wamid.1", r#"{"flow_token":"t-1"}"#);
    let echo = form.replace("4915112345678", "15550783881").replace("wamid.1", "wamid.2");
    let status = r#""statuses":[{"id":"wamid.9","status":"read","timestamp":"1"}]"#;
    for value in [
        format!(r#"{CONTACTS},"messages":[{form},{echo}],{status}"#),
        format!(r#""standby":{{{CONTACTS},"messages":[{form},{echo}],"message_echoes":[{form}],{status}}}"#),
        format!(r#"{CONTACTS},"standby":{{"messages":[{form},{echo}],{status}}}"#),
    ] {
        let delivery = read(&one_flow(), &change("standby", &value)).unwrap();
        let [form] = forms(&delivery)[..] else { panic!("{value}: {delivery:?}") };
        assert_eq!((name(form).as_str(), form.submission.customer.id.as_deref()), ("t-1", Some("DE.1")), "{value}");
        assert_eq!((delivery.arrivals.len(), delivery.other_messages), (1, 1), "{value}");
        assert_eq!((delivery.statuses.len(), delivery.other_updates), (1, 0), "{value}");
    }
    let numbers = |field: &str, messages: &str| {
        let delivery = read(&one_flow(), &change(field, &format!(r#""messages":[{messages}]"#))).unwrap();
        delivery.numbers.into_iter().map(|(id, number)| format!("{id} {number}")).collect::<Vec<_>>()
    };
    assert_eq!(numbers("standby", &format!("{echo},{form}")), ["555 15550783881"]);
    assert_eq!(numbers("messages", &echo), [""; 0], "what the business sends says nothing of what it receives");
    let echoes = read(&one_flow(), &change("standby", &format!(r#""standby":{{"message_echoes":[{form}]}}"#))).unwrap();
    assert!(echoes.arrivals.is_empty());
    let echo = read(&one_flow(), &change("messages", &format!(r#"{CONTACTS},"messages":[{echo}]"#))).unwrap();
    assert_eq!((echo.arrivals.len(), echo.other_messages), (0, 1));
}

#[test]
fn messages_in_a_field_that_nobody_knows_are_kept_and_can_be_read_again() {
    let form = reply("wamid.1", r#"{"flow_token":"t-1","a":"b"}"#);
    let text = r#"{"from":"4915112345678","id":"wamid.2","type":"text","text":{"body":"Hi"}}"#;
    let echo = text.replace("4915112345678", "15550783881");
    for value in [
        format!(r#"{CONTACTS},"messages":[{form},{text},{echo}]"#),
        format!(r#"{CONTACTS},"new_field":{{"messages":[{form},{text},{echo}]}}"#),
    ] {
        let delivery = read(&one_flow(), &change("new_field", &value)).unwrap();
        let [Arrival::Unreadable(kept), Arrival::Unreadable(_)] = delivery.arrivals.as_slice() else {
            panic!("{value}: {delivery:?}")
        };
        assert_eq!((delivery.other_messages, delivery.other_updates), (1, 0));
        assert!(kept.reason.contains("\"new_field\""), "{}", kept.reason);
        let form = reread(&one_flow(), &kept.payload).unwrap();
        assert_eq!((name(&form).as_str(), form.message_key), ("t-1", kept.message_key));
        assert_eq!(form.submission.customer.id.as_deref(), Some("DE.1"));
    }
    let odd = read(&one_flow(), &change("new_field", r#""messages":{"0":{}}"#)).unwrap();
    assert!(matches!(odd.arrivals.as_slice(), [Arrival::Unreadable(_)]), "{odd:?}");
    for none in [r#""messages":[]"#, r#""messages":null"#, r#""event":"APPROVED""#, r#""history":[{"threads":[]}]"#] {
        let delivery = read(&one_flow(), &change("new_field", none)).unwrap();
        assert_eq!((delivery.arrivals.len(), delivery.other_updates), (0, 1), "{none}");
    }
}

#[test]
fn an_unused_token_is_no_key() {
    let body = batch(&reply("wamid.1", r#"{"flow_token":"unused"}"#));
    let delivery = read(&one_flow(), &body).unwrap();
    let [form] = forms(&delivery)[..] else { panic!("{delivery:?}") };
    assert_eq!((form.form_key, form.elsewhere.len()), (None, 0));
    assert!(form.message_key.is_some());
    assert_eq!(form.submission.sent_at, Some(Timestamp::from_millis(1_749_416_383_000)));
}

#[test]
fn a_sender_is_known_by_what_the_contacts_add_and_never_by_somebody_else() {
    let sender = |contacts: &str, from: &str| {
        let message = reply("wamid.1", "{}").replace(r#""from":"4915112345678","#, from);
        let body = format!(
            r#"{{"entry":[{{"changes":[{{"field":"messages","value":{{"contacts":{contacts},"messages":[{message}]}}}}]}}]}}"#
        );
        let delivery = read(&one_flow(), body.as_bytes()).unwrap();
        let customer = &forms(&delivery)[0].submission.customer;
        (customer.phone.clone().unwrap_or_default().to_string(), customer.id.clone().unwrap_or_default().to_string())
    };
    let both = |phone: &str, id: &str| (phone.to_owned(), id.to_owned());
    let ann_and_bob = r#"[{"wa_id":"1","user_id":"A"},{"wa_id":"2","user_id":"B"}]"#;
    assert_eq!(sender(ann_and_bob, r#""from":"2","#), both("2", "B"));
    assert_eq!(sender(ann_and_bob, r#""from_user_id":"A","#), both("1", "A"));
    assert_eq!(sender(ann_and_bob, r#""from":"3","#), both("3", ""));
    assert_eq!(sender(r#"[{"wa_id":"1","user_id":"A"}]"#, ""), both("1", "A"));
    assert_eq!(sender(r#"[{"wa_id":"1","user_id":"A"}]"#, r#""from":"2","#), both("2", ""), "somebody else's");
    assert_eq!(sender("[7]", r#""from":"2","#), both("2", ""));
    assert_eq!(sender("7", ""), both("", ""));
}
