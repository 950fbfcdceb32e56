//! An operator invites people to the dashboard, and reads who changed what.

use serde_json::Value;

use crate::support::{BOOKING_FLOW, Server};

fn states(server: &Server) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = server.rows(&["admin", "list"]);
    rows.iter()
        .map(|row| (text(&row["name"]), text(&row["state"])))
        .collect()
}

fn state(name: &str, state: &str) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

#[test]
fn invites_work_with_and_without_a_server() {
    let url = "[dashboard]\nurl = \"https://forms.example.com/admin\"\n";
    let mut server = Server::start(&format!("{BOOKING_FLOW}\n{url}"));
    let ann = ["admin", "invite", "ann", "--role", "owner"];
    let first = server.row(&ann);
    let link = first["link"].as_str().unwrap();
    let secret = link.strip_prefix("https://forms.example.com/admin/invite/");
    assert_eq!(secret.unwrap().len(), 43);
    server.stop();
    let second = server.row(&ann);
    assert_ne!(first["link"], second["link"], "the last link is valid");
    assert_eq!(states(&server), [state("ann", "invited")]);
    for (args, part) in [
        (
            &["invite", "zoe", "--role", "agent"][..],
            "add --agent AGENT",
        ),
        (
            &["invite", "zoe", "--role", "agent", "--agent", "Zoe"],
            "no agent Zoe",
        ),
        (
            &["invite", "zoe", "--role", "viewer", "--agent", "Zoe"],
            "remove --agent",
        ),
        (
            &["invite", "zoe", "--role", "boss"],
            "must be owner, agent or viewer",
        ),
        (&["invite", "a b", "--role", "owner"], "letters, digits"),
        (
            &["invite", "shell", "--role", "owner"],
            "choose another name",
        ),
        (
            &["invite", "zoe", "--role", "owner", "--expires", "31d"],
            "1m to 30d",
        ),
        (
            &["invite", "zoe", "--role", "owner", "--expires", "x"],
            "such as 90m",
        ),
        (&["reset", "zoe"], "no account zoe"),
        (&["remove", "zoe"], "no account zoe"),
        (&["set-role", "zoe", "owner"], "no account zoe"),
        (&["sign-out", "zoe"], "no account zoe"),
        (&["sign-out"], "required"),
    ] {
        let refused = server.cli(&[&["admin"], args].concat());
        assert_ne!(refused.code, 0, "{args:?}");
        assert!(refused.err.contains(part), "{args:?}: {refused:?}");
    }
    server.start_again();
    server.add_agent("Zoe", &[]);
    let zoe = [
        "admin", "invite", "zoe", "--role", "agent", "--agent", "Zoe",
    ];
    assert_eq!(server.row(&zoe)["agent"], "Zoe");
    assert_eq!(
        server.row(&["admin", "set-role", "zoe", "viewer"])["agent"],
        Value::Null
    );
    assert!(server.row(&["admin", "reset", "zoe"])["link"].is_string());
    assert_eq!(
        server.row(&["admin", "sign-out", "--all"])["ended_sign_ins"],
        0
    );
    let all = [state("ann", "invited"), state("zoe", "invited")];
    assert_eq!(states(&server), all);
    assert_eq!(server.row(&["admin", "remove", "zoe"])["state"], "removed");
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn audit_log_has_each_change_and_its_outcome() {
    let server = Server::start(BOOKING_FLOW);
    server.add_agent("Zoe", &[]);
    server.row(&["agents", "pause", "Zoe"]);
    let refused = server.cli(&["leads", "close", "7"]);
    assert_ne!(refused.code, 0);
    server.rows(&["leads"]);
    let entries = server.rows(&["audit"]);
    let found: Vec<[&str; 4]> = entries
        .iter()
        .map(|row| ["by", "request", "object", "outcome"].map(|field| row[field].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            ["shell", "close_lead", "7", "failed"],
            ["shell", "pause_agent", "Zoe", "done"],
            ["shell", "add_agent", "Zoe", "done"],
        ]
    );
    assert!(server.rows(&["audit", "--by", "ann"]).is_empty());
    assert_eq!(server.rows(&["audit", "--limit", "1"]).len(), 1);
    assert_eq!(
        server
            .rows(&["audit", "--since", "1h", "--by", "shell"])
            .len(),
        3
    );
    assert!(server.rows(&["audit", "--until", "1h"]).is_empty());
}
