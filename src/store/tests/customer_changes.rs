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
use crate::domain::submission::IdempotencyKey;
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::time::{Millis, Timestamp};
use crate::store::IngestWebhook;
use crate::store::rows::schema::{DRAFTS, RENAMED_CUSTOMERS};

use super::purge_rounds::{DAY, days};
use super::support::{
    StoreBench, assigned_agent, destination, draft, flow, form, new_lead, row_count,
};

const OLD: &str = "16505551234";
const NEW: &str = "12195555358";
const MINUTE: Millis = Millis::from_secs(60);

fn customer(id: Option<&str>, phone: Option<&str>) -> Customer {
    Customer {
        id: id.map(Box::from),
        phone: phone.map(Box::from),
    }
}

/// Customer by a phone number.
fn by_phone(phone: &str) -> Customer {
    customer(None, Some(phone))
}

/// Customer before and after a change of the phone number.
fn old_and_new() -> (Customer, Customer) {
    (by_phone(OLD), by_phone(NEW))
}

/// Two spellings of one Mexican number.
fn two_spellings() -> (Customer, Customer) {
    (by_phone("5215512345678"), by_phone("525512345678"))
}

/// Form of this customer, sent now.
fn form_from(bench: &StoreBench, token: &str, customer: &Customer) -> InboundSubmission {
    let mut form = form(token, "{}");
    form.submission.customer = customer.clone();
    form.submission.sent_at = Some(bench.clock.now());
    form
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
    let message = MessageId::new(message).unwrap();
    change.message_key = Some(IdempotencyKey::for_message(&message));
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
    let (old, new) = old_and_new();
    bench.add_agent("Ann", None);
    let ann = agent_of_new_lead(&bench, "1", &old);
    bench.add_agent("Bob", None);
    rename_customer(&bench, "wamid.1", old.clone(), new.clone());
    let bench = bench.reopen();
    assert_eq!(agent_of_new_lead(&bench, "2", &new), ann);
    bench.clock.advance(MINUTE);
    // The number belongs to another customer now.
    assert_ne!(agent_of_new_lead(&bench, "3", &old), ann);
    bench.assert_invariants();
}

#[test]
fn two_spellings_of_number_share_agent_and_change() {
    let bench = StoreBench::new();
    let (long, short) = two_spellings();
    bench.add_agent("Ann", None);
    let ann = agent_of_new_lead(&bench, "1", &short);
    bench.add_agent("Bob", None);
    assert_eq!(agent_of_new_lead(&bench, "2", &long), ann);
    rename_customer(&bench, "wamid.1", long, by_phone(NEW));
    let renamed = current_customer(&bench, SubmissionId::new(1));
    assert_eq!(renamed, Some(by_phone(NEW)));
    assert_eq!(agent_of_new_lead(&bench, "3", &by_phone(NEW)), ann);
}

