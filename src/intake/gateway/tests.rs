//! Tests the webhooks of each gateway kind, as documented, and requests that are not authenticated.

use serde_json::json;

use super::message::customer_of;
use super::*;
use crate::config::Config;
use crate::domain::ids::Customer;
use crate::domain::time::Timestamp;

fn catalog() -> Catalog {
    let text = "[flows.visit]\npath = \"/visit\"\nscreens = [{ name = \"A\", final = true, fields = { day = { type = \"date\" } } }]";
    Catalog::from(&Config::parse(std::path::Path::new("config.toml"), text).unwrap())
}

fn webhook_of(kind: &str, secret: &str) -> GatewayWebhook {
    let keys = match kind {
        "wasender" => "session_key = \"text:k\"\naccess_token = \"text:t\"\nsession = \"17\"",
        _ => "api_key = \"text:k\"\nurl = \"https://a.example\"\nsession = \"shop\"",
    };
    let text = format!(
        "[flows.visit]\npath = \"/visit\"\n[gateways.one]\nkind = \"{kind}\"\n{keys}\nwebhook_secret = \"text:x\"\nforms = [{{ flow = \"visit\", pattern = 'book (?<day>\\S+)' }}]"
    );
    let config = Config::parse(std::path::Path::new("config.toml"), &text).unwrap();
    let (name, gateway) = config.gateways.into_iter().next().unwrap();
    GatewayWebhook::new(name, gateway.settings, Secret::new(secret.to_owned()))
}

fn parse(webhook: &GatewayWebhook, body: &Value) -> GatewayEvents {
    let body = body.to_string();
    webhook.parse(&catalog(), body.as_bytes()).unwrap()
}

/// Parses an event with the fields that this kind of gateway sends.
fn parse_event(kind: &str, event: &str, data: &Value) -> GatewayEvents {
    let body = match kind {
        "wasender" => json!({"event": event, "sessionId": "k", "data": data}),
        "waha" => json!({"event": event, "session": "shop", "payload": data}),
        _ => json!({"event": event, "instance": "shop", "data": data, "apikey": "k"}),
    };
    parse(&webhook_of(kind, "x"), &body)
}

#[test]
fn wasender_is_authenticated_by_secret_header() {
    let webhook = webhook_of("wasender", "hush");
    let verdict = |secret: &str| webhook.authenticate(Some(secret.as_bytes()), b"{}");
    assert_eq!(verdict("hush"), Ok(()));
    for wrong in ["", "hus", "hushh", "HUSH"] {
        assert_eq!(verdict(wrong), Err(WebhookAuthError::Wrong), "{wrong}");
    }
    let missing = WebhookAuthError::Missing("x-webhook-signature");
    assert_eq!(webhook.authenticate(None, b"{}"), Err(missing));
}

#[test]
fn waha_is_authenticated_by_body_hmac() {
    // Output of `openssl dgst -sha512 -hmac hush` for these bytes.
    let body = br#"{"event":"message"}"#;
    let hmac = "638d2b9baecca97856f2b791244a6a4c366f7d03de766e01ca74b1a5bd55518e2fbe721cb3d5b79f442dcdd41b052bf90bf02913edf9ebfe8c045aa9f29a93b4";
    let webhook = webhook_of("waha", "hush");
    let verdict = |hex: &str, body: &[u8]| webhook.authenticate(Some(hex.as_bytes()), body);
    assert_eq!(verdict(hmac, body), Ok(()));
    assert_eq!(verdict(&hmac.to_uppercase(), body), Ok(()));
    assert_eq!(verdict(hmac, b"{}"), Err(WebhookAuthError::Wrong));
    let long = format!("{hmac}00");
    let odd = hmac.replace('a', "g");
    for wrong in ["", "00", "hush", &hmac[..126], &long, &odd] {
        let refused = verdict(wrong, body);
        assert_eq!(refused, Err(WebhookAuthError::Wrong), "{wrong}");
    }
    let missing = WebhookAuthError::Missing("x-webhook-hmac");
    assert_eq!(webhook.authenticate(None, body), Err(missing));
}

