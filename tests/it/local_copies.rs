//! Copies of the data file, made while the server works or stands still, and restored files.
//! Processes are killed in the middle of each.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::support::form::Form;
use crate::support::load::Load;
use crate::support::{
    CommandOutput, PLAIN_FLOW, Process, Server, assert_each_once, eventually, flowgate,
};

/// Stores a few megabytes, so that a copy takes a while.
fn fill(server: &Server) -> Vec<String> {
    let tokens: Vec<String> = (0..120).map(|n| format!("large-{n}")).collect();
    let mut connection = server.connect();
    for token in &tokens {
        let form = Form::new(token).with("note", "n".repeat(100_000));
        let request = crate::support::http::signed_post("/form", &form.body());
        assert!(connection.exchange(&request).unwrap().is_accepted());
    }
    tokens
}

/// Returns the tokens of all submissions in the copy `file`. The copy must pass every check.
fn tokens_in(file: &Path) -> Vec<String> {
    let elsewhere = Server::stopped(PLAIN_FLOW);
    let restored = elsewhere.row(&["restore", file.to_str().unwrap()]);
    assert_eq!(restored["violations"], 0, "{restored}");
    assert_eq!(elsewhere.cli(&["check"]).code, 0);
    let rows = elsewhere.submissions();
    assert_eq!(rows.len(), submission_count(&restored));
    rows.iter()
        .map(|row| row["flow_token"].as_str().unwrap().to_owned())
        .collect()
}

fn submission_count(row: &Value) -> usize {
    row["submissions"].as_u64().unwrap().try_into().unwrap()
}

fn assert_refused(output: &CommandOutput, code: i32, parts: &[&str]) {
    assert_eq!(output.code, code, "{output:?}");
    for part in parts {
        assert!(output.err.contains(part), "{part} in {output:?}");
    }
}

#[test]
fn copy_under_load_has_everything_acknowledged_before() {
    let server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &[]);
    let large = fill(&server);
    let load = Load::begin(server.address(), "/form", "load", 4);
    eventually("the load is under way", || {
        (load.acknowledged() >= 50).then_some(())
    });
    for round in 0..3 {
        let before = server.submissions();
        let name = format!("copy-{round}.redb");
        let copied = server.row(&["backup", &name]);
        assert_eq!(copied["violations"], 0, "{copied}");
        let found = tokens_in(&server.folder().join(&name));
        for row in &before {
            let token = row["flow_token"].as_str().unwrap();
            assert!(found.iter().any(|found| found == token), "{token}");
        }
    }
    let posted = load.end();
    let settled = server.settled();
    assert_eq!(
        submission_count(&settled),
        large.len() + posted.acknowledged.len()
    );
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn stopped_server_is_copied_and_copy_becomes_a_working_file() {
    let mut server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &[]);
    assert!(server.post("/form", &Form::new("first")).is_accepted());
    server.settled();
    server.stop();
    fs::create_dir(server.folder().join("copies")).unwrap();
    let copied = server.row(&["backup", "copies"]);
    assert_eq!(
        (&copied["submissions"], &copied["violations"]),
        (&1.into(), &0.into())
    );
    let file = copied["file"].as_str().unwrap();
    assert!(
        file.starts_with("copies/flowgate-20") && file.ends_with("Z.redb"),
        "{file}"
    );

    server.start_again();
    assert!(server.post("/form", &Form::new("second")).is_accepted());
    let running = server.cli(&["restore", "copies", "--force"]);
    assert_refused(
        &running,
        1,
        &["a server runs on flowgate.redb: stop it first"],
    );
    server.stop();
    let exists = server.cli(&["restore", "copies"]);
    assert_refused(&exists, 2, &["flowgate.redb exists", "--force"]);
    assert_eq!(server.submissions().len(), 2, "nothing was changed");

    let restored = server.row(&["restore", "copies", "--force"]);
    let old = restored["replaced_file"].as_str().unwrap();
    assert!(old.starts_with("flowgate.redb.replaced-20"), "{old}");
    assert_each_once(&server.submissions(), ["first"]);
    // The old file is whole.
    let undone = server.row(&["restore", old, "--to", "undone.redb"]);
    assert_eq!(undone["submissions"], 2, "{undone}");

    // IDs, duplicates and agents continue as before.
    server.start_again();
    assert!(server.post("/form", &Form::new("first")).is_duplicate());
    assert!(server.post("/form", &Form::new("third")).is_accepted());
    server.settled();
    assert_eq!(server.rows(&["leads", "list"])[0]["agent"], "Ann");
    assert_each_once(&server.submissions(), ["first", "third"]);
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn wrong_paths_get_clear_errors() {
    let server = Server::start(PLAIN_FLOW);
    assert_eq!(server.cli(&["backup", "a.redb"]).code, 0);
    let again = server.cli(&["backup", "a.redb"]);
    assert_refused(
        &again,
        2,
        &["a.redb exists: name another file, or a folder"],
    );
    let missing = server.cli(&["backup", "no/such/a.redb"]);
    assert_refused(&missing, 4, &["create no/such/a.redb.part", "No such file"]);
    let file = server.cli(&["backup", "a.redb", "--every", "1h"]);
    assert_refused(&file, 2, &["a.redb is no folder"]);
    let often = server.cli(&["backup", ".", "--every", "1s"]);
    assert_refused(&often, 2, &["must be at least 1m"]);
    let none = server.cli(&["restore", "b.redb", "--to", "c.redb"]);
    assert_refused(&none, 3, &["there is no backup at b.redb"]);
    let moment = server.cli(&["restore", "a.redb", "--at", "1h", "--to", "c.redb"]);
    assert_refused(&moment, 2, &["leave out --at"]);
    let foreign = server.cli(&["restore", "config.toml", "--to", "c.redb"]);
    assert_refused(&foreign, 4, &["config.toml is not a flowgate data file"]);
    fs::write(server.folder().join("cut.redb"), [0; 5000]).unwrap();
    assert_eq!(
        server.cli(&["restore", "cut.redb", "--to", "c.redb"]).code,
        4
    );
    for left in ["c.redb", "c.redb.part", "a.redb.part"] {
        assert!(!server.folder().join(left).exists(), "{left}");
    }
}

