//! Tests of customers who change their number or ID: exactly the rows of this customer move to the
//! new name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::customer_change::CustomerChange;
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::{Subscription, Subscriptions};
use crate::domain::ids::{AgentName, Customer, JobId, MessageId, SubmissionId};
use crate::domain::job::JobState;
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::submission::{IdempotencyKey, Submission};
use crate::domain::time::Millis;
use crate::store::IngestWebhook;
use crate::store::engine::Rows;
use crate::store::rows::schema::{DRAFTS, RENAMED_CUSTOMERS};

use super::purge_rounds::{DAY, days};
use super::support::{StoreBench, assigned_agent, destination, draft, flow, form, new_lead};

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
    let form = form(token, "{}");
    let submission = Submission {
        customer: customer.clone(),
        sent_at: Some(bench.clock.now()),
        ..form.submission.clone()
    };
    InboundSubmission { submission, ..form }
}

fn submit(bench: &StoreBench, token: &str, customer: &Customer) -> SubmissionId {
    SubmissionId::new(bench.accept_submission(form_from(bench, token, customer)))
}

/// Submits a form, whose lead gets an agent. Returns the name of the agent.
fn agent_of_new_lead(bench: &StoreBench, token: &str, customer: &Customer) -> Option<AgentName> {
    let job = bench.accept_job(form_from(bench, token, customer));
    let finished = bench.finish(job, Some(new_lead(customer.clone())));
    assigned_agent(finished)
}

/// Ingests Meta's message that `old` is now `new`.
fn rename_customer(bench: &StoreBench, message: &str, old: Customer, new: Customer) {
    let mut change = CustomerChange::new(old, new).unwrap();
    change.message_key = Some(IdempotencyKey::for_message(
        &MessageId::new(message).unwrap(),
    ));
    change.changed_at = Some(bench.clock.now());
    bench.execute(IngestWebhook {
        customer_changes: vec![change],
        flows: vec![flow()],
        ..IngestWebhook::default()
    });
}

fn current_customer(bench: &StoreBench, submission: SubmissionId) -> Option<Customer> {
    bench.read().renamed_customer(submission).unwrap()
}

#[test]
fn renamed_customer_returns_to_their_agent() {
    let bench = StoreBench::new();
    let (old, new) = (customer(None, Some(OLD)), customer(None, Some(NEW)));
    bench.add_agent("Ann", None);
    let ann = agent_of_new_lead(&bench, "1", &old);
    bench.add_agent("Bob", None);
    rename_customer(&bench, "wamid.1", old.clone(), new.clone());
    let bench = bench.reopen();
    assert_eq!(agent_of_new_lead(&bench, "2", &new), ann);
    bench.clock.advance(MINUTE);
    assert_ne!(
        agent_of_new_lead(&bench, "3", &old),
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
    let ann = agent_of_new_lead(&bench, "1", &short);
    bench.add_agent("Bob", None);
    assert_eq!(agent_of_new_lead(&bench, "2", &long), ann);
    rename_customer(&bench, "wamid.1", long, customer(None, Some(NEW)));
    assert_eq!(
        current_customer(&bench, SubmissionId::new(1)),
        Some(customer(None, Some(NEW)))
    );
    assert_eq!(
        agent_of_new_lead(&bench, "3", &customer(None, Some(NEW))),
        ann
    );
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
        bench.purge(100, DAY, DAY, MINUTE);
    };
    sweep();
    assert_eq!(bench.event_kinds(), ["draft.abandoned"]);
    rename_customer(&bench, "wamid.1", long, short.clone());
    bench.clock.advance(MINUTE);
    sweep();
    assert_eq!(bench.event_kinds(), ["draft.abandoned"], "emitted once");
    let draft = bench.read().customer_draft(key, &short).unwrap().unwrap();
    assert_eq!(&*draft.data, r#"{"a":1}"#);
}

#[test]
fn customer_id_replaces_undisclosed_number() {
    let bench = StoreBench::new();
    bench.add_agent("Ann", None);
    let ann = agent_of_new_lead(&bench, "1", &customer(Some("US.1"), Some(OLD)));
    bench.add_agent("Bob", None);
    rename_customer(
        &bench,
        "wamid.1",
        customer(Some("US.1"), Some(OLD)),
        customer(Some("US.2"), None),
    );
    assert_eq!(
        agent_of_new_lead(&bench, "2", &customer(Some("US.2"), Some(NEW))),
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
            .read()
            .pending_delivery_with_customer(id)
            .unwrap()
            .unwrap();
        assert_eq!(outgoing.customer, Some(new.clone()));
    }
    bench.add_agent("Ann", None);
    bench.finish_job(JobId::new(1));
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
    let ids = bench.delivery_ids();
    for (delivered, id) in ids.iter().enumerate() {
        assert_eq!(
            bench.due_deliveries("crm").len(),
            1,
            "{delivered} of three were delivered"
        );
        bench.record_attempt(*id, None, None);
        bench.assert_invariants();
    }
    assert_eq!(bench.due_deliveries("crm").len(), 0);
}

/// Saves a draft of this customer, in a form without a token.
fn save_draft(bench: &StoreBench, customer: &Customer, data: &str) -> IdempotencyKey {
    let key = IdempotencyKey::for_draft(&flow(), None, customer).unwrap();
    bench.save_draft(key, draft(None, customer.clone(), data));
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
    let read = bench.read();
    assert_eq!(read.draft(from).unwrap(), None);
    let draft = read.draft(to).unwrap().unwrap();
    assert_eq!((draft.customer, &*draft.data), (new, r#"{"a":1,"b":2}"#));
}

#[test]
fn unreadable_row_blocks_no_rename() {
    let bench = StoreBench::new();
    let (old, new) = (customer(None, Some(OLD)), customer(None, Some(NEW)));
    bench.add_agent("Ann", None);
    let ann = agent_of_new_lead(&bench, "1", &old);
    bench.add_agent("Bob", None);
    let key = save_draft(&bench, &old, "{}");
    bench.edit_file(|txn| {
        txn.open_table(DRAFTS.definition())
            .unwrap()
            .insert(key.as_bytes(), b"damaged".as_slice())
            .unwrap();
        let name = IdempotencyKey::for_former_name("1");
        txn.open_table(RENAMED_CUSTOMERS.definition())
            .unwrap()
            .insert((name.as_bytes(), u64::MAX), b"damaged".as_slice())
            .unwrap();
    });
    let bench = bench.reopen();
    rename_customer(&bench, "wamid.1", old, new.clone());
    assert_eq!(agent_of_new_lead(&bench, "2", &new), ann);
    submit(&bench, "3", &customer(None, Some("1")));
}

#[test]
fn renames_older_than_every_submission_are_purged() {
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
        bench.clock.advance(days(9));
        for _ in 0..100 {
            bench.clock.advance(MINUTE);
            bench.purge(1000, days(365), DAY, DAY);
        }
        let read = bench.read();
        let row_count = read
            .with_read_txn(|txn| txn.open(RENAMED_CUSTOMERS)?.len())
            .unwrap();
        assert_eq!(row_count, if has_submission { 200 } else { 0 });
    }
}
