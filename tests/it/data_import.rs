//! An owner brings agents, leads and appointments from another program. Wrong lines are named, a
//! second import changes nothing, and nobody gets a message about old rows.

use std::fs;

use crate::support::fake_services::FakeReceiver;
use crate::support::{BOOKING_FLOW, CommandOutput, Server, in_days};

fn tables(receiver: &FakeReceiver) -> String {
    let flow = "\n[flows.form]\npath = \"/form\"\nencryption = \"none\"\nlead = { team = \"sales\" }\n\
                deliver = [{ to = \"crm\", events = [\"submission.accepted\", \"lead.assigned\"] }]\n";
    format!("{flow}{BOOKING_FLOW}{}", receiver.table("crm", ""))
}

/// Writes a file and imports it.
fn import(server: &Server, text: &str, args: &[&str]) -> CommandOutput {
    fs::write(server.folder().join("rows.csv"), text).unwrap();
    let [kind, options @ ..] = args else {
        panic!("a kind is needed");
    };
    let import = ["import", kind, "rows.csv", "--json"];
    server.cli(&[&import[..], options].concat())
}

/// Imports a valid file. Returns the numbers of added, changed and unchanged rows.
fn counts(server: &Server, text: &str, args: &[&str]) -> [u64; 3] {
    let done = import(server, text, args);
    assert_eq!(done.code, 0, "{done:?}");
    let row: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    ["added", "changed", "unchanged"].map(|name| row[name].as_u64().unwrap())
}

#[test]
fn agents_leads_and_appointments_are_imported_once() {
    let receiver = FakeReceiver::well();
    let mut server = Server::start(&tables(&receiver));
    let agents = "name;team;weight;max\nAnn;sales;2;\nBob;sales;;3\n";
    assert_eq!(counts(&server, agents, &["agents", "--dry-run"]), [2, 0, 0]);
    assert_eq!(server.rows(&["agents"]).len(), 0);
    assert_eq!(counts(&server, agents, &["agents"]), [2, 0, 0]);
    assert_eq!(counts(&server, agents, &["agents"]), [0, 0, 2]);
    let changed = agents.replace(";2;", ";5;");
    assert_eq!(counts(&server, &changed, &["agents"]), [0, 1, 1]);

    let leads = "phone,name,note\n+49 151 1111111,Ann,\"likes tea, green\"\n+491522222222,Bob,\n";
    let flow = ["leads", "--flow", "form"];
    let dry = ["leads", "--flow", "form", "--dry-run"];
    assert_eq!(counts(&server, leads, &dry), [2, 0, 0]);
    assert_eq!(server.submissions().len(), 0);
    assert_eq!(counts(&server, leads, &flow), [2, 0, 0]);
    assert_eq!(counts(&server, leads, &flow), [0, 0, 2]);
    let more = format!("{leads}+491533333333,Cid,\n");
    assert_eq!(counts(&server, &more, &flow), [1, 0, 2]);
    let rows = server.submissions();
    assert_eq!(rows[2]["data"]["note"], "likes tea, green");
    assert_eq!(rows[2]["customer"], "491511111111");
    assert!(rows.iter().all(|row| row["agent"].is_string()), "{rows:?}");

    let day = in_days(3);
    let visits = format!("phone,date,time,reference\n491511111111,{day},10:00,a-1\n");
    let flow = ["bookings", "--flow", "visit"];
    assert_eq!(counts(&server, &visits, &flow), [1, 0, 0]);
    assert_eq!(server.slot(&day, "10:00")["taken"], 1);
    // The same works on the file of a stopped server.
    server.stop();
    assert_eq!(counts(&server, &visits, &flow), [0, 0, 1]);
    assert_eq!(
        server.rows(&["deliveries"]).len(),
        0,
        "nobody got a message"
    );
    assert_eq!(receiver.request_count(), 0);
    assert_eq!(server.cli(&["check"]).code, 0);
}

/// A file, the arguments of its import, and what the error must contain.
type RefusedFile = (
    &'static str,
    &'static [&'static str],
    i32,
    &'static [&'static str],
);

const REFUSED_FILES: &[RefusedFile] = &[
    (
        "name,team\nA b,sales\n,sales\n",
        &["agents"],
        2,
        &["line 2", "line 3"],
    ),
    (
        "name,team,weight\nAnn,sales,0\n",
        &["agents"],
        2,
        &["line 2", "1000"],
    ),
    (
        "name,tem\nAnn,sales\n",
        &["agents"],
        2,
        &["\"tem\"", "team is missing"],
    ),
    ("", &["agents"], 2, &["header"]),
    (
        "name,team\n",
        &["agents", "--flow", "form"],
        2,
        &["leave out --flow"],
    ),
    ("phone\n1\n", &["leads"], 2, &["--flow NAME"]),
    (
        "phone\n491511111111\n",
        &["leads", "--flow", "from"],
        3,
        &["no flow from"],
    ),
    (
        "phone\n491511111111\n",
        &["bookings", "--flow", "form"],
        2,
        &["books nothing"],
    ),
];

/// Asserts that an import ends with this exit code and an error that contains the hints.
#[track_caller]
fn assert_refused(server: &Server, text: &str, args: &[&str], code: i32, hints: &[&str]) {
    let refused = import(server, text, args);
    assert_eq!(refused.code, code, "{args:?} {text}: {refused:?}");
    for hint in hints {
        assert!(refused.err.contains(hint), "{hint:?}: {refused:?}");
    }
}

#[test]
fn all_problems_of_a_file_are_shown_and_nothing_is_imported() {
    let server = Server::start(&[crate::support::PLAIN_FLOW, BOOKING_FLOW].concat());
    let day = in_days(3);
    let night = format!("phone,date,time\n491511111111,{day},03:00\n0151 1,{day},10:00\n");
    let rows = [1, 2, 3, 4].map(|number| format!("49151111111{number},{day},11:00\n"));
    let full = format!("phone,date,time\n{}", rows.concat());
    for (text, args, code, hints) in REFUSED_FILES {
        assert_refused(&server, text, args, *code, hints);
    }
    let bookings = ["bookings", "--flow", "visit"];
    let valid_phones = night.replace("0151 1,", ",");
    assert_refused(&server, &valid_phones, &bookings, 2, &["line 2"]);
    assert_refused(&server, &night, &bookings, 2, &["line 3", "country code"]);
    let hints = ["3 rows were imported", "line 5"];
    assert_refused(&server, &full, &bookings, 1, &hints);
    assert_eq!(server.rows(&["agents"]).len(), 0);
    assert_eq!(server.submissions().len(), 3, "three places of one slot");
    assert_eq!(server.cli(&["import", "agents", "nowhere.csv"]).code, 2);
    fs::write(
        server.folder().join("latin.csv"),
        b"name,team\nZo\xeb,sales\n",
    )
    .unwrap();
    let latin = server.cli(&["import", "agents", "latin.csv"]);
    assert!(latin.code == 2 && latin.err.contains("UTF-8"), "{latin:?}");
}
