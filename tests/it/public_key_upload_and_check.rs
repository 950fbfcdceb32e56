//! Tests the upload of a flow's public key to Meta, and the comparison with the keys of the server.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::support::graph::{CERTIFICATE, Graph, RecordedRequest, json};
use crate::support::phone::{PRIVATE_KEY, PUBLIC_KEY};
use crate::support::{CommandOutput, Server, flowgate, run};

const TOKEN: &str = "EAAGm0PX4ZCpsBAKZCxsecret";
const OTHER_PRIVATE: &str = include_str!("../vectors/other_private.pem");
const OTHER_PUBLIC: &str = include_str!("../vectors/other_public.pem");

/// Returns an encrypted flow that sends its forms from these numbers.
fn flow(name: &str, keys: &str, numbers: &str) -> String {
    format!(
        "[flows.{name}]\nencryption = \"required\"\nprivate_keys = [{keys}]\nwebhook = {{ token_prefix = \"{name}\", {numbers} }}\n"
    )
}

/// Creates a folder with a config that points to `graph` and the keys of the vectors. No server is
/// started.
fn folder(graph: &Graph, flows: &str) -> Server {
    folder_with(&format!(
        "access_token = \"text:{TOKEN}\"\n{}{flows}",
        graph.meta()
    ))
}

fn folder_with(tables: &str) -> Server {
    let server = Server::stopped(tables);
    fs::write(server.folder().join("key.pem"), PRIVATE_KEY).unwrap();
    fs::write(server.folder().join("other.pem"), OTHER_PRIVATE).unwrap();
    server
}

/// Runs a command, and asserts that its output never contains the token.
fn keys(server: &Server, args: &[&str]) -> CommandOutput {
    let output = server.cli(&[&["keys"], args].concat());
    assert!(
        !output.out.contains("EAAGm0PX") && !output.err.contains("EAAGm0PX"),
        "{output:?}"
    );
    output
}

