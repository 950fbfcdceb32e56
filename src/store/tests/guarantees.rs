//! Tests of the guarantees of the store while nothing fails.

use std::sync::{Arc, mpsc};

use crate::clock::Clock;
use crate::domain::ids::{AgentName, Customer, LeadId, SubmissionId};
use crate::domain::job::JobState;
use crate::domain::job::retry::RetryDecision;
use crate::domain::lead::{Absence, Lead};
use crate::domain::submission::draft::AbandonTimeouts;
use crate::domain::submission::inbound::{Inbound, InboundSubmission, UnparsableMessage};
use crate::domain::time::Millis;
use crate::store::{
    AcceptInbound, AcceptOutcome, AgentChange, AssignWaitingLeads, ChangeAgent, DeadLetterOutcome,
    FailAttempt, FinishOutcome, MarkSuspect, PurgeCursor, PurgeSlice, RetryDeadLetter, StoreError,
    SuspectAction,
};

use super::support::{START, StoreBench, attempt, form, open_store, rows, webhook_form};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);
/// Default of `retention.message_id_ttl`. Forms that a message may follow are found for the same
/// time.
const MESSAGE_ID_TTL: Millis = Millis::from_secs(8 * 24 * 60 * 60);

#[test]
fn concurrent_copies_make_one_submission() {
    let bench = StoreBench::new();
    let (outcome_tx, outcomes) = mpsc::channel();
    for _ in 0..50 {
        let outcome_tx = outcome_tx.clone();
        let arrivals = vec![Inbound::Submission(Box::new(form("t", "{}")))];
        bench
            .store
            .try_submit(AcceptInbound { inbound: arrivals }, move |result, _| {
                outcome_tx.send(result.unwrap().remove(0)).unwrap();
            })
            .unwrap();
    }
    drop(outcome_tx);
    let outcomes: Vec<_> = outcomes.iter().collect();
    assert_eq!(outcomes.len(), 50);
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, AcceptOutcome::New { .. }))
            .count(),
        1
    );
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 1);
    bench.assert_invariants();
}

#[test]
fn token_is_remembered_across_restart_for_the_idempotency_ttl() {
    let mut bench = StoreBench::new();
    bench.accept_new("t");
    bench = bench.reopen();
    bench.clock.advance(Millis::new(DAY.get() - 1));
    assert_eq!(
        bench.accept(form("t", "{}")),
        AcceptOutcome::Duplicate {
            original: Some(SubmissionId::new(1))
        }
    );
    bench.clock.advance(Millis::new(1));
    assert!(matches!(
        bench.accept(form("t", "{}")),
        AcceptOutcome::New { .. }
    ));
}

#[test]
fn customer_named_later_returns_to_the_agent_of_the_lead() {
    for message_first in [false, true] {
        let bench = StoreBench::new();
        for name in ["ann", "bob", "cyd"] {
            bench.add_agent(name, None);
        }
        let unnamed_form = |token: &str| {
            let mut form = form(token, "{}");
            form.submission.customer = Customer::default();
            form
        };
        let finish = |accepted: &AcceptOutcome| {
            let AcceptOutcome::New { job_id: job, .. } = accepted else {
                panic!("{accepted:?}")
            };
            match bench.finish_job(*job) {
                FinishOutcome::Done { agent, .. } => agent.unwrap(),
                other => panic!("{other:?}"),
            }
        };
        let first = bench.accept(unnamed_form("one"));
        let accept_message = || bench.accept(webhook_form("one", "wamid.1", "{}"));
        let agent = if message_first {
            accept_message();
            finish(&first)
        } else {
            let agent = finish(&first);
            accept_message();
            agent
        };
        finish(&bench.accept(unnamed_form("two")));
        // The same customer again, named by the form or by the message that follows.
        let again = bench.accept(unnamed_form("three"));
        bench.accept(webhook_form("three", "wamid.3", "{}"));
        assert_eq!(finish(&again), agent, "message first: {message_first}");
        bench.assert_invariants();
    }
}

