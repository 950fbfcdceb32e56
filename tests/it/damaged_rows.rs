//! A row that can't be read costs what needs it: the server starts without it, says so, and `check` names it. A stopped
//! server's file is checked without being changed, and compacted.

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

/// Changes a name wherever it is in the data file: the checksums of its rows do not fit any more.
fn damage(server: &Server, name: &str) {
    let file = server.folder().join("flowgate.redb");
    let mut bytes = fs::read(&file).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(name.as_bytes())).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_server_starts_without_an_agent_who_cannot_be_read_and_says_so() {
    let mut server = Server::start(VISIT);
    server.add_agent("Zoltana", &[]);
    server.add_agent("Bob", &[]);
    server.stop();
    damage(&server, "Zoltana");

    let on_file = server.cli(&["check"]);
    assert_eq!(on_file.code, 1, "{}{}", on_file.out, on_file.err);
    assert!(on_file.out.contains("row 1 of table agents has a wrong checksum"), "{}", on_file.out);

    server.start_again();
    let status = server.row(&["status"]);
    let hints = status["hints"].to_string();
    assert!(hints.contains("1 row of the data file can't be read, and is left out: `flowgate check` lists"), "{hints}");
    assert!(server.log().contains("row 1 of table agents has a wrong checksum"), "{}", server.log());
    assert!(server.post("/visit", &Form::new("a")).is_accepted());
    server.settled();
    assert_eq!(server.rows(&["leads", "list"])[0]["agent"], "Bob");
    let beside = server.cli(&["check"]);
    assert_eq!(beside.code, 1, "{}{}", beside.out, beside.err);
    assert!(beside.out.contains("row 1 of table agents has a wrong checksum"), "{}", beside.out);
}

/// Spoils the counters of a stopped server's file, or removes them, and spoils the row of its first agent.
fn damage_counters(server: &Server, remove: bool) {
    let file = Database::create(server.folder().join("flowgate.redb")).unwrap();
    let transaction = file.begin_write().unwrap();
    {
        let spoilt = &b"?"[..];
        let mut meta = transaction.open_table(TableDefinition::<&str, &[u8]>::new("meta")).unwrap();
        if remove {
            meta.remove("counters").unwrap()
        } else {
            meta.insert("counters", spoilt).unwrap()
        };
        let mut agents = transaction.open_table(TableDefinition::<u64, &[u8]>::new("agents")).unwrap();
        agents.insert(1, spoilt).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn a_file_without_its_counters_is_damaged_for_every_command_and_check_looks_at_its_other_rows() {
    let mut server = Server::start(VISIT);
    server.add_agent("Zoltana", &[]);
    server.stop();
    for (remove, problem) in [(false, "is cut off"), (true, "is missing")] {
        damage_counters(&server, remove);
        for args in [&["serve"][..], &["status"], &["submissions"], &["compact"], &["check"]] {
            let said = server.cli(args);
            assert_eq!(said.code, 6, "{args:?}: {said:?}");
            let damage = format!("row counters of table meta {problem})");
            assert!(said.err.contains(&damage) && said.err.contains("put a backup in its place"), "{said:?}");
            assert!(!said.err.contains("lists all such rows"), "{said:?}");
        }
        let found = server.cli(&["check"]).out;
        for part in ["row counters of table meta", "row 1 of table agents is cut off", "rows looked at"] {
            assert!(found.contains(part), "{found}");
        }
    }
}

#[test]
fn a_stopped_servers_file_is_compacted_and_a_running_ones_is_not() {
    let mut server = Server::start(VISIT);
    for n in 0..20 {
        assert!(server.post("/visit", &Form::new(format!("t{n}"))).is_accepted());
    }
    let refused = server.cli(&["compact"]);
    assert_eq!((refused.code, refused.out.as_str()), (4, ""), "{}", refused.err);
    assert!(refused.err.contains("another flowgate command or server has"), "{}", refused.err);
    server.stop();
    let done = server.row(&["compact"]);
    let size = |field: &str| done[field].as_u64().unwrap();
    assert!(0 < size("after_bytes") && size("after_bytes") <= size("before_bytes"), "{done}");
    let told = server.cli(&["compact"]);
    assert!(told.out.contains(" MiB before, ") && told.out.ends_with(" MiB now\n"), "{}", told.out);
    assert_eq!(server.submissions().len(), 20);
    assert_eq!(server.cli(&["check"]).code, 0);
    server.start_again();
    server.post("/visit", &Form::new("t3"));
    assert_eq!(server.submissions().len(), 20, "what is a duplicate is one as before");
}