#[test]
fn evolution_is_authenticated_by_key_in_body() {
    let webhook = webhook_of("evolution", "hush");
    let verdict = |body: &str| webhook.authenticate(None, body.as_bytes());
    assert_eq!(verdict(r#"{"apikey":"hush"}"#), Ok(()));
    for wrong in [
        "{}",
        r#"{"apikey":"Hush"}"#,
        r#"{"apikey":null}"#,
        r#"{"apikey":["hush"]}"#,
        "hush",
        "",
        "[",
    ] {
        assert_eq!(verdict(wrong), Err(WebhookAuthError::Wrong), "{wrong}");
    }
}

#[test]
fn matching_text_is_submission_for_every_gateway() {
    let key = json!({"id": "M1", "fromMe": false, "remoteJid": "4915112345678@s.whatsapp.net"});
    let text = "book 2027-01-04";
    let time = 1_800_000_000;
    let message =
        |content: Value| json!({"key": key, "message": content, "messageTimestamp": time});
    let conversation = json!({"conversation": text});
    let extended = json!({"extendedTextMessage": {"text": text}});
    let keyed = message(conversation.clone());
    let body_text = json!({"key": key, "messageBody": text, "messageTimestamp": "1800000000"});
    let waha = json!({"id": "M1", "from": "4915112345678@c.us", "fromMe": false, "body": text, "timestamp": time});
    // The first message disappears. The second message can also be viewed only once.
    let disappearing = message(json!({"ephemeralMessage": {"message": extended}}));
    let once = json!({"viewOnceMessageV2": {"message": conversation}});
    let disappearing_once = message(json!({"ephemeralMessage": {"message": once}}));
    let wasender = |messages: Value| json!({"messages": messages});
    for (kind, event, data) in [
        ("wasender", "messages.received", wasender(body_text)),
        ("wasender", "messages.upsert", wasender(json!([keyed]))),
        ("waha", "message", waha),
        ("evolution", "messages.upsert", keyed),
        ("evolution", "MESSAGES_UPSERT", message(extended.clone())),
        ("wasender", "messages.upsert", wasender(disappearing)),
        ("evolution", "messages.upsert", disappearing_once),
    ] {
        let events = parse_event(kind, event, &data);
        let is_known = events.has_whatsapp_activity && events.other_keys.is_empty();
        assert!(is_known, "{data}");
        let [form] = &events.forms[..] else {
            panic!("{data}")
        };
        let found = &form.submission;
        assert_eq!(&*found.data, r#"{"day":"2027-01-04"}"#, "{data}");
        assert_eq!(found.channel, SubmissionChannel::Gateway);
        assert_eq!(found.customer.phone.as_deref(), Some("4915112345678"));
        assert_eq!(found.message_id.as_ref().unwrap().as_str(), "M1");
        assert_eq!(found.sent_at, Some(Timestamp::from_millis(time * 1000)));
        let name = GatewayName::new("one").unwrap();
        let key = IdempotencyKey::for_gateway_message(&name, "M1");
        assert_eq!(form.message_key, Some(key));
        assert!(found.problems.is_empty());
    }
}

#[test]
fn invalid_field_is_recorded_as_problem() {
    let payload = json!({"id": "M1", "from": "4915112345678@c.us", "body": "book soon"});
    let events = parse_event("waha", "message", &payload);
    assert_eq!(events.forms[0].submission.problems.len(), 1);
}

#[test]
fn own_messages_are_ignored_and_others_are_keyed() {
    let text = "book 2027-01-04";
    let own = json!({"id": "1", "from": "1@c.us", "fromMe": true, "body": text});
    let group = json!({"id": "1", "from": "1-2@g.us", "body": text});
    for (payload, other_keys) in [
        (own, 0),
        (json!({"id": "1", "from": "1@c.us", "body": "hello"}), 1),
        // A message without a text, such as an image.
        (json!({"id": "1", "from": "1@c.us"}), 1),
        // A message without an ID.
        (json!({"from": "1@c.us", "body": text}), 0),
        (group, 1),
        (json!(null), 0),
        (json!([1, "a"]), 0),
        (json!("text"), 0),
        (json!({"messages": 5}), 0),
    ] {
        let events = parse_event("waha", "message.any", &payload);
        let counts = (events.forms.len(), events.other_keys.len());
        assert_eq!(counts, (0, other_keys), "{payload}");
        assert!(events.has_whatsapp_activity, "{payload}");
    }
}

#[test]
fn session_state_is_parsed_without_activity() {
    let named = |name: &str, value: &str| json!({ name: value });
    for (kind, event, data, state) in [
        ("wasender", "session.status", named("status", "a"), "a"),
        ("waha", "session.status", named("status", "b"), "b"),
        ("evolution", "connection.update", named("state", "c"), "c"),
        ("evolution", "CONNECTION_UPDATE", named("state", "d"), "d"),
        ("evolution", "qrcode.updated", json!({}), ""),
        ("wasender", "", json!({}), ""),
    ] {
        let events = parse_event(kind, event, &data);
        let expected = Some(state).filter(|state| !state.is_empty());
        assert_eq!(events.state.as_deref(), expected, "{data}");
        assert!(!events.has_whatsapp_activity, "{data}");
    }
    let nameless = parse(&webhook_of("wasender", "x"), &json!({"data": {}}));
    assert!(!nameless.has_whatsapp_activity && nameless.state.is_none());
    let ack = json!({"event": "message.ack", "session": "shop"});
    assert!(parse(&webhook_of("waha", "x"), &ack).has_whatsapp_activity);
}

#[test]
fn other_session_is_ignored() {
    let status =
        json!({"event": "session.status", "session": "other", "payload": {"status": "FAILED"}});
    let events = parse(&webhook_of("waha", "x"), &status);
    assert!(events.is_other_session && events.state.is_none());
}

#[test]
fn customer_is_number_lid_or_both() {
    let number = "4915112345678";
    let lid = "99887766554433@lid";
    for (addresses, phone, id) in [
        (&["4915112345678@s.whatsapp.net"][..], Some(number), None),
        (&["4915112345678:12@s.whatsapp.net"], Some(number), None),
        (&[number, lid], Some(number), Some(lid)),
        (&["status@broadcast", "", "@lid"], None, None),
    ] {
        let customer = customer_of(addresses);
        assert_eq!(customer, Customer::new(id, phone), "{addresses:?}");
    }
}
