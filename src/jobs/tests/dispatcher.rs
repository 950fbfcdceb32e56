//! Tests which jobs the dispatcher dispatches, when, and how they finish.

use std::time::Duration;

use super::support::{JobHarness, START, lead_outcome};
use crate::domain::ids::JobId;
use crate::domain::job::retry::RetryDecision;
use crate::domain::job::{Attempt, JobState};
use crate::domain::time::Millis;
use crate::jobs::lease::{JobTask, LeaseResult};
use crate::store::{FailAttempt, RetryDeadLetters, RowProblem, StoreError};

const HOUR: Millis = Millis::from_secs(3600);

fn ids(tasks: &[JobTask]) -> Vec<JobId> {
    tasks.iter().map(|task| task.lease.job_id()).collect()
}

#[test]
fn job_is_dispatched_once_and_completes() {
    let mut harness = JobHarness::new();
    let job = harness.accept("a");
    let tasks = harness.dispatch();
    assert_eq!(ids(&tasks), [job]);
    assert_eq!(harness.dispatcher.in_flight().ids(), [job]);
    harness.advance_secs(1);
    assert!(
        harness.dispatch().is_empty(),
        "it is out, though the file says that it is due"
    );
    harness.run(tasks);
    assert!(harness.dispatch().is_empty());
    assert_eq!(harness.dispatcher.in_flight().len(), 0);
    assert_eq!(harness.job(job).state, JobState::Done);
}

#[test]
fn in_flight_jobs_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = JobHarness::at(folder, "data.redb", 2, lead_outcome);
    let jobs: Vec<JobId> = ["a", "b", "c", "d", "e"]
        .map(|token| harness.accept(token))
        .to_vec();
    let tasks = harness.dispatch();
    assert_eq!(ids(&tasks), jobs[..2]);
    assert!(harness.dispatch().is_empty());
    harness.run(tasks);
    assert_eq!(harness.run_due(), jobs[2..4]);
    assert_eq!(harness.run_due(), jobs[4..]);
}

#[test]
fn jobs_beyond_one_page_are_dispatched_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = JobHarness::at(folder, "data.redb", 1024, lead_outcome);
    let jobs: Vec<JobId> = (0..600)
        .map(|number| harness.accept(&number.to_string()))
        .collect();
    let tasks = harness.dispatch();
    assert_eq!(ids(&tasks), jobs);
    let later = harness.accept("later");
    harness.run(tasks);
    assert_eq!(harness.run_due(), [later]);
}

#[test]
fn pause_ends_when_next_job_is_due() {
    let mut harness = JobHarness::with(|_, _| panic!("no"));
    harness.accept("a");
    harness.run_due();
    let due = harness.read().first_due_at().unwrap().unwrap();
    assert_eq!(
        harness.dispatcher.step(),
        Duration::from_secs(1),
        "it is due in seconds, but a look costs little"
    );
    let almost_due = Millis::new(due.since(START).get() - 1);
    harness.clock.advance(almost_due);
    assert_eq!(harness.dispatcher.step(), Duration::from_millis(1));
}

#[test]
fn dropped_task_leaves_job_due() {
    let mut harness = JobHarness::new();
    let job = harness.accept("a");
    drop(harness.dispatch());
    harness.dispatcher.step();
    assert_eq!(harness.dispatcher.in_flight().len(), 0);
    harness.advance_secs(1);
    assert_eq!(harness.run_due(), [job]);
}

#[test]
fn job_waits_while_store_is_full() {
    let mut harness = JobHarness::new();
    let job = harness.accept("a");
    harness.finish_all(|| LeaseResult::CommitFailed(StoreError::NoSpace));
    assert_eq!(harness.dispatcher.step(), Duration::from_secs(1));
    assert!(
        harness.dispatch().is_empty(),
        "a store that has no room is asked again in a second, not at once"
    );
    harness.advance_secs(1);
    assert_eq!(harness.run_due(), [job]);
    harness.store.close().unwrap();
    harness.advance_secs(1);
    assert_eq!(harness.dispatcher.step(), Duration::from_secs(1));
}

#[test]
fn job_that_cannot_be_written_is_quarantined_alone() {
    let mut harness = JobHarness::new();
    let (bad, good) = (harness.accept("bad"), harness.accept("good"));
    let mut tasks = harness.dispatch();
    let damaged = StoreError::Row {
        table: "leads",
        key: "1".to_owned(),
        problem: RowProblem::Checksum,
    };
    let lease = tasks.remove(0).lease;
    lease.finish(LeaseResult::CommitFailed(damaged));
    assert_eq!(harness.run(tasks), [good]);
    harness.dispatcher.step();
    harness.advance_secs(59);
    assert!(harness.run_due().is_empty());
    harness.advance_secs(1);
    assert_eq!(harness.run_due(), [bad]);
}

