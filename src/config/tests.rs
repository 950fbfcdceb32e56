//! Tests whole configs: the shipped config, the search for the config file, and the texts of
//! errors.

use std::{fs, iter};

use insta::assert_snapshot;

use super::*;
use crate::domain::flow::{ScreenStage, SignaturePolicy};
use crate::domain::time::Timestamp;

const SHIPPED: &str = include_str!("../../config.toml");

/// Friday 2027-01-15, 08:00 UTC.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Returns the error of an invalid config, as the user sees it.
pub(super) fn error_of(text: &str) -> String {
    Config::parse(Path::new("config.toml"), text)
        .unwrap_err()
        .to_string()
}

/// Parses a valid config.
pub(super) fn parse_valid(text: &str) -> Config {
    Config::parse(Path::new("config.toml"), text).unwrap_or_else(|error| panic!("{error}"))
}

/// Parses a valid config and returns its first destination.
pub(super) fn parse_destination(text: &str) -> Destination {
    let destinations = parse_valid(text).destinations;
    destinations.into_values().next().unwrap()
}

/// Parses a valid config and returns its first flow.
pub(super) fn parse_flow(text: &str) -> Arc<Flow> {
    parse_valid(text).flows.into_values().next().unwrap()
}

/// Asserts that each text of `cases` is refused after `head` with exactly its errors. The lines of
/// the errors follow the text, and begin with `=> `.
pub(super) fn assert_errors(head: &str, cases: &str) {
    assert_errors_in(|typed| format!("{head}\n{typed}\n"), cases);
}

/// Does the same as [`assert_errors`] for texts that `config` puts into a config.
pub(super) fn assert_errors_in(config: impl Fn(&str) -> String, cases: &str) {
    let lines = cases.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty()).peekable();
    while lines.peek().is_some() {
        let typed: Vec<&str> =
            iter::from_fn(|| lines.next_if(|line| !line.starts_with("=> "))).collect();
        let errors: Vec<String> = iter::from_fn(|| lines.next_if(|line| line.starts_with("=> ")))
            .map(|line| line.replacen("=> ", "config.toml:", 1))
            .collect();
        let typed = typed.join("\n");
        assert_eq!(error_of(&config(&typed)), errors.join("\n"), "{typed}");
    }
}

/// Does the same as [`assert_errors`] for texts that replace lines of the valid `table`, or that
/// are added to `table`. A text replaces the lines that have its key, or the beginning of its key.
pub(super) fn assert_errors_in_table(head: &str, table: &str, cases: &str) {
    let config = |typed: &str| {
        let stays = |line: &&str| {
            let key = line.split(' ').next().unwrap();
            !typed.lines().any(|line| line.starts_with(key))
        };
        let rest: Vec<&str> = table.lines().filter(stays).collect();
        format!("{head}\n{}\n{typed}", rest.join("\n"))
    };
    assert_errors_in(config, cases);
}

/// Asserts that the config is refused with an error that contains `why`.
pub(super) fn assert_error(config: &str, why: &str) {
    let error = error_of(config);
    assert!(error.contains(why), "{config}\n{error}");
}

/// Asserts that a text is refused after `head` with exactly the expected error.
pub(super) fn assert_refused(head: &str, typed: &str, expected: &str) {
    let error = error_of(&format!("{head}\n{typed}\n"));
    assert_eq!(error, format!("config.toml:{expected}"), "{typed}");
}

#[test]
fn shipped_config_equals_defaults() {
    let (shipped, empty) = (parse_valid(SHIPPED), parse_valid(""));
    assert_eq!(
        (shipped.listen, shipped.admin_listen),
        (empty.listen, empty.admin_listen)
    );
    assert_eq!(shipped.data, empty.data);
    assert_eq!(shipped.public_url, empty.public_url);
    assert_eq!(format!("{:?}", shipped.meta), format!("{:?}", empty.meta));
    assert_eq!(shipped.limits, empty.limits);
    assert_eq!(shipped.workers, empty.workers);
    assert_eq!(shipped.retry, empty.retry);
    assert_eq!(shipped.retention, empty.retention);
    assert_eq!(shipped.store, empty.store);
    assert_eq!(shipped.backup, empty.backup);
}

