//! Tests of ordered deliveries: one at a time per customer, without a delay for other customers.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Clock;
use crate::domain::event::EventKind;
use crate::domain::event::subscriptions::{Subscription, Subscriptions};
use crate::domain::ids::{Customer, JobId};
use crate::domain::job::JobState;
use crate::domain::job::retry::RetryDecision;
use crate::domain::time::Millis;
use crate::reloadable::Reloadable;
use crate::store::{DeadLetterOutcome, DiscardDeliveries, StoreOptions};

use super::corruptions::RemoveJobRow;
use super::support::{StoreBench, destination, flow, form};

/// Subscribes one destination to all events, with ordered deliveries.
fn with_ordered_subscription(options: &mut StoreOptions) {
    let all_events = Subscription {
        destination: destination("crm"),
        events: EventKind::ALL.into(),
    };
    options.subscriptions = Reloadable::new(Subscriptions {
        flows: BTreeMap::from([(flow(), vec![all_events])]),
        alerts: Vec::new(),
        ordered_destinations: BTreeSet::from([destination("crm")]),
    });
}

/// Submits a form of this customer. Returns the delivery of its event.
fn submit(bench: &StoreBench, token: &str, customer: &str) -> JobId {
    let mut form = form(token, "{}");
    form.submission.customer = Customer::from_text(customer);
    JobId::new(bench.accept_job(form).get() + 1)
}

fn due_ids(bench: &StoreBench) -> Vec<u64> {
    let due = bench.due_deliveries("crm");
    let mut ids: Vec<u64> = due.into_iter().map(JobId::get).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn ordered_delivery_waits_for_the_previous_of_its_customer() {
    let mut bench = StoreBench::with_options(with_ordered_subscription);
    let [ann, more, last] = ["a1", "a2", "a3"].map(|token| submit(&bench, token, "491511111111"));
    let bob = submit(&bench, "b1", "491522222222");
    assert_eq!(due_ids(&bench), [ann.get(), bob.get()]);
    assert_eq!(
        bench.counts().jobs_scheduled,
        8,
        "four forms, four deliveries"
    );

    let later = bench.clock.now().plus(Millis::from_secs(60));
    bench.record_attempt(ann, Some(RetryDecision::RetryAt { at: later }), None);
    // The retry is still the first of its customer.
    assert_eq!(due_ids(&bench), [ann.get(), bob.get()]);
    bench = bench.reopen_with(with_ordered_subscription);
    bench.record_attempt(ann, None, None);
    assert_eq!(due_ids(&bench), [more.get(), bob.get()]);
    bench.record_attempt(more, Some(RetryDecision::GiveUp), None);
    // No delivery waits for a dead letter.
    assert_eq!(due_ids(&bench), [last.get(), bob.get()]);

    let retried = bench.retry_dead_letter(more);
    assert!(matches!(retried, DeadLetterOutcome::Updated(_)));
    // A retried dead letter waits for no other delivery.
    assert_eq!(due_ids(&bench), [more.get(), last.get(), bob.get()]);
    for job in [more, last, bob] {
        bench.record_attempt(job, None, None);
    }
    assert_eq!(due_ids(&bench), [0; 0]);
    let next = submit(&bench, "a4", "491511111111");
    assert_eq!(due_ids(&bench), [next.get()]);
    bench.assert_invariants();
}

#[test]
fn discarded_delivery_advances_its_ordered_queue() {
    let bench = StoreBench::with_options(with_ordered_subscription);
    let [first, second, third, last] =
        ["a1", "a2", "a3", "a4"].map(|token| submit(&bench, token, "491511111111"));
    let bob = submit(&bench, "b1", "491522222222");
    let waiting = || {
        bench
            .read()
            .waiting_deliveries(&destination("crm"))
            .unwrap()
    };
    assert_eq!(waiting(), [bob, last, third, second, first]);
    let discard = |jobs: &[JobId]| {
        bench.execute(DiscardDeliveries {
            job_ids: jobs.to_vec(),
        })
    };
    discard(&[second]);
    assert_eq!(due_ids(&bench), [first.get(), bob.get()]);
    bench.assert_invariants();
    discard(&[first]);
    assert_eq!(due_ids(&bench), [third.get(), bob.get()]);
    bench.assert_invariants();
    discard(&waiting());
    assert!(waiting().is_empty() && due_ids(&bench).is_empty());
    bench.assert_invariants();
    let next = submit(&bench, "a5", "491511111111");
    assert_eq!(due_ids(&bench), [next.get()], "nobody is waited for");
}

#[test]
fn unreadable_delivery_blocks_no_bulk_discard() {
    let bench = StoreBench::with_options(with_ordered_subscription);
    let [lost, other] = [("a1", "491511111111"), ("b1", "491522222222")]
        .map(|(token, to)| submit(&bench, token, to));
    bench.execute(RemoveJobRow(lost));
    let outcomes = bench.execute(DiscardDeliveries {
        job_ids: vec![lost, other],
    });
    let discarded = DeadLetterOutcome::Updated(JobState::Discarded);
    assert_eq!(outcomes, [DeadLetterOutcome::NotFound, discarded]);
}

#[test]
fn unreadable_delivery_is_skipped_in_its_ordered_queue() {
    let bench = StoreBench::with_options(with_ordered_subscription);
    let [first, lost, behind] =
        ["a1", "a2", "a3"].map(|token| submit(&bench, token, "491511111111"));
    bench.execute(RemoveJobRow(lost));
    bench.record_attempt(first, None, None);
    assert_eq!(due_ids(&bench), [behind.get()]);
}
