//! A server that had the app's own secret and lost it says so, in place of refusing all that Meta sends.

use std::fs;

use crate::support::form::Form;
use crate::support::http::SECRET;
use crate::support::{PLAIN_FLOW, Server};

/// Has the config name a variable in place of the secret, or the secret in place of the variable.
fn name_instead(server: &Server, from: &str, to: &str) {
    let file = server.folder().join("config.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replace(from, to)).unwrap();
}

fn assert_refused(server: &Server) {
    let said = server.cli(&["serve"]);
    assert_eq!(said.code, 2, "{said:?}");
    for needed in ["no app secret is set", "META_APP_SECRET", "--development"] {
        assert!(said.err.contains(needed), "{needed}: {}", said.err);
    }
    assert!(!said.out.contains("ready:"), "{}", said.out);
    assert!(!server.folder().join("flowgate.dev-secret").exists());
}

#[test]
fn a_server_that_knew_the_app_secret_does_not_start_without_it() {
    let variable = "env:META_APP_SECRET";
    let mut server = Server::stopped(PLAIN_FLOW);
    name_instead(&server, &format!("text:{SECRET}"), variable);
    server.start_with(&[("META_APP_SECRET", SECRET)]);
    server.stop();
    // A reboot, and the service's file of variables is not there.
    assert_refused(&server);

    server.start_with(&[("META_APP_SECRET", SECRET)]);
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    server.kill9();
    assert_refused(&server);
}

#[test]
fn a_development_secret_is_used_all_the_same_where_that_is_meant() {
    let mut server = Server::start(PLAIN_FLOW);
    server.stop();
    name_instead(&server, &format!("text:{SECRET}"), "env:META_APP_SECRET");
    server.start_with_args(&["--development"]);
    assert!(server.greeting().contains("development secret"), "{}", server.greeting());
    assert_eq!(server.cli(&["try"]).code, 0);
    server.stop();
    let said = server.cli(&["serve"]);
    assert_eq!(said.code, 2, "it has to be said each time: {said:?}");
}

#[test]
fn a_secret_that_came_with_a_reload_counts_too() {
    let (variable, secret) = ("env:META_APP_SECRET", format!("text:{SECRET}"));
    let mut server = Server::stopped(PLAIN_FLOW);
    name_instead(&server, &secret, variable);
    server.start_again();
    name_instead(&server, variable, &secret);
    assert_eq!(server.cli(&["reload"]).code, 0);
    server.kill9();
    name_instead(&server, &secret, variable);
    assert_eq!(server.cli(&["serve"]).code, 2);
}

#[test]
fn a_start_that_fails_leaves_no_development_secret_behind() {
    let crm = "\n[destinations.crm]\nurl = \"https://crm.example/\"\nsecrets = [\"env:NO_SUCH_SECRET\"]\n";
    let server = Server::stopped(&format!("{PLAIN_FLOW}{crm}"));
    name_instead(&server, &format!("text:{SECRET}"), "env:META_APP_SECRET");
    let said = server.cli(&["serve"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("NO_SUCH_SECRET"), "{}", said.err);
    assert!(!server.folder().join("flowgate.dev-secret").exists());
}
