//! An abandoned draft causes one event with its answers, and the customer can still complete the
//! form.
//!
//! A store with a manual clock creates the draft two hours in the past.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use flowgate::clock::{Clock, ManualClock, SystemClock};
use flowgate::domain::ids::{Customer, FlowName, FlowToken};
use flowgate::domain::submission::IdempotencyKey;
use flowgate::domain::submission::draft::Draft;
use flowgate::domain::time::{Millis, Timestamp};
use flowgate::store::{SaveDraft, Store, StoreOptions};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::fake_services::{FakeReceiver, RecordedRequest, SECRET};
use crate::support::form::Form;
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

/// Returns the JSON schema in `docs/events` for this kind of event.
fn schema(kind: &str) -> Validator {
    let file = project(&format!("docs/events/{kind}.schema.json"));
    let schema: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let options = jsonschema::options().with_base_uri(format!("file://{}", file.display()));
    options
        .should_validate_formats(true)
        .build(&schema)
        .unwrap()
}

/// Returns the events of this kind, without copies.
fn events_of_kind(crm: &FakeReceiver, kind: &str) -> Vec<RecordedRequest> {
    let taken = crm.taken().into_values().map(|mut copies| copies.remove(0));
    taken.filter(|asked| asked.json()["type"] == kind).collect()
}

/// Stores a draft in a new file whose clock is two hours behind. The server then opens the file at
/// the current time.
fn store_old_draft(file: &Path) {
    let age = Millis::from_secs(2 * 60 * 60);
    let clock = Arc::new(ManualClock::at(SystemClock::default().now().minus(age)));
    let store = Store::start(StoreOptions::new(file.to_owned()), clock.clone()).unwrap();
    store.wait_open().unwrap();
    let (flow, token) = (
        FlowName::new("visit").unwrap(),
        FlowToken::new("draft").unwrap(),
    );
    let customer = Customer::from_text("user-of-draft");
    let key = IdempotencyKey::for_draft(&flow, Some(&token), &customer).unwrap();
    let draft = Draft {
        flow,
        flow_token: Some(token),
        customer,
        screen: "FIRST".into(),
        data: r#"{"name":"Ann"}"#.into(),
        updated_at: Timestamp::ZERO,
    };
    store
        .execute_blocking(SaveDraft {
            key,
            draft,
            encrypted_request_key: None,
            reject_resubmission: false,
        })
        .unwrap();
    clock.advance(age);
    store.close().unwrap();
}

/// Starts a server with the old draft, and returns the server and the receiver of its event.
fn with_old_draft() -> (Server, FakeReceiver) {
    let crm = FakeReceiver::well();
    let mut server = Server::stopped(&format!("{VISIT}{}", crm.table("crm", "")));
    store_old_draft(&server.folder().join("flowgate.redb"));
    server.start_again();
    crm.wait_for_accepted(1);
    (server, crm)
}

#[test]
fn abandoned_draft_sends_one_event_with_answers() {
    let (mut server, crm) = with_old_draft();
    let left = events_of_kind(&crm, "draft.abandoned").remove(0);
    assert!(left.is_signed_with(SECRET));
    let body = left.json();
    let wrong: Vec<String> = schema("draft.abandoned")
        .iter_errors(&body)
        .map(|error| error.to_string())
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}: {body}");
    let draft = server.row(&["drafts"]);
    assert_eq!(
        body["data"],
        json!({"flow": "visit", "draft": {"flow_token": "draft", "customer": {"id": "user-of-draft", "phone": null},
            "screen": draft["screen"], "answers": {"name": "Ann"}, "updated_at": draft["updated_at"]}})
    );
    assert_eq!(
        server.row(&["drafts", "--state", "abandoned"])["flow_token"],
        "draft"
    );

    // The next check finds the draft again and removes it because of its age. Without the stored
    // mark, the check would send a second event first.
    server.kill9();
    server.configure(&format!(
        "{VISIT}{}\n[retention]\nidempotency_ttl = \"1h\"\nsubmissions = \"1h\"\n",
        crm.table("crm", "")
    ));
    server.start_again();
    eventually("the draft is gone", || {
        server.rows(&["drafts"]).is_empty().then_some(())
    });
    eventually("nothing waits", || {
        (server.row(&["destinations"])["waiting"] == 0).then_some(())
    });
    assert_eq!(events_of_kind(&crm, "draft.abandoned").len(), 1);
}

#[test]
fn abandoned_draft_can_be_completed() {
    let (server, crm) = with_old_draft();
    let finished = server.post(
        "/visit",
        &Form::new("draft").on_screen("LAST").with("note", "at last"),
    );
    assert!(finished.is_accepted(), "{finished:?}");
    let accepted = eventually("the form is told", || {
        events_of_kind(&crm, "submission.accepted").pop()
    })
    .json();
    let answers = &accepted["data"]["submission"]["answers"];
    assert_eq!(
        (&answers["name"], &answers["note"]),
        (&json!("Ann"), &json!("at last")),
        "{accepted}"
    );
    assert!(server.rows(&["drafts"]).is_empty());
}
