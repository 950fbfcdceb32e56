//! Tests the guarantees for scripts: the fields of `--json`, the exit codes, and errors with a
//! suggestion.

use serde_json::Value;

use crate::support::form::Form;
use crate::support::{BOOKING_FLOW, PLAIN_FLOW, Server, in_days, run};

/// Starts a server with one row of each kind.
fn start_with_rows() -> Server {
    let server = Server::start(&format!("{PLAIN_FLOW}{BOOKING_FLOW}"));
    server.add_agent("Ann", &["--weight", "2", "--max", "50"]);
    assert!(
        server
            .post(
                "/visit",
                &Form::new("booked").with_slot_request(&in_days(3), "10:00")
            )
            .is_accepted()
    );
    assert!(server.post("/form", &Form::new("plain")).is_accepted());
    server.settled();
    server
}

fn assert_fields(row: &Value, fields: &str) {
    for field in fields.split(' ') {
        assert!(row.get(field).is_some(), "no {field:?} in {row}");
    }
}

fn is_rfc_3339_with_milliseconds(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.len() == 24 && text.as_bytes()[19] == b'.' && text.ends_with('Z'))
}

#[test]
fn json_rows_have_documented_fields() {
    let server = start_with_rows();
    let submissions = server.rows(&["submissions"]);
    assert_eq!(submissions.len(), 2);
    assert_eq!(submissions[0]["flow_token"], "plain", "newest first");
    for row in &submissions {
        assert_fields(
            row,
            "id flow customer channel state received_at data lead_id agent booking_id",
        );
        assert!(row["data"].is_object() && row["state"] == "done" && row["agent"] == "Ann");
        assert!(is_rfc_3339_with_milliseconds(&row["received_at"]), "{row}");
    }
    let id = submissions[0]["id"].to_string();
    assert_fields(
        &server.row(&["submissions", "show", &id]),
        "id flow data lead_id",
    );

    for row in server.rows(&["jobs"]) {
        assert_fields(
            &row,
            "id kind state attempts due_at submission_id last_error",
        );
        assert!(is_rfc_3339_with_milliseconds(&row["due_at"]), "{row}");
    }
    for row in server.rows(&["leads"]) {
        assert_fields(&row, "id submission_id agent state created_at");
        assert_eq!(row["state"], "open");
    }
    let agent = server.row(&["agents"]);
    assert_fields(
        &agent,
        "name team active weight current_leads max_leads total_leads",
    );
    assert_eq!(
        (
            &agent["weight"],
            &agent["max_leads"],
            &agent["current_leads"]
        ),
        (&2.into(), &50.into(), &2.into())
    );
    let booking = server.row(&["bookings"]);
    assert_fields(&booking, "id calendar date time submission_id state");
    assert_eq!(
        (&booking["calendar"], &booking["time"], &booking["state"]),
        (&"chair".into(), &"10:00".into(), &"confirmed".into())
    );
    let slot = server.slot(&in_days(3), "10:00");
    assert_fields(&slot, "calendar date time capacity taken");
    let status = server.row(&["status"]);
    assert_fields(
        &status,
        "submissions jobs oldest_due_seconds leads writer file_bytes",
    );
    assert_fields(&status["jobs"], "scheduled running done dead");
    assert_fields(&status["leads"], "open unassigned");
}

#[test]
fn lists_are_filtered_and_limited() {
    let server = start_with_rows();
    assert_eq!(
        server.rows(&["submissions", "list", "--limit", "1"]).len(),
        1
    );
    assert_eq!(
        server
            .rows(&["submissions", "list", "--flow", "visit"])
            .len(),
        1
    );
    assert_eq!(
        server
            .rows(&["submissions", "list", "--state", "dead"])
            .len(),
        0
    );
    assert_eq!(
        server.rows(&["submissions", "list", "--since", "1h"]).len(),
        2
    );
    assert_eq!(server.rows(&["leads", "list", "--agent", "Ann"]).len(), 2);
    assert_eq!(
        server.rows(&["leads", "list", "--agent", "Nobody"]).len(),
        0
    );
    assert_eq!(server.rows(&["jobs", "list", "--state", "done"]).len(), 2);
}

