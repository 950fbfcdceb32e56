//! A form that arrives fifty times at the same moment is one submission, one job and one lead.

use crate::support::form::Form;
use crate::support::{PLAIN_FLOW, Server, all_at_once, assert_each_once};

#[test]
fn fifty_copies_of_one_token_make_one_submission() {
    let server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &[]);
    let form = Form::new("once");

    let answers = all_at_once(50, |_| server.post("/form", &form));

    assert_eq!(
        answers.iter().filter(|answer| answer.is_accepted()).count(),
        1
    );
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.is_duplicate())
            .count(),
        49
    );
    server.settled();
    assert_each_once(&server.submissions(), ["once"]);
    assert_eq!(server.rows(&["leads", "list", "--limit", "0"]).len(), 1);
    assert_eq!(server.rows(&["jobs", "list", "--limit", "0"]).len(), 1);
}

#[test]
fn same_token_in_other_flow_is_separate_form() {
    let server = Server::start(&format!(
        "{PLAIN_FLOW}\n[flows.other]\npath = \"/other\"\nencryption = \"none\"\n"
    ));
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    assert!(server.post("/other", &Form::new("t")).is_accepted());
}

#[test]
fn token_is_known_after_restart() {
    let mut server = Server::start(PLAIN_FLOW);
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    server.stop();
    server.start_again();
    assert!(server.post("/form", &Form::new("t")).is_duplicate());
}

#[test]
fn token_expires_after_dedup_window() {
    let server = Server::start(&format!(
        "{PLAIN_FLOW}\n[retention]\nidempotency_ttl = \"1s\"\n"
    ));
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    let again = crate::support::eventually("the token is new again", || {
        Some(server.post("/form", &Form::new("t"))).filter(|answer| !answer.is_duplicate())
    });
    assert!(again.is_accepted());
    assert_each_once(&server.submissions(), ["t", "t"]);
}

#[test]
fn unused_token_deduplicates_by_customer_and_answers() {
    let server = Server::start(PLAIN_FLOW);
    let form = |user: &str, name: &str| Form::new("unused").by(user).with("name", name);
    assert!(server.post("/form", &form("1", "Ann")).is_accepted());
    assert!(server.post("/form", &form("2", "Ann")).is_accepted());
    assert!(server.post("/form", &form("1", "Bob")).is_accepted());
    assert!(server.post("/form", &form("1", "Ann")).is_duplicate());
}
