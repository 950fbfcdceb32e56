//! Tests of customers who change their number or ID: exactly the rows of this customer move to the
//! new name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redb::Database;

use crate::domain::customer_change::CustomerChange;
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::{Subscription, Subscriptions};
use crate::domain::ids::{Customer, MessageId, SubmissionId};
use crate::domain::job::JobState;
use crate::domain::submission::draft::Draft;
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::submission::{IdempotencyKey, Submission};
use crate::domain::time::{Millis, Timestamp};
use crate::store::engine::Rows;
use crate::store::rows::schema::{DRAFTS, RENAMED_CUSTOMERS};
use crate::store::{AcceptOutcome, FinishJob, FinishOutcome, IngestWebhook, NewLead, SaveDraft};

use super::support::{START, StoreBench, attempt, destination, flow, form, team};

const OLD: &str = "16505551234";
const NEW: &str = "12195555358";
const MINUTE: Millis = Millis::from_secs(60);

fn customer(id: Option<&str>, phone: Option<&str>) -> Customer {
    Customer {
        id: id.map(Box::from),
        phone: phone.map(Box::from),
    }
}

/// Form of this customer, sent now.
fn form_from(bench: &StoreBench, token: &str, customer: &Customer) -> InboundSubmission {
    use crate::clock::Clock;
    let form = form(token, "{}");
    let submission = Submission {
        customer: customer.clone(),
        sent_at: Some(bench.clock.now()),
        ..form.submission.clone()
    };
    InboundSubmission { submission, ..form }
}

fn submit(bench: &StoreBench, token: &str, customer: &Customer) -> SubmissionId {
    let AcceptOutcome::New {
        submission_id: submission,
        ..
    } = bench.accept(form_from(bench, token, customer))
    else {
        panic!("a new one")
    };
    submission
}

/// Submits a form, whose lead gets an agent. Returns the name of the agent.
fn assigned_agent(bench: &StoreBench, token: &str, customer: &Customer) -> Option<String> {
    let AcceptOutcome::New { job_id: job, .. } = bench.accept(form_from(bench, token, customer))
    else {
        panic!("a new one")
    };
    let order = NewLead {
        flow: flow(),
        team: team(),
        is_sticky: true,
        customer: customer.clone(),
        chosen_agent: None,
    };
    match bench
        .store
        .execute_blocking(FinishJob {
            job_id: job,
            attempt: attempt(None),
            lead: Some(order),
        })
        .unwrap()
    {
        FinishOutcome::Done { agent, .. } => agent.map(|agent| agent.to_string()),
        other => panic!("{other:?}"),
    }
}

/// Ingests Meta's message that `old` is now `new`.
fn rename_customer(bench: &StoreBench, message: &str, old: Customer, new: Customer) {
    use crate::clock::Clock;
    let mut change = CustomerChange::new(old, new).unwrap();
    change.message_key = Some(IdempotencyKey::for_message(
        &MessageId::new(message).unwrap(),
    ));
    change.changed_at = Some(bench.clock.now());
    bench
        .store
        .execute_blocking(IngestWebhook {
            customer_changes: vec![change],
            flows: vec![flow()],
            ..IngestWebhook::default()
        })
        .unwrap();
}

fn current_customer(bench: &StoreBench, submission: SubmissionId) -> Option<Customer> {
    bench
        .store
        .read()
        .unwrap()
        .renamed_customer(submission)
        .unwrap()
}

#[test]
fn renamed_customer_returns_to_their_agent() {
    let bench = StoreBench::new();
    let (old, new) = (customer(None, Some(OLD)), customer(None, Some(NEW)));
    bench.add_agent("Ann", None);
    let ann = assigned_agent(&bench, "1", &old);
    bench.add_agent("Bob", None);
    rename_customer(&bench, "wamid.1", old.clone(), new.clone());
    let bench = bench.reopen();
    assert_eq!(assigned_agent(&bench, "2", &new), ann);
    bench.clock.advance(MINUTE);
    assert_ne!(
        assigned_agent(&bench, "3", &old),
        ann,
        "the number belongs to another customer now"
    );
    bench.assert_invariants();
}

#[test]
fn two_spellings_of_number_share_agent_and_change() {
    let bench = StoreBench::new();
    let (long, short) = (
        customer(None, Some("5215512345678")),
        customer(None, Some("525512345678")),
    );
    bench.add_agent("Ann", None);
    let ann = assigned_agent(&bench, "1", &short);
    bench.add_agent("Bob", None);
    assert_eq!(assigned_agent(&bench, "2", &long), ann);
    rename_customer(&bench, "wamid.1", long, customer(None, Some(NEW)));
    assert_eq!(
        current_customer(&bench, SubmissionId::new(1)),
        Some(customer(None, Some(NEW)))
    );
    assert_eq!(assigned_agent(&bench, "3", &customer(None, Some(NEW))), ann);
}

