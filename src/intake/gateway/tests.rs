//! What each gateway sends, as its documentation has it, and what does not prove itself.

use serde_json::json;

use super::*;
use crate::config::Config;

fn catalog() -> Catalog {
    let text = "[flows.visit]\npath = \"/visit\"\nscreens = [{ name = \"A\", final = true, fields = { day = { type = \"date\" } } }]";
    Catalog::from(&Config::parse(std::path::Path::new("config.toml"), text).unwrap())
}

fn door(kind: &str, secret: &str) -> Door {
    let keys = match kind {
        "wasender" => "session_key = \"text:k\"\naccess_token = \"text:t\"\nsession = \"17\"",
        _ => "api_key = \"text:k\"\nurl = \"https://a.example\"\nsession = \"shop\"",
    };
    let text = format!(
        "[flows.visit]\npath = \"/visit\"\n[gateways.one]\nkind = \"{kind}\"\n{keys}\nwebhook_secret = \"text:x\"\nforms = [{{ flow = \"visit\", pattern = 'book (?<day>\\S+)' }}]"
    );
    let config = Config::parse(std::path::Path::new("config.toml"), &text).unwrap();
    let (name, gateway) = config.gateways.into_iter().next().unwrap();
    Door::new(name, gateway.rule, Secret::new(secret.to_owned()))
}

fn read(door: &Door, body: &Value) -> Brought {
    door.read(&catalog(), body.to_string().as_bytes()).unwrap()
}

#[test]
fn wasender_shows_its_secret_as_it_is() {
    let door = door("wasender", "hush");
    assert_eq!(door.admit(Some(b"hush"), b"{}"), Ok(()));
    for wrong in ["", "hus", "hushh", "HUSH"] {
        assert_eq!(door.admit(Some(wrong.as_bytes()), b"{}"), Err(BadProof::Wrong), "{wrong}");
    }
    assert_eq!(door.admit(None, b"{}"), Err(BadProof::Missing("x-webhook-signature")));
}

#[test]
fn waha_proves_each_body() {
    // `openssl dgst -sha512 -hmac hush` over these bytes.
    let body = br#"{"event":"message"}"#;
    let hmac = "638d2b9baecca97856f2b791244a6a4c366f7d03de766e01ca74b1a5bd55518e2fbe721cb3d5b79f442dcdd41b052bf90bf02913edf9ebfe8c045aa9f29a93b4";
    let door = door("waha", "hush");
    assert_eq!(door.admit(Some(hmac.as_bytes()), body), Ok(()));
    assert_eq!(door.admit(Some(hmac.to_uppercase().as_bytes()), body), Ok(()));
    assert_eq!(door.admit(Some(hmac.as_bytes()), b"{}"), Err(BadProof::Wrong));
    for wrong in ["", "00", "hush", &hmac[..126], &format!("{hmac}00"), &hmac.replace('a', "g")] {
        assert_eq!(door.admit(Some(wrong.as_bytes()), body), Err(BadProof::Wrong), "{wrong}");
    }
    assert_eq!(door.admit(None, body), Err(BadProof::Missing("x-webhook-hmac")));
}