#[test]
fn shipped_config_names_every_setting() {
    let keys = "listen admin_listen public_url data log app_secrets verify_token access_token api_version graph_url \
        max_webhook_body max_flow_body max_body_memory header_timeout request_timeout \
        idle_timeout drain_timeout max_connections intake_queue max_batch min_free_space \
        max_idempotency_keys threads queue initial_delay max_delay max_attempts \
        idempotency_ttl message_id_ttl submissions page_cache verify path encryption \
        signature booking lead sticky close_after close_secrets webhook next final required url secret timeout \
        fallback breaker timezone closed_dates special_hours slot_length buffer capacity \
        max_advance min_notice endpoint region access_key_id secret_access_key base_interval \
        keep max_change_log folder every";
    for key in keys.split(' ') {
        assert!(SHIPPED.contains(&format!("{key} =")), "{key}");
    }
    let uncommented = SHIPPED
        .replace("# webhook =", "webhook =")
        .replace("# opened =", "opened =");
    let config = parse_valid(&uncommented);
    for flow in config.flows.values() {
        assert_eq!(flow.matcher.condition_count(), 3);
    }
}

#[test]
fn shipped_flow_accepts_shipped_form() {
    let flow = parse_flow(SHIPPED);
    assert_eq!(
        (flow.path.as_str(), flow.signature),
        ("/whatsapp-flow-webhook", SignaturePolicy::Required)
    );
    assert_eq!(
        flow.screen_stage(Some("APPOINTMENT_SCREEN"), &serde_json::Map::new()),
        Ok(ScreenStage::Final)
    );
    let vector: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/vectors/plain_appointment.json")).unwrap();
    let data = vector["data"].as_object().unwrap();
    assert!(flow.validate(vector["screen"].as_str(), data).is_empty());
    let booking = flow.booking.as_ref().unwrap();
    assert!(booking.requested_slot(data).unwrap().is_some());
}

#[test]
fn relative_paths_are_relative_to_config() {
    let config = Config::parse(
        Path::new("/etc/flowgate/config.toml"),
        "[meta]\napp_secrets = [\"file:s\"]",
    )
    .unwrap();
    assert_eq!(config.data, Path::new("/etc/flowgate/flowgate.redb"));
    assert!(
        matches!(&config.meta.app_secrets[0], SecretRef::File(path) if path == Path::new("/etc/flowgate/s"))
    );
    let config =
        Config::parse(Path::new("/etc/config.toml"), "data = \"/var/lib/a.redb\"").unwrap();
    assert_eq!(config.data, Path::new("/var/lib/a.redb"));
    assert_eq!(parse_valid("").data, Path::new("flowgate.redb"));
}

#[test]
fn all_problems_are_reported_in_file_order() {
    assert_snapshot!(
        error_of(
            r#"
listen = "localhost"
[limits]
max_webhok_body = "4MiB"
max_batch = 0
[flows.form]
paht = "/form"
encryption = "required"
deliver = ["cmr"]
booking = { calendar = "chiar", date = "day", time = "time" }
[calendars.chair]
timezone = "Berlin"
slot_length = "30m"
hours = { mon = ["09:00-12:00", "11:00-13:00"] }
[destinations.crm]
url = "http://192.168.0.1"
"#
        ),
        @r#"
    config.toml:2:10: listen: "localhost" is not an address with a port: write one like "127.0.0.1:8080"
    config.toml:4:1: unknown key `max_webhok_body` in limits: did you mean `max_webhook_body`?
    config.toml:5:13: limits.max_batch: must be from 1 to 65536, and is 0
    config.toml:6:8: flows.form: `private_keys` is missing: an encrypted flow needs one, like ["file:flow_key.pem"]
    config.toml:7:1: unknown key `paht` in flows.form: did you mean `path`?
    config.toml:9:12: flows.form.deliver: there is no destination "cmr": did you mean `crm`?
    config.toml:10:24: flows.form.booking.calendar: there is no calendar "chiar": did you mean `chair`?
    config.toml:12:12: calendars.chair.timezone: there is no time zone "Berlin": did you mean "Europe/Berlin"?
    config.toml:16:7: destinations.crm.url: is a local or private address: if that is intended, set `allow_private = true`
    "#
    );
}

