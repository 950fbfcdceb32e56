//! Configs as a whole: that the shipped one is what it says, what is found where, and how errors look.

use std::fs;

use insta::assert_snapshot;

use super::*;
use crate::domain::flow::{SignatureRule, Stage};
use crate::domain::time::Timestamp;

const SHIPPED: &str = include_str!("../../config.toml");

/// Friday 2027-01-15, 08:00 in UTC.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// What is said of a bad config, as a person sees it.
pub(super) fn refused(text: &str) -> String {
    Config::parse(Path::new("config.toml"), text).unwrap_err().to_string()
}

/// What a good one comes to.
pub(super) fn accepted(text: &str) -> Config {
    Config::parse(Path::new("config.toml"), text).unwrap_or_else(|error| panic!("{error}"))
}

/// That each of these is refused, in `table`, with just this.
pub(super) fn assert_refused(table: &str, cases: &[(&str, &str)]) {
    for (typed, expected) in cases {
        assert_eq!(refused(&format!("{table}\n{typed}\n")), format!("config.toml:{expected}"), "{typed}");
    }
}

#[test]
fn the_shipped_config_has_the_defaults() {
    let (shipped, empty) = (accepted(SHIPPED), accepted(""));
    assert_eq!((shipped.listen, shipped.admin_listen), (empty.listen, empty.admin_listen));
    assert_eq!(shipped.data, empty.data);
    assert_eq!(format!("{:?}", shipped.meta), format!("{:?}", empty.meta));
    assert_eq!(shipped.limits, empty.limits);
    assert_eq!(shipped.workers, empty.workers);
    assert_eq!(shipped.retry, empty.retry);
    assert_eq!(shipped.retention, empty.retention);
    assert_eq!(shipped.store, empty.store);
}

#[test]
fn the_shipped_config_names_every_setting_and_what_is_left_out_stands_there_as_a_comment() {
    for key in [
        "listen",
        "admin_listen",
        "data",
        "app_secrets",
        "verify_token",
        "access_token",
        "api_version",
        "graph_url",
        "body",
        "flow_body",
        "bodies",
        "header_timeout",
        "request",
        "idle",
        "drain_timeout",
        "connections",
        "intake",
        "batch",
        "free_space",
        "idempotency_keys",
        "threads",
        "queue",
        "first",
        "ceiling",
        "attempts",
        "idempotency",
        "message_ids",
        "submissions",
        "cache",
        "verify",
        "path",
        "encryption",
        "signature",
        "booking",
        "lead",
        "sticky",
        "webhook",
        "next",
        "final",
        "required",
        "url",
        "secret",
        "timeout",
        "fallback",
        "breaker",
        "timezone",
        "closed",
        "opened",
        "slot",
        "buffer",
        "capacity",
        "ahead",
        "notice",
    ] {
        assert!(SHIPPED.contains(&format!("{key} =")), "{key}");
    }
    let uncommented = SHIPPED.replace("# webhook =", "webhook =").replace("# opened =", "opened =");
    let config = accepted(&uncommented);
    assert!(config.flows.values().all(|flow| flow.webhook.conditions() == 3));
}

#[test]
fn the_shipped_flow_books_and_takes_the_answer_of_its_screen() {
    let config = accepted(SHIPPED);
    let flow = config.flows.values().next().unwrap();
    assert_eq!((flow.path.as_str(), flow.signature), ("/whatsapp-flow-webhook", SignatureRule::Required));
    assert_eq!(flow.stage(Some("APPOINTMENT_SCREEN"), &serde_json::Map::new()), Ok(Stage::Final));
    let vector: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/plain_appointment.json")).unwrap();
    let data = vector["data"].as_object().unwrap();
    assert!(flow.problems(vector["screen"].as_str(), data).is_empty());
    assert!(flow.booking.as_ref().unwrap().wish(data).unwrap().is_some());
}

#[test]
fn an_empty_config_is_one_and_relative_paths_are_relative_to_it() {
    let config = Config::parse(Path::new("/etc/flowgate/config.toml"), "[meta]\napp_secrets = [\"file:s\"]").unwrap();
    assert_eq!(config.data, Path::new("/etc/flowgate/flowgate.redb"));
    assert!(matches!(&config.meta.app_secrets[0], SecretRef::File(path) if path == Path::new("/etc/flowgate/s")));
    let config = Config::parse(Path::new("/etc/config.toml"), "data = \"/var/lib/a.redb\"").unwrap();
    assert_eq!(config.data, Path::new("/var/lib/a.redb"));
    assert_eq!(accepted("").data, Path::new("flowgate.redb"));
}

