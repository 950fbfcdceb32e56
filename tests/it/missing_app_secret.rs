//! A server that lost the app's own secret reports the loss at its start. Without this check, the
//! server would refuse all requests of Meta.

use std::fs;

use crate::support::form::Form;
use crate::support::http::SECRET;
use crate::support::{PLAIN_FLOW, Server};

/// Replaces the secret in the config with a variable, or the variable with the secret.
fn replace_in_config(server: &Server, from: &str, to: &str) {
    let file = server.folder().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

fn assert_refused(server: &Server) {
    let output = server.cli(&["serve"]);
    assert_eq!(output.code, 2, "{output:?}");
    for needed in ["no app secret is set", "META_APP_SECRET", "--development"] {
        assert!(output.err.contains(needed), "{needed}: {}", output.err);
    }
    assert!(!output.out.contains("ready:"), "{}", output.out);
    assert!(!server.folder().join("flowgate.dev-secret").exists());
}

#[test]
fn server_refuses_start_without_known_app_secret() {
    let variable = "env:META_APP_SECRET";
    let mut server = Server::stopped(PLAIN_FLOW);
    replace_in_config(&server, &format!("text:{SECRET}"), variable);
    server.start_with(&[("META_APP_SECRET", SECRET)]);
    server.stop();
    // After a reboot, the file with the variables of the service is missing.
    assert_refused(&server);

    server.start_with(&[("META_APP_SECRET", SECRET)]);
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    server.kill9();
    assert_refused(&server);
}

#[test]
fn development_option_allows_start_without_app_secret() {
    let mut server = Server::start(PLAIN_FLOW);
    server.stop();
    replace_in_config(&server, &format!("text:{SECRET}"), "env:META_APP_SECRET");
    server.start_with_args(&["--development"]);
    assert!(
        server.greeting().contains("development secret"),
        "{}",
        server.greeting()
    );
    assert_eq!(server.cli(&["try"]).code, 0);
    server.stop();
    let output = server.cli(&["serve"]);
    assert_eq!(output.code, 2, "it has to be said each time: {output:?}");
}

#[test]
fn app_secret_from_reload_is_remembered() {
    let (variable, secret) = ("env:META_APP_SECRET", format!("text:{SECRET}"));
    let mut server = Server::stopped(PLAIN_FLOW);
    replace_in_config(&server, &secret, variable);
    server.start_again();
    replace_in_config(&server, variable, &secret);
    assert_eq!(server.cli(&["reload"]).code, 0);
    server.kill9();
    replace_in_config(&server, &secret, variable);
    assert_eq!(server.cli(&["serve"]).code, 2);
}

#[test]
fn failed_start_creates_no_development_secret() {
    let crm = "\n[destinations.crm]\nurl = \"https://crm.example/\"\nsecrets = [\"env:NO_SUCH_SECRET\"]\n";
    let server = Server::stopped(&format!("{PLAIN_FLOW}{crm}"));
    replace_in_config(&server, &format!("text:{SECRET}"), "env:META_APP_SECRET");
    let output = server.cli(&["serve"]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.err.contains("NO_SUCH_SECRET"), "{}", output.err);
    assert!(!server.folder().join("flowgate.dev-secret").exists());
}