#[test]
fn jobs_from_future_clock_run_after_set_back() {
    let mut harness = JobHarness::new();
    harness.clock.jump_to(START.plus(HOUR));
    let ahead = harness.accept("ahead");
    harness.clock.jump_to(START);
    assert_eq!(harness.run_due(), [ahead]);
}

#[test]
fn future_retry_keeps_its_time_after_clock_step_back() {
    let mut harness = JobHarness::with(|_, _| panic!("no"));
    let job = harness.accept("a");
    harness.run_due();
    harness.clock.jump_to(START.minus(HOUR));
    assert!(harness.run_due().is_empty());
    // The due time is now later than any retry could be.
    let day_before = START.minus(Millis::from_secs(25 * 3600));
    harness.clock.jump_to(day_before);
    assert_eq!(harness.run_due(), [job]);
}

#[test]
fn retried_dead_letters_keep_their_times() {
    let harness = JobHarness::new();
    let letters = ["a", "b", "c"].map(|token| harness.accept(token));
    for job in letters {
        let attempt = Attempt {
            number: 0,
            started_at: START,
            duration: Millis::ZERO,
            error: Some("no".to_owned()),
        };
        harness.execute(FailAttempt {
            job_id: job,
            attempt,
            decision: RetryDecision::GiveUp,
        });
    }
    let hours = [0, 1, 2].map(|hour| START.plus(Millis::new(hour * HOUR.get())));
    let jobs = letters.into_iter().zip(hours).collect();
    harness.execute(RetryDeadLetters { jobs });

    let mut harness = harness.crash(lead_outcome);
    assert_eq!(harness.run_due(), letters[..1], "a suspect");
    assert!(harness.run_due().is_empty());
    harness.clock.advance(HOUR);
    assert_eq!(harness.run_due(), letters[1..2]);
    harness.clock.jump_to(START.plus(Millis::from_secs(60)));
    assert!(harness.run_due().is_empty());
    harness.clock.advance(Millis::new(2 * HOUR.get()));
    assert_eq!(harness.run_due(), letters[2..]);
}

/// Crashes with one due job for each token. The jobs then run marked as suspects.
fn crashed_with<const N: usize>(tokens: [&str; N]) -> (JobHarness, [JobId; N]) {
    let harness = JobHarness::new();
    let jobs = tokens.map(|token| harness.accept(token));
    let crashed = harness.crash(|id, job| {
        assert_eq!(job.crashes, 1, "the mark is on disk before the job runs");
        lead_outcome(id, job)
    });
    (crashed, jobs)
}

#[test]
fn suspects_run_alone_and_marked_after_crash() {
    let (mut harness, jobs) = crashed_with(["a", "b", "c"]);
    for job in jobs {
        let tasks = harness.dispatch();
        assert_eq!(ids(&tasks), [job]);
        assert!(tasks[0].is_suspect);
        let late = harness.accept(&format!("late {job}"));
        harness.advance_secs(1);
        assert!(
            harness.dispatch().is_empty(),
            "{late} waits while a suspect runs"
        );
        harness.run(tasks);
        let job = harness.job(job);
        assert_eq!((job.state, job.crashes), (JobState::Done, 0));
    }
    let tasks = harness.dispatch();
    assert_eq!(tasks.len(), 3, "now the others");
    assert!(tasks.iter().all(|task| !task.is_suspect));
}

#[test]
fn unmarked_suspect_stays_suspect() {
    let (mut harness, [job]) = crashed_with(["a"]);
    harness.finish_all(|| LeaseResult::MarkFailed(StoreError::NoSpace));
    harness.dispatcher.step();
    harness.advance_secs(1);
    let tasks = harness.dispatch();
    assert!(tasks[0].is_suspect);
    assert_eq!(harness.run(tasks), [job]);
}

#[test]
fn suspect_that_ran_is_cleared_even_if_outcome_is_lost() {
    let (mut harness, [job]) = crashed_with(["a"]);
    harness.finish_all(|| LeaseResult::CommitFailed(StoreError::NoSpace));
    harness.dispatcher.step();
    harness.advance_secs(1);
    let tasks = harness.dispatch();
    assert_eq!(ids(&tasks), [job]);
    assert!(
        !tasks[0].is_suspect,
        "the process lives: no full disk may count as a crash"
    );
}

#[test]
fn clean_shutdown_leaves_no_suspects() {
    let harness = JobHarness::new();
    let job = harness.accept("a");
    let JobHarness { folder, store, .. } = harness;
    store.close().unwrap();
    let mut harness = JobHarness::at(folder, "data.redb", 100, lead_outcome);
    let tasks = harness.dispatch();
    assert_eq!(ids(&tasks), [job]);
    assert!(!tasks[0].is_suspect);
}