#[test]
fn all_that_is_wrong_is_said_at_once_in_the_order_of_the_file() {
    assert_snapshot!(
        refused(
            r#"
listen = "localhost"
[limits]
boddy = "4MiB"
batch = 0
[flows.form]
paht = "/form"
encryption = "required"
deliver = ["cmr"]
booking = { calendar = "chiar", date = "day", time = "time" }
[calendars.chair]
timezone = "Berlin"
slot = "30m"
open = { mon = ["09:00-12:00", "11:00-13:00"] }
[destinations.crm]
url = "http://192.168.0.1"
"#
        ),
        @r#"
    config.toml:2:10: listen: "localhost" is no address and port: write one like "127.0.0.1:8080"
    config.toml:4:1: unknown key `boddy` in limits: did you mean `body`?
    config.toml:5:9: limits.batch: must be from 1 to 65536, and is 0
    config.toml:6:8: flows.form: `private_keys` is missing: an encrypted flow needs one, like ["file:flow_key.pem"]
    config.toml:7:1: unknown key `paht` in flows.form: did you mean `path`?
    config.toml:9:12: flows.form.deliver: there is no destination "cmr": did you mean `crm`?
    config.toml:10:24: flows.form.booking.calendar: there is no calendar "chiar": did you mean `chair`?
    config.toml:12:12: calendars.chair.timezone: there is no time zone "Berlin": did you mean "Europe/Berlin"?
    config.toml:16:7: destinations.crm.url: is on this machine or in a network of one's own: if that is meant, write `allow_private = true`
    "#
    );
}

#[test]
fn a_file_with_very_many_problems_says_how_many_more_there_are() {
    let many = (0..30).map(|number| format!("unknown{number} = 1")).collect::<Vec<_>>().join("\n");
    assert_eq!(refused(&many).lines().count(), 21);
    assert!(refused(&many).ends_with("\nand 10 more"));
}

#[test]
fn what_is_no_toml_is_said_with_its_place_and_nothing_else() {
    assert_snapshot!(refused("listen = 127.0.0.1:8080"), @"config.toml:1:15: this is no TOML (texts need quotes): invalid float, expected nothing");
    assert_snapshot!(refused("[limits\nboddy = 1"), @"config.toml:1:8: this is no TOML (texts need quotes): unclosed table, expected `]`");
    assert_snapshot!(refused("[limits]\nbatch = 1\n batch = 2"), @"config.toml:3:2: `batch` stands here twice");
    assert_snapshot!(refused("[flows.a]\n[flows.a]"), @"config.toml:2:8: `a` stands here twice");
}

#[test]
fn columns_count_characters() {
    assert_snapshot!(refused("[flows.\"größe\"]\nlead = { team = \"größe\", stiky = true }\npath = \"/g\""), @"config.toml:2:26: unknown key `stiky` in flows.größe.lead: did you mean `sticky`?");
}

#[test]
fn a_secret_is_not_repeated_where_it_is_refused() {
    for typed in ["app_secrets = [\"0123456789abcdef\"]", "app_secrets = [\"env:0123456789abcdef\"]"] {
        let text = refused(&format!("[meta]\n{typed}\nverify_token = \"0123456789abcdef\"\n"));
        assert!(text.contains(":2:") && text.contains(":3:") && !text.contains("0123456789abcdef"), "{text}");
    }
    assert_snapshot!(refused("[meta]\nverify_token = \"hush\""), @r#"config.toml:2:16: meta.verify_token: this says nowhere where the secret is (and is not shown, in case it is the secret): write "env:NAME", "file:PATH" or, for tests, "text:VALUE""#);
}

#[test]
fn a_named_file_must_be_there_and_be_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let error = || Config::find(Some(&file)).unwrap_err();
    assert!(matches!(error(), ConfigError::Read { .. }), "missing");
    fs::write(&file, b"# a\nlisten = \"\xff\"").unwrap();
    assert!(matches!(error(), ConfigError::NotText { line: 2, .. }));
    fs::write(&file, "#".repeat(2 << 20)).unwrap();
    assert!(matches!(error(), ConfigError::TooLarge { .. }));
    let error = Config::find(Some(folder.path())).unwrap_err();
    assert!(matches!(error, ConfigError::Folder(_)), "{error}");
}

#[test]
fn without_a_name_the_first_that_is_there_is_taken_and_a_broken_one_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["first.toml", "second.toml"].map(|name| folder.path().join(name));
    let missing = Config::first_of(&files).unwrap_err().to_string();
    assert!(missing.contains("first.toml and ") && missing.contains("--config"), "{missing}");
    fs::write(&files[1], "").unwrap();
    assert_eq!(Config::first_of(&files).unwrap().file, files[1]);
    fs::write(&files[0], "x = 1").unwrap();
    assert!(matches!(Config::first_of(&files), Err(ConfigError::Invalid { .. })));
}

