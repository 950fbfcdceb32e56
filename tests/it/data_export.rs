//! An owner takes the data out: as a table for a spreadsheet, and as JSON Lines for a program.

use serde_json::Value;

use crate::support::form::Form;
use crate::support::{BOOKING_FLOW, PLAIN_FLOW, Server, in_days};

/// Returns the rows of a CSV as cells.
fn cells(csv: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(csv.as_bytes());
    let rows = reader.records().map(|row| row.unwrap());
    rows.map(|row| row.iter().map(str::to_owned).collect())
        .collect()
}

/// Returns the cells of the column `name`, without the header.
fn column<'a>(rows: &'a [Vec<String>], name: &str) -> Vec<&'a str> {
    let at = rows[0].iter().position(|header| header == name);
    let at = at.unwrap_or_else(|| panic!("{name} is a column: {:?}", rows[0]));
    rows[1..].iter().map(|row| row[at].as_str()).collect()
}

#[test]
fn forms_are_a_table_with_a_column_for_each_answer() {
    let mut server = Server::start(&[PLAIN_FLOW, BOOKING_FLOW].concat());
    let formula = "=HYPERLINK(\"http://evil.example\";\"Ann\")";
    for form in [
        Form::new("a").with("name", formula),
        Form::new("b")
            .by("+491511111111")
            .with("phone", "+49 151 1111111"),
        Form::new("c")
            .with("name", "Zoë, \"the\" second\nline")
            .with("sizes", vec!["S", "M"]),
    ] {
        assert!(server.post("/form", &form).is_accepted());
    }
    let visit = Form::new("v").with_slot_request(&in_days(3), "10:00");
    assert!(server.post("/visit", &visit).is_accepted());
    server.settled();

    let export = server.cli(&["export", "submissions", "--flow", "form"]);
    assert_eq!((export.code, export.err.as_str()), (0, ""));
    let rows = cells(&export.out);
    let expected = ["Zoë, \"the\" second\nline", "Ann", &format!("'{formula}")];
    assert_eq!(column(&rows, "answer.name"), expected);
    assert_eq!(
        column(&rows, "answer.phone"),
        ["", "+49 151 1111111", ""],
        "a phone number stays readable"
    );
    assert_eq!(column(&rows, "answer.sizes"), ["S; M", "", ""]);
    assert_eq!(column(&rows, "customer")[1], "491511111111");
    let bookings = cells(&server.cli(&["export", "bookings"]).out);
    assert_eq!(column(&bookings, "time"), ["10:00"]);
    for kind in [
        "drafts",
        "leads",
        "deliveries",
        "dead-letters",
        "jobs",
        "agents",
    ] {
        let export = server.cli(&["export", kind]);
        assert_eq!((export.code, export.err.as_str()), (0, ""), "{kind}");
        assert!(export.out.contains("state") || kind == "agents" || kind == "dead-letters");
    }

    // The same rows for a program, from a stopped server's file.
    server.stop();
    let lines = |args: &[&str]| {
        let export = server.cli(&[&["export", "submissions"], args].concat());
        assert_eq!(export.code, 0, "{export:?}");
        let rows = export.out.lines().map(serde_json::from_str);
        rows.collect::<Result<Vec<Value>, _>>().unwrap()
    };
    let all = lines(&["--format", "jsonl"]);
    assert_eq!(all.len(), 4);
    assert_eq!(all[3]["data"]["name"], formula, "JSON keeps the text");
    assert_eq!(lines(&["--json"]), all);
    assert_eq!(lines(&["--json", "--state", "done"]).len(), 4);
    let middle = all[1]["received_at"].as_str().unwrap();
    let newer = lines(&["--json", "--since", middle]);
    let older = lines(&["--json", "--until", middle]);
    assert_eq!(newer.len() + older.len(), 4);
    assert!(!newer.is_empty() && !older.is_empty());
}

#[test]
fn refused_export_has_a_hint() {
    let server = Server::start(PLAIN_FLOW);
    for (args, hint) in [
        (&["export"][..], "<KIND>"),
        (&["export", "customer"], "possible values: submissions"),
        (&["export", "leads", "--format", "xml"], "csv, jsonl"),
        (
            &["export", "leads", "--format", "csv", "--json"],
            "leave out",
        ),
        (&["export", "bookings", "--flow", "form"], "leave it out"),
        (&["export", "agents", "--since", "1h"], "leave it out"),
        (&["export", "submissions", "--since", "soon"], "2026-11-24"),
        (
            &["export", "submissions", "--state", "open"],
            "accepted, done",
        ),
    ] {
        let refused = server.cli(args);
        assert_eq!(refused.code, 2, "{args:?}: {refused:?}");
        assert!(refused.err.contains(hint), "{args:?}: {refused:?}");
    }
    assert!(server.post("/form", &Form::new("a")).is_accepted());
    for args in [
        &["export", "submissions"][..],
        &["export", "submissions", "--json"],
    ] {
        let (code, errors) = server.run_with_closed_stdout(args);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "a closed pipe");
    }
}
