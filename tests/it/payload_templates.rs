//! Destinations with their own payload format: chats, and templates. Texts of customers stay text.
//! A template error is reported with its place, before anything is sent if the config check can
//! find it. A refused event is later sent again complete.

use std::fs;

use serde_json::{Value, json};

use crate::support::fake_services::{Behavior, FakeReceiver, SECRET, add_top_level_keys, flow};
use crate::support::form::Form;
use crate::support::{PLAIN_FLOW, Server, eventually};

/// Secret path. Everyone who knows it may write to the chat.
const PATH: &str = "/services/T0000/B0000/hush-hush-hush-hush";

/// Starts a server that sends form events to `team`, whose URL is in a file.
fn start_with_chat(chat: &FakeReceiver, body: &str) -> Server {
    let table = format!(
        "\n[destinations.team]\nurl = \"file:team.url\"\npayload = \"{body}\"\nallow_private = true\n"
    );
    let mut server = Server::stopped(&format!("{}{table}", flow(&["team"])));
    fs::write(
        server.folder().join("team.url"),
        format!("{}{PATH}\n", chat.url().trim_end_matches('/')),
    )
    .unwrap();
    server.start_again();
    server
}

/// Starts a server that sends form events to `crm` with a template in a file.
fn start_with_template(crm: &FakeReceiver, template: &str) -> Server {
    let mut server = Server::stopped(&format!(
        "{}{}",
        flow(&["crm"]),
        table_with_template_file(crm)
    ));
    write(&server, template);
    server.start_again();
    server
}

fn table_with_template_file(crm: &FakeReceiver) -> String {
    crm.table("crm", "payload = { file = \"templates/crm.json\" }")
}

fn write(server: &Server, template: &str) {
    fs::create_dir_all(server.folder().join("templates")).unwrap();
    fs::write(server.folder().join("templates/crm.json"), template).unwrap();
}

fn send(server: &Server, form: &Form) {
    assert!(server.post("/form", form).is_accepted());
}

fn dead_letter(server: &Server) -> Value {
    eventually("there is a dead letter", || {
        server.rows(&["dead-letters", "list"]).into_iter().next()
    })
}

#[test]
fn chat_message_escapes_customer_text() {
    let chat = FakeReceiver::with(|_| Behavior::Respond(200, Vec::new(), "ok"));
    let server = start_with_chat(&chat, "slack");
    let hostile =
        "<!channel> \"},{\"text\":\"*pwned*\nTo do: <https://evil.example|pay> & {{ data }}";
    send(
        &server,
        &Form::new("a").by("+49151 <@U1>").with("wish", hostile),
    );
    let asked = chat.wait_for_requests(1).remove(0);
    assert_eq!(asked.path, PATH);
    let expected = "*New form of form*\n> From: +49151 &lt;@U1&gt;\n> name: Ann\n> wish: &lt;!channel&gt; \"},{\"text\":\"*pwned*\n\
                    > To do: &lt;https://evil.example|pay&gt; &amp; {{ data }}";
    assert_eq!(
        asked.json(),
        json!({"text": expected, "unfurl_links": false, "unfurl_media": false})
    );
    server.settled();
    assert!(server.rows(&["dead-letters", "list"]).is_empty());

    let discord = FakeReceiver::well();
    let server = start_with_chat(&discord, "discord");
    send(
        &server,
        &Form::new("a")
            .by("+49151")
            .with("wish", "@everyone [pay](https://evil.example)"),
    );
    let body = discord.wait_for_requests(1)[0].json();
    assert_eq!(body["allowed_mentions"], json!({"parse": []}));
    let expected = "**New form of form**\n> From: +49151\n> name: Ann\n> wish: @everyone \\[pay\\](https://evil.example)";
    assert_eq!(body["content"], expected);
}

