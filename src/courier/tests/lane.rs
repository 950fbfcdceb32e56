//! Nothing stops a lane for good.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::support::{Bench, nobody};
use crate::clock::Clock;
use crate::courier::attempt::Answered;
use crate::courier::lane::Lane;
use crate::courier::{Board, Credentials, Orders, Recipient};
use crate::domain::ids::JobId;
use crate::domain::job::JobState;
use crate::domain::time::Millis;
use crate::signing::SigningKey;
use crate::store::tests::stray::{LoseJob, StrayRow};
use crate::store::{Revive, StoreError};

/// A lane that is moved by hand.
struct Hand {
    bench: Bench,
    board: Board,
    lane: Lane,
    attempts: JoinSet<Result<Answered, StoreError>>,
}

impl Hand {
    fn new(address: SocketAddr, more: &str) -> Self {
        let bench = Bench::new(address, more);
        let board = Board::default();
        let lane = lane(&bench, &board);
        Self { bench, board, lane, attempts: JoinSet::new() }
    }

    /// A new lane in the place of this one, as after a restart.
    fn begin_again(&mut self) {
        self.attempts.abort_all();
        self.board = Board::default();
        self.lane = lane(&self.bench, &self.board);
    }

    /// Lets `length` go by; begins what may begin. Gives how many are under way, and how long the lane would wait.
    fn after(&mut self, length: Duration) -> (usize, Duration) {
        self.bench.clock.advance(Millis::new(u64::try_from(length.as_millis()).unwrap()));
        let pause = self.lane.step(&mut self.attempts);
        (self.board.out().len(), pause)
    }

    /// Waits until one attempt ends, and lets the lane know.
    async fn end_one(&mut self) {
        let ended = self.attempts.join_next_with_id().await.unwrap();
        self.lane.note(ended);
    }
}

fn lane(bench: &Bench, board: &Board) -> Lane {
    directed(bench, board).1
}

/// A lane, and where it is told what it goes by.
fn directed(bench: &Bench, board: &Board) -> (watch::Sender<Orders>, Lane) {
    let recipient = bench.recipients().remove(&Bench::crm()).unwrap();
    let (orders, told) = watch::channel(Orders { recipient, resumed: 0 });
    let (_, called) = watch::channel(0);
    (orders, Lane::new(Bench::crm(), told, bench.tools(), board.clone(), called))
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_probe_that_panics_makes_room_for_the_next() {
    let mut hand = Hand::new(nobody(), "breaker = { failures = 1, pause = \"10s\" }\nretry = { first = \"1s\" }");
    hand.bench.accept("one");
    assert_eq!(hand.after(Duration::ZERO).0, 1);
    hand.end_one().await;
    assert_eq!(hand.after(9 * SECOND).0, 0, "its breaker is open");

    hand.bench.chance.fail_once();
    assert_eq!(hand.after(2 * SECOND).0, 1, "the probe");
    hand.end_one().await;
    assert_eq!(hand.after(MINUTE).0, 1, "its retry is the probe again");
    hand.end_one().await;
    assert_eq!(hand.bench.waiting(), 1);
    let (_, why) = hand.board.read()[&Bench::crm()].last_failure.clone().unwrap();
    assert!(why.contains("Connection refused"), "{why}");
}

#[tokio::test]
async fn an_attempt_that_panics_is_a_failed_one_and_the_last_of_them_a_dead_letter() {
    let more = "breaker = { failures = 100 }\nretry = { first = \"1s\", ceiling = \"1s\", attempts = 3 }";
    let mut hand = Hand::new(nobody(), more);
    hand.bench.accept("one");
    for attempts in 1..=3 {
        hand.bench.chance.fail_once();
        assert_eq!(hand.after(10 * SECOND).0, 1, "{attempts}");
        hand.end_one().await;
        let job = hand.bench.jobs().pop().unwrap();
        assert_eq!((job.attempts, hand.board.out().len()), (attempts, 0));
        assert!(job.last_error.unwrap().contains("panicked"));
    }
    assert_eq!(hand.bench.jobs().pop().unwrap().state, JobState::Dead);
}

#[tokio::test]
async fn a_breaker_and_a_wish_for_quiet_end_with_a_new_secret_and_with_a_resume() {
    let quiet = b"HTTP/1.1 429 So\r\nretry-after: 3000\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for (is_quiet, is_resumed) in [(false, false), (false, true), (true, false), (true, true)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = if is_quiet { listener.local_addr().unwrap() } else { nobody() };
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 4096]);
            socket.write_all(quiet).unwrap();
        });
        let more = "breaker = { failures = 1, pause = \"1h\" }\nretry = { first = \"1s\", ceiling = \"1s\" }";
        let bench = Bench::new(address, more);
        let board = Board::default();
        let (orders, lane) = directed(&bench, &board);
        let mut hand = Hand { bench, board, lane, attempts: JoinSet::new() };
        hand.bench.accept("one");
        assert_eq!(hand.after(Duration::ZERO).0, 1);
        hand.end_one().await;
        hand.bench.accept("two");
        assert_eq!(hand.after(2 * SECOND).0, 0, "it is left alone");
        orders.send_modify(|orders| {
            if is_resumed {
                orders.resumed += 1;
            } else {
                let key = SigningKey::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
                let mut recipient = Recipient::clone(&orders.recipient);
                let Credentials::Webhook { keys, .. } = &mut recipient.credentials else { panic!() };
                keys.push(key);
                orders.recipient = Arc::new(recipient);
            }
        });
        hand.lane.renew();
        assert!(hand.after(Duration::ZERO).0 > 0, "{is_quiet} {is_resumed}");
    }
}

