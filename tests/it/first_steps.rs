//! Tests the first steps after a clone: the shipped config, `serve`, `try`, `status`, without any
//! settings.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::http::SECRET;
use crate::support::{PLAIN_FLOW, Server};

/// Creates a server with the shipped config on free ports.
fn newcomer() -> Server {
    let server = Server::stopped("");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    fs::copy(shipped, server.folder().join("config.toml")).unwrap();
    server.on_free_ports();
    server
}

#[test]
fn new_clone_reaches_first_lead() {
    let mut server = newcomer();
    server.start_again();
    let secret = server.folder().join("flowgate.dev-secret");
    assert_eq!(
        fs::metadata(&secret).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let secret = fs::read_to_string(secret).unwrap();
    assert!(secret.trim().len() >= 32);
    assert!(
        server.greeting().contains("META_APP_SECRET"),
        "real traffic needs the real one: {}",
        server.greeting()
    );
    assert!(
        server
            .greeting()
            .contains(&format!("http://{}", server.address()))
    );
    assert!(
        server.greeting().contains("flowgate try"),
        "the next command: {}",
        server.greeting()
    );
    assert!(
        !server.greeting().contains(secret.trim()) && !server.log().contains(secret.trim()),
        "secrets are never shown"
    );

    // No agent can accept the lead yet. The output names the command that adds an agent.
    let first = server.cli(&["try"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.contains("Submission received"), "{}", first.out);
    assert!(first.out.contains("flowgate agents add"), "{}", first.out);
    assert!(
        first
            .out
            .ends_with("To undo it: flowgate bookings cancel 1; flowgate leads close 1\n"),
        "{}",
        first.out
    );
    server.add_agent("Ann", &[]);
    let second = server.cli(&["try"]);
    assert_eq!(second.code, 0, "{second:?}");
    assert!(second.out.contains("Ann"), "{}", second.out);

    let submissions = server.submissions();
    assert_eq!(submissions.len(), 2);
    assert!(
        submissions.iter().all(|row| row["booking_id"].is_u64()),
        "the shipped flow books: {submissions:?}"
    );
    assert_eq!(server.settled()["leads"]["open"], 2);

    // The secret stays after a restart, so that everything that uses it continues to work.
    server.stop();
    server.start_again();
    assert_eq!(
        fs::read_to_string(server.folder().join("flowgate.dev-secret")).unwrap(),
        secret
    );
    assert_eq!(server.cli(&["try"]).code, 0);
}

#[test]
fn try_needs_no_secret_in_its_environment() {
    // As in `docs/setup-meta.md`, only the environment of the service contains the secrets.
    let mut server = Server::stopped(&format!(
        "{PLAIN_FLOW}\n[flows.home]\nencryption = \"required\"\nprivate_keys = [\"env:FLOW_KEY\"]\n"
    ));
    let file = server.folder().join("config.toml");
    let config = fs::read_to_string(&file)
        .unwrap()
        .replace(&format!("text:{SECRET}"), "env:META_APP_SECRET");
    fs::write(&file, config).unwrap();
    // A first start without a secret leaves this file.
    fs::write(server.folder().join("flowgate.dev-secret"), "0".repeat(64)).unwrap();
    let key = include_str!("../vectors/key_private.pem");
    server.start_with(&[("META_APP_SECRET", SECRET), ("FLOW_KEY", key)]);
    for flow in ["form", "home"] {
        let tried = server.cli(&["try", "--flow", flow]);
        assert_eq!(tried.code, 0, "{flow}: {tried:?}");
        assert!(!format!("{tried:?}").contains(SECRET));
    }
    assert_eq!(server.submissions().len(), 2);
}

#[test]
fn try_without_server_suggests_serve() {
    let output = newcomer().cli(&["try"]);
    assert_eq!(output.code, 4, "{output:?}");
    assert!(output.err.contains("flowgate serve"), "{}", output.err);
}

#[test]
fn shipped_config_is_valid() {
    let output = newcomer().cli(&["config", "check"]);
    assert_eq!(output.code, 0, "{output:?}");
}
