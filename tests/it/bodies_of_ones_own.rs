//! Destinations that are told in a shape of their own: chats, and templates. Whatever customers write stays text; a template
//! that fails is told with its place, before anything is sent where that can be known; what was refused is sent again whole.

use std::fs;

use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::world::{Act, SECRET, World, at_the_top, flow};
use crate::support::{PLAIN_FLOW, Server, eventually};

/// What only those may know who may write to the chat.
const PATH: &str = "/services/T0000/B0000/hush-hush-hush-hush";

/// A server that tells `team` of forms, at a URL that stands in a file.
fn telling_a_chat(chat: &World, body: &str) -> Server {
    let table = format!("\n[destinations.team]\nurl = \"file:team.url\"\nbody = \"{body}\"\nallow_private = true\n");
    let mut server = Server::stopped(&format!("{}{table}", flow(&["team"])));
    fs::write(server.folder().join("team.url"), format!("{}{PATH}\n", chat.url().trim_end_matches('/'))).unwrap();
    server.start_again();
    server
}

/// A server that tells `crm` of forms by a template in a file.
fn telling_by_template(crm: &World, template: &str) -> Server {
    let mut server = Server::stopped(&format!("{}{}", flow(&["crm"]), by_file(crm)));
    write(&server, template);
    server.start_again();
    server
}

fn by_file(crm: &World) -> String {
    crm.table("crm", "body = { file = \"templates/crm.json\" }")
}

fn write(server: &Server, template: &str) {
    fs::create_dir_all(server.folder().join("templates")).unwrap();
    fs::write(server.folder().join("templates/crm.json"), template).unwrap();
}

fn send(server: &Server, form: &Form) {
    assert!(server.post("/form", form).is_accepted());
}

fn dead_letter(server: &Server) -> Value {
    eventually("there is a dead letter", || server.rows(&["dead", "list"]).into_iter().next())
}

#[test]
fn a_chat_gets_a_readable_message_whatever_customers_write() {
    let chat = World::with(|_| Act::Say(200, Vec::new(), "ok"));
    let server = telling_a_chat(&chat, "slack");
    let hostile = "<!channel> \"},{\"text\":\"*pwned*\nTo do: <https://evil.example|pay> & {{ data }}";
    send(&server, &Form::new("a").by("+49151 <@U1>").with("wish", hostile));
    let asked = chat.until_asked(1).remove(0);
    assert_eq!(asked.path, PATH);
    let expected = "*New form of form*\n> From: +49151 &lt;@U1&gt;\n> name: Ann\n> wish: &lt;!channel&gt; \"},{\"text\":\"*pwned*\n\
                    > To do: &lt;https://evil.example|pay&gt; &amp; {{ data }}";
    assert_eq!(asked.json(), json!({"text": expected, "unfurl_links": false, "unfurl_media": false}));
    server.settled();
    assert!(server.rows(&["dead", "list"]).is_empty());

    let discord = World::well();
    let server = telling_a_chat(&discord, "discord");
    send(&server, &Form::new("a").by("+49151").with("wish", "@everyone [pay](https://evil.example)"));
    let body = discord.until_asked(1)[0].json();
    assert_eq!(body["allowed_mentions"], json!({"parse": []}));
    let expected =
        "**New form of form**\n> From: +49151\n> name: Ann\n> wish: @everyone \\[pay\\](https://evil.example)";
    assert_eq!(body["content"], expected);
}

#[test]
fn the_url_of_a_chat_is_shown_nowhere() {
    let chat = World::with(|_| {
        Act::Say(
            404,
            Vec::new(),
            "no_service at /services/T0000/B0000/hush-hush-hush-hush, where is hush-hush-hush-hush",
        )
    });
    let mut server = telling_a_chat(&chat, "slack");
    send(&server, &Form::new("a"));
    let letter = dead_letter(&server);
    let id = letter["id"].to_string();
    let shown = server.row(&["deliveries", "show", &id]);
    assert_eq!(shown["history"][0]["answer"], "no_service at …, where is …", "{shown}");
    let listed = server.row(&["destinations"]);
    assert!(
        listed["host"].as_str().is_some_and(|host| host.starts_with("file:") && host.ends_with("team.url")),
        "{listed}"
    );
    let test = server.cli(&["destinations", "test", "team", "--json"]);
    assert_eq!(test.code, 1);
    assert!(chat.url().contains(serde_json::from_str::<Value>(&test.out).unwrap()["host"].as_str().unwrap()));
    let check = server.cli(&["config", "check"]);
    assert!(check.code == 0 && check.out.contains("team.url"), "{check:?}");
    for args in
        [&["status", "--json"][..], &["dead", "show", &id], &["destinations", "--json"], &["deliveries", "--json"]]
    {
        let said = server.cli(args);
        assert!(said.code == 0 && !format!("{said:?}").contains("hush"), "{said:?}");
    }
    assert!(!format!("{test:?}{check:?}{}", server.log()).contains("hush"));

    // A chat that moved is told at its new URL once the file says so; one that says nothing of use is refused.
    let moved = World::well();
    fs::write(server.folder().join("team.url"), format!("{}hush-moved", moved.url())).unwrap();
    let reloaded = server.cli(&["reload"]);
    assert!(reloaded.out.contains("destinations.team changed"), "{reloaded:?}");
    send(&server, &Form::new("b"));
    assert_eq!(moved.until_taken(1).values().next().unwrap()[0].path, "/hush-moved");
    fs::write(server.folder().join("team.url"), "hush, no url").unwrap();
    let refused = server.cli(&["reload"]);
    assert!(refused.code != 0 && refused.err.contains("team.url is no URL"), "{refused:?}");
    server.stop();
    let refused = server.cli(&["destinations", "test", "team"]);
    assert!(refused.code == 2 && refused.err.contains("is no URL"), "{refused:?}");
    assert!(!format!("{refused:?}{}", server.log()).contains("hush"));
}