#[test]
fn other_spelling_of_number_keeps_draft() {
    let bench = StoreBench::with_subscribers();
    let (long, short) = (
        customer(None, Some("5215512345678")),
        customer(None, Some("525512345678")),
    );
    let key = save_draft(&bench, &long, r#"{"a":1}"#);
    let sweep = || {
        bench.purge(
            100,
            Millis::from_secs(86_400),
            Millis::from_secs(86_400),
            MINUTE,
        );
    };
    sweep();
    assert_eq!(bench.event_kinds(), ["draft.abandoned"]);
    rename_customer(&bench, "wamid.1", long, short.clone());
    bench.clock.advance(MINUTE);
    sweep();
    assert_eq!(bench.event_kinds(), ["draft.abandoned"], "emitted once");
    let draft = bench
        .store
        .read()
        .unwrap()
        .customer_draft(key, &short)
        .unwrap()
        .unwrap();
    assert_eq!(&*draft.data, r#"{"a":1}"#);
}

#[test]
fn customer_id_replaces_undisclosed_number() {
    let bench = StoreBench::new();
    bench.add_agent("Ann", None);
    let ann = assigned_agent(&bench, "1", &customer(Some("US.1"), Some(OLD)));
    bench.add_agent("Bob", None);
    rename_customer(
        &bench,
        "wamid.1",
        customer(Some("US.1"), Some(OLD)),
        customer(Some("US.2"), None),
    );
    assert_eq!(
        assigned_agent(&bench, "2", &customer(Some("US.2"), Some(NEW))),
        ann
    );
    let first = SubmissionId::new(1);
    assert_eq!(
        current_customer(&bench, first),
        Some(customer(Some("US.2"), None)),
        "the old number may be a stranger's"
    );
}

#[test]
fn rename_applies_to_earlier_submissions_only() {
    let bench = StoreBench::new();
    let (old, new) = (customer(None, Some(OLD)), customer(None, Some(NEW)));
    let before = submit(&bench, "1", &old);
    bench.clock.advance(MINUTE);
    rename_customer(&bench, "wamid.1", old.clone(), new.clone());
    bench.clock.advance(MINUTE);
    let after = submit(&bench, "2", &old);
    assert_eq!(current_customer(&bench, before), Some(new.clone()));
    assert_eq!(
        current_customer(&bench, after),
        Some(old.clone()),
        "a stranger who got the number"
    );
    // Meta resends a message for days.
    bench.clock.advance(MINUTE);
    rename_customer(&bench, "wamid.1", old.clone(), new);
    assert_eq!(current_customer(&bench, after), Some(old));
    let bench = bench.reopen();
    assert_eq!(
        current_customer(&bench, before).unwrap().phone.as_deref(),
        Some(NEW)
    );
    bench.assert_invariants();
}

#[test]
fn rename_of_unknown_customer_changes_nothing() {
    let bench = StoreBench::with_subscribers();
    let submission = submit(&bench, "1", &customer(None, Some("1")));
    rename_customer(
        &bench,
        "wamid.1",
        customer(Some("US.1"), Some(OLD)),
        customer(Some("US.2"), Some(NEW)),
    );
    assert_eq!(
        current_customer(&bench, submission),
        Some(customer(None, Some("1")))
    );
    bench.assert_invariants();
}

#[test]
fn pending_delivery_and_later_events_use_the_new_number() {
    let bench = StoreBench::with_subscribers();
    let (old, new) = (customer(None, Some(OLD)), customer(None, Some(NEW)));
    submit(&bench, "1", &old);
    rename_customer(&bench, "wamid.1", old, new.clone());
    for (id, job, _) in bench.deliveries() {
        assert_eq!(job.state, JobState::Scheduled);
        let outgoing = bench
            .store
            .read()
            .unwrap()
            .pending_delivery_with_customer(id)
            .unwrap()
            .unwrap();
        assert_eq!(outgoing.customer, Some(new.clone()));
    }
    bench.add_agent("Ann", None);
    bench.finish_job(crate::domain::ids::JobId::new(1));
    let assigned = bench
        .events()
        .into_iter()
        .find(|event| event.kind == EventKind::LeadAssigned)
        .unwrap();
    assert!(
        assigned.body.contains(NEW) && !assigned.body.contains(OLD),
        "{}",
        assigned.body
    );
    bench.assert_invariants();
}

/// Number of due deliveries of the destination with ordered deliveries.
fn due_count(bench: &StoreBench) -> usize {
    bench
        .store
        .read()
        .unwrap()
        .due_deliveries(&destination("crm"), Timestamp::MAX, 100)
        .unwrap()
        .len()
}

#[test]
fn ordered_queue_moves_to_the_new_number() {
    let bench = StoreBench::new();
    let route = Subscription {
        destination: destination("crm"),
        events: [EventKind::SubmissionAccepted].into(),
    };
    let ordered = BTreeSet::from([destination("crm")]);
    bench.subscriptions.store(Arc::new(Subscriptions {
        flows: BTreeMap::from([(flow(), vec![route])]),
        ordered_destinations: ordered,
        ..Subscriptions::default()
    }));
    let (old, new) = (customer(None, Some(OLD)), customer(None, Some(NEW)));
    submit(&bench, "1", &old);
    submit(&bench, "2", &old);
    rename_customer(&bench, "wamid.1", old, new.clone());
    submit(&bench, "3", &new);
    bench.assert_invariants();
    let ids: Vec<_> = bench.deliveries().into_iter().map(|(id, ..)| id).collect();
    for (delivered, id) in ids.iter().enumerate() {
        assert_eq!(due_count(&bench), 1, "{delivered} of three were delivered");
        bench.record_attempt(*id, None, None);
        bench.assert_invariants();
    }
    assert_eq!(due_count(&bench), 0);
}

/// Saves a draft of this customer, in a form without a token.
fn save_draft(bench: &StoreBench, customer: &Customer, data: &str) -> IdempotencyKey {
    let key = IdempotencyKey::for_draft(&flow(), None, customer).unwrap();
    let draft = Draft {
        flow: flow(),
        flow_token: None,
        customer: customer.clone(),
        screen: "FIRST".into(),
        data: data.into(),
        updated_at: START,
    };
    bench
        .store
        .execute_blocking(SaveDraft {
            key,
            draft,
            encrypted_request_key: None,
            reject_resubmission: false,
        })
        .unwrap();
    bench.clock.advance(MINUTE);
    key
}

#[test]
fn draft_of_renamed_customer_merges_into_existing_draft() {
    let bench = StoreBench::new();
    let (old, new) = (customer(None, Some(OLD)), customer(None, Some(NEW)));
    let from = save_draft(&bench, &old, r#"{"a":1,"b":1}"#);
    let to = save_draft(&bench, &new, r#"{"b":2}"#);
    rename_customer(&bench, "wamid.1", old.clone(), new.clone());
    let read = bench.store.read().unwrap();
    assert_eq!(read.draft(from).unwrap(), None);
    let draft = read.draft(to).unwrap().unwrap();
    assert_eq!((draft.customer, &*draft.data), (new, r#"{"a":1,"b":2}"#));
}

#[test]
fn unreadable_row_blocks_no_rename() {
    let bench = StoreBench::new();
    let (old, new) = (customer(None, Some(OLD)), customer(None, Some(NEW)));
    bench.add_agent("Ann", None);
    let ann = assigned_agent(&bench, "1", &old);
    bench.add_agent("Bob", None);
    let key = save_draft(&bench, &old, "{}");
    bench.store.close().unwrap();
    let database = Database::open(bench.path()).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(DRAFTS.definition())
        .unwrap()
        .insert(key.as_bytes(), b"damaged".as_slice())
        .unwrap();
    let name = IdempotencyKey::for_former_name("1");
    txn.open_table(RENAMED_CUSTOMERS.definition())
        .unwrap()
        .insert((name.as_bytes(), u64::MAX), b"damaged".as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(database);

    let store = super::support::open_store(bench.path(), &bench.clock, |_| {});
    let bench = StoreBench { store, ..bench };
    rename_customer(&bench, "wamid.1", old, new.clone());
    assert_eq!(assigned_agent(&bench, "2", &new), ann);
    submit(&bench, "3", &customer(None, Some("1")));
}

#[test]
fn renames_older_than_every_submission_are_purged() {
    let day = Millis::from_secs(24 * 60 * 60);
    for has_submission in [true, false] {
        let bench = StoreBench::new();
        if has_submission {
            submit(&bench, "1", &customer(None, Some(OLD)));
        }
        for number in 0..200 {
            let name = format!("US.{number}");
            rename_customer(
                &bench,
                &name,
                customer(Some(&name), None),
                customer(Some("US.new"), None),
            );
        }
        for _ in 0..9 {
            bench.clock.advance(day);
        }
        for _ in 0..100 {
            bench.clock.advance(MINUTE);
            bench.purge(1000, Millis::from_secs(365 * 24 * 60 * 60), day, day);
        }
        let read = bench.store.read().unwrap();
        let row_count = read
            .with_read_txn(|txn| txn.open(RENAMED_CUSTOMERS)?.len())
            .unwrap();
        assert_eq!(row_count, if has_submission { 200 } else { 0 });
    }
}