#[test]
fn chat_url_is_never_shown() {
    let chat = FakeReceiver::with(|_| {
        Behavior::Respond(
            404,
            Vec::new(),
            "no_service at /services/T0000/B0000/hush-hush-hush-hush, where is hush-hush-hush-hush",
        )
    });
    let server = start_with_chat(&chat, "slack");
    send(&server, &Form::new("a"));
    let letter = dead_letter(&server);
    let id = letter["id"].to_string();
    let shown = server.row(&["deliveries", "show", &id]);
    assert_eq!(
        shown["attempt_history"][0]["response"], "no_service at …, where is …",
        "{shown}"
    );
    let listed = server.row(&["destinations"]);
    assert!(
        listed["host"]
            .as_str()
            .is_some_and(|host| host.starts_with("file:") && host.ends_with("team.url")),
        "{listed}"
    );
    let test = server.cli(&["destinations", "test", "team", "--json"]);
    assert_eq!(test.code, 1);
    assert!(
        chat.url().contains(
            serde_json::from_str::<Value>(&test.out).unwrap()["host"]
                .as_str()
                .unwrap()
        )
    );
    let check = server.cli(&["config", "check"]);
    assert!(
        check.code == 0 && check.out.contains("team.url"),
        "{check:?}"
    );
    for args in [
        &["status", "--json"][..],
        &["dead-letters", "show", &id],
        &["destinations", "--json"],
        &["deliveries", "--json"],
    ] {
        let output = server.cli(args);
        assert!(
            output.code == 0 && !format!("{output:?}").contains("hush"),
            "{output:?}"
        );
    }
    assert!(!format!("{test:?}{check:?}{}", server.log()).contains("hush"));
}

#[test]
fn changed_chat_url_is_read_on_reload() {
    let mut server = start_with_chat(&FakeReceiver::well(), "slack");
    let moved = FakeReceiver::well();
    fs::write(
        server.folder().join("team.url"),
        format!("{}hush-moved", moved.url()),
    )
    .unwrap();
    let reloaded = server.cli(&["reload"]);
    assert!(
        reloaded.out.contains("destinations.team changed"),
        "{reloaded:?}"
    );
    send(&server, &Form::new("a"));
    assert_eq!(
        moved.wait_for_accepted(1).values().next().unwrap()[0].path,
        "/hush-moved"
    );
    fs::write(server.folder().join("team.url"), "hush, no url").unwrap();
    let refused = server.cli(&["reload"]);
    assert!(
        refused.code != 0 && refused.err.contains("team.url is not a valid URL"),
        "{refused:?}"
    );
    server.stop();
    let refused = server.cli(&["destinations", "test", "team"]);
    assert!(
        refused.code == 2 && refused.err.contains("is not a valid URL"),
        "{refused:?}"
    );
    assert!(!format!("{refused:?}{}", server.log()).contains("hush"));
}

#[test]
fn template_renders_signed_payload() {
    let crm = FakeReceiver::well();
    let server = start_with_template(
        &crm,
        "{\n  \"lead\": {\"name\": {{ data.submission.answers.name }}, \"from\": \"Form {{ data.submission.id }} of {{ data.flow }}\"},\n  \
         \"ref\": {{ id }}, \"day\": {{ data.booking.date }}\n}\n",
    );
    let name = "Ann \"}, \"admin\": true, \\ \u{2028}é";
    send(&server, &Form::new("a").with("name", name));
    let asked = crm.wait_for_requests(1).remove(0);
    assert!(asked.is_signed_with(SECRET));
    let submission = server.row(&["submissions"])["id"].to_string();
    let expected = json!({"lead": {"name": name, "from": format!("Form {submission} of form")}, "ref": asked.id(), "day": null});
    assert_eq!(asked.json(), expected);
    assert_eq!(asked.header("content-type"), "application/json");
}

