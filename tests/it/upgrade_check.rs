//! `flowgate upgrade --check` and `flowgate healthcheck`: what an admin asks before and after an
//! upgrade.

use std::fs;

use crate::support::{PLAIN_FLOW, Server, run};

#[test]
fn check_of_served_stopped_and_missing_file_succeeds() {
    let mut server = Server::stopped(PLAIN_FLOW);
    assert_eq!(
        server.row(&["upgrade", "--check"])["data_file"]["state"],
        "missing"
    );
    assert!(!server.folder().join("flowgate.redb").exists());

    server.start_again();
    let row = server.row(&["upgrade", "--check"]);
    assert_eq!(row["data_file"]["state"], "served");
    assert_eq!(row["data_file"]["version"], env!("CARGO_PKG_VERSION"));
    let text = server.cli(&["upgrade", "--check"]);
    assert_eq!(text.code, 0, "{text:?}");
    for part in [
        "Changes of flowgate",
        "config.toml is valid",
        "has format 1",
        "serves it",
    ] {
        assert!(text.out.contains(part), "{part} in {}", text.out);
    }

    server.stop();
    let file = server.folder().join("flowgate.redb");
    let before = fs::read(&file).unwrap();
    assert_eq!(
        server.row(&["upgrade", "--check"])["data_file"]["state"],
        "readable"
    );
    assert!(
        before == fs::read(&file).unwrap(),
        "the check changed the file"
    );
}

#[test]
fn check_finds_what_would_prevent_the_start() {
    let server = Server::stopped(PLAIN_FLOW);
    let file = server.folder().join("flowgate.redb");
    fs::write(&file, "the notes of another program").unwrap();
    let foreign = server.cli(&["upgrade", "--check"]);
    assert!(
        foreign.code == 4 && foreign.err.contains("is not a flowgate data file"),
        "{foreign:?}"
    );

    server.configure("[limits]\nmax_bodies = 1\n");
    let unknown = server.cli(&["upgrade", "--check"]);
    assert!(
        unknown.code == 2 && unknown.err.contains("max_bodies"),
        "{unknown:?}"
    );

    server.configure("[flows.a]\nencryption = \"required\"\nprivate_keys = [\"file:none.pem\"]\n");
    let no_key = server.cli(&["upgrade", "--check"]);
    assert!(
        no_key.code == 2 && no_key.err.contains("none.pem"),
        "{no_key:?}"
    );

    let usage = run(server.folder(), &["upgrade"]);
    assert!(
        usage.code == 2 && usage.err.contains("--check"),
        "{usage:?}"
    );
}

#[test]
fn healthcheck_needs_a_ready_server() {
    let mut server = Server::start(PLAIN_FLOW);
    let ready = server.cli(&["healthcheck"]);
    assert_eq!((ready.code, ready.out.as_str()), (0, "ready\n"));
    assert_eq!(server.row(&["healthcheck"])["health"], "ready");
    server.stop();
    let stopped = server.cli(&["healthcheck"]);
    assert!(
        stopped.code == 4 && stopped.err.contains("flowgate serve"),
        "{stopped:?}"
    );
}
