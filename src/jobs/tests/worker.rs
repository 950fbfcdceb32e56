//! Tests the results of jobs: done, failed, panicked and dead.

use crossbeam_channel::bounded;

use super::support::{JobHarness, POLICY, START, add_agent, flow};
use crate::domain::job::JobState;
use crate::jobs::handler::{JobError, JobOutcome};
use crate::jobs::lease::{JobLease, JobTask, LeaseResult};
use crate::store::RetryDeadLetter;

#[test]
fn successful_job_creates_lead_and_records_duration() {
    let mut harness = JobHarness::new();
    add_agent(&harness.store, "ann");
    let id = harness.accept("a");
    harness.run_due();
    let job = harness.job(id);
    assert_eq!((job.state, job.attempts), (JobState::Done, 1));
    let snapshot = harness.read();
    let lead = snapshot.lead(job.lead_id.unwrap()).unwrap().unwrap();
    assert_eq!(Some(lead.submission_id), job.submission_id);
    let agent = snapshot.agent(lead.agent.unwrap()).unwrap().unwrap();
    assert_eq!(agent.name.as_str(), "ann");
    let attempt = job.success.unwrap();
    assert_eq!((attempt.number, attempt.started_at), (1, START));
    assert_eq!(attempt.error, None);
}

#[test]
fn failing_job_is_retried_then_dead() {
    let mut harness = JobHarness::with(|_, _| Err(JobError::UnknownFlow(flow())));
    let id = harness.accept("a");
    for failed in 1..POLICY.max_attempts {
        assert_eq!(harness.run_due(), [id]);
        let job = harness.job(id);
        assert_eq!((job.state, job.attempts), (JobState::Scheduled, failed));
        assert!(harness.run_due().is_empty(), "not before it is due");
        harness.advance_secs(10);
    }
    harness.run_due();
    let job = harness.job(id);
    assert_eq!((job.state, job.attempts), (JobState::Dead, 3));
    let snapshot = harness.read();
    let letter = snapshot.dead_letter(id).unwrap().unwrap();
    let reason = "flow `appointment` is not in the config";
    assert!(letter.reason.starts_with(reason), "{}", letter.reason);
    assert_eq!(letter.payload, "{}");
    let attempts = snapshot.attempts(id).unwrap();
    let numbers: Vec<_> = attempts.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn panic_counts_as_failed_attempt() {
    let mut harness = JobHarness::with(|id, job| {
        assert!(id.get() != 1, "job {id} is a bad one");
        super::support::lead_outcome(id, job)
    });
    let (bad, good) = (harness.accept("bad"), harness.accept("good"));
    assert_eq!(harness.run_due(), [bad, good]);
    assert_eq!(harness.job(good).state, JobState::Done);
    let job = harness.job(bad);
    assert_eq!((job.state, job.attempts), (JobState::Scheduled, 1));
    assert!(job.last_error.unwrap().contains("job 1 is a bad one"));
}

#[test]
fn retried_dead_letter_has_full_attempts() {
    let mut harness = JobHarness::with(|_, job| {
        if job.attempts < 3 {
            Err(JobError::UnknownFlow(flow()))
        } else {
            Ok(JobOutcome::SubmissionProcessed { lead: None })
        }
    });
    let id = harness.accept("a");
    for _ in 0..3 {
        harness.run_due();
        harness.advance_secs(60);
    }
    assert_eq!(harness.job(id).state, JobState::Dead);
    harness.execute(RetryDeadLetter {
        job_id: id,
        payload: None,
    });
    harness.advance_secs(1);
    assert_eq!(harness.run_due(), [id]);
    let job = harness.job(id);
    assert_eq!((job.state, job.attempts), (JobState::Done, 4));
}

#[test]
fn finished_job_is_not_run_again() {
    let mut harness = JobHarness::new();
    let id = harness.accept("a");
    harness.run_due();
    for is_suspect in [false, true] {
        let (results, ended) = bounded(1);
        harness.run(vec![JobTask {
            lease: JobLease::new(id, results),
            is_suspect,
        }]);
        assert!(matches!(ended.try_recv(), Ok((job, LeaseResult::Released)) if job == id));
    }
    assert_eq!(harness.job(id).attempts, 1);
}

#[test]
fn dispatched_but_not_started_jobs_stay_due_at_shutdown() {
    let mut harness = JobHarness::new();
    let id = harness.accept("a");
    harness.dispatcher.step();
    harness.stop = None;
    // The dispatcher ends first, which closes the channel.
    let JobHarness {
        dispatcher,
        worker,
        store,
        ..
    } = harness;
    drop(dispatcher);
    worker.run();
    let job = store.read().unwrap().job(id).unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (JobState::Scheduled, 0));
}
