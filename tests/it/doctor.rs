//! `flowgate doctor` names what is wrong with a setup, and what to do.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::fake_services::add_top_level_keys;
use crate::support::graph::{Graph, RecordedRequest, json as answer};
use crate::support::http::{SECRET, signature};
use crate::support::{CommandOutput, PLAIN_FLOW, Server, flowgate};

const TOKEN: &str = "EAAGm0PX4ZCpsBAKZCx";

/// Meta with an app that has the app secret of the server.
fn meta(callback_url: &'static str, fields: &'static [&'static str]) -> Graph {
    Graph::answering(move |asked: &RecordedRequest| {
        if asked.line.contains("/app?") {
            let proof = signature(SECRET, TOKEN.as_bytes()).replace("sha256=", "appsecret_proof=");
            assert_eq!(
                asked.header("authorization"),
                Some(&*format!("Bearer {TOKEN}"))
            );
            return if asked.line.contains(&proof) {
                answer(200, &json!({"id": "1234", "name": "Clinic"}))
            } else {
                let error = json!({"message": "Invalid appsecret_proof provided in the API argument", "code": 100});
                answer(400, &json!({"error": error}))
            };
        }
        assert!(asked.line.contains("/1234/subscriptions"), "{}", asked.line);
        let fields: Vec<Value> = fields.iter().map(|name| json!({"name": name})).collect();
        let ours = json!({"object": "whatsapp_business_account", "callback_url": callback_url, "fields": fields});
        answer(200, &json!({"data": [ours]}))
    })
}

fn server(graph: &Graph, more: &str) -> Server {
    let token = format!("access_token = \"text:{TOKEN}\"\n");
    let server = Server::start(&format!("{token}{}{PLAIN_FLOW}{more}", graph.meta()));
    // Other tests run with the usual umask.
    let data = server.folder().join("flowgate.redb");
    fs::set_permissions(data, Permissions::from_mode(0o600)).unwrap();
    add_top_level_keys(
        &server,
        &format!("public_url = \"http://{}\"\n", server.address()),
    );
    server
}

/// Runs the command with a clock that is synchronized, and this unit.
fn doctor(server: &Server, unit: &str, more: &[&str]) -> (CommandOutput, Vec<Value>) {
    let folder = server.folder();
    let tool = folder.join("timedatectl");
    fs::write(&tool, "#!/bin/sh\necho yes\n").unwrap();
    fs::set_permissions(&tool, Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("flowgate.service"), unit).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let output = flowgate(folder)
        .args(["doctor", "--json", "--unit", "flowgate.service"])
        .args(more)
        .env("PATH", path)
        .output()
        .unwrap();
    let output = CommandOutput {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    let rows = output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let rows = rows.collect();
    (output, rows)
}

fn has(rows: &[Value], check: &str, result: &str, message: &str) -> bool {
    rows.iter().any(|row| {
        row["check"] == check
            && row["result"] == result
            && row["message"].as_str().unwrap().contains(message)
    })
}

const UNIT: &str = "[Service]\nWatchdogSec=60s\nLimitNOFILE=65536\n";

#[test]
fn healthy_setup_has_no_wrong_line() {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let crm = format!(
        "deliver = [\"crm\"]\n[destinations.crm]\nurl = \"http://{}/hook\"\nallow_private = true\nsecrets = [\"text:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\"]\n",
        receiver.local_addr().unwrap()
    );
    let graph = meta("", &["messages", "standby", "messaging_handovers", "flows"]);
    let server = server(&graph, &crm);
    let (output, rows) = doctor(&server, UNIT, &[]);
    for (check, message) in [
        ("config", "is valid"),
        ("server", "can commit"),
        ("ports", "held by the server"),
        ("unit", "flowgate.service"),
        ("files", "flowgate.redb has mode 0600"),
        ("disk space", "free in"),
        ("clock", "synchronized"),
        ("descriptors", "65536 open files"),
        ("proxy", "a signed webhook arrives unchanged"),
        ("proxy", "a signed webhook of 3 MB arrives unchanged"),
        ("meta", "the app secret belongs to app Clinic (1234)"),
        ("meta", "subscribed to all fields"),
        ("destination", "crm: "),
    ] {
        assert!(
            has(&rows, check, "right", message),
            "{check} {message}: {}",
            output.out
        );
    }
    // Only the callback URL is wrong: Meta has none.
    let wrong: Vec<&Value> = rows.iter().filter(|row| row["result"] == "wrong").collect();
    assert_eq!((wrong.len(), output.code), (1, 1), "{wrong:?}");
    assert!(
        wrong[0]["message"]
            .as_str()
            .unwrap()
            .contains("the callback URL is")
    );
    assert!(
        wrong[0]["advice"]
            .as_str()
            .unwrap()
            .contains("App dashboard")
    );
    assert!(!output.out.contains(TOKEN), "secrets are never shown");
    let (offline, _) = doctor(&server, UNIT, &["--offline"]);
    assert_eq!(offline.code, 0, "{}", offline.out);
    assert_eq!(server.submissions().len(), 0, "no row is left");
    assert_eq!(server.row(&["status"])["jobs"]["dead"], 0);
}

#[test]
fn each_problem_is_named_with_advice() {
    let graph = meta("https://other.example/webhook", &["messages"]);
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let more = format!(
        "deliver = [\"crm\"]\n[destinations.crm]\nurl = \"http://{closed}/hook\"\nallow_private = true\nsecrets = [\"text:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\"]\n",
    );
    let server = server(&graph, &more);
    let data = server.folder().join("flowgate.redb");
    fs::set_permissions(data, Permissions::from_mode(0o644)).unwrap();
    let (output, rows) = doctor(&server, "[Service]\nLimitNOFILE=1024\n", &[]);
    assert_eq!(output.code, 1);
    for (check, result, message) in [
        ("meta", "wrong", "not subscribed to `standby`"),
        ("meta", "warning", "not subscribed to `flows`"),
        ("meta", "wrong", "https://other.example/webhook"),
        ("destination", "wrong", "crm: "),
        ("files", "wrong", "has mode 0644"),
        ("unit", "warning", "no WatchdogSec="),
        ("descriptors", "warning", "1024 open files"),
    ] {
        assert!(
            has(&rows, check, result, message),
            "{check} {message}: {}",
            output.out
        );
    }
}

#[test]
fn proxy_to_the_wrong_port_is_named() {
    let server = Server::start(PLAIN_FLOW);
    add_top_level_keys(
        &server,
        &format!("public_url = \"http://{}\"\n", server.admin_address()),
    );
    let (output, rows) = doctor(&server, UNIT, &[]);
    for message in ["everybody can read", "a signed webhook gets 404"] {
        assert!(has(&rows, "proxy", "wrong", message), "{}", output.out);
    }
}

#[test]
fn secrets_are_checked_as_the_service_sees_them() {
    let graph = meta("", &[]);
    let mut server = server(&graph, "");
    // The app secret of another app, as a credential that the unit does not pass.
    let config = server.folder().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let secret = "text:0123456789abcdef0123456789abcdef";
    fs::write(&config, text.replace(secret, "credential:app-secret")).unwrap();
    let credentials = server.folder().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("app-secret"), "fedcba9876543210\n").unwrap();
    let (output, rows) = doctor(&server, UNIT, &[]);
    assert!(
        has(
            &rows,
            "secrets",
            "wrong",
            "does not pass credential:app-secret"
        ),
        "{}",
        output.out
    );
    assert!(
        has(&rows, "meta", "wrong", "Invalid appsecret_proof"),
        "{}",
        output.out
    );
    let unit = format!(
        "{UNIT}LoadCredential=app-secret:{}\n",
        credentials.join("app-secret").display()
    );
    let (output, rows) = doctor(&server, &unit, &["--offline"]);
    assert!(
        has(&rows, "secrets", "wrong", "has mode 0644"),
        "{}",
        output.out
    );

    server.stop();
    let (output, rows) = doctor(&server, UNIT, &["--offline"]);
    assert!(
        has(&rows, "server", "wrong", "no server runs"),
        "{}",
        output.out
    );
    fs::write(&config, "listn = 1\n").unwrap();
    let (output, rows) = doctor(&server, UNIT, &[]);
    assert_eq!((output.code, rows.len()), (1, 1), "{}", output.out);
    assert!(has(&rows, "config", "wrong", "listn"), "{}", output.out);
}

#[test]
fn status_check_fails_on_a_warning() {
    let mut server = Server::start(PLAIN_FLOW);
    let checked = server.cli(&["status", "--check"]);
    // The test secrets are in the config itself, which is a warning.
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.err.contains("need somebody"), "{}", checked.err);
    assert_eq!(server.cli(&["status"]).code, 0);
    server.stop();
    assert_eq!(server.cli(&["status", "--check", "--json"]).code, 1);
}