#[test]
fn moved_or_cancelled_booking_frees_its_place() {
    let server = start_with_rows();
    let date = in_days(3);
    let id = server.row(&["bookings"])["id"].to_string();
    server.rows(&["bookings", "move", &id, &date, "11:00"]);
    let taken = |time: &str| server.slot(&date, time)["taken"].clone();
    assert_eq!((taken("10:00"), taken("11:00")), (0.into(), 1.into()));
    server.rows(&["bookings", "cancel", &id]);
    assert_eq!(taken("11:00"), 0);
    assert_eq!(server.row(&["bookings"])["state"], "cancelled");
    assert_eq!(
        server
            .cli(&["bookings", "move", &id, "2020-01-01", "11:00"])
            .code,
        1,
        "in the past"
    );
}

#[test]
fn exit_code_identifies_failure_kind() {
    let mut server = start_with_rows();
    for (args, code) in [
        (&["submissions"][..], 0),
        (&["submissions", "show", "999999"], 3),
        (&["leads", "close", "999999"], 3),
        (&["agents", "pause", "Nobody"], 3),
        (&["slots", "list", "--calendar", "none"], 3),
        (&["agents", "add", "Ann", "--team", "sales"], 1),
        (&["dance"], 2),
        (&["jobs", "show", "x"], 2),
        (&["submissions", "list", "--state", "happy"], 2),
        (&["--config", "missing.toml", "status"], 2),
    ] {
        let output = server.cli(args);
        assert_eq!(output.code, code, "{args:?}: {output:?}");
        assert_eq!(
            code == 0,
            output.err.is_empty(),
            "a failure says why, on standard error: {output:?}"
        );
    }
    server.stop();
    std::fs::remove_file(server.folder().join("flowgate.redb")).unwrap();
    assert_eq!(
        server.cli(&["status"]).code,
        4,
        "neither a server nor a file"
    );
    assert_eq!(server.cli(&["try"]).code, 4);
}

#[test]
fn misspelled_key_is_refused_with_line_and_suggestion() {
    let server = Server::stopped(&PLAIN_FLOW.replace("path =", "paht ="));
    for args in [&["config", "check"][..], &["serve"]] {
        let output = server.cli(args);
        assert_eq!(output.code, 2, "{output:?}");
        let line = std::fs::read_to_string(server.folder().join("config.toml")).unwrap();
        let line = line
            .lines()
            .position(|line| line.starts_with("paht"))
            .unwrap()
            + 1;
        assert!(
            output.err.contains(&format!("config.toml:{line}:")),
            "{}",
            output.err
        );
        assert!(
            output.err.contains("paht") && output.err.contains("`path`"),
            "{}",
            output.err
        );
    }
}

#[test]
fn incomplete_flow_config_is_refused() {
    let delivers = PLAIN_FLOW.replace("lead =", "deliver = [\"crm\"]\nlead =");
    let output = Server::stopped(&delivers).cli(&["config", "check"]);
    assert_eq!(output.code, 2, "{output:?}");
    let output =
        Server::stopped(&PLAIN_FLOW.replace("\"none\"", "\"required\"")).cli(&["config", "check"]);
    assert_eq!(output.code, 2, "{output:?}");
}

#[test]
fn unsigned_flow_warns_and_stays_on_loopback() {
    let flow = PLAIN_FLOW.replace("lead =", "signature = \"none\"\nlead =");
    let server = Server::start(&flow);
    assert!(
        server.greeting().contains("without a signature"),
        "{}",
        server.greeting()
    );
    let unsigned = crate::support::http::post(
        "/form",
        &[("content-type", "application/json")],
        &Form::new("t").body(),
    );
    assert!(server.connect().exchange(&unsigned).unwrap().is_accepted());

    let outside = Server::stopped(&flow);
    let output = outside.cli(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.err.contains("--allow-unsigned"), "{}", output.err);
}

#[test]
fn config_check_refuses_what_serve_refuses() {
    let mut server = Server::stopped(&PLAIN_FLOW.replace("lead =", "signature = \"none\"\nlead ="));
    assert_eq!(server.cli(&["config", "check"]).code, 0, "on loopback");
    let file = server.folder().join("config.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, config.replacen("127.0.0.1:0", "0.0.0.0:0", 1)).unwrap();
    for command in [&["config", "check"][..], &["serve"]] {
        let output = server.cli(command);
        assert_eq!(output.code, 2, "{command:?}: {output:?}");
        assert!(
            output.err.contains("flow form") && output.err.contains("--allow-unsigned"),
            "{command:?}: {}",
            output.err
        );
    }
    server.start_with_args(&["--allow-unsigned"]);
    server.stop();
}

#[test]
fn closed_stdout_is_no_failure() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/key_private.pem");
    let encrypted =
        format!("\n[flows.home]\nencryption = \"required\"\nprivate_keys = [\"file:{key}\"]\n");
    let server = Server::start(&format!("{PLAIN_FLOW}{BOOKING_FLOW}{encrypted}"));
    server.add_agent("Ann", &[]);
    for command in [
        "completions bash",
        "status",
        "status --json",
        "agents",
        "agents --json",
        "slots --limit 0",
        "check",
        "config check",
        "config check --json",
        "keys show",
        "reload",
        "try --flow form",
        "try --flow home",
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        assert_eq!(
            server.run_with_closed_stdout(&args),
            (Some(0), String::new()),
            "{command}"
        );
    }
    assert_eq!(server.submissions().len(), 2, "`try` has sent its forms");
    let (code, output) = server.run_with_closed_stdout(&["jobs", "show", "999999"]);
    assert_eq!(code, Some(3), "any other failure is one: {output}");
}