#[test]
fn a_template_makes_the_body_that_is_signed() {
    let crm = World::well();
    let server = telling_by_template(
        &crm,
        "{\n  \"lead\": {\"name\": {{ data.submission.answers.name }}, \"from\": \"Form {{ data.submission.id }} of {{ data.flow }}\"},\n  \
         \"ref\": {{ id }}, \"day\": {{ data.booking.date }}\n}\n",
    );
    let name = "Ann \"}, \"admin\": true, \\ \u{2028}é";
    send(&server, &Form::new("a").with("name", name));
    let asked = crm.until_asked(1).remove(0);
    assert!(asked.is_signed_with(SECRET));
    let submission = server.row(&["submissions"])["id"].to_string();
    let expected =
        json!({"lead": {"name": name, "from": format!("Form {submission} of form")}, "ref": asked.id(), "day": null});
    assert_eq!(asked.json(), expected);
    assert_eq!(asked.header("content-type"), "application/json");
}

#[test]
fn a_template_that_gives_no_json_is_refused_before_anything_is_sent() {
    let crm = World::well();
    let mut server = telling_by_template(&crm, "{\"a\": {{ data.submission.id }}}");
    for (template, why) in [
        (
            "{\"a\": {{ data.submission.id }},\n}",
            "templates/crm.json:2:1: what comes of it is no JSON: key must be a string",
        ),
        (
            "{\"a\": {{ data.submision.id }}}",
            "templates/crm.json:1:10: `data` has no \"submision\": did you mean `submission`?",
        ),
        ("{% if %}", "templates/crm.json:1:7: "),
    ] {
        write(&server, template);
        let checked = server.cli(&["config", "check"]);
        assert!(checked.code == 2 && checked.err.contains(why) && checked.err.contains("config.toml:"), "{checked:?}");
        let reloaded = server.cli(&["reload"]);
        assert!(reloaded.code != 0 && reloaded.err.contains(why), "{reloaded:?}");
    }
    // The one that counts is the one that was right.
    send(&server, &Form::new("a"));
    assert_eq!(crm.until_asked(1)[0].json(), json!({"a": 1}));
    server.stop();
    let started = server.cli(&["serve"]);
    assert!(started.code == 2 && started.err.contains("templates/crm.json:1:7: "), "{started:?}");
}

#[test]
fn an_event_that_does_not_fit_its_template_is_kept_until_the_template_does() {
    let crm = World::well();
    let template = "{\"next\": {% if data.submission.answers.count %}{{ data.submission.answers.count + 1 }}{% else %}0{% endif %}}";
    let server = telling_by_template(&crm, template);
    send(&server, &Form::new("a").with("count", "hush"));
    let letter = dead_letter(&server);
    let reason = letter["reason"].as_str().unwrap();
    assert!(reason.starts_with("its template for submission.accepted fails at line 1, column 51: "), "{reason}");
    assert!(!reason.contains("hush") && !server.log().contains("hush"), "what customers write is in no log");
    assert_eq!(letter["attempts"], 1, "trying again would change nothing");
    assert_eq!(crm.times_asked(), 0);
    let id = letter["id"].to_string();
    let webhook_id = server.row(&["deliveries", "show", &id])["webhook_id"].clone();

    write(&server, "{\"count\": \"{{ data.submission.answers.count }}\"}");
    let reloaded = server.cli(&["reload"]);
    assert!(reloaded.out.contains("destinations.crm changed"), "only the template's file has changed: {reloaded:?}");
    server.rows(&["dead", "retry", &id]);
    let asked = crm.until_asked(1).remove(0);
    assert_eq!((asked.json(), asked.id()), (json!({"count": "hush"}), webhook_id.as_str().unwrap()));
    assert!(asked.is_signed_with(SECRET));
}