#[test]
fn problem_list_is_limited() {
    let many: Vec<_> = (0..30).map(|n| format!("unknown{n} = 1")).collect();
    let many = many.join("\n");
    assert_eq!(error_of(&many).lines().count(), 21);
    assert!(error_of(&many).ends_with("\nand 10 more"));
}

#[test]
fn toml_syntax_error_is_located() {
    assert_snapshot!(error_of("listen = 127.0.0.1:8080"), @"config.toml:1:15: invalid TOML (texts need quotes): invalid float, expected nothing");
    assert_snapshot!(error_of("[limits\nboddy = 1"), @"config.toml:1:8: invalid TOML (texts need quotes): unclosed table, expected `]`");
    assert_snapshot!(error_of("[limits]\nmax_batch = 1\n max_batch = 2"), @"config.toml:3:2: `max_batch` is a duplicate key");
    assert_snapshot!(error_of("[flows.a]\n[flows.a]"), @"config.toml:2:8: `a` is a duplicate key");
}

#[test]
fn columns_are_counted_in_characters() {
    assert_snapshot!(error_of("[flows.\"größe\"]\nlead = { team = \"größe\", stiky = true }\npath = \"/g\""), @"config.toml:2:26: unknown key `stiky` in flows.größe.lead: did you mean `sticky`?");
}

#[test]
fn refused_secret_is_not_shown() {
    for typed in [
        "app_secrets = [\"0123456789abcdef\"]",
        "app_secrets = [\"env:0123456789abcdef\"]",
    ] {
        let text = error_of(&format!(
            "[meta]\n{typed}\nverify_token = \"0123456789abcdef\"\n"
        ));
        assert!(
            text.contains(":2:") && text.contains(":3:") && !text.contains("0123456789abcdef"),
            "{text}"
        );
    }
    assert_snapshot!(error_of("[meta]\nverify_token = \"hush\""), @r#"config.toml:2:16: meta.verify_token: must start with env:, file:, credential: or text: (value hidden): write "env:NAME", "file:PATH", "credential:NAME" or, for tests, "text:VALUE""#);
}

#[test]
fn named_config_must_exist_and_be_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let error = || Config::load_or_search(Some(&file)).unwrap_err();
    assert!(matches!(error(), ConfigError::Read { .. }), "missing");
    fs::write(&file, b"# a\nlisten = \"\xff\"").unwrap();
    assert!(matches!(error(), ConfigError::NotText { line: 2, .. }));
    fs::write(&file, "#".repeat(2 << 20)).unwrap();
    assert!(matches!(error(), ConfigError::TooLarge { .. }));
    let error = Config::load_or_search(Some(folder.path())).unwrap_err();
    assert!(matches!(error, ConfigError::Folder(_)), "{error}");
}

#[test]
fn first_existing_config_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["first.toml", "second.toml"].map(|name| folder.path().join(name));
    let missing = Config::load_first(&files).unwrap_err().to_string();
    assert!(
        missing.contains("first.toml and ") && missing.contains("--config"),
        "{missing}"
    );
    fs::write(&files[1], "").unwrap();
    assert_eq!(Config::load_first(&files).unwrap().file, files[1]);
    fs::write(&files[0], "x = 1").unwrap();
    assert!(matches!(
        Config::load_first(&files),
        Err(ConfigError::Invalid { .. })
    ));
}

#[test]
fn available_secrets_are_ordered_and_missing_ones_warned() {
    let config = parse_valid(
        "[meta]\napp_secrets = [\"text:new\", \"env:FLOWGATE_TEST_NOT_SET\", \"text:old\"]\nverify_token = \"env:FLOWGATE_TEST_NOT_SET\"",
    );
    let secrets = config.resolve_app_secrets().unwrap();
    let secrets: Vec<_> = secrets.iter().map(Secret::expose).collect();
    assert_eq!(secrets, ["new", "old"]);
    assert!(config.resolve_verify_token().unwrap().is_none());
    let not_set = |key: &str| {
        format!("meta.{key}: the environment variable FLOWGATE_TEST_NOT_SET is not set")
    };
    let warnings = config.warnings();
    assert!(
        warnings.contains(&not_set("app_secrets")) && warnings.contains(&not_set("verify_token")),
        "{warnings:?}"
    );
    assert!(!format!("{config:?} {warnings:?}").contains("old"));

    let missing = parse_valid("[meta]\napp_secrets = [\"file:not/there\"]");
    assert!(matches!(
        missing.resolve_app_secrets(),
        Err(ConfigError::Secret(SecretError::Read { .. }))
    ));
}