#[test]
fn recent_lead_moves_to_known_agent_and_older_lead_stays() {
    let bench = StoreBench::new();
    let unnamed_form = |token: &str| {
        let mut form = form(token, "{}");
        form.submission.customer = Customer::default();
        form
    };
    let finish = |accepted: &AcceptOutcome| {
        let AcceptOutcome::New { job_id: job, .. } = accepted else {
            panic!("{accepted:?}")
        };
        match bench.finish_job(*job) {
            FinishOutcome::Done { agent, .. } => agent,
            other => panic!("{other:?}"),
        }
    };
    // No agent exists yet, so the lead waits. Meanwhile its customer is named, and then Ann gets
    // the lead.
    assert_eq!(finish(&bench.accept(unnamed_form("one"))), None);
    bench.accept(webhook_form("one", "wamid.1", "{}"));
    bench.add_agent("ann", None);
    bench.add_agent("bob", None);
    let agent_of = |lead| {
        let read = bench.store.read().unwrap();
        read.lead(LeadId::new(lead)).unwrap().unwrap().agent
    };
    let ann = agent_of(1);
    finish(&bench.accept(unnamed_form("two")));
    finish(&bench.accept(unnamed_form("three")));
    assert_ne!(agent_of(2), ann);
    bench.clock.advance(Millis::from_secs(9 * 60));
    bench.accept(webhook_form("two", "wamid.2", "{}"));
    assert_eq!(agent_of(2), ann, "she knows this customer");
    finish(&bench.accept(unnamed_form("four")));
    let (before, lead) = (agent_of(4), 4);
    assert_ne!(before, ann);
    bench.clock.advance(Millis::from_secs(11 * 60));
    bench.accept(webhook_form("four", "wamid.4", "{}"));
    assert_eq!(agent_of(lead), before, "too late to take it away");
    bench.assert_invariants();
}

#[test]
fn wall_clock_jump_expires_no_token() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    bench
        .clock
        .jump_to(START.plus(Millis::new(DAY.get() * 365)));
    assert!(matches!(
        bench.accept(form("t", "{}")),
        AcceptOutcome::Duplicate { .. }
    ));
    bench.clock.jump_to(START.minus(DAY));
    assert!(matches!(
        bench.accept(form("t", "{}")),
        AcceptOutcome::Duplicate { .. }
    ));
}

#[test]
fn only_expired_keys_are_purged_in_slices() {
    let bench = StoreBench::new();
    for token in 0..10 {
        bench.accept_new(&format!("old-{token}"));
    }
    bench.clock.advance(MESSAGE_ID_TTL);
    bench.accept_new("new");
    let slice_from = |from| PurgeSlice {
        cursor: from,
        max_rows: 4,
        submission_retention: Millis::new(DAY.get() * 90),
        attempt_retention: DAY,
        abandon_timeouts: AbandonTimeouts::default(),
    };
    let mut removed = Vec::new();
    let mut cursor = PurgeCursor::Keys;
    while cursor == PurgeCursor::Keys {
        let purged = bench.store.execute_blocking(slice_from(cursor)).unwrap();
        removed.push(purged.rows_removed);
        cursor = purged.next.unwrap();
    }
    assert_eq!(removed, [4, 4, 2]);
    assert_eq!(bench.store.writer_stats().keys, 1);
    assert!(matches!(
        bench.accept(form("new", "{}")),
        AcceptOutcome::Duplicate { .. }
    ));
}

#[test]
fn evicted_keys_are_duplicates_until_they_expire() {
    let bench = StoreBench::with_options(|options| options.max_idempotency_keys = 3);
    for token in 0..20 {
        bench.accept_new(&format!("t{token}"));
    }
    assert!(
        bench.store.writer_stats().keys <= 4,
        "{:?}",
        bench.store.writer_stats()
    );
    for token in 0..20 {
        assert!(
            matches!(
                bench.accept(form(&format!("t{token}"), "{}")),
                AcceptOutcome::Duplicate { .. }
            ),
            "t{token}"
        );
    }
    let path = bench.path();
    bench.store.close().unwrap();
    let store = open_store(path, &bench.clock, |options| {
        options.max_idempotency_keys = 3;
    });
    let bench = StoreBench { store, ..bench };
    assert!(matches!(
        bench.accept(form("t0", "{}")),
        AcceptOutcome::Duplicate { .. }
    ));
    bench.clock.advance(DAY);
    assert!(matches!(
        bench.accept(form("t0", "{}")),
        AcceptOutcome::New { .. }
    ));
}