#[tokio::test]
async fn a_probe_that_its_rate_holds_back_makes_room_for_itself() {
    let more = "rate = \"1/h\"\nbreaker = { failures = 1, pause = \"1s\" }\nretry = { first = \"1s\" }";
    let mut hand = Hand::new(nobody(), more);
    hand.bench.accept("one");
    assert_eq!(hand.after(Duration::ZERO).0, 1);
    hand.end_one().await;
    for _ in 0..10 {
        assert_eq!(hand.after(5 * MINUTE).0, 0, "the breaker would let it go, the rate does not");
    }
    assert_eq!(hand.after(10 * MINUTE).0, 1);
}

#[tokio::test]
async fn an_open_breaker_uses_up_none_of_the_rate() {
    let more = "rate = \"1/h\"\nbreaker = { failures = 1, pause = \"1h\" }\nretry = { first = \"1s\" }";
    let mut hand = Hand::new(nobody(), more);
    hand.bench.accept("one");
    assert_eq!(hand.after(Duration::ZERO).0, 1);
    // The pause begins when the failure is known.
    hand.bench.clock.advance(Millis::from_secs(60));
    hand.end_one().await;
    assert_eq!(hand.after(59 * MINUTE).0, 0, "the rate would let it go, the breaker does not");
    assert_eq!(hand.after(2 * MINUTE).0, 1, "its breaker lets it go, and its rate had let nothing pass");
}

#[tokio::test]
async fn a_lane_with_nothing_to_do_looks_again_within_a_second() {
    let mut hand = Hand::new(nobody(), "retry = { first = \"1h\", ceiling = \"1h\" }");
    let (out, pause) = hand.after(Duration::ZERO);
    assert!(out == 0 && pause <= SECOND && !pause.is_zero(), "{pause:?}");
    hand.bench.accept("one");
    assert_eq!(hand.after(Duration::ZERO).0, 1);
    hand.end_one().await;
    let (out, pause) = hand.after(Duration::ZERO);
    assert!(out == 0 && pause <= SECOND && !pause.is_zero(), "{pause:?}");
}

#[tokio::test]
async fn what_a_clock_wrote_that_ran_ahead_is_due_when_it_was_set_back() {
    for attempts_before in [false, true] {
        // The second lane begins after the clock was set back, as after a restart.
        for is_new in [false, true] {
            let mut hand = Hand::new(nobody(), "retry = { first = \"1s\" }");
            let right = hand.bench.clock.now();
            hand.bench.clock.jump_to(right.plus(Millis::from_secs(30 * 24 * 60 * 60)));
            hand.bench.accept("one");
            if attempts_before {
                assert_eq!(hand.after(Duration::ZERO).0, 1);
                hand.end_one().await;
            }
            hand.after(Duration::ZERO);
            hand.bench.clock.jump_to(right);
            if is_new {
                hand.begin_again();
            }
            assert_eq!(hand.after(SECOND).0, 1, "tried before: {attempts_before}, a new lane: {is_new}");
        }
    }
}

#[tokio::test]
async fn what_waits_for_its_retry_is_not_taken_for_that() {
    let mut hand = Hand::new(nobody(), "retry = { first = \"1h\", ceiling = \"1h\" }");
    hand.bench.accept("one");
    assert_eq!(hand.after(Duration::ZERO).0, 1);
    hand.end_one().await;
    let now = hand.bench.clock.now();
    hand.bench.clock.jump_to(now.minus(Millis::from_secs(60)));
    assert_eq!(hand.after(SECOND).0, 0);
    hand.begin_again();
    assert_eq!(hand.after(SECOND).0, 0);
}