#[test]
fn unset_access_token_gets_no_warning() {
    let warnings = |typed: &str| {
        parse_valid(&format!("[meta]\naccess_token = {typed:?}"))
            .warnings()
            .join("\n")
    };
    assert!(!warnings("env:FLOWGATE_TEST_NOT_SET").contains("access_token"));
    assert!(
        warnings("text:hush").contains("meta.access_token: the secret is in the config itself")
    );
}

#[test]
fn reserved_field_names_get_warning() {
    let fields = "fields = { error = {}, error_message = {}, errors = {} }";
    let flow = format!("[flows.home]\nscreens = [{{ name = \"A\", final = true, {fields} }}]\n");
    let warnings_for = |more: &str| {
        let mut warnings = parse_valid(&format!("{flow}{more}")).warnings();
        warnings.retain(|note| note.contains("error notifications"));
        warnings
    };
    assert!(warnings_for("").is_empty(), "plain senders have none");
    let found = warnings_for("encryption = \"required\"\nprivate_keys = [\"file:key.pem\"]");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("flow home: screen A has a field \"error\", a name"),
        "{found:?}"
    );
    assert!(found[1].contains("\"error_message\""), "{found:?}");
}

#[test]
fn unusual_settings_get_warning() {
    let cases = r#"
        limits.request_timeout = "1m" => limits.request_timeout is 1m, but WhatsApp waits for 10s
        limits.header_timeout = "10ms" => limits.header_timeout is 10ms: slow senders get 408
        limits.idle_timeout = "10ms" => limits.idle_timeout is 10ms: a proxy
        retention.idempotency_ttl = "1s" => retention.idempotency_ttl is 1s: a form that is sent again
        destinations.a.url = "https://a.example" => no alert is sent when a delivery becomes a dead letter
        destinations.a = { url = "https://a.example", headers = { Accept-Encoding = "text:gzip" } } => destination a: headers.accept-encoding: a compressed response can't be read
    "#;
    for case in cases.trim().lines() {
        let (typed, expected) = case.trim().split_once(" => ").unwrap();
        let has = |config: &str| {
            parse_valid(config)
                .warnings()
                .iter()
                .any(|note| note.starts_with(expected))
        };
        assert!(
            has(typed) && !has(SHIPPED),
            "{typed}: {:?}",
            parse_valid(typed).warnings()
        );
    }
}

#[test]
fn summary_snapshot() {
    let text = format!(
        "{}\n[flows.open]\nsignature = \"none\"\n",
        SHIPPED.replace("env:META", "text:META")
    );
    let config = Config {
        admin_listen: "0.0.0.0:8081".parse().unwrap(),
        ..parse_valid(&text)
    };
    assert_snapshot!(config.summary(NOW), @r#"
    config.toml is valid
      listen        127.0.0.1:8080
      admin_listen  0.0.0.0:8081
      data          flowgate.redb
    flow appointment
      path          /whatsapp-flow-webhook
      screens       APPOINTMENT_SCREEN
      calendar      consultations
      team          sales
    flow open
      path          /flows/open (not signed)
      screens       any (each can be the final one)
      calendar      none
      team          none
    calendar consultations
      timezone      Europe/Berlin
      capacity      1
      2027-01-15    11 slots from 09:30 to 14:30
      2027-01-18    14 slots from 09:00 to 16:30
      2027-01-19    16 slots from 09:00 to 16:30
    warning: meta.app_secrets: the secret is in the config itself: use this only for tests
    warning: meta.verify_token: the secret is in the config itself: use this only for tests
    warning: meta.access_token: the secret is in the config itself: use this only for tests
    warning: flow open accepts forms without a signature: anybody who can reach it can send forms
    warning: admin_listen 0.0.0.0:8081 is open to other machines, and requires no authentication
    warning: none of the 2 flows has a `webhook` matcher: forms that come through /webhook become dead letters: set `webhook = "default"` in the flow that must receive them
    "#);
    let json = serde_json::to_value(config.summary(NOW)).unwrap();
    assert_eq!(json["calendars"][0]["days"][0]["times"][0], "09:30");
}