#[test]
fn other_spelling_of_number_keeps_draft() {
    let bench = StoreBench::with_subscribers();
    let (long, short) = two_spellings();
    let key = save_draft(&bench, &long, r#"{"a":1}"#);
    let sweep = || bench.purge(100, DAY, DAY, MINUTE);
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
    let (old, new) = (
        customer(Some("US.1"), Some(OLD)),
        customer(Some("US.2"), None),
    );
    let ann = agent_of_new_lead(&bench, "1", &old);
    bench.add_agent("Bob", None);
    rename_customer(&bench, "wamid.1", old, new.clone());
    let with_phone = customer(Some("US.2"), Some(NEW));
    assert_eq!(agent_of_new_lead(&bench, "2", &with_phone), ann);
    // The old number may be a stranger's.
    assert_eq!(current_customer(&bench, SubmissionId::new(1)), Some(new));
}

#[test]
fn rename_applies_to_earlier_submissions_only() {
    let bench = StoreBench::new();
    let (old, new) = old_and_new();
    let before = submit(&bench, "1", &old);
    bench.clock.advance(MINUTE);
    rename_customer(&bench, "wamid.1", old.clone(), new.clone());
    bench.clock.advance(MINUTE);
    let after = submit(&bench, "2", &old);
    assert_eq!(current_customer(&bench, before), Some(new.clone()));
    // A stranger got the number.
    assert_eq!(current_customer(&bench, after), Some(old.clone()));
    // Meta resends a message for days.
    bench.clock.advance(MINUTE);
    rename_customer(&bench, "wamid.1", old.clone(), new);
    assert_eq!(current_customer(&bench, after), Some(old));
    let bench = bench.reopen();
    assert_eq!(current_customer(&bench, before), Some(by_phone(NEW)));
    bench.assert_invariants();
}

#[test]
fn rename_of_unknown_customer_changes_nothing() {
    let bench = StoreBench::with_subscribers();
    let submission = submit(&bench, "1", &by_phone("1"));
    let (old, new) = (
        customer(Some("US.1"), Some(OLD)),
        customer(Some("US.2"), Some(NEW)),
    );
    rename_customer(&bench, "wamid.1", old, new);
    assert_eq!(current_customer(&bench, submission), Some(by_phone("1")));
    bench.assert_invariants();
}

#[test]
fn pending_delivery_and_later_events_use_the_new_number() {
    let bench = StoreBench::with_subscribers();
    let (old, new) = old_and_new();
    submit(&bench, "1", &old);
    rename_customer(&bench, "wamid.1", old, new.clone());
    for (id, job, _) in bench.deliveries() {
        assert_eq!(job.state, JobState::Scheduled);
        let outgoing = bench.read().pending_delivery_with_customer(id).unwrap();
        assert_eq!(outgoing.unwrap().customer, Some(new.clone()));
    }
    bench.add_agent("Ann", None);
    bench.finish_job(JobId::new(1));
    let mut events = bench.events().into_iter();
    let assigned = events.find(|event| event.kind == EventKind::LeadAssigned);
    let body = assigned.unwrap().body;
    assert!(body.contains(NEW) && !body.contains(OLD), "{body}");
    bench.assert_invariants();
}

#[test]
fn ordered_queue_moves_to_the_new_number() {
    let bench = StoreBench::new();
    let route = Subscription {
        destination: destination("crm"),
        events: [EventKind::SubmissionAccepted].into(),
    };
    bench.subscriptions.store(Arc::new(Subscriptions {
        flows: BTreeMap::from([(flow(), vec![route])]),
        ordered_destinations: BTreeSet::from([destination("crm")]),
        ..Subscriptions::default()
    }));
    let (old, new) = old_and_new();
    submit(&bench, "1", &old);
    submit(&bench, "2", &old);
    rename_customer(&bench, "wamid.1", old, new.clone());
    submit(&bench, "3", &new);
    bench.assert_invariants();
    let ids = bench.delivery_ids();
    for (delivered, id) in ids.iter().enumerate() {
        let due = bench.due_deliveries("crm");
        assert_eq!(due.len(), 1, "{delivered} of three were delivered");
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
    let (old, new) = old_and_new();
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
    let (old, new) = old_and_new();
    bench.add_agent("Ann", None);
    let ann = agent_of_new_lead(&bench, "1", &old);
    bench.add_agent("Bob", None);
    let key = save_draft(&bench, &old, "{}");
    bench.edit_file(|txn| {
        let mut drafts = txn.open(DRAFTS).unwrap();
        drafts.put_bytes(key.as_bytes(), b"damaged").unwrap();
        let name = IdempotencyKey::for_former_name("1");
        let key = (name.as_bytes(), Timestamp::from_millis(u64::MAX));
        let mut renamed = txn.open(RENAMED_CUSTOMERS).unwrap();
        renamed.put_bytes(key, b"damaged").unwrap();
    });
    let bench = bench.reopen();
    rename_customer(&bench, "wamid.1", old, new.clone());
    assert_eq!(agent_of_new_lead(&bench, "2", &new), ann);
    submit(&bench, "3", &by_phone("1"));
}

#[test]
fn renames_older_than_every_submission_are_purged() {
    for has_submission in [true, false] {
        let bench = StoreBench::new();
        if has_submission {
            submit(&bench, "1", &by_phone(OLD));
        }
        for number in 0..200 {
            let name = format!("US.{number}");
            let (old, new) = (customer(Some(&name), None), customer(Some("US.new"), None));
            rename_customer(&bench, &name, old, new);
        }
        bench.clock.advance(days(9));
        for _ in 0..100 {
            bench.clock.advance(MINUTE);
            bench.purge(1000, days(365), DAY, DAY);
        }
        let left = row_count(&bench.read(), RENAMED_CUSTOMERS);
        assert_eq!(left, if has_submission { 200 } else { 0 });
    }
}