#[test]
fn invalid_template_is_refused_before_sending() {
    let crm = FakeReceiver::well();
    let mut server = start_with_template(&crm, "{\"a\": {{ data.submission.id }}}");
    for (template, why) in [
        (
            "{\"a\": {{ data.submission.id }},\n}",
            "templates/crm.json:2:1: the result is not valid JSON: key must be a string",
        ),
        (
            "{\"a\": {{ data.submision.id }}}",
            "templates/crm.json:1:10: `data` has no \"submision\": did you mean `submission`?",
        ),
        ("{% if %}", "templates/crm.json:1:7: "),
    ] {
        write(&server, template);
        let checked = server.cli(&["config", "check"]);
        assert!(
            checked.code == 2 && checked.err.contains(why) && checked.err.contains("config.toml:"),
            "{checked:?}"
        );
        let reloaded = server.cli(&["reload"]);
        assert!(
            reloaded.code != 0 && reloaded.err.contains(why),
            "{reloaded:?}"
        );
    }
    // The last valid template stays active.
    send(&server, &Form::new("a"));
    assert_eq!(crm.wait_for_requests(1)[0].json(), json!({"a": 1}));
    server.stop();
    let started = server.cli(&["serve"]);
    assert!(
        started.code == 2 && started.err.contains("templates/crm.json:1:7: "),
        "{started:?}"
    );
}

#[test]
fn event_that_fails_template_is_deliverable_after_fix() {
    let crm = FakeReceiver::well();
    let template = "{\"next\": {% if data.submission.answers.count %}{{ data.submission.answers.count + 1 }}{% else %}0{% endif %}}";
    let server = start_with_template(&crm, template);
    send(&server, &Form::new("a").with("count", "hush"));
    let letter = dead_letter(&server);
    let reason = letter["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the destination's payload template for submission.accepted fails at line 1, column 51: "),
        "{reason}"
    );
    assert!(
        !reason.contains("hush") && !server.log().contains("hush"),
        "what customers write is in no log"
    );
    assert_eq!(letter["attempts"], 1, "trying again would change nothing");
    assert_eq!(crm.request_count(), 0);
    let id = letter["id"].to_string();
    let webhook_id = server.row(&["deliveries", "show", &id])["webhook_id"].clone();

    write(
        &server,
        "{\"count\": \"{{ data.submission.answers.count }}\"}",
    );
    let reloaded = server.cli(&["reload"]);
    assert!(
        reloaded.out.contains("destinations.crm changed"),
        "only the template's file has changed: {reloaded:?}"
    );
    server.rows(&["dead-letters", "retry", &id]);
    let asked = crm.wait_for_requests(1).remove(0);
    assert_eq!(
        (asked.json(), asked.id()),
        (json!({"count": "hush"}), webhook_id.as_str().unwrap())
    );
    assert!(asked.is_signed_with(SECRET));
}

#[test]
fn corrected_event_is_rendered_by_template() {
    let crm = FakeReceiver::with(|asked| {
        Behavior::reply_with(if asked.json()["name"] == "Ann" {
            422
        } else {
            200
        })
    });
    let server = start_with_template(
        &crm,
        "{\"name\": {{ data.submission.answers.name }}, \"ref\": {{ id }}}",
    );
    send(&server, &Form::new("a"));
    let id = dead_letter(&server)["id"].to_string();
    let mut corrected = server.row(&["deliveries", "show", &id])["body"].clone();
    corrected["data"]["submission"]["answers"]["name"] = json!("Anna");
    server.rows(&[
        "dead-letters",
        "retry",
        &id,
        "--payload",
        &corrected.to_string(),
    ]);
    let asked = crm.wait_for_requests(2);
    assert_eq!(
        asked[1].json(),
        json!({"name": "Anna", "ref": asked[0].id()})
    );
    assert_eq!(asked[0].id(), asked[1].id());
    server.settled();

    // A payload that is not an event can't be sent through a template.
    crm.becomes(|_| Behavior::reply_with(422));
    send(&server, &Form::new("b"));
    let id = dead_letter(&server)["id"].to_string();
    server.rows(&["dead-letters", "retry", &id, "--payload", "[1]"]);
    eventually("it is a dead letter again", || {
        let letter = server.rows(&["dead-letters", "list"]).into_iter().next()?;
        (letter["reason"] == "the event is not a JSON object").then_some(())
    });
}

