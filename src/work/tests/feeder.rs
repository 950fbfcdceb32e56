//! What is handed out, when, and how it comes back.

use std::time::Duration;

use super::support::{Desk, START, carry};
use crate::domain::ids::JobId;
use crate::domain::job::{Attempt, Job, JobState};
use crate::domain::retry::Verdict;
use crate::domain::time::Millis;
use crate::store::{Fail, ReviveMany, RowProblem, StoreError};
use crate::work::out::{Ending, Task};

const SECOND: Millis = Millis::from_secs(1);
const HOUR: Millis = Millis::from_secs(3600);

fn ids(tasks: &[Task]) -> Vec<JobId> {
    tasks.iter().map(|task| task.hold.job()).collect()
}

#[test]
fn a_job_is_handed_out_once_and_comes_back_done() {
    let mut desk = Desk::new();
    let job = desk.accept("a");
    let tasks = desk.hand_out();
    assert_eq!(ids(&tasks), [job]);
    assert_eq!(desk.feeder.out().ids(), [job]);
    desk.clock.advance(SECOND);
    assert!(desk.hand_out().is_empty(), "it is out, though the file says that it is due");
    desk.run(tasks);
    assert!(desk.hand_out().is_empty());
    assert_eq!(desk.feeder.out().len(), 0);
    assert_eq!(desk.job(job).state, JobState::Done);
}

#[test]
fn no_more_are_out_than_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::at(folder, "data.redb", 2, carry);
    let jobs: Vec<JobId> = ["a", "b", "c", "d", "e"].map(|token| desk.accept(token)).to_vec();
    let tasks = desk.hand_out();
    assert_eq!(ids(&tasks), jobs[..2]);
    assert!(desk.hand_out().is_empty());
    desk.run(tasks);
    assert_eq!(desk.work(), jobs[2..4]);
    assert_eq!(desk.work(), jobs[4..]);
}

#[test]
fn more_than_one_look_at_the_schedule_holds_is_handed_out_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::at(folder, "data.redb", 1024, carry);
    let jobs: Vec<JobId> = (0..600).map(|number| desk.accept(&number.to_string())).collect();
    let tasks = desk.hand_out();
    assert_eq!(ids(&tasks), jobs);
    let later = desk.accept("later");
    desk.run(tasks);
    assert_eq!(desk.work(), [later]);
}

#[test]
fn the_pause_ends_when_the_next_job_is_due() {
    let mut desk = Desk::with(|_, _| panic!("no"));
    desk.accept("a");
    desk.work();
    let due = desk.store.read().unwrap().first_due().unwrap().unwrap();
    assert_eq!(desk.feeder.step(), Duration::from_secs(1), "it is due in seconds, but a look costs little");
    desk.clock.advance(Millis::new(due.since(START).get() - 1));
    assert_eq!(desk.feeder.step(), Duration::from_millis(1));
}

#[test]
fn a_task_that_is_dropped_leaves_its_job_due() {
    let mut desk = Desk::new();
    let job = desk.accept("a");
    drop(desk.hand_out());
    desk.feeder.step();
    assert_eq!(desk.feeder.out().len(), 0);
    desk.clock.advance(SECOND);
    assert_eq!(desk.work(), [job]);
}

#[test]
fn while_the_file_is_closed_nothing_is_handed_out_and_nothing_is_lost() {
    let mut desk = Desk::new();
    let job = desk.accept("a");
    for task in desk.hand_out() {
        task.hold.end(Ending::Unstored(StoreError::NoSpace));
    }
    assert_eq!(desk.feeder.step(), Duration::from_secs(1));
    assert!(desk.hand_out().is_empty(), "a store that has no room is asked again in a second, not at once");
    desk.clock.advance(SECOND);
    assert_eq!(desk.work(), [job]);
    desk.store.close().unwrap();
    desk.clock.advance(SECOND);
    assert_eq!(desk.feeder.step(), Duration::from_secs(1));
}

#[test]
fn a_job_that_cannot_be_written_is_left_alone_for_a_minute_and_holds_up_nobody() {
    let mut desk = Desk::new();
    let (bad, good) = (desk.accept("bad"), desk.accept("good"));
    let mut tasks = desk.hand_out();
    let damaged = StoreError::Row { table: "leads", key: "1".to_owned(), problem: RowProblem::Checksum };
    tasks.remove(0).hold.end(Ending::Unstored(damaged));
    assert_eq!(desk.run(tasks), [good]);
    desk.feeder.step();
    desk.clock.advance(Millis::from_secs(59));
    assert!(desk.work().is_empty());
    desk.clock.advance(SECOND);
    assert_eq!(desk.work(), [bad]);
}

#[test]
fn jobs_from_a_clock_that_ran_ahead_run_once_it_is_set_back() {
    let mut desk = Desk::new();
    desk.clock.jump_to(START.plus(HOUR));
    let ahead = desk.accept("ahead");
    desk.clock.jump_to(START);
    assert_eq!(desk.work(), [ahead]);
}

