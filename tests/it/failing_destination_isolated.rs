//! A destination that hangs or is down slows down neither another destination nor the intake.
//!
//! All measurements are from one run on one machine. They compare the healthy destination alone
//! with the healthy destination next to the broken one, in turns. A machine that is busy with other
//! work is slow in both cases. The tolerance on top of the ratio covers load that affects only one
//! case.

use std::time::{Duration, Instant};

use crate::support::Server;
use crate::support::fake_services::{Behavior, ConnectionBehavior, FakeReceiver, flow};
use crate::support::form::Form;
use crate::support::http::signed_post;

/// Forms in each turn, one after another.
const FORMS: usize = 100;

/// Turns in each case.
const ROUNDS: usize = 3;

/// The timeout is far above all measured times, so a wait for the broken destination would be
/// visible.
const RULE: &str = "timeout = \"3s\"\nretry = { initial_delay = \"50ms\", max_delay = \"200ms\", max_attempts = 200 }\n\
                    breaker = { failure_threshold = 4, open_for = \"100ms\" }";

/// Measurements of one case.
#[derive(Default)]
struct Measurements {
    /// Times from the acceptance of a form to the receipt of its event.
    delivery: Vec<Duration>,
    /// Times from the sending of a form to its response.
    intake: Vec<Duration>,
}

/// Sends forms and waits until `well` has received an event for each.
fn turn(server: &Server, well: &FakeReceiver, figures: &mut Measurements, name: &str) {
    let before = well.request_count();
    let mut connection = server.connect();
    for number in 0..FORMS {
        let began = Instant::now();
        let request = signed_post("/form", &Form::new(format!("{name}-{number}")).body());
        assert!(connection.exchange(&request).unwrap().is_accepted());
        figures.intake.push(began.elapsed());
    }
    for asked in well.wait_for_requests(before + FORMS).split_off(before) {
        figures.delivery.push(asked.latency());
    }
}

fn percentile(figures: &mut [Duration], of_hundred: usize) -> Duration {
    figures.sort_unstable();
    figures[(figures.len() - 1) * of_hundred / 100]
}

fn assert_not_slower(what: &str, alone: &mut [Duration], beside: &mut [Duration]) {
    for (of_hundred, slack) in [
        (50, Duration::from_millis(10)),
        (99, Duration::from_millis(100)),
    ] {
        let (alone, beside) = (
            percentile(alone, of_hundred),
            percentile(beside, of_hundred),
        );
        assert!(
            beside <= 2 * alone + slack,
            "{what}, {of_hundred} of 100: {alone:?} alone, {beside:?} beside the broken one"
        );
    }
}

fn beside(break_it: impl Fn(&FakeReceiver)) {
    let (well, broken) = (FakeReceiver::well(), FakeReceiver::well());
    let tables = format!(
        "{}{}{}",
        flow(&["well", "broken"]),
        well.table("well", RULE),
        broken.table("broken", RULE)
    );
    let server = Server::start(&tables);
    let (mut alone, mut beside) = (Measurements::default(), Measurements::default());
    turn(&server, &well, &mut Measurements::default(), "warm");
    for round in 0..ROUNDS {
        broken.recover();
        server.settled();
        turn(&server, &well, &mut alone, &format!("alone-{round}"));
        break_it(&broken);
        turn(&server, &well, &mut beside, &format!("beside-{round}"));
    }
    assert_not_slower(
        "deliveries to the other",
        &mut alone.delivery,
        &mut beside.delivery,
    );
    assert_not_slower("answers to forms", &mut alone.intake, &mut beside.intake);

    broken.recover();
    server.settled();
    assert_eq!(
        broken.taken().len(),
        (1 + 2 * ROUNDS) * FORMS,
        "and the broken one has lost nothing"
    );
}

#[test]
fn hanging_destination_slows_no_other() {
    beside(|broken| broken.becomes(|_| Behavior::Hang));
}

#[test]
fn failing_destination_slows_no_other() {
    beside(|broken| {
        broken.becomes(|_| Behavior::Close);
        broken.set_connection_behavior(ConnectionBehavior::CloseAtOnce);
    });
}

#[test]
fn dripping_destination_slows_no_other() {
    beside(|broken| {
        broken.becomes(|_| {
            std::thread::park_timeout(Duration::from_millis(300));
            Behavior::DripBody
        });
    });
}
