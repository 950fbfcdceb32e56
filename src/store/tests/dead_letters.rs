//! Tests of dead letters: messages that are not parsable, and jobs that fail or crash the process.

use crate::domain::job::JobState;
use crate::domain::job::retry::RetryDecision;
use crate::domain::submission::inbound::InboundSubmission;
use crate::domain::time::Millis;
use crate::store::{
    AcceptOutcome, ClearSuspect, DeadLetterOutcome, FinishOutcome, MarkSuspect, RetryDeadLetter,
    SuspectAction, check_integrity,
};

use super::support::{
    START, StoreBench, copy_of, done_without_lead, open_store, unparsable, webhook_form,
};

#[test]
fn unparsable_message_is_one_dead_letter_and_can_be_retried() {
    let bench = StoreBench::new();
    let readable = webhook_form("t", "wamid.1", "{}");
    let accept = || bench.accept_unparsable_message(unparsable(readable.message_key));
    let AcceptOutcome::DeadLetter { job_id: job } = accept() else {
        panic!("no dead letter")
    };
    assert_eq!(accept(), AcceptOutcome::Duplicate { original: None });
    bench.assert_invariants();

    let retried = bench.execute(RetryDeadLetter {
        job_id: job,
        payload: Some("mended".to_owned()),
    });
    assert_eq!(retried, DeadLetterOutcome::Updated(JobState::Scheduled));
    let payload = bench.read().retried_payload(job).unwrap();
    assert_eq!(payload.as_deref(), Some("mended"));
    bench.assert_invariants();
    let finished = bench.finish_message(job, readable.clone());
    assert_eq!(finished, done_without_lead(1));
    bench.assert_copy(readable, 1);
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
    let job = bench.accept_dead_letter("wamid.1");
    let bench = bench.reopen();
    let again = bench.accept_unparsable("wamid.1");
    assert_eq!(again, AcceptOutcome::Duplicate { original: None });
    assert!(bench.is_new(form.clone()));
    bench.assert_copy(form.clone(), 1);
    assert_eq!(bench.accept_unparsable("wamid.1"), copy_of(1));

    bench.retry_dead_letter(job);
    assert_eq!(bench.finish_message(job, form), done_without_lead(1));
    assert_eq!(bench.counts().submissions, 1);
    bench.assert_invariants();
}

#[test]
fn failed_job_is_rescheduled_then_dead_then_retried() {
    let bench = StoreBench::new();
    let job = bench.accept_new("t");
    let at = START.plus(Millis::from_secs(5));
    bench.fail_job(job, "no", RetryDecision::RetryAt { at });
    let read = bench.read();
    assert_eq!(read.due_jobs(None, START, 10).unwrap(), []);
    assert_eq!(read.due_jobs(None, at, 10).unwrap(), [(at, job)]);
    bench.fail_job(job, "still no", RetryDecision::GiveUp);
    bench.assert_invariants();
    let read = bench.read();
    assert_eq!(read.dead_letter(job).unwrap().unwrap().reason, "still no");
    assert_eq!(read.first_due_at().unwrap(), None);
    let retried = bench.retry_dead_letter(job);
    assert_eq!(retried, DeadLetterOutcome::Updated(JobState::Scheduled));
    assert!(matches!(bench.finish_job(job), FinishOutcome::Done { .. }));
    assert_eq!(bench.finish_job(job), FinishOutcome::AlreadyFinished);
    let attempts = bench.read().attempts(job).unwrap().into_iter();
    let succeeded = attempts.map(|(number, attempt)| (number, attempt.unwrap().error.is_none()));
    assert!(succeeded.eq([(1, false), (2, false), (3, true)]));
    bench.assert_invariants();
}

#[test]
fn job_crashing_the_process_three_times_is_dead_letter() {
    let bench = StoreBench::new();
    let job = bench.accept_new("t");
    let mark = || bench.execute(MarkSuspect { job_id: job });
    for _ in 0..3 {
        assert_eq!(mark(), SuspectAction::Run);
    }
    assert_eq!(mark(), SuspectAction::DeadLettered);
    assert_eq!(mark(), SuspectAction::AlreadyFinished);
    bench.assert_invariants();
}

#[test]
fn delivery_crashing_the_process_three_times_is_dead_letter() {
    let bench = StoreBench::with_subscribers();
    assert_eq!(bench.store.suspect_deliveries(), []);
    bench.accept_new("a");
    bench.accept_new("b");
    let ids = bench.delivery_ids();
    // A copy of the file is as a crash at this moment would leave it.
    let path = bench.folder.path().join("crashed.redb");
    std::fs::copy(bench.path(), &path).unwrap();
    let store = open_store(path, &bench.clock, |_| {});
    let mut suspects = store.suspect_deliveries();
    suspects.sort_unstable();
    assert_eq!(suspects, ids, "the first ones of each lane");

    let job = ids[0];
    let mark = || store.execute_blocking(MarkSuspect { job_id: job }).unwrap();
    let row = || store.read().unwrap().job(job).unwrap().unwrap();
    for crashes in 1..=2 {
        assert_eq!(mark(), SuspectAction::Run);
        assert_eq!(row().crashes, crashes);
    }
    let cleared = store.execute_blocking(ClearSuspect { job_id: job });
    cleared.unwrap();
    for _ in 0..3 {
        assert_eq!(mark(), SuspectAction::Run, "no suspect any more");
    }
    assert_eq!(mark(), SuspectAction::DeadLettered);
    assert_eq!(row().state, JobState::Dead);
    let letter = store.read().unwrap().dead_letter(job).unwrap().unwrap();
    assert!(letter.reason.contains("3 times"));
    assert_eq!(check_integrity(&store).unwrap().violations, []);
}
