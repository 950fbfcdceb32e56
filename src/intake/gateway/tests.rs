//! Tests the webhooks of each gateway kind, as documented, and requests that are not authenticated.

use serde_json::json;

use super::message::customer_of;
use super::*;
use crate::config::Config;
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
    webhook
        .parse(&catalog(), body.to_string().as_bytes())
        .unwrap()
}

#[test]
fn wasender_is_authenticated_by_secret_header() {
    let gateway_webhook = webhook_of("wasender", "hush");
    assert_eq!(gateway_webhook.authenticate(Some(b"hush"), b"{}"), Ok(()));
    for wrong in ["", "hus", "hushh", "HUSH"] {
        assert_eq!(
            gateway_webhook.authenticate(Some(wrong.as_bytes()), b"{}"),
            Err(WebhookAuthError::Wrong),
            "{wrong}"
        );
    }
    assert_eq!(
        gateway_webhook.authenticate(None, b"{}"),
        Err(WebhookAuthError::Missing("x-webhook-signature"))
    );
}

#[test]
fn waha_is_authenticated_by_body_hmac() {
    // Output of `openssl dgst -sha512 -hmac hush` for these bytes.
    let body = br#"{"event":"message"}"#;
    let hmac = "638d2b9baecca97856f2b791244a6a4c366f7d03de766e01ca74b1a5bd55518e2fbe721cb3d5b79f442dcdd41b052bf90bf02913edf9ebfe8c045aa9f29a93b4";
    let gateway_webhook = webhook_of("waha", "hush");
    assert_eq!(
        gateway_webhook.authenticate(Some(hmac.as_bytes()), body),
        Ok(())
    );
    assert_eq!(
        gateway_webhook.authenticate(Some(hmac.to_uppercase().as_bytes()), body),
        Ok(())
    );
    assert_eq!(
        gateway_webhook.authenticate(Some(hmac.as_bytes()), b"{}"),
        Err(WebhookAuthError::Wrong)
    );
    for wrong in [
        "",
        "00",
        "hush",
        &hmac[..126],
        &format!("{hmac}00"),
        &hmac.replace('a', "g"),
    ] {
        assert_eq!(
            gateway_webhook.authenticate(Some(wrong.as_bytes()), body),
            Err(WebhookAuthError::Wrong),
            "{wrong}"
        );
    }
    assert_eq!(
        gateway_webhook.authenticate(None, body),
        Err(WebhookAuthError::Missing("x-webhook-hmac"))
    );
}