#[test]
fn kill_of_the_server_in_a_copy_leaves_no_copy() {
    let mut server = Server::start(PLAIN_FLOW);
    let tokens = fill(&server);
    for round in 0..3 {
        let name = format!("copy-{round}.redb");
        let part = server.folder().join(format!("{name}.part"));
        let copying = flowgate(server.folder())
            .args(["backup", &name])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("the copy has begun", || part.exists().then_some(()));
        server.kill9();
        let output = copying.wait_with_output().unwrap();
        let is_complete = server.folder().join(&name).exists();
        assert_eq!(output.status.success(), is_complete, "{output:?}");
        assert!(!part.exists(), "{output:?}");
        server.start_again();
    }
    assert!(server.post("/form", &Form::new("after")).is_accepted());
    let copied = server.row(&["backup", "last.redb"]);
    assert_eq!(submission_count(&copied), tokens.len() + 1);
    assert_eq!(server.cli(&["check"]).code, 0);
}

#[test]
fn killed_backup_command_does_not_disturb_the_server() {
    let server = Server::start(PLAIN_FLOW);
    let tokens = fill(&server);
    let part = server.folder().join("copy.redb.part");
    let command = |args: &[&str]| {
        let mut command = flowgate(server.folder());
        command
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Process(command.spawn().unwrap())
    };
    let copying = command(&["backup", "copy.redb"]);
    eventually("the copy has begun", || part.exists().then_some(()));
    drop(copying);
    assert!(server.post("/form", &Form::new("after")).is_accepted());
    assert_eq!(server.cli(&["check"]).code, 0);
    if !server.folder().join("copy.redb").exists() {
        let copied = server.row(&["backup", "copy.redb"]);
        assert_eq!(submission_count(&copied), tokens.len() + 1);
    }
    // A killed restore leaves no data file, and the next one succeeds.
    let part = server.folder().join("restored.redb.part");
    let restoring = command(&["restore", "copy.redb", "--to", "restored.redb"]);
    eventually("the restore has begun", || part.exists().then_some(()));
    drop(restoring);
    assert!(!server.folder().join("restored.redb").exists());
    let restored = server.row(&["restore", "copy.redb", "--to", "restored.redb"]);
    assert_eq!(restored["violations"], 0, "{restored}");
    assert!(!part.exists());
}

/// Returns the names of the files in the folder, in order.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn copies_repeat_and_old_ones_are_removed() {
    const OLD: [&str; 2] = [
        "flowgate-20200101T000000Z.redb",
        "flowgate-20200102T000000Z.redb",
    ];
    // A clock that was wrong, an interrupted copy, and a file of somebody else.
    const OTHER: [&str; 2] = ["clinic.redb.part", "flowgate-20990101T000000Z.redb"];
    let server = Server::stopped(&format!(
        "{PLAIN_FLOW}\n[backup.copies]\nfolder = \"own\"\nevery = \"1m\"\nkeep = 2\n"
    ));
    let folders = ["own", "asked"].map(|name| server.folder().join(name));
    for folder in &folders {
        fs::create_dir(folder).unwrap();
        for name in OLD.iter().chain(&OTHER) {
            fs::write(folder.join(name), name).unwrap();
        }
        fs::write(folder.join("flowgate-20200103T000000Z.redb.part"), "cut").unwrap();
    }
    let mut server = server;
    server.start_again();
    let mut command = flowgate(server.folder());
    command.args(["backup", "asked", "--every", "1m", "--keep", "2"]);
    let _copying = Process(command.stdout(Stdio::null()).spawn().unwrap());
    let is_new = |name: &&String| !OLD.contains(&name.as_str()) && !OTHER.contains(&name.as_str());
    for folder in &folders {
        eventually("the first copy is made, and the oldest one removed", || {
            (names_in(folder).len() == 4).then_some(())
        });
        let names = names_in(folder);
        assert!(names.contains(&OLD[1].to_owned()), "{names:?}");
        assert_eq!(names.iter().filter(is_new).count(), 1, "{names:?}");
    }
    assert!(server.post("/form", &Form::new("late")).is_accepted());
    server.settled();
    // The next copies are due after a minute, the longest time that `eventually` waits.
    let began = Instant::now();
    for seconds in [30, 60, 100] {
        eventually("time passes", || {
            let made = folders.iter().all(|folder| {
                let names = names_in(folder);
                names.len() == 4 && names.iter().filter(is_new).count() == 2
            });
            (made || began.elapsed().as_secs() >= seconds).then_some(())
        });
    }
    for folder in &folders {
        let names = names_in(folder);
        assert_eq!(names.len(), 4, "{names:?}");
        let new: Vec<_> = names.iter().filter(is_new).collect();
        assert_eq!(new.len(), 2, "{names:?}");
        assert_eq!(tokens_in(&folder.join(new[1])), ["late"]);
    }
}
