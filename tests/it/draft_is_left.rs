//! A form that its user has left is told of once, with the answers so far; they can still finish it.
//!
//! The draft was kept two hours ago, by the clock of the store that kept it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use flowgate::clock::{Clock, ManualClock, SystemClock};
use flowgate::domain::draft::Draft;
use flowgate::domain::ids::{Customer, FlowName, FlowToken};
use flowgate::domain::submission::IdempotencyKey;
use flowgate::domain::time::{Millis, Timestamp};
use flowgate::store::{KeepDraft, Store, StoreOptions};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::form::Form;
use crate::support::world::{Asked, SECRET, World};
use crate::support::{Server, eventually};

const VISIT: &str = r#"
[flows.visit]
path = "/visit"
encryption = "none"
abandoned_after = "1m"
screens = [
    { name = "FIRST", next = "LAST", fields = { name = { type = "text" } } },
    { name = "LAST", final = true, fields = { note = { type = "text" } } },
]
deliver = [{ to = "crm", events = ["draft.abandoned", "submission.accepted"] }]
"#;

fn project(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What `docs/events` says of this kind of event.
fn schema(kind: &str) -> Validator {
    let file = project(&format!("docs/events/{kind}.schema.json"));
    let schema: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let options = jsonschema::options().with_base_uri(format!("file://{}", file.display()));
    options.should_validate_formats(true).build(&schema).unwrap()
}

/// The events of this kind, each once however often it came.
fn told(crm: &World, kind: &str) -> Vec<Asked> {
    let taken = crm.taken().into_values().map(|mut copies| copies.remove(0));
    taken.filter(|asked| asked.json()["type"] == kind).collect()
}

/// Keeps a draft in a new file. Two hours go by in the file afterwards, and then it is now.
fn keep_draft(file: &Path) {
    let age = Millis::from_secs(2 * 60 * 60);
    let clock = Arc::new(ManualClock::at(SystemClock::default().now().minus(age)));
    let store = Store::start(StoreOptions::new(file.to_owned()), clock.clone()).unwrap();
    store.wait_open().unwrap();
    let (flow, token) = (FlowName::new("visit").unwrap(), FlowToken::new("draft").unwrap());
    let customer = Customer::from_text("user-of-draft");
    let key = IdempotencyKey::of_draft(&flow, Some(&token), &customer).unwrap();
    let draft = Draft {
        flow,
        flow_token: Some(token),
        customer,
        screen: "FIRST".into(),
        data: r#"{"name":"Ann"}"#.into(),
        updated_at: Timestamp::ZERO,
    };
    store.ask(KeepDraft { key, draft, request: None, for_good: false }).unwrap();
    clock.advance(age);
    store.close().unwrap();
}

/// A server with the old draft, and who is told of it, once it is told.
fn with_old_draft() -> (Server, World) {
    let crm = World::well();
    let mut server = Server::stopped(&format!("{VISIT}{}", crm.table("crm", "")));
    keep_draft(&server.folder().join("flowgate.redb"));
    server.start_again();
    crm.until_taken(1);
    (server, crm)
}

#[test]
fn a_form_that_was_left_is_told_once_with_its_answers() {
    let (mut server, crm) = with_old_draft();
    let left = told(&crm, "draft.abandoned").remove(0);
    assert!(left.is_signed_with(SECRET));
    let body = left.json();
    let wrong: Vec<String> = schema("draft.abandoned").iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}: {body}");
    let draft = server.row(&["drafts"]);
    assert_eq!(
        body["data"],
        json!({"flow": "visit", "draft": {"flow_token": "draft", "user": {"id": "user-of-draft", "phone": null},
            "screen": draft["screen"], "answers": {"name": "Ann"}, "updated_at": draft["updated_at"]}})
    );
    assert_eq!(server.row(&["drafts", "--state", "abandoned"])["flow_token"], "draft");

    // The next round looks at it once more, and takes it away as too old: it would be told again before that, were it not noted.
    server.kill9();
    server.configure(&format!("{VISIT}{}\n[retention]\nidempotency = \"1h\"\nsubmissions = \"1h\"\n", crm.table("crm", "")));
    server.start_again();
    eventually("the draft is gone", || server.rows(&["drafts"]).is_empty().then_some(()));
    eventually("nothing waits", || (server.row(&["destinations"])["waiting"] == 0).then_some(()));
    assert_eq!(told(&crm, "draft.abandoned").len(), 1);
}

#[test]
fn a_form_that_was_left_can_still_be_finished() {
    let (server, crm) = with_old_draft();
    let finished = server.post("/visit", &Form::new("draft").on_screen("LAST").with("note", "at last"));
    assert!(finished.is_accepted(), "{finished:?}");
    let accepted = eventually("the form is told", || told(&crm, "submission.accepted").pop()).json();
    let answers = &accepted["data"]["submission"]["answers"];
    assert_eq!((&answers["name"], &answers["note"]), (&json!("Ann"), &json!("at last")), "{accepted}");
    assert!(server.rows(&["drafts"]).is_empty());
}