#[test]
fn secrets_that_are_there_come_newest_first_and_the_others_are_noted() {
    let config = accepted(
        "[meta]\napp_secrets = [\"text:new\", \"env:FLOWGATE_TEST_NOT_SET\", \"text:old\"]\nverify_token = \"env:FLOWGATE_TEST_NOT_SET\"",
    );
    let secrets: Vec<String> = config.app_secrets().unwrap().iter().map(|secret| secret.expose().clone()).collect();
    assert_eq!(secrets, ["new", "old"]);
    assert!(config.verify_token().unwrap().is_none());
    let not_set = |key: &str| format!("meta.{key}: the environment variable FLOWGATE_TEST_NOT_SET is not set");
    let notes = config.notes();
    assert!(notes.contains(&not_set("app_secrets")) && notes.contains(&not_set("verify_token")), "{notes:?}");
    assert!(!format!("{config:?} {notes:?}").contains("old"));

    let missing = accepted("[meta]\napp_secrets = [\"file:not/there\"]");
    assert!(matches!(missing.app_secrets(), Err(ConfigError::Secret(SecretError::Read { .. }))));
}

#[test]
fn an_access_token_that_is_not_set_is_none_of_a_servers_business() {
    let said = |typed: &str| accepted(&format!("[meta]\naccess_token = {typed:?}")).notes().join("\n");
    assert!(!said("env:FLOWGATE_TEST_NOT_SET").contains("access_token"));
    assert!(said("text:hush").contains("meta.access_token: a secret stands in the config itself"));
}

#[test]
fn fields_that_are_called_as_those_of_error_notifications_are_noted() {
    let fields = "fields = { error = {}, error_message = {}, errors = {} }";
    let flow = format!("[flows.home]\nscreens = [{{ name = \"A\", final = true, {fields} }}]\n");
    let notes = |more: &str| {
        let notes = accepted(&format!("{flow}{more}")).notes();
        notes.into_iter().filter(|note| note.contains("error notifications")).collect::<Vec<_>>()
    };
    assert!(notes("").is_empty(), "plain senders have none");
    let found = notes("encryption = \"required\"\nprivate_keys = [\"file:key.pem\"]");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("flow home: screen A has a field \"error\", as"), "{found:?}");
    assert!(found[1].contains("\"error_message\""), "{found:?}");
}

#[test]
fn lengths_and_headers_that_are_hardly_meant_are_noted() {
    for (typed, noted) in [
        ("[limits]\nrequest = \"1m\"", "limits.request is 1m, but WhatsApp waits for 10s"),
        ("[limits]\nheader_timeout = \"10ms\"", "limits.header_timeout is 10ms: slow senders get 408"),
        ("[limits]\nidle = \"10ms\"", "limits.idle is 10ms: a proxy"),
        ("[retention]\nidempotency = \"1s\"", "retention.idempotency is 1s: a form that is sent again"),
        ("[destinations.crm]\nurl = \"https://crm.example/\"", "nobody is told when a delivery becomes a dead letter"),
        (
            "[destinations.crm]\nurl = \"https://crm.example/\"\nheaders = { Accept-Encoding = \"text:gzip\" }",
            "destination crm: headers.accept-encoding: a compressed answer can't be read",
        ),
    ] {
        let has = |config: &str| accepted(config).notes().iter().any(|note| note.starts_with(noted));
        assert!(has(typed) && !has(SHIPPED), "{typed}: {:?}", accepted(typed).notes());
    }
}

#[test]
fn the_summary_says_what_a_config_comes_to() {
    let text = format!("{}\n[flows.open]\nsignature = \"none\"\n", SHIPPED.replace("env:META", "text:META"));
    let config = Config { admin_listen: "0.0.0.0:8081".parse().unwrap(), ..accepted(&text) };
    assert_snapshot!(config.summary(NOW), @r#"
    config.toml is in order
      listen        127.0.0.1:8080
      admin_listen  0.0.0.0:8081
      data          flowgate.redb
    flow appointment
      path          /whatsapp-flow-webhook
      screens       APPOINTMENT_SCREEN
      books in      consultations
      leads go to   sales
    flow open
      path          /flows/open (not signed)
      screens       any, each final
      books in      nothing
      leads go to   nobody
    calendar consultations
      timezone      Europe/Berlin
      capacity      1
      2027-01-15    11 starts from 09:30 to 14:30
      2027-01-18    14 starts from 09:00 to 16:30
      2027-01-19    16 starts from 09:00 to 16:30
    note: meta.app_secrets: a secret stands in the config itself: that is for tests
    note: meta.verify_token: a secret stands in the config itself: that is for tests
    note: meta.access_token: a secret stands in the config itself: that is for tests
    note: flow open takes forms without a signature: anybody who reaches it can send them
    note: admin_listen 0.0.0.0:8081 is open to other machines, and asks nobody who they are
    note: of 2 flows none has a `webhook` rule: forms that come through /webhook become dead letters: give `webhook = "default"` to the flow that is to take them
    "#);
    let json = serde_json::to_value(config.summary(NOW)).unwrap();
    assert_eq!(json["calendars"][0]["days"][0]["times"][0], "09:30");
}
