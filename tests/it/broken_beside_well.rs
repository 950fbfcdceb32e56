//! A destination that hangs or is gone slows down neither another one nor the intake.
//!
//! All figures are of one run on one machine: what it does alone against what it does beside the broken one, in turns. A
//! machine that is busy with other things is slow in both; the slack on top of the ratio is for what strikes only one.

use std::time::{Duration, Instant};

use crate::support::Server;
use crate::support::form::Form;
use crate::support::http::signed_post;
use crate::support::world::{Act, Door, World, flow};

/// Forms in each turn, one after the other.
const FORMS: usize = 100;

/// Turns in each state.
const TURNS: usize = 3;

/// The timeout is far above anything that is measured: whoever waited for the broken one would show it.
const RULE: &str = "timeout = \"3s\"\nretry = { first = \"50ms\", ceiling = \"200ms\", attempts = 200 }\n\
                    breaker = { failures = 4, pause = \"100ms\" }";

/// What was measured in one state.
#[derive(Default)]
struct Figures {
    /// From the moment at which a form was taken to its receipt.
    delivery: Vec<Duration>,
    /// From sending a form to its answer.
    intake: Vec<Duration>,
}

/// Sends forms, and waits until `well` was told of all of them.
fn turn(server: &Server, well: &World, figures: &mut Figures, name: &str) {
    let before = well.times_asked();
    let mut connection = server.connect();
    for number in 0..FORMS {
        let began = Instant::now();
        let request = signed_post("/form", &Form::new(format!("{name}-{number}")).body());
        assert!(connection.exchange(&request).unwrap().is_accepted());
        figures.intake.push(began.elapsed());
    }
    for asked in well.until_asked(before + FORMS).split_off(before) {
        figures.delivery.push(asked.latency());
    }
}

fn percentile(figures: &mut [Duration], of_hundred: usize) -> Duration {
    figures.sort_unstable();
    figures[(figures.len() - 1) * of_hundred / 100]
}

fn assert_beside(what: &str, alone: &mut [Duration], beside: &mut [Duration]) {
    for (of_hundred, slack) in [(50, Duration::from_millis(10)), (99, Duration::from_millis(100))] {
        let (alone, beside) = (percentile(alone, of_hundred), percentile(beside, of_hundred));
        assert!(
            beside <= 2 * alone + slack,
            "{what}, {of_hundred} of 100: {alone:?} alone, {beside:?} beside the broken one"
        );
    }
}

fn beside(break_it: impl Fn(&World)) {
    let (well, broken) = (World::well(), World::well());
    let tables = format!("{}{}{}", flow(&["well", "broken"]), well.table("well", RULE), broken.table("broken", RULE));
    let server = Server::start(&tables);
    let (mut alone, mut beside) = (Figures::default(), Figures::default());
    turn(&server, &well, &mut Figures::default(), "warm");
    for round in 0..TURNS {
        broken.recovers();
        server.settled();
        turn(&server, &well, &mut alone, &format!("alone-{round}"));
        break_it(&broken);
        turn(&server, &well, &mut beside, &format!("beside-{round}"));
    }
    assert_beside("deliveries to the other", &mut alone.delivery, &mut beside.delivery);
    assert_beside("answers to forms", &mut alone.intake, &mut beside.intake);

    broken.recovers();
    server.settled();
    assert_eq!(broken.taken().len(), (1 + 2 * TURNS) * FORMS, "and the broken one has lost nothing");
}

#[test]
fn one_that_hangs_slows_nobody_else() {
    beside(|broken| broken.becomes(|_| Act::Hang));
}

#[test]
fn one_that_fails_at_once_slows_nobody_else() {
    beside(|broken| {
        broken.becomes(|_| Act::Close);
        broken.receives(Door::Slam);
    });
}

#[test]
fn one_that_answers_by_and_by_slows_nobody_else() {
    beside(|broken| {
        broken.becomes(|_| {
            std::thread::park_timeout(Duration::from_millis(300));
            Act::DripBody
        });
    });
}