#[test]
fn evolution_has_its_key_in_the_body() {
    let door = door("evolution", "hush");
    assert_eq!(door.admit(None, br#"{"apikey":"hush"}"#), Ok(()));
    for wrong in ["{}", r#"{"apikey":"Hush"}"#, r#"{"apikey":null}"#, r#"{"apikey":["hush"]}"#, "hush", "", "["] {
        assert_eq!(door.admit(None, wrong.as_bytes()), Err(BadProof::Wrong), "{wrong}");
    }
}

#[test]
fn a_text_that_fits_is_a_form_whatever_gateway_brings_it() {
    let key = json!({"id": "M1", "fromMe": false, "remoteJid": "4915112345678@s.whatsapp.net"});
    let text = "book 2027-01-04";
    let keyed = json!({"key": key, "message": {"conversation": text}, "messageTimestamp": 1_800_000_000});
    for (kind, body) in [
        (
            "wasender",
            json!({"event": "messages.received", "sessionId": "k", "data": {"messages": {"key": key, "messageBody": text, "messageTimestamp": "1800000000"}}}),
        ),
        ("wasender", json!({"event": "messages.upsert", "data": {"messages": [keyed]}})),
        (
            "waha",
            json!({"event": "message", "session": "shop", "payload": {"id": "M1", "from": "4915112345678@c.us", "fromMe": false, "body": text, "timestamp": 1_800_000_000}}),
        ),
        ("evolution", json!({"event": "messages.upsert", "instance": "shop", "data": keyed, "apikey": "k"})),
        (
            "evolution",
            json!({"event": "MESSAGES_UPSERT", "instance": "shop", "data": {"key": key, "message": {"extendedTextMessage": {"text": text}}, "messageTimestamp": 1_800_000_000}}),
        ),
        // In a chat whose messages disappear, and to be seen once.
        (
            "wasender",
            json!({"event": "messages.upsert", "data": {"messages": {"key": key, "message": {"ephemeralMessage": {"message": {"extendedTextMessage": {"text": text}}}}, "messageTimestamp": 1_800_000_000}}}),
        ),
        (
            "evolution",
            json!({"event": "messages.upsert", "instance": "shop", "data": {"key": key, "message": {"ephemeralMessage": {"message": {"viewOnceMessageV2": {"message": {"conversation": text}}}}}, "messageTimestamp": 1_800_000_000}}),
        ),
    ] {
        let brought = read(&door(kind, "x"), &body);
        assert!(brought.is_alive && brought.others.is_empty(), "{body}");
        let [form] = &brought.forms[..] else { panic!("{body}") };
        let found = &form.submission;
        assert_eq!((&*found.data, found.channel), (r#"{"day":"2027-01-04"}"#, Channel::Gateway), "{body}");
        assert_eq!(found.customer.phone.as_deref(), Some("4915112345678"));
        assert_eq!(found.message_id.as_ref().unwrap().as_str(), "M1");
        assert_eq!(found.sent_at, Some(Timestamp::from_millis(1_800_000_000_000)));
        let name = GatewayName::new("one").unwrap();
        assert_eq!(form.message_key, Some(IdempotencyKey::of_gateway_message(&name, "M1")));
        assert!(found.problems.is_empty());
    }
}

#[test]
fn a_field_that_does_not_fit_is_noted_as_nobody_can_be_asked_again() {
    let payload = json!({"id": "M1", "from": "4915112345678@c.us", "body": "book soon"});
    let brought = read(&door("waha", "x"), &json!({"event": "message", "session": "shop", "payload": payload}));
    assert_eq!(brought.forms[0].submission.problems.len(), 1);
}

#[test]
fn what_we_sent_is_nothing_and_other_messages_are_only_known() {
    let waha = |payload: Value| {
        read(&door("waha", "x"), &json!({"event": "message.any", "session": "shop", "payload": payload}))
    };
    let count = |brought: &Brought| (brought.forms.len(), brought.others.len(), brought.is_alive);
    let own = waha(json!({"id": "1", "from": "1@c.us", "fromMe": true, "body": "book 2027-01-04"}));
    assert_eq!(count(&own), (0, 0, true));
    assert_eq!(count(&waha(json!({"id": "1", "from": "1@c.us", "body": "hello"}))), (0, 1, true));
    assert_eq!(count(&waha(json!({"id": "1", "from": "1@c.us"}))), (0, 1, true), "an image");
    assert_eq!(count(&waha(json!({"from": "1@c.us", "body": "book 2027-01-04"}))), (0, 0, true), "it has no id");
    assert_eq!(
        count(&waha(json!({"id": "1", "from": "1-2@g.us", "body": "book 2027-01-04"}))),
        (0, 1, true),
        "a group"
    );
    for nothing in [json!(null), json!([1, "a"]), json!("text"), json!({"messages": 5})] {
        assert_eq!(count(&waha(nothing)), (0, 0, true));
    }
}

#[test]
fn a_state_is_read_and_is_no_sign_of_life() {
    for (kind, body, state) in [
        ("wasender", json!({"event": "session.status", "data": {"status": "disconnected"}}), Some("disconnected")),
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
        ("evolution", json!({"event": "qrcode.updated", "instance": "shop", "data": {}}), None),
        ("wasender", json!({"data": {}}), None),
    ] {
        let brought = read(&door(kind, "x"), &body);
        assert_eq!((brought.state.as_deref(), brought.is_alive), (state, false), "{body}");
    }
    assert!(read(&door("waha", "x"), &json!({"event": "message.ack", "session": "shop"})).is_alive);
}

#[test]
fn another_session_of_the_same_gateway_is_nothing_to_us() {
    let status = json!({"event": "session.status", "session": "other", "payload": {"status": "FAILED"}});
    let brought = read(&door("waha", "x"), &status);
    assert!(brought.is_foreign && brought.state.is_none());
}

#[test]
fn who_wrote_is_a_number_an_id_that_stands_for_one_or_both() {
    let of = |addresses: &[&str]| {
        let customer = customer(addresses);
        (customer.phone.map(String::from), customer.id.map(String::from))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(&["4915112345678@s.whatsapp.net"]), (some("4915112345678"), None));
    assert_eq!(of(&["4915112345678:12@s.whatsapp.net"]), (some("4915112345678"), None));
    assert_eq!(of(&["4915112345678", "99887766554433@lid"]), (some("4915112345678"), some("99887766554433@lid")));
    assert_eq!(of(&["status@broadcast", "", "@lid"]), (None, None));
}
