//! Property tests of the ages of rows after any order of settings, restarts and crashes.

use proptest::prelude::*;

use super::simulated_server::{AHEAD, BEHIND, Row, Server};

#[derive(Clone, Copy, Debug)]
enum Step {
    Live(u64),
    Set(i64),
    Restart(u64, i64),
    Die(u64, i64),
}

/// Generates steps with a wall clock that is ahead by one of these numbers of hours.
fn steps(ahead: &'static [i64]) -> impl Strategy<Value = Vec<Step>> {
    let ahead = || prop::sample::select(ahead);
    let step = prop_oneof![
        (0..50_u64).prop_map(Step::Live),
        ahead().prop_map(Step::Set),
        (0..90_u64, ahead()).prop_map(|(closed, ahead)| Step::Restart(closed, ahead)),
        (0..90_u64, ahead()).prop_map(|(closed, ahead)| Step::Die(closed, ahead)),
    ];
    prop::collection::vec(step, 1..40)
}

/// Runs the steps, with a number of hours before each step. Checks all rows so far after each
/// step, and returns the rows.
fn run(
    server: &mut Server,
    steps: &[Step],
    between: u64,
    look: impl Fn(&Server, &[Row]),
) -> Vec<Row> {
    let mut rows = vec![server.row()];
    for step in steps {
        server.live(between);
        match *step {
            Step::Live(hours) => server.live(hours),
            Step::Set(ahead) => {
                server.set(ahead);
                // The writer also commits after a setting of the wall clock.
                server.commit();
            }
            Step::Restart(closed, ahead) => server.restart(closed, ahead),
            Step::Die(closed, ahead) => {
                // A row exists in the file only after its commit.
                server.commit();
                server.live(3);
                server.die(closed, ahead);
            }
        }
        rows.push(server.row());
        look(server, &rows);
    }
    rows
}

proptest! {
    #[test]
    fn a_wall_clock_that_is_right_or_behind_makes_no_row_older_than_it_is(
        steps in steps(&[0, 0, -1000]),
    ) {
        // No downtime is uncounted when the clock falls behind, and no downtime is as long as
        // the recorded setting back.
        run(&mut Server::new(0), &steps, 12, |server, rows| {
            for row in rows {
                let [age, real] = server.ages(*row);
                assert!(age <= real, "{row:?} of {rows:?}: {age}, but {real}");
            }
        });
    }

    #[test]
    fn whatever_the_wall_clock_does_a_row_keeps_its_own_time_until_the_file_is_closed(
        before in steps(&[0, 70, -100, AHEAD, BEHIND]),
        lives in prop::collection::vec(
            (0..200_u64, prop::sample::select(vec![0, 70, -100, AHEAD, BEHIND])),
            1..20,
        ),
    ) {
        let mut server = Server::new(0);
        run(&mut server, &before, 0, |_, _| {});
        let row = server.row();
        for (hours, ahead) in lives {
            server.set(ahead);
            server.live(hours);
            let [age, real] = server.ages(row);
            assert_eq!(age, real);
        }
    }

    #[test]
    fn with_a_right_wall_clock_every_row_gets_as_old_as_it_is(steps in steps(&[0])) {
        let mut server = Server::new(0);
        let rows = run(&mut server, &steps, 0, |_, _| {});
        server.live(500);
        for row in rows {
            let [age, real] = server.ages(row);
            assert_eq!(age, real);
        }
    }
}