#[test]
fn a_retry_that_lies_ahead_stays_there_when_the_clock_is_set_back() {
    let mut desk = Desk::with(|_, _| panic!("no"));
    let job = desk.accept("a");
    desk.work();
    desk.clock.jump_to(START.minus(HOUR));
    assert!(desk.work().is_empty());
    // Further ahead than any retry can be.
    desk.clock.jump_to(START.minus(Millis::from_secs(25 * 3600)));
    assert_eq!(desk.work(), [job]);
}

#[test]
fn dead_letters_that_run_again_at_a_rate_keep_their_times_over_a_crash_and_a_clock_that_is_set_back() {
    let desk = Desk::new();
    let letters = ["a", "b", "c"].map(|token| desk.accept(token));
    for job in letters {
        let attempt = Attempt { number: 0, started_at: START, took: Millis::ZERO, error: Some("no".to_owned()) };
        desk.store.ask(Fail { job, attempt, verdict: Verdict::Dead }).unwrap();
    }
    let due = letters.into_iter().zip(0..).map(|(job, hour)| (job, START.plus(Millis::new(hour * HOUR.get()))));
    desk.store.ask(ReviveMany { jobs: due.collect() }).unwrap();

    let path = desk.folder.path();
    std::fs::copy(path.join("data.redb"), path.join("crashed.redb")).unwrap();
    let Desk { folder, store, .. } = desk;
    store.close().unwrap();
    let mut desk = Desk::at(folder, "crashed.redb", 100, carry);
    assert_eq!(desk.work(), letters[..1], "a suspect");
    assert!(desk.work().is_empty());
    desk.clock.advance(HOUR);
    assert_eq!(desk.work(), letters[1..2]);
    desk.clock.jump_to(START.plus(Millis::from_secs(60)));
    assert!(desk.work().is_empty());
    desk.clock.advance(Millis::new(2 * HOUR.get()));
    assert_eq!(desk.work(), letters[2..]);
}

/// A desk whose store starts on the file that a killed process left.
fn after_a_crash(desk: Desk) -> Desk {
    let path = desk.folder.path();
    std::fs::copy(path.join("data.redb"), path.join("crashed.redb")).unwrap();
    let run = |id: JobId, job: &Job| {
        assert_eq!(job.crashes, 1, "the mark is on disk before the job runs");
        carry(id, job)
    };
    let Desk { folder, store, .. } = desk;
    store.close().unwrap();
    Desk::at(folder, "crashed.redb", 100, run)
}

#[test]
fn after_an_unclean_end_suspects_run_one_at_a_time_and_marked() {
    let desk = Desk::new();
    let jobs = [desk.accept("a"), desk.accept("b"), desk.accept("c")];
    let mut desk = after_a_crash(desk);
    for job in jobs {
        let tasks = desk.hand_out();
        assert_eq!(ids(&tasks), [job]);
        assert!(tasks[0].is_suspect);
        let late = desk.accept(&format!("late {job}"));
        desk.clock.advance(SECOND);
        assert!(desk.hand_out().is_empty(), "{late} waits while a suspect runs");
        desk.run(tasks);
        assert_eq!((desk.job(job).state, desk.job(job).crashes), (JobState::Done, 0));
    }
    let tasks = desk.hand_out();
    assert_eq!(tasks.len(), 3, "now the others");
    assert!(tasks.iter().all(|task| !task.is_suspect));
}

#[test]
fn a_suspect_that_could_not_be_marked_is_still_one() {
    let desk = Desk::new();
    let job = desk.accept("a");
    let mut desk = after_a_crash(desk);
    for task in desk.hand_out() {
        task.hold.end(Ending::Unmarked(StoreError::NoSpace));
    }
    desk.feeder.step();
    desk.clock.advance(SECOND);
    let tasks = desk.hand_out();
    assert!(tasks[0].is_suspect);
    assert_eq!(desk.run(tasks), [job]);
}

#[test]
fn a_suspect_that_ran_is_none_any_more_even_if_its_outcome_got_lost() {
    let desk = Desk::new();
    let job = desk.accept("a");
    let mut desk = after_a_crash(desk);
    for task in desk.hand_out() {
        task.hold.end(Ending::Unstored(StoreError::NoSpace));
    }
    desk.feeder.step();
    desk.clock.advance(SECOND);
    let tasks = desk.hand_out();
    assert_eq!(ids(&tasks), [job]);
    assert!(!tasks[0].is_suspect, "the process lives: no full disk may count as a crash");
}

#[test]
fn after_a_clean_end_nobody_is_suspected() {
    let desk = Desk::new();
    let job = desk.accept("a");
    let Desk { folder, store, .. } = desk;
    store.close().unwrap();
    let mut desk = Desk::at(folder, "data.redb", 100, carry);
    let tasks = desk.hand_out();
    assert_eq!(ids(&tasks), [job]);
    assert!(!tasks[0].is_suspect);
}