#[tokio::test]
async fn a_row_of_its_schedule_that_leads_nowhere_makes_no_lane_spin() {
    let mut hand = Hand::new(nobody(), "");
    let stray = StrayRow { destination: Bench::crm(), job: JobId::new(999) };
    hand.bench.store.ask(stray).unwrap();
    assert_eq!(hand.after(Duration::ZERO).0, 1, "it looks due");
    hand.end_one().await;
    let (out, pause) = hand.after(Duration::ZERO);
    assert!(out == 0 && pause > SECOND / 2, "it is left alone, for {pause:?}");
    hand.bench.accept("one");
    assert_eq!(hand.after(Duration::ZERO).0, 1, "and holds up nobody");
}

#[tokio::test]
async fn what_is_too_late_is_closed_unsent_and_uses_up_none_of_the_rate() {
    let mut hand = Hand::new(nobody(), "expires = \"1m\"\nrate = \"1/h\"\nretry = { first = \"1s\" }");
    for token in ["one", "two", "three"] {
        hand.bench.accept(token);
    }
    hand.bench.clock.advance(Millis::from_secs(60));
    hand.bench.accept("four");
    assert_eq!(hand.after(Duration::ZERO).0, 1, "the one that is not late goes at once");
    hand.lane.settle().await;
    let expired = hand.bench.jobs().into_iter().filter(|job| job.state == JobState::Expired);
    let why: Vec<_> = expired.map(|job| (job.attempts, job.last_error.unwrap())).collect();
    assert_eq!(why, vec![(1, "it was not sent within 1m".to_owned()); 3]);
    assert_eq!(hand.bench.waiting(), 1);
}

#[tokio::test]
async fn what_becomes_too_late_while_the_rate_holds_it_back_uses_up_none_of_it() {
    let mut hand =
        Hand::new(nobody(), "expires = \"1m\"\nrate = \"1/m\"\nretry = { first = \"1h\", ceiling = \"1h\" }");
    for token in ["one", "two", "three"] {
        hand.bench.accept(token);
    }
    assert_eq!(hand.after(Duration::ZERO).0, 1);
    hand.end_one().await;
    hand.bench.clock.advance(Millis::from_secs(60));
    hand.bench.accept("four");
    assert_eq!(hand.after(Duration::ZERO).0, 1, "a minute later it is not spent on those that are late");
    hand.lane.settle().await;
    hand.end_one().await;
    let expired = hand.bench.jobs().iter().filter(|job| job.state == JobState::Expired).count();
    assert_eq!((expired, hand.bench.waiting()), (2, 2), "two that failed wait for their retry");
}

#[tokio::test]
async fn a_clock_that_is_set_forward_makes_nothing_too_late() {
    let mut hand = Hand::new(nobody(), "expires = \"1h\"");
    hand.bench.accept("one");
    let later = hand.bench.clock.now().plus(Millis::from_secs(3 * 24 * 60 * 60));
    hand.bench.clock.jump_to(later);
    assert_eq!(hand.after(59 * MINUTE).0, 1, "less than an hour has gone by, whatever the clock says");
}

#[tokio::test]
async fn one_that_can_not_be_closed_holds_up_no_other() {
    let mut hand = Hand::new(nobody(), "expires = \"1m\"");
    for token in ["one", "two", "three"] {
        hand.bench.accept(token);
    }
    hand.bench.clock.advance(Millis::from_secs(60));
    assert_eq!(hand.after(Duration::ZERO).0, 0, "all are late");
    let ids = hand.bench.job_ids();
    hand.bench.store.ask(LoseJob(ids[1])).unwrap();
    hand.lane.settle().await;
    assert_eq!(hand.bench.jobs().iter().filter(|job| job.state == JobState::Expired).count(), 2);
}

#[tokio::test]
async fn what_was_sent_and_can_not_be_noted_is_not_sent_again() {
    let mut hand = Hand::new(nobody(), "retry = { first = \"1s\" }\nbreaker = { failures = 99 }");
    hand.bench.accept("one");
    let delivery = hand.bench.job_ids()[1];
    assert_eq!(hand.after(Duration::ZERO).0, 1);
    // Whether it is read before or after, it is never noted.
    tokio::task::yield_now().await;
    hand.bench.store.ask(LoseJob(delivery)).unwrap();
    hand.end_one().await;
    for _ in 0..3 {
        assert_eq!(hand.after(2 * MINUTE).0, 0);
    }
}

#[tokio::test]
async fn what_an_admin_runs_again_is_sent_however_late() {
    let mut hand = Hand::new(nobody(), "expires = \"1m\"\nretry = { attempts = 1 }");
    hand.bench.accept("one");
    assert_eq!(hand.after(Duration::ZERO).0, 1);
    hand.end_one().await;
    let dead = hand.bench.job_ids()[1];
    hand.bench.clock.advance(Millis::from_secs(3600));
    hand.bench.store.ask(Revive { job: dead, payload: None }).unwrap();
    assert_eq!(hand.after(Duration::ZERO).0, 1);
}