#[test]
fn evolution_is_authenticated_by_key_in_body() {
    let gateway_webhook = webhook_of("evolution", "hush");
    assert_eq!(
        gateway_webhook.authenticate(None, br#"{"apikey":"hush"}"#),
        Ok(())
    );
    for wrong in [
        "{}",
        r#"{"apikey":"Hush"}"#,
        r#"{"apikey":null}"#,
        r#"{"apikey":["hush"]}"#,
        "hush",
        "",
        "[",
    ] {
        assert_eq!(
            gateway_webhook.authenticate(None, wrong.as_bytes()),
            Err(WebhookAuthError::Wrong),
            "{wrong}"
        );
    }
}

#[test]
fn matching_text_is_submission_for_every_gateway() {
    let key = json!({"id": "M1", "fromMe": false, "remoteJid": "4915112345678@s.whatsapp.net"});
    let text = "book 2027-01-04";
    let keyed =
        json!({"key": key, "message": {"conversation": text}, "messageTimestamp": 1_800_000_000});
    for (kind, body) in [
        (
            "wasender",
            json!({"event": "messages.received", "sessionId": "k", "data": {"messages": {"key": key, "messageBody": text, "messageTimestamp": "1800000000"}}}),
        ),
        (
            "wasender",
            json!({"event": "messages.upsert", "data": {"messages": [keyed]}}),
        ),
        (
            "waha",
            json!({"event": "message", "session": "shop", "payload": {"id": "M1", "from": "4915112345678@c.us", "fromMe": false, "body": text, "timestamp": 1_800_000_000}}),
        ),
        (
            "evolution",
            json!({"event": "messages.upsert", "instance": "shop", "data": keyed, "apikey": "k"}),
        ),
        (
            "evolution",
            json!({"event": "MESSAGES_UPSERT", "instance": "shop", "data": {"key": key, "message": {"extendedTextMessage": {"text": text}}, "messageTimestamp": 1_800_000_000}}),
        ),
        // The first message disappears, and the second message disappears and can be viewed once.
        (
            "wasender",
            json!({"event": "messages.upsert", "data": {"messages": {"key": key, "message": {"ephemeralMessage": {"message": {"extendedTextMessage": {"text": text}}}}, "messageTimestamp": 1_800_000_000}}}),
        ),
        (
            "evolution",
            json!({"event": "messages.upsert", "instance": "shop", "data": {"key": key, "message": {"ephemeralMessage": {"message": {"viewOnceMessageV2": {"message": {"conversation": text}}}}}, "messageTimestamp": 1_800_000_000}}),
        ),
    ] {
        let events = parse(&webhook_of(kind, "x"), &body);
        assert!(
            events.has_whatsapp_activity && events.other_keys.is_empty(),
            "{body}"
        );
        let [form] = &events.forms[..] else {
            panic!("{body}")
        };
        let found = &form.submission;
        assert_eq!(
            (&*found.data, found.channel),
            (r#"{"day":"2027-01-04"}"#, SubmissionChannel::Gateway),
            "{body}"
        );
        assert_eq!(found.customer.phone.as_deref(), Some("4915112345678"));
        assert_eq!(found.message_id.as_ref().unwrap().as_str(), "M1");
        assert_eq!(
            found.sent_at,
            Some(Timestamp::from_millis(1_800_000_000_000))
        );
        let name = GatewayName::new("one").unwrap();
        assert_eq!(
            form.message_key,
            Some(IdempotencyKey::for_gateway_message(&name, "M1"))
        );
        assert!(found.problems.is_empty());
    }
}

#[test]
fn invalid_field_is_recorded_as_problem() {
    let payload = json!({"id": "M1", "from": "4915112345678@c.us", "body": "book soon"});
    let events = parse(
        &webhook_of("waha", "x"),
        &json!({"event": "message", "session": "shop", "payload": payload}),
    );
    assert_eq!(events.forms[0].submission.problems.len(), 1);
}

#[test]
fn own_messages_are_ignored_and_others_are_keyed() {
    let waha = |payload: Value| {
        parse(
            &webhook_of("waha", "x"),
            &json!({"event": "message.any", "session": "shop", "payload": payload}),
        )
    };
    let count = |events: &GatewayEvents| {
        (
            events.forms.len(),
            events.other_keys.len(),
            events.has_whatsapp_activity,
        )
    };
    let own = waha(json!({"id": "1", "from": "1@c.us", "fromMe": true, "body": "book 2027-01-04"}));
    assert_eq!(count(&own), (0, 0, true));
    assert_eq!(
        count(&waha(json!({"id": "1", "from": "1@c.us", "body": "hello"}))),
        (0, 1, true)
    );
    assert_eq!(
        count(&waha(json!({"id": "1", "from": "1@c.us"}))),
        (0, 1, true),
        "an image"
    );
    assert_eq!(
        count(&waha(json!({"from": "1@c.us", "body": "book 2027-01-04"}))),
        (0, 0, true),
        "it has no id"
    );
    assert_eq!(
        count(&waha(
            json!({"id": "1", "from": "1-2@g.us", "body": "book 2027-01-04"})
        )),
        (0, 1, true),
        "a group"
    );
    for nothing in [
        json!(null),
        json!([1, "a"]),
        json!("text"),
        json!({"messages": 5}),
    ] {
        assert_eq!(count(&waha(nothing)), (0, 0, true));
    }
}

#[test]
fn session_state_is_parsed_without_activity() {
    for (kind, body, state) in [
        (
            "wasender",
            json!({"event": "session.status", "data": {"status": "disconnected"}}),
            Some("disconnected"),
        ),
        (
            "waha",
            json!({"event": "session.status", "session": "shop", "payload": {"status": "FAILED"}}),
            Some("FAILED"),
        ),
        (
            "evolution",
            json!({"event": "connection.update", "instance": "shop", "data": {"state": "close"}}),
            Some("close"),
        ),
        (
            "evolution",
            json!({"event": "CONNECTION_UPDATE", "instance": "shop", "data": {"state": "open"}}),
            Some("open"),
        ),
        (
            "evolution",
            json!({"event": "qrcode.updated", "instance": "shop", "data": {}}),
            None,
        ),
        ("wasender", json!({"data": {}}), None),
    ] {
        let events = parse(&webhook_of(kind, "x"), &body);
        assert_eq!(
            (events.state.as_deref(), events.has_whatsapp_activity),
            (state, false),
            "{body}"
        );
    }
    assert!(
        parse(
            &webhook_of("waha", "x"),
            &json!({"event": "message.ack", "session": "shop"})
        )
        .has_whatsapp_activity
    );
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
    let names_of = |addresses: &[&str]| {
        let customer = customer_of(addresses);
        (
            customer.phone.map(String::from),
            customer.id.map(String::from),
        )
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        names_of(&["4915112345678@s.whatsapp.net"]),
        (some("4915112345678"), None)
    );
    assert_eq!(
        names_of(&["4915112345678:12@s.whatsapp.net"]),
        (some("4915112345678"), None)
    );
    assert_eq!(
        names_of(&["4915112345678", "99887766554433@lid"]),
        (some("4915112345678"), some("99887766554433@lid"))
    );
    assert_eq!(names_of(&["status@broadcast", "", "@lid"]), (None, None));
}
