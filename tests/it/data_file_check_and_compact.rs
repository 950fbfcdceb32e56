//! A damaged row affects only what needs it: the server starts without it and reports it, and
//! `check` names it. The file of a stopped server is checked without a change, and compacted.

use std::fs;

use redb::{Database, TableDefinition};

use crate::support::Server;
use crate::support::form::Form;

const VISIT: &str = r#"
[flows.visit]
path = "/visit"
encryption = "none"
lead = { team = "sales" }
[store]
verify = "after_crash"
"#;

/// Changes a name everywhere in the data file. The checksums of its rows are then wrong.
fn damage(server: &Server, name: &str) {
    let file = server.folder().join("flowgate.redb");
    let mut bytes = fs::read(&file).unwrap();
    let places: Vec<usize> = (0..bytes.len() - name.len())
        .filter(|at| bytes[*at..].starts_with(name.as_bytes()))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn server_starts_without_unreadable_agent_and_reports_it() {
    let mut server = Server::start(VISIT);
    server.add_agent("Zoltana", &[]);
    server.add_agent("Bob", &[]);
    server.stop();
    damage(&server, "Zoltana");

    let on_file = server.cli(&["check"]);
    assert_eq!(on_file.code, 1, "{}{}", on_file.out, on_file.err);
    assert!(
        on_file
            .out
            .contains("row 1 of table agents has a wrong checksum"),
        "{}",
        on_file.out
    );

    server.start_again();
    let status = server.row(&["status"]);
    let hints = status["warnings"].to_string();
    assert!(
        hints.contains(
            "1 row of the data file is unreadable and was skipped: `flowgate check` lists"
        ),
        "{hints}"
    );
    assert!(
        server
            .log()
            .contains("row 1 of table agents has a wrong checksum"),
        "{}",
        server.log()
    );
    assert!(server.post("/visit", &Form::new("a")).is_accepted());
    server.settled();
    assert_eq!(server.rows(&["leads", "list"])[0]["agent"], "Bob");
    let beside = server.cli(&["check"]);
    assert_eq!(beside.code, 1, "{}{}", beside.out, beside.err);
    assert!(
        beside
            .out
            .contains("row 1 of table agents has a wrong checksum"),
        "{}",
        beside.out
    );
}

/// Damages or removes the counters in the file of a stopped server, and damages the row of the
/// first agent.
fn damage_counters(server: &Server, remove: bool) {
    let file = Database::create(server.folder().join("flowgate.redb")).unwrap();
    let transaction = file.begin_write().unwrap();
    {
        let spoilt = &b"?"[..];
        let mut meta = transaction
            .open_table(TableDefinition::<&[u8], &[u8]>::new("meta"))
            .unwrap();
        if remove {
            meta.remove(&b"counters"[..]).unwrap()
        } else {
            meta.insert(&b"counters"[..], spoilt).unwrap()
        };
        let mut agents = transaction
            .open_table(TableDefinition::<&[u8], &[u8]>::new("agents"))
            .unwrap();
        agents.insert(&1_u64.to_be_bytes()[..], spoilt).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn missing_counters_fail_every_command_as_damage() {
    let mut server = Server::start(VISIT);
    server.add_agent("Zoltana", &[]);
    server.stop();
    for (remove, problem) in [(false, "is truncated"), (true, "is missing")] {
        damage_counters(&server, remove);
        for args in [
            &["serve"][..],
            &["status"],
            &["submissions"],
            &["compact"],
            &["check"],
        ] {
            let result = server.cli(args);
            assert_eq!(result.code, 6, "{args:?}: {result:?}");
            let damage = format!("row counters of table meta {problem})");
            assert!(
                result.err.contains(&damage) && result.err.contains("restore a backup"),
                "{result:?}"
            );
            assert!(!result.err.contains("lists all such rows"), "{result:?}");
        }
        let found = server.cli(&["check"]).out;
        for part in [
            "row counters of table meta",
            "row 1 of table agents is truncated",
            "rows checked",
        ] {
            assert!(found.contains(part), "{found}");
        }
    }
}

#[test]
fn compact_works_only_on_stopped_server() {
    let mut server = Server::start(VISIT);
    for n in 0..20 {
        assert!(
            server
                .post("/visit", &Form::new(format!("t{n}")))
                .is_accepted()
        );
    }
    let refused = server.cli(&["compact"]);
    assert_eq!(
        (refused.code, refused.out.as_str()),
        (4, ""),
        "{}",
        refused.err
    );
    assert!(
        refused
            .err
            .contains("another flowgate command or server has"),
        "{}",
        refused.err
    );
    server.stop();
    let done = server.row(&["compact"]);
    let size = |field: &str| done[field].as_u64().unwrap();
    assert!(
        0 < size("after_bytes") && size("after_bytes") <= size("before_bytes"),
        "{done}"
    );
    let output = server.cli(&["compact"]);
    assert!(
        output.out.contains(" MiB before, ") && output.out.ends_with(" MiB now\n"),
        "{}",
        output.out
    );
    assert_eq!(server.submissions().len(), 20);
    assert_eq!(server.cli(&["check"]).code, 0);
    server.start_again();
    server.post("/visit", &Form::new("t3"));
    assert_eq!(
        server.submissions().len(),
        20,
        "what is a duplicate is one as before"
    );
}