#[test]
fn closed_stdout_does_not_change_exit_code() {
    let gone = "[destinations.gone]\nurl = \"http://127.0.0.1:1/\"\nallow_private = true\n";
    let server = Server::start(&format!("{PLAIN_FLOW}{gone}"));
    std::fs::write(server.folder().join("flow.json"), "{}").unwrap();
    for (command, why) in [
        (
            "flows check flow.json --flow form",
            "does not fit flow form",
        ),
        (
            "flows check flow.json --flow form --json",
            "does not fit flow form",
        ),
        ("destinations test gone", "gone rejected the test"),
        ("destinations test gone --json", "gone rejected the test"),
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        assert_eq!(server.cli(&args).code, 1, "{command}");
        let (code, output) = server.run_with_closed_stdout(&args);
        assert!(
            code == Some(1) && output.contains(why),
            "{command}: {code:?} {output}"
        );
    }
    let server = Server::stopped(&format!(
        "{PLAIN_FLOW}{}",
        gone.replace("http://127.0.0.1:1/", "env:NOT_SET")
    ));
    for command in [&["config", "check"][..], &["config", "check", "--json"]] {
        let (code, output) = server.run_with_closed_stdout(command);
        assert!(
            code == Some(2) && output.contains("NOT_SET"),
            "{command:?}: {code:?} {output}"
        );
    }
}

#[test]
fn config_check_lists_all_missing_secrets_at_once() {
    let tables = "
        [destinations.crm]
        url = \"env:CRM_URL\"
        secrets = [\"env:CRM_SECRET\", \"file:missing\"]
        headers = { x-key = \"env:CRM_KEY\" }
        [destinations.notes]
        url = \"https://notes.example/\"
        secrets = [\"env:NOTES_SECRET\"]
    ";
    let server = Server::stopped(&format!("{PLAIN_FLOW}{tables}"));
    let output = server.cli(&["config", "check"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output.out.contains("flow form\n") && output.out.contains("destination crm"),
        "the summary: {}",
        output.out
    );
    let names = [
        "CRM_URL",
        "CRM_SECRET",
        "missing",
        "CRM_KEY",
        "NOTES_SECRET",
    ];
    for name in names {
        assert!(output.err.contains(name), "{name}: {}", output.err);
    }
    assert!(
        output.err.contains("set -a; . ENVFILE; set +a"),
        "{}",
        output.err
    );
    let serve = server.cli(&["serve"]);
    assert_eq!(serve.code, 2);
    assert!(
        names.iter().all(|name| serve.err.contains(name)),
        "{}",
        serve.err
    );
}

#[test]
fn completions_and_help_need_no_config() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(folder.path(), &["completions", shell]);
        assert!(
            output.code == 0 && output.out.contains("flowgate"),
            "{output:?}"
        );
    }
    let help = run(folder.path(), &["--help"]);
    for command_name in [
        "serve",
        "try",
        "demo",
        "status",
        "reload",
        "submissions",
        "drafts",
        "jobs",
        "dead",
        "leads",
        "agents",
        "bookings",
        "slots",
        "flows",
        "check",
    ] {
        assert!(
            help.out.contains(command_name),
            "{command_name} in {}",
            help.out
        );
    }
}

#[test]
fn refused_list_prints_only_its_error() {
    let server = Server::start(PLAIN_FLOW);
    let output = server.cli(&["submissions", "--state", "lost"]);
    assert_eq!((output.code, output.out.as_str()), (2, ""));
    assert!(
        output
            .err
            .contains("unknown state \"lost\": use one of accepted"),
        "{}",
        output.err
    );
}