#[test]
fn message_of_endpoint_submission_is_late_arrival() {
    let bench = StoreBench::new();
    bench.accept_new("t");
    let one = AcceptOutcome::Duplicate {
        original: Some(SubmissionId::new(1)),
    };
    assert_eq!(
        bench.accept(webhook_form("t", "wamid.1", r#"{"slot":"9"}"#)),
        one
    );
    assert_eq!(
        bench.accept(webhook_form("t", "wamid.1", r#"{"slot":"9"}"#)),
        one,
        "Meta sends it again"
    );
    let late_arrivals = bench
        .store
        .read()
        .unwrap()
        .late_arrivals(SubmissionId::new(1))
        .unwrap();
    assert_eq!(late_arrivals.len(), 1);
    assert_eq!(
        late_arrivals[0].message_id.as_ref().unwrap().as_str(),
        "wamid.1"
    );
    assert_eq!(
        late_arrivals[0].differing_data.as_deref(),
        Some(r#"{"slot":"9"}"#)
    );
}

#[test]
fn differing_duplicate_is_stored_once() {
    let bench = StoreBench::new();
    bench.accept(form("t", r#"{"a":1,"b":2}"#));
    for data in [r#"{"b":2,"a":1}"#, r#"{"a":2}"#, r#"{"a":2}"#] {
        assert!(matches!(
            bench.accept(form("t", data)),
            AcceptOutcome::Duplicate { .. }
        ));
    }
    let late_arrivals = bench
        .store
        .read()
        .unwrap()
        .late_arrivals(SubmissionId::new(1))
        .unwrap();
    assert_eq!(
        late_arrivals
            .iter()
            .map(|late_arrival| late_arrival.differing_data.as_deref())
            .collect::<Vec<_>>(),
        [Some(r#"{"a":2}"#)]
    );
}

#[test]
fn unparsable_message_is_one_dead_letter_and_can_be_retried() {
    let bench = StoreBench::new();
    let readable = webhook_form("t", "wamid.1", "{}");
    let broken = Inbound::Unparsable(Box::new(UnparsableMessage {
        message_key: readable.message_key,
        cross_flow_keys: Vec::new(),
        late_arrival: None,
        reason: "response_json is no JSON".to_owned(),
        payload: "{broken".to_owned(),
    }));
    let accept = || {
        bench
            .store
            .execute_blocking(AcceptInbound {
                inbound: vec![broken.clone()],
            })
            .unwrap()
            .remove(0)
    };
    let AcceptOutcome::DeadLetter { job_id: job } = accept() else {
        panic!("no dead letter")
    };
    assert_eq!(accept(), AcceptOutcome::Duplicate { original: None });
    bench.assert_invariants();

    let retry = RetryDeadLetter {
        job_id: job,
        payload: Some("mended".to_owned()),
    };
    assert_eq!(
        bench.store.execute_blocking(retry).unwrap(),
        DeadLetterOutcome::Updated(JobState::Scheduled)
    );
    assert_eq!(
        bench
            .store
            .read()
            .unwrap()
            .retried_payload(job)
            .unwrap()
            .as_deref(),
        Some("mended")
    );
    bench.assert_invariants();
    let finish = crate::store::FinishMessageJob {
        job_id: job,
        attempt: attempt(None),
        form: Box::new(readable.clone()),
    };
    let finished = bench.store.execute_blocking(finish).unwrap();
    assert_eq!(
        finished,
        FinishOutcome::Done {
            submission_id: Some(SubmissionId::new(1)),
            lead_id: None,
            agent: None
        }
    );
    assert!(matches!(
        bench.accept(readable),
        AcceptOutcome::Duplicate { original: Some(_) }
    ));
    bench.assert_invariants();
}

#[test]
fn parsable_message_is_no_duplicate_of_its_dead_letter() {
    let bench = StoreBench::new();
    // No token identifies the form, only its message.
    let form = InboundSubmission {
        form_key: None,
        ..webhook_form("unused", "wamid.1", "{}")
    };
    let AcceptOutcome::DeadLetter { job_id: job } = bench.accept_unparsable("wamid.1") else {
        panic!("no dead letter")
    };
    let bench = bench.reopen();
    assert_eq!(
        bench.accept_unparsable("wamid.1"),
        AcceptOutcome::Duplicate { original: None }
    );
    assert!(matches!(
        bench.accept(form.clone()),
        AcceptOutcome::New { .. }
    ));
    let copy = AcceptOutcome::Duplicate {
        original: Some(SubmissionId::new(1)),
    };
    assert_eq!(bench.accept(form.clone()), copy);
    assert_eq!(bench.accept_unparsable("wamid.1"), copy);

    bench
        .store
        .execute_blocking(RetryDeadLetter {
            job_id: job,
            payload: None,
        })
        .unwrap();
    let finish = crate::store::FinishMessageJob {
        job_id: job,
        attempt: attempt(None),
        form: Box::new(form),
    };
    let submission = Some(SubmissionId::new(1));
    assert_eq!(
        bench.store.execute_blocking(finish).unwrap(),
        FinishOutcome::Done {
            submission_id: submission,
            lead_id: None,
            agent: None
        }
    );
    assert_eq!(bench.store.read().unwrap().counts().unwrap().submissions, 1);
    bench.assert_invariants();
}

#[test]
fn failed_job_is_rescheduled_then_dead_then_retried() {
    let bench = StoreBench::new();
    let job = bench.accept_new("t");
    let at = START.plus(Millis::from_secs(5));
    bench
        .store
        .execute_blocking(FailAttempt {
            job_id: job,
            attempt: attempt(Some("no")),
            decision: RetryDecision::RetryAt { at },
        })
        .unwrap();
    let read = bench.store.read().unwrap();
    assert_eq!(read.due_jobs(None, START, 10).unwrap(), []);
    assert_eq!(read.due_jobs(None, at, 10).unwrap(), [(at, job)]);
    bench
        .store
        .execute_blocking(FailAttempt {
            job_id: job,
            attempt: attempt(Some("still no")),
            decision: RetryDecision::GiveUp,
        })
        .unwrap();
    bench.assert_invariants();
    let read = bench.store.read().unwrap();
    assert_eq!(read.dead_letter(job).unwrap().unwrap().reason, "still no");
    assert_eq!(read.first_due_at().unwrap(), None);
    assert_eq!(
        bench
            .store
            .execute_blocking(RetryDeadLetter {
                job_id: job,
                payload: None
            })
            .unwrap(),
        DeadLetterOutcome::Updated(JobState::Scheduled)
    );
    assert!(matches!(bench.finish_job(job), FinishOutcome::Done { .. }));
    assert_eq!(bench.finish_job(job), FinishOutcome::AlreadyFinished);
    let attempts = bench.store.read().unwrap().attempts(job).unwrap();
    assert_eq!(
        attempts
            .iter()
            .map(|(number, a)| (*number, a.as_ref().unwrap().error.is_none()))
            .collect::<Vec<_>>(),
        [(1, false), (2, false), (3, true)]
    );
    bench.assert_invariants();
}

#[test]
fn job_crashing_the_process_three_times_is_dead_letter() {
    let bench = StoreBench::new();
    let job = bench.accept_new("t");
    for _ in 0..3 {
        assert_eq!(
            bench
                .store
                .execute_blocking(MarkSuspect { job_id: job })
                .unwrap(),
            SuspectAction::Run
        );
    }
    assert_eq!(
        bench
            .store
            .execute_blocking(MarkSuspect { job_id: job })
            .unwrap(),
        SuspectAction::DeadLettered
    );
    assert_eq!(
        bench
            .store
            .execute_blocking(MarkSuspect { job_id: job })
            .unwrap(),
        SuspectAction::AlreadyFinished
    );
    bench.assert_invariants();
}

#[test]
fn waiting_leads_are_assigned_oldest_first() {
    let bench = StoreBench::new();
    let jobs: Vec<_> = (0..3).map(|n| bench.accept_new(&format!("t{n}"))).collect();
    for job in jobs {
        bench.finish_job(job);
    }
    assert_eq!(
        bench
            .store
            .read()
            .unwrap()
            .counts()
            .unwrap()
            .leads_unassigned,
        3
    );
    bench.add_agent("ann", Some(2));
    bench.assert_invariants();
    let leads = rows::<Lead>(&bench.store.read().unwrap());
    let with_agent: Vec<_> = leads
        .iter()
        .rev()
        .map(|(_, lead)| lead.agent.is_some())
        .collect();
    assert_eq!(with_agent, [true, true, false]);
}

#[test]
fn waiting_lead_is_assigned_when_an_absence_ends() {
    let bench = StoreBench::new();
    bench.add_agent("ann", None);
    let from = bench.clock.now();
    let to = from.plus(Millis::from_secs(3600));
    let absence = AgentChange::AddAbsence(Absence { from, to });
    bench
        .store
        .execute_blocking(ChangeAgent {
            name: AgentName::new("ann").unwrap(),
            change: absence,
        })
        .unwrap();
    let job = bench.accept_new("a");
    bench.finish_job(job);

    assert_eq!(bench.store.execute_blocking(AssignWaitingLeads).unwrap(), 0);
    bench.clock.advance(Millis::from_secs(3600));
    assert_eq!(bench.store.execute_blocking(AssignWaitingLeads).unwrap(), 1);
    assert_eq!(
        bench
            .store
            .read()
            .unwrap()
            .counts()
            .unwrap()
            .leads_unassigned,
        0
    );
    bench.assert_invariants();
}

#[test]
fn second_process_on_the_file_is_refused() {
    let bench = StoreBench::new();
    let options = crate::store::StoreOptions::new(bench.path());
    let second = crate::store::Store::start(options, bench.clock.clone()).unwrap();
    let error = second.wait_open().unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("another flowgate command or server has"),
        "{error}"
    );
}

#[test]
fn ids_continue_after_restart() {
    let mut bench = StoreBench::new();
    let first = bench.accept_new("a");
    bench = bench.reopen();
    assert!(bench.accept_new("b") > first);
}

#[test]
fn foreign_file_is_refused_and_unchanged() {
    for content in [&b""[..], b"hello", &[0; 8192]] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, content).unwrap();
        let clock = Arc::new(crate::clock::ManualClock::at(START));
        let store =
            crate::store::Store::start(crate::store::StoreOptions::new(path.clone()), clock)
                .unwrap();
        let error = store.wait_open().unwrap_err();
        assert!(matches!(error, StoreError::NotADataFile { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}
