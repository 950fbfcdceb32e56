//! What becomes of a job that runs: done, failed, panicked, dead.

use crossbeam_channel::bounded;

use super::support::{Desk, POLICY, START, add_agent, flow};
use crate::domain::job::JobState;
use crate::domain::time::Millis;
use crate::store::Revive;
use crate::work::out::{Ending, Hold, Task};
use crate::work::process::{JobError, Outcome};

#[test]
fn a_job_that_succeeds_leads_to_a_lead_and_tells_how_long_it_took() {
    let mut desk = Desk::new();
    add_agent(&desk.store, "ann");
    let id = desk.accept("a");
    desk.work();
    let job = desk.job(id);
    assert_eq!((job.state, job.attempts), (JobState::Done, 1));
    let snapshot = desk.store.read().unwrap();
    let lead = snapshot.lead(job.lead.unwrap()).unwrap().unwrap();
    assert_eq!(Some(lead.submission), job.submission);
    assert_eq!(snapshot.agent(lead.agent.unwrap()).unwrap().unwrap().name.as_str(), "ann");
    let attempt = job.success.unwrap();
    assert_eq!((attempt.number, attempt.started_at, attempt.error), (1, START, None));
}

#[test]
fn a_job_that_fails_is_tried_again_after_a_while_and_then_becomes_a_dead_letter() {
    let mut desk = Desk::with(|_, _| Err(JobError::FlowGone(flow())));
    let id = desk.accept("a");
    for failed in 1..POLICY.attempts {
        assert_eq!(desk.work(), [id]);
        let job = desk.job(id);
        assert_eq!((job.state, job.attempts), (JobState::Scheduled, failed));
        assert!(desk.work().is_empty(), "not before it is due");
        desk.clock.advance(Millis::from_secs(10));
    }
    desk.work();
    let job = desk.job(id);
    assert_eq!((job.state, job.attempts), (JobState::Dead, 3));
    let snapshot = desk.store.read().unwrap();
    let letter = snapshot.dead(id).unwrap().unwrap();
    assert!(letter.reason.starts_with("flow `appointment` is not in the config"), "{}", letter.reason);
    assert_eq!(letter.payload, "{}");
    let attempts = snapshot.attempts(id).unwrap();
    assert_eq!(attempts.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_panic_is_a_failed_attempt_of_one_job() {
    let mut desk = Desk::with(|id, job| {
        assert!(id.get() != 1, "job {id} is a bad one");
        super::support::carry(id, job)
    });
    let (bad, good) = (desk.accept("bad"), desk.accept("good"));
    assert_eq!(desk.work(), [bad, good]);
    assert_eq!(desk.job(good).state, JobState::Done);
    let job = desk.job(bad);
    assert_eq!((job.state, job.attempts), (JobState::Scheduled, 1));
    assert!(job.last_error.unwrap().contains("job 1 is a bad one"));
}

#[test]
fn a_dead_letter_that_is_revived_has_all_its_attempts_again() {
    let mut desk = Desk::with(|_, job| {
        if job.attempts < 3 { Err(JobError::FlowGone(flow())) } else { Ok(Outcome::Carried { lead: None }) }
    });
    let id = desk.accept("a");
    for _ in 0..3 {
        desk.work();
        desk.clock.advance(Millis::from_secs(60));
    }
    assert_eq!(desk.job(id).state, JobState::Dead);
    desk.store.ask(Revive { job: id, payload: None }).unwrap();
    desk.clock.advance(Millis::from_secs(1));
    assert_eq!(desk.work(), [id]);
    assert_eq!((desk.job(id).state, desk.job(id).attempts), (JobState::Done, 4));
}

#[test]
fn a_job_that_is_over_when_its_turn_comes_is_not_run_again() {
    let mut desk = Desk::new();
    let id = desk.accept("a");
    desk.work();
    for is_suspect in [false, true] {
        let (told, ended) = bounded(1);
        desk.run(vec![Task { hold: Hold::new(id, told), is_suspect }]);
        assert!(matches!(ended.try_recv(), Ok((job, Ending::Free)) if job == id));
    }
    assert_eq!(desk.job(id).attempts, 1);
}

#[test]
fn what_was_only_handed_out_stays_due_when_it_is_time_to_end() {
    let mut desk = Desk::new();
    let id = desk.accept("a");
    desk.feeder.step();
    desk.stop = None;
    // The feeder ends first, which closes the channel.
    let Desk { feeder, worker, store, .. } = desk;
    drop(feeder);
    worker.run();
    let job = store.read().unwrap().job(id).unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (JobState::Scheduled, 0));
}