#[test]
fn a_corrected_event_goes_through_the_template_too() {
    let crm = World::with(|asked| Act::say(if asked.json()["name"] == "Ann" { 422 } else { 200 }));
    let server = telling_by_template(&crm, "{\"name\": {{ data.submission.answers.name }}, \"ref\": {{ id }}}");
    send(&server, &Form::new("a"));
    let id = dead_letter(&server)["id"].to_string();
    let mut corrected = server.row(&["deliveries", "show", &id])["body"].clone();
    corrected["data"]["submission"]["answers"]["name"] = json!("Anna");
    server.rows(&["dead", "retry", &id, "--payload", &corrected.to_string()]);
    let asked = crm.until_asked(2);
    assert_eq!(asked[1].json(), json!({"name": "Anna", "ref": asked[0].id()}));
    assert_eq!(asked[0].id(), asked[1].id());
    server.settled();

    // What is no event can't be told by a template.
    crm.becomes(|_| Act::say(422));
    send(&server, &Form::new("b"));
    let id = dead_letter(&server)["id"].to_string();
    server.rows(&["dead", "retry", &id, "--payload", "[1]"]);
    eventually("it is a dead letter again", || {
        let letter = server.rows(&["dead", "list"]).into_iter().next()?;
        (letter["reason"] == "what is to be told is no JSON object").then_some(())
    });
}

#[test]
fn a_destination_is_told_of_what_it_has_a_template_for() {
    let (crm, ops) = (World::well(), World::with(|_| Act::say(400)));
    let by_event = "body = { \"lead.waiting\" = { text = '{\"waits\": {{ data.lead.id }}}' }, \"job.dead\" = { text = '{{ summary }}' } }";
    let told = PLAIN_FLOW.replacen("lead =", "deliver = [\"crm\", \"bad\"]\nlead =", 1);
    let mut server = Server::stopped(&format!("{told}{}{}", crm.table("crm", by_event), ops.table("bad", "")));
    at_the_top(&server, "alerts = [\"crm\"]");
    server.start_again();
    send(&server, &Form::new("a"));
    server.settled();
    let said = eventually("both are told", || {
        let said: Vec<Value> = crm.asked().iter().map(|asked| asked.json()).collect();
        (said.len() >= 3).then_some(said)
    });
    assert!(said.contains(&json!({"waits": 1})), "{said:?}");
    let alerts = said.iter().filter_map(Value::as_str);
    for alert in alerts {
        assert!(alert.contains("can't be done and is a dead letter now\nWhy: answered 400 Bad Request"), "{alert}");
    }
    let listed = server.rows(&["deliveries", "list", "--destination", "crm"]);
    let events: std::collections::BTreeSet<&str> = listed.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(events.into_iter().collect::<Vec<_>>(), ["job.dead", "lead.waiting"]);
}

#[test]
fn a_test_goes_through_the_template_and_shows_what_is_sent() {
    let crm = World::well();
    let template =
        "{\"name\": {{ data.submission.answers.name }}, \"kind\": {{ type }}, \"test\": {{ data.test or false }}}";
    let mut server = telling_by_template(&crm, template);
    let test = |server: &Server, more: &[&str]| {
        let test = server.row(&[&["destinations", "test", "crm"], more].concat());
        let asked = crm.asked().pop().unwrap();
        assert_eq!((&asked.json(), &test["delivered"]), (&test["body"], &json!(true)));
        assert!(asked.id().starts_with("test_") && asked.is_signed_with(SECRET));
        test["body"].clone()
    };
    let expected = |kind: &str| json!({"name": "Test", "kind": kind, "test": true});
    assert_eq!(test(&server, &[]), expected("submission.accepted"));
    assert_eq!(test(&server, &["--event", "booking.confirmed"]), expected("booking.confirmed"));
    server.stop();
    assert_eq!(test(&server, &["--event", "booking.confirmed"]), expected("booking.confirmed"));
    assert!(server.rows(&["deliveries"]).is_empty());

    // A chat is told that it is one; our own body says so in its data.
    server.configure(&format!("{}{}", flow(&["crm"]), crm.table("crm", "body = \"slack\"")));
    let said = test(&server, &[])["text"].as_str().unwrap().to_owned();
    assert_eq!(said, "*This is a test of destination crm. Nothing has happened, and nothing is to be done.*");
    let said = test(&server, &["--event", "lead.waiting"])["text"].as_str().unwrap().to_owned();
    assert!(said.starts_with("*Test: Lead 1 of appointment waits"), "{said}");
    server.configure(&format!("{}{}", flow(&["crm"]), crm.table("crm", "")));
    let body = test(&server, &["--event", "lead.waiting"]);
    assert_eq!((&body["type"], &body["data"]["test"]), (&json!("lead.waiting"), &json!(true)));
    assert_eq!(server.cli(&["destinations", "test", "crm", "--event", "lead.wating"]).code, 2);
}