fn rows(output: &CommandOutput) -> Vec<Value> {
    output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn uploaded(_: &RecordedRequest) -> Vec<u8> {
    json(200, &json!({"success": true}))
}

/// Returns the phone numbers of the requests, in order.
fn numbers(asked: &[RecordedRequest]) -> Vec<&str> {
    asked
        .iter()
        .map(|asked| asked.line.split('/').nth(2).unwrap())
        .collect()
}

#[test]
fn upload_sends_newest_key_for_each_number() {
    let graph = Graph::answering(uploaded);
    let version = "api_version = \"v25.0\"\n";
    let flows = flow(
        "home",
        r#""file:key.pem", "file:other.pem""#,
        r#"phone_number_ids = ["1065", "2077"]"#,
    );
    let server = folder(&graph, &format!("{version}{flows}"));
    let output = keys(&server, &["upload"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output
            .out
            .contains("phone number 1065: Meta has the newest key of flow home now"),
        "{output:?}"
    );

    let asked = graph.asked();
    assert_eq!(asked.len(), 2);
    for (asked, number) in asked.iter().zip(["1065", "2077"]) {
        assert_eq!(
            asked.line,
            format!("POST /v25.0/{number}/whatsapp_business_encryption HTTP/1.1")
        );
        assert_eq!(
            asked.header("host"),
            Some(format!("localhost:{}", graph.address().port()).as_str())
        );
        assert_eq!(
            asked.header("authorization"),
            Some(format!("Bearer {TOKEN}").as_str())
        );
        assert_eq!(
            asked.header("content-type"),
            Some("application/x-www-form-urlencoded")
        );
        let key = asked.body.strip_prefix("business_public_key=").unwrap();
        assert!(
            key.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'%'),
            "{key}"
        );
        assert_eq!(percent_decode_str(key).decode_utf8().unwrap(), PUBLIC_KEY);
    }
    let output = keys(&server, &["upload", "--json"]);
    let row = json!({"flow": "home", "phone_number_id": "1065", "uploaded": true, "error": null});
    assert_eq!(rows(&output)[0], row);
}

#[test]
fn upload_uses_given_or_configured_numbers() {
    let graph = Graph::answering(uploaded);
    let server = folder(&graph, &flow("home", "\"file:key.pem\"", ""));
    let output = keys(&server, &["upload"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(
        output.err.contains("flow home") && output.err.contains("--flow home --phone-number-id ID"),
        "{output:?}"
    );
    assert!(graph.asked().is_empty());

    let typed = [
        "upload",
        "--phone-number-id",
        "9",
        "--phone-number-id",
        "8",
        "--phone-number-id",
        "9",
    ];
    assert_eq!(keys(&server, &typed).code, 0);
    assert_eq!(numbers(&graph.asked()), ["8", "9"]);
    assert_eq!(
        keys(&server, &["upload", "--phone-number-id", "+49 151"]).code,
        2
    );
    assert_eq!(keys(&server, &["upload", "--flow", "away"]).code, 3);

    let plain = folder(&graph, "[flows.plain]\n");
    let output = keys(&plain, &["upload"]);
    assert_eq!(output.code, 2);
    assert!(
        output.err.contains("no flow of the config is encrypted"),
        "{output:?}"
    );
    assert!(graph.asked().is_empty());
}

#[test]
fn shared_number_gets_key_of_all_its_flows() {
    let graph = Graph::answering(uploaded);
    let (shared, alone) = (
        r#"phone_number_ids = ["1065"]"#,
        r#"phone_number_ids = ["2077"]"#,
    );
    let same = "\"file:key.pem\"";
    let two = |newest_of_visit: &str| {
        [
            flow("home", same, shared),
            flow("tour", same, alone),
            flow("visit", newest_of_visit, shared),
        ]
        .concat()
    };
    let server = folder(&graph, &two(same));
    assert_eq!(keys(&server, &["upload"]).code, 0);
    assert_eq!(numbers(&graph.asked()), ["1065", "2077"], "each once");

    // Both flows have the key, but not as their newest key. Without `--flow`, the newest key is
    // ambiguous.
    let server = folder(&graph, &two(r#""file:other.pem", "file:key.pem""#));
    let output = keys(&server, &["upload"]);
    assert_eq!(output.code, 2);
    assert!(
        output
            .err
            .contains("flows home and visit have phone number 1065 in common"),
        "{output:?}"
    );
    assert_eq!(keys(&server, &["upload", "--flow", "home"]).code, 0);
    assert_eq!(numbers(&graph.asked()), ["1065"]);

    let output = keys(&server, &["upload", "--flow", "visit"]);
    assert_eq!(output.code, 2);
    assert!(
        output
            .err
            .contains("flow home, which does not have the newest key of flow visit"),
        "{output:?}"
    );
    assert!(graph.asked().is_empty());
}

/// Returns the key that Meta has for the number: each of the numbers 1 to 5 has another state.
fn key_by_number(asked: &RecordedRequest) -> Vec<u8> {
    assert!(
        asked.line.starts_with("GET /v26.0/") && asked.body.is_empty(),
        "{asked:?}"
    );
    let held = |key: &str, status: &str| {
        // Meta stores the text with other line endings.
        let key = key.trim().replace('\n', "\r\n");
        json!({"business_public_key": key, "business_public_key_signature_status": status})
    };
    let foreign = PUBLIC_KEY.replacen("MIIBIjAN", "MIIBIjAM", 1);
    let held_by_number = match numbers(std::slice::from_ref(asked))[0] {
        "1" => json!({"data": [held(PUBLIC_KEY, "VALID")]}),
        "2" => held(OTHER_PUBLIC, "VALID"),
        "3" => json!({"data": [held(PUBLIC_KEY, "MISMATCH")]}),
        "4" => json!({"data": [held(&foreign, "VALID")]}),
        _ => json!({"data": []}),
    };
    json(200, &held_by_number)
}

#[test]
fn key_check_fails_when_forms_would_fail() {
    let graph = Graph::answering(key_by_number);
    let server = folder(
        &graph,
        &flow("home", r#""file:key.pem", "file:other.pem""#, ""),
    );
    for (number, code, state, status, delivered_to) in [
        (
            "1",
            0,
            "in_order",
            json!("VALID"),
            "ok, Meta has the newest key",
        ),
        (
            "2",
            0,
            "upload_due",
            json!("VALID"),
            "an older key of the flow; forms still work. Upload the newest key: flowgate",
        ),
        ("3", 1, "mismatch", json!("MISMATCH"), "(MISMATCH)"),
        (
            "4",
            1,
            "foreign",
            json!("VALID"),
            "Meta has a key that is not in `private_keys`; every form fails.",
        ),
        (
            "5",
            1,
            "missing",
            json!(null),
            "Meta has no key; every form fails. Upload the key: flowgate keys upload --flow home",
        ),
    ] {
        let output = keys(&server, &["check", "--phone-number-id", number]);
        assert_eq!(output.code, code, "{output:?}");
        assert!(
            output
                .out
                .starts_with(&format!("flow home, phone number {number}: ")),
            "{output:?}"
        );
        assert!(output.out.contains(delivered_to), "{output:?}");
        assert_eq!(code == 0, output.err.is_empty(), "{output:?}");
        let output = keys(&server, &["check", "--phone-number-id", number, "--json"]);
        assert_eq!(output.code, code, "{output:?}");
        let row = json!({
            "flow": "home", "phone_number_id": number, "state": state, "signature_status": status, "error": null,
        });
        assert_eq!(rows(&output), [row]);
    }
    assert_eq!(
        graph.asked()[0].header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
}

#[test]
fn key_check_compares_shared_number_with_each_flow() {
    let graph = Graph::answering(|_| json(200, &json!({"business_public_key": PUBLIC_KEY})));
    let shared = r#"phone_number_ids = ["1065"]"#;
    let flows = [
        flow("home", "\"file:key.pem\"", shared),
        flow("visit", "\"file:other.pem\"", shared),
    ]
    .concat();
    let server = folder(&graph, &flows);
    let output = keys(&server, &["check", "--json"]);
    assert_eq!(output.code, 1);
    let states: Vec<_> = rows(&output)
        .iter()
        .map(|row| (row["flow"].clone(), row["state"].clone()))
        .collect();
    assert_eq!(
        states,
        [
            (json!("home"), json!("in_order")),
            (json!("visit"), json!("foreign"))
        ]
    );
    assert_eq!(graph.asked().len(), 1);
    assert_eq!(keys(&server, &["check", "--flow", "home"]).code, 0);
}

/// Refuses the numbers 1 to 4, each with another error.
fn error_by_number(asked: &RecordedRequest) -> Vec<u8> {
    let error =
        |code, message: &str| json(400, &json!({"error": {"message": message, "code": code}}));
    match numbers(std::slice::from_ref(asked))[0] {
        "1" => error(100, "Unsupported request\u{1b}[2J"),
        "2" => error(190, &format!("Malformed access token {TOKEN}")),
        "3" => error(10, &format!("Malformed access token {}...", &TOKEN[..12])),
        "4" => b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>".to_vec(),
        _ => json(
            200,
            &json!({"success": true, "business_public_key": PUBLIC_KEY}),
        ),
    }
}

#[test]
fn graph_api_error_is_explained_without_token() {
    let graph = Graph::answering(error_by_number);
    let server = folder(&graph, &flow("home", "\"file:key.pem\"", ""));
    for verb in ["upload", "check"] {
        let ask = |numbers: &[&str]| {
            let typed = numbers
                .iter()
                .flat_map(|number| ["--phone-number-id", number]);
            keys(
                &server,
                &[verb].into_iter().chain(typed).collect::<Vec<_>>(),
            )
        };
        for (number, delivered_to) in [
            (
                "1",
                "Meta says: Unsupported request\u{fffd}[2J (code 100): check that this is the phone number ID",
            ),
            (
                "2",
                "Meta says: Malformed access token … (code 190): the access token is invalid or has expired",
            ),
            (
                "3",
                "Meta says: Malformed access token … (code 10): the access token lacks whatsapp_business_messaging",
            ),
            (
                "4",
                "this is not a response of the Graph API (HTTP 200): check meta.graph_url",
            ),
        ] {
            let output = ask(&[number]);
            assert_eq!(output.code, 1, "{output:?}");
            assert!(
                output
                    .err
                    .contains(&format!("phone number {number}: {delivered_to}")),
                "{output:?}"
            );
        }
        graph.asked();
        let output = ask(&["1", "5"]);
        assert_eq!(output.code, 1);
        assert!(
            output.out.contains("phone number 5"),
            "the others are not held up: {output:?}"
        );
        graph.asked();
        assert_eq!(ask(&["2", "5"]).code, 1);
        assert_eq!(numbers(&graph.asked()), ["2"], "a bad token is bad for all");
    }
    let output = keys(&server, &["check", "--phone-number-id", "2", "--json"]);
    assert_eq!(rows(&output)[0]["state"], "unknown");
    assert!(
        rows(&output)[0]["error"]
            .as_str()
            .unwrap()
            .contains("code 190"),
        "{output:?}"
    );
}

#[test]
fn closed_stdout_changes_no_upload_or_check() {
    let graph = Graph::answering(|asked| {
        if asked.line.starts_with("POST") {
            uploaded(asked)
        } else {
            json(200, &json!({"data": []}))
        }
    });
    let server = folder(
        &graph,
        &flow(
            "home",
            "\"file:key.pem\"",
            r#"phone_number_ids = ["1065", "2077"]"#,
        ),
    );
    for more in [&[][..], &["--json"]] {
        let run_with_closed_stdout =
            |verb| server.run_with_closed_stdout(&[&["keys", verb], more].concat());
        assert_eq!(run_with_closed_stdout("upload"), (Some(0), String::new()));
        assert_eq!(numbers(&graph.asked()), ["1065", "2077"]);
        let (code, output) = run_with_closed_stdout("check");
        assert!(
            code == Some(1) && output.contains("for 2 of the phone numbers"),
            "{code:?} {output}"
        );
        assert_eq!(numbers(&graph.asked()), ["1065", "2077"]);
    }
}

#[test]
fn missing_access_token_is_named_before_any_request() {
    let graph = Graph::answering(uploaded);
    let flows = flow("home", "\"file:key.pem\"", r#"phone_number_ids = ["1065"]"#);
    let server = folder_with(&format!("{}{flows}", graph.meta()));
    for verb in ["upload", "check"] {
        let output = keys(&server, &[verb]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(
            output.err.contains("env:META_ACCESS_TOKEN is not set"),
            "{output:?}"
        );
    }
    let set = |token: &str| {
        let mut command = flowgate(server.folder());
        command
            .args(["keys", "upload"])
            .env("META_ACCESS_TOKEN", token)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(set("two\nlines"), Some(2));
    assert!(graph.asked().is_empty());
    assert_eq!(set(TOKEN), Some(0));
    assert_eq!(
        graph.asked()[0].header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );

    let server = folder_with(&format!(
        "access_token = \"file:token\"\n{}{flows}",
        graph.meta()
    ));
    let output = keys(&server, &["upload"]);
    assert_eq!(output.code, 2);
    assert!(
        output.err.contains("can't read the secret in") && output.err.contains("token"),
        "{output:?}"
    );
    fs::write(server.folder().join("token"), format!("{TOKEN}\n")).unwrap();
    assert_eq!(keys(&server, &["upload"]).code, 0);
}

#[test]
fn unreachable_endless_or_redirecting_graph_api_is_reported() {
    let flows = flow(
        "home",
        "\"file:key.pem\"",
        r#"phone_number_ids = ["1065", "2077"]"#,
    );
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = format!("access_token = \"text:{TOKEN}\"\ngraph_url = \"http://{free}\"\n{flows}");
    let output = keys(&folder_with(&nobody), &["check"]);
    assert_eq!(output.code, 4, "{output:?}");
    assert!(
        output.err.contains(&format!("can't reach {free}")) && !output.err.contains("2077"),
        "{output:?}"
    );

    let breaks = Graph::answering(|_| Vec::new());
    assert_eq!(keys(&folder(&breaks, &flows), &["upload"]).code, 4);

    let endless =
        Graph::answering(|_| [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b' '; 1 << 20]].concat());
    let output = keys(&folder(&endless, &flows), &["check"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.err.contains("has more than 65536 bytes"),
        "{output:?}"
    );

    let thief = Graph::answering(uploaded);
    let location = format!(
        "http://{}/v26.0/1065/whatsapp_business_encryption",
        thief.address()
    );
    let elsewhere = Graph::answering(move |_| {
        format!("HTTP/1.1 307 X\r\nconnection: close\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes()
    });
    let output = keys(&folder(&elsewhere, &flows), &["upload"]);
    assert_eq!(output.code, 1);
    assert!(
        output
            .err
            .contains("not a response of the Graph API (HTTP 307)"),
        "{output:?}"
    );
    assert!(thief.asked().is_empty(), "the token goes nowhere else");
}

#[test]
fn only_trusted_tls_server_gets_access_token() {
    let graph = Graph::answering_over_tls(uploaded);
    let server = folder(
        &graph,
        &flow("home", "\"file:key.pem\"", r#"phone_number_ids = ["1065"]"#),
    );
    let output = keys(&server, &["upload"]);
    assert_eq!(output.code, 4, "{output:?}");
    assert!(graph.asked().is_empty());

    let trusting = flowgate(server.folder())
        .args(["keys", "upload"])
        .env("SSL_CERT_FILE", CERTIFICATE)
        .output()
        .unwrap();
    assert_eq!(trusting.status.code(), Some(0), "{trusting:?}");
    assert_eq!(numbers(&graph.asked()), ["1065"]);
}

#[test]
fn new_key_prints_its_upload_command() {
    let alone = tempfile::tempdir().unwrap();
    let output = run(alone.path(), &["keys", "new"]);
    assert_eq!(output.code, 0, "{output:?}");
    let call = "curl -X POST https://graph.facebook.com/v26.0/PHONE_NUMBER_ID/whatsapp_business_encryption";
    assert!(
        output.out.contains(call) && !output.out.contains("flowgate keys upload"),
        "{output:?}"
    );

    let server = folder_with("api_version = \"v25.0\"\naccess_token = \"text:hush\"\n");
    let output = keys(&server, &["new"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.out.contains(&call.replace("v26.0", "v25.0")),
        "{output:?}"
    );
    assert!(
        output.out.contains("flowgate keys upload") && !output.out.contains("hush"),
        "{output:?}"
    );
}

#[test]
fn new_key_prints_config_line_to_paste() {
    let server = Server::stopped("");
    let (config, folder) = (server.folder().join("config.toml"), server.folder());
    let text = fs::read_to_string(&config).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(folder.join("keys")).unwrap();
    let config_arg = config.to_str().unwrap();
    let inside = folder.join("keys/other.pem");
    let outside = elsewhere.path().join("ours.pem");
    for (from, file, place) in [
        (folder, "near.pem", "file:near.pem".to_owned()),
        (folder, "keys/key.pem", "file:keys/key.pem".to_owned()),
        (
            elsewhere.path(),
            inside.to_str().unwrap(),
            "file:keys/other.pem".to_owned(),
        ),
        (
            elsewhere.path(),
            "ours.pem",
            format!("file:{}", outside.display()),
        ),
        (
            folder,
            "a \"quoted\".pem",
            "file:a \"quoted\".pem".to_owned(),
        ),
    ] {
        let output = run(from, &["--config", config_arg, "keys", "new", file]);
        assert_eq!(output.code, 0, "{output:?}");
        let typed = output
            .out
            .lines()
            .find_map(|line| line.trim().strip_prefix("private_keys = "))
            .unwrap();
        let keys: toml::Table = format!("private_keys = {typed}").parse().unwrap();
        assert_eq!(keys["private_keys"][0].as_str(), Some(place.as_str()));
        // A new user pastes the printed lines into the table of the flow.
        let flow = format!("[flows.home]\nencryption = \"required\"\nprivate_keys = {typed}\n");
        fs::write(&config, format!("{text}{flow}")).unwrap();
        let output = run(
            elsewhere.path(),
            &["--config", config_arg, "keys", "show", "--json"],
        );
        assert_eq!((output.code, rows(&output).len()), (0, 1), "{output:?}");
    }
    let alone = tempfile::tempdir().unwrap();
    let output = run(alone.path(), &["keys", "new", "--json"]);
    let place = format!("file:{}", alone.path().join("flow_key.pem").display());
    assert_eq!(
        rows(&output)[0]["private_key"],
        place,
        "without a config, it holds for any"
    );
}

#[test]
fn failed_key_write_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let names = || {
        fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>()
    };
    // As on a full disk, no byte can be written. The trap ignores the signal that would end the
    // process.
    let full = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 0; exec \"$0\" keys new",
            env!("CARGO_BIN_EXE_flowgate"),
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    assert!(
        String::from_utf8_lossy(&full.stderr).contains("can't write flow_key.pem: "),
        "{full:?}"
    );
    assert!(names().is_empty(), "{:?}", names());

    assert_eq!(run(folder.path(), &["keys", "new"]).code, 0);
    for (name, why) in [
        ("nowhere/key.pem", "No such file or directory"),
        ("flow_key.pem/key.pem", "Not a directory"),
    ] {
        let output = run(folder.path(), &["keys", "new", name]);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(
            output.err.contains(&format!("can't write {name}: ")) && output.err.contains(why),
            "{output:?}"
        );
    }
    assert_eq!(names(), ["flow_key.pem"]);
}