#[test]
fn destination_gets_only_events_with_templates() {
    let (crm, ops) = (
        FakeReceiver::well(),
        FakeReceiver::with(|_| Behavior::reply_with(400)),
    );
    let by_event = "payload = { \"lead.waiting\" = { text = '{\"waits\": {{ data.lead.id }}}' }, \"job.dead\" = { text = '{{ summary }}' } }";
    let config = PLAIN_FLOW.replacen("lead =", "deliver = [\"crm\", \"bad\"]\nlead =", 1);
    let mut server = Server::stopped(&format!(
        "{config}{}{}",
        crm.table("crm", by_event),
        ops.table("bad", "")
    ));
    add_top_level_keys(&server, "alerts = [\"crm\"]");
    server.start_again();
    send(&server, &Form::new("a"));
    server.settled();
    let output = eventually("both are told", || {
        let output: Vec<Value> = crm.asked().iter().map(|asked| asked.json()).collect();
        (output.len() >= 3).then_some(output)
    });
    assert!(output.contains(&json!({"waits": 1})), "{output:?}");
    let alerts = output.iter().filter_map(Value::as_str);
    for alert in alerts {
        assert!(
            alert.contains("failed and is a dead letter\nWhy: responded with 400 Bad Request"),
            "{alert}"
        );
    }
    let listed = server.rows(&["deliveries", "list", "--destination", "crm"]);
    let events: std::collections::BTreeSet<&str> = listed
        .iter()
        .map(|one| one["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        events.into_iter().collect::<Vec<_>>(),
        ["job.dead", "lead.waiting"]
    );
}

#[test]
fn destination_test_renders_template_and_shows_payload() {
    let crm = FakeReceiver::well();
    let template = "{\"name\": {{ data.submission.answers.name }}, \"kind\": {{ type }}, \"test\": {{ data.test or false }}}";
    let mut server = start_with_template(&crm, template);
    let test = |server: &Server, more: &[&str]| {
        let test = server.row(&[&["destinations", "test", "crm"], more].concat());
        let asked = crm.asked().pop().unwrap();
        assert_eq!(
            (&asked.json(), &test["delivered"]),
            (&test["body"], &json!(true))
        );
        assert!(asked.id().starts_with("test_") && asked.is_signed_with(SECRET));
        test["body"].clone()
    };
    let expected = |kind: &str| json!({"name": "Test", "kind": kind, "test": true});
    assert_eq!(test(&server, &[]), expected("submission.accepted"));
    assert_eq!(
        test(&server, &["--event", "booking.confirmed"]),
        expected("booking.confirmed")
    );
    server.stop();
    assert_eq!(
        test(&server, &["--event", "booking.confirmed"]),
        expected("booking.confirmed")
    );
    assert!(server.rows(&["deliveries"]).is_empty());

    // The text of a chat message names the test. The default payload marks the test in its data.
    server.configure(&format!(
        "{}{}",
        flow(&["crm"]),
        crm.table("crm", "payload = \"slack\"")
    ));
    let output = test(&server, &[])["text"].as_str().unwrap().to_owned();
    assert_eq!(
        output,
        "*This is a test of destination crm. Nothing has happened, and no action is needed.*"
    );
    let output = test(&server, &["--event", "lead.waiting"])["text"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        output.starts_with("*Test: Lead 1 of appointment is waiting"),
        "{output}"
    );
    server.configure(&format!("{}{}", flow(&["crm"]), crm.table("crm", "")));
    let body = test(&server, &["--event", "lead.waiting"]);
    assert_eq!(
        (&body["type"], &body["data"]["test"]),
        (&json!("lead.waiting"), &json!(true))
    );
    assert_eq!(
        server
            .cli(&["destinations", "test", "crm", "--event", "lead.wating"])
            .code,
        2
    );
}
