//! Tests the expiry clock with settings of the wall clock and periods of downtime.

use proptest::prelude::*;

use super::*;

/// Simulated server with its clocks and the true time. Times are in hours.
struct Server {
    hours: u64,
    /// Hours by which the wall clock is ahead of the true time.
    ahead: i64,
    lived: u64,
    clock: ExpiryClock,
    committed: ClockState,
}

/// Simulated row: its stamp, and the true time of its write.
#[derive(Clone, Copy, Debug)]
struct Row {
    at: Timestamp,
    hours: u64,
}

const HOUR: u64 = 60 * 60 * 1000;
const YEAR: u64 = 365 * 24;
const START: Timestamp = Timestamp::from_millis(1_795_507_200_000);

fn hours(hours: u64) -> Millis {
    Millis::new(hours * HOUR)
}

impl Server {
    /// Creates a new file, written by a server whose wall clock is ahead by this number of
    /// hours.
    fn new(ahead: i64) -> Self {
        let wall = wall(YEAR, ahead);
        let committed = ClockState::new(wall);
        let clock = ExpiryClock::resume(&committed, wall, Duration::ZERO);
        Self {
            hours: YEAR,
            ahead,
            lived: 0,
            clock,
            committed,
        }
    }

    fn elapsed(&self) -> Duration {
        hours(self.lived).to_duration()
    }

    fn read(&mut self) {
        let elapsed = self.elapsed();
        self.clock.advance(wall(self.hours, self.ahead), elapsed);
    }

    fn commit(&mut self) {
        self.read();
        self.committed = self.clock.state();
    }

    fn live(&mut self, hours: u64) {
        (self.hours, self.lived) = (self.hours + hours, self.lived + hours);
        self.read();
    }

    /// Sets the wall clock to `ahead` hours ahead of the true time.
    fn set(&mut self, ahead: i64) {
        self.ahead = ahead;
        self.read();
    }

    /// Ends the process, and starts another process after this number of hours.
    fn die(&mut self, closed: u64, ahead: i64) {
        (self.hours, self.ahead) = (self.hours + closed, ahead);
        self.clock = ExpiryClock::resume(&self.committed, wall(self.hours, ahead), self.elapsed());
        self.commit();
    }

    fn restart(&mut self, closed: u64, ahead: i64) {
        self.commit();
        self.die(closed, ahead);
    }

    fn row(&self) -> Row {
        Row {
            at: self.clock.reading(),
            hours: self.hours,
        }
    }

    /// Returns the age of a row by the expiry clock, and the true age.
    fn ages(&self, row: Row) -> [u64; 2] {
        let age = self
            .clock
            .state
            .downtime
            .age(row.at, self.clock.reading())
            .get();
        assert_eq!(age % HOUR, 0);
        [age / HOUR, self.hours - row.hours]
    }

    #[track_caller]
    fn has_age(&self, row: Row, age: u64) {
        assert_eq!(self.ages(row)[0], age);
    }
}

/// Returns a wall clock that is ahead by `ahead` hours, after this number of hours.
fn wall(hours: u64, ahead: i64) -> Timestamp {
    let shown = hours.checked_add_signed(ahead).unwrap();
    START.minus(self::hours(YEAR)).plus(self::hours(shown))
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

const BEHIND: i64 = -24 * 365;
const AHEAD: i64 = 24 * 365;

#[test]
fn expiry_clock_accumulates_sub_millisecond_steps() {
    let committed = ClockState {
        reading: at(1_000),
        ..ClockState::new(START)
    };
    let mut clock = ExpiryClock::resume(&committed, START, Duration::from_micros(500));
    assert_eq!(clock.advance(START, Duration::from_micros(900)), at(1_000));
    assert_eq!(
        clock.advance(START, Duration::from_micros(1_400)),
        at(1_000)
    );
    assert_eq!(
        clock.advance(START, Duration::from_micros(1_600)),
        at(1_001)
    );
    assert_eq!(
        clock.advance(START, Duration::from_micros(2_500)),
        at(1_002)
    );
}

#[test]
fn rows_from_before_a_closed_period_count_it_slowly_and_later_rows_keep_their_own_time() {
    let mut server = Server::new(0);
    let before = server.row();
    server.restart(7 * 24, 0);
    let after = server.row();
    server.has_age(before, 0);
    server.live(10);
    server.has_age(before, 90);
    server.has_age(after, 10);
    server.restart(0, 0);
    server.live(20);
    server.has_age(before, 7 * 24 + 30);
    server.has_age(after, 30);
    assert_eq!(server.clock.state.downtime, DowntimePeriods::default());
}

#[test]
fn second_downtime_adds_no_age_of_the_first_to_new_rows() {
    let mut server = Server::new(0);
    let first = server.row();
    server.restart(100, 0);
    let second = server.row();
    server.live(1);
    server.restart(3, 0);
    let third = server.row();
    server.live(11);
    server.has_age(first, 1 + 11 + 8 + 88);
    server.has_age(second, 1 + 11);
    server.live(1);
    assert_eq!(
        [first, second, third].map(|row| server.ages(row)),
        [[116, 116], [16, 16], [12, 12]]
    );
}

#[test]
fn clock_a_year_ahead_is_counted_ninefold_until_corrected() {
    for set_right_while_running in [true, false] {
        let mut server = Server::new(0);
        let before = server.row();
        server.restart(0, AHEAD);
        let after = server.row();
        server.live(1);
        if set_right_while_running {
            server.set(0);
        } else {
            server.restart(0, 0);
        }
        assert_eq!(server.clock.uncounted_downtime(), Millis::ZERO);
        server.live(100);
        server.has_age(before, 9 + 100);
        server.has_age(after, 1 + 100);
        server.restart(16, 0);
        server.live(100);
        let counted = if set_right_while_running { 16 - 8 } else { 0 };
        server.has_age(before, 209 + counted);
        server.has_age(after, 201 + counted);
        server.restart(16, 0);
        server.live(2);
        server.has_age(after, 201 + counted + 18);
    }
}

#[test]
fn clock_correction_while_closed_is_no_downtime() {
    let mut server = Server::new(0);
    let first = server.row();
    // For rows written since, the correction must count neither this downtime nor the next one.
    server.restart(6, BEHIND);
    server.live(2);
    server.restart(8, BEHIND);
    let second = server.row();
    server.live(1);
    server.restart(5, 0);
    server.live(5);
    server.has_age(first, 2 + 1 + 5);
    server.has_age(second, 1 + 5);
    server.restart(30, 0);
    server.live(10);
    server.has_age(first, 8 + 30 + 10);
    server.has_age(second, 6 + 30 + 10);

    // The whole setting is taken from the uncounted downtime. So the hidden ten hours are no
    // part of the downtime of five hours.
    let mut server = Server::new(0);
    server.restart(200, 0);
    server.restart(10, -100);
    let row = server.row();
    server.restart(5, 0);
    server.live(30);
    server.has_age(row, 30);
}

#[test]
fn clock_correction_in_process_changes_no_age() {
    let mut server = Server::new(0);
    let row = server.row();
    for _ in 0..2 {
        let row = server.row();
        server.set(BEHIND);
        server.live(2);
        server.restart(7, BEHIND);
        server.set(0);
        server.live(1);
        server.has_age(row, 2 + 1);
    }
    let age = server.ages(row)[0];
    server.restart(8, 0);
    server.live(10);
    server.has_age(row, age + 8 + 10);
}

#[test]
fn clock_step_and_return_in_process_changes_no_age() {
    let mut server = Server::new(0);
    let row = server.row();
    server.restart(10, 0);
    server.set(AHEAD);
    server.live(1);
    server.set(0);
    server.live(1);
    assert_eq!(server.ages(row), [12, 12], "what was owed is counted");
    server.restart(16, 0);
    server.live(2);
    assert_eq!(server.ages(row), [30, 30]);
}

#[test]
fn revoked_downtime_returns_after_clock_correction() {
    let mut server = Server::new(0);
    let first = server.row();
    server.restart(40, 0);
    let second = server.row();
    server.set(-100);
    assert_eq!(
        (
            server.clock.uncounted_downtime(),
            server.clock.state.set_back
        ),
        (Millis::ZERO, hours(60))
    );
    server.restart(5, -100);
    let third = server.row();
    server.restart(7, 0);
    server.live(10);
    server.has_age(first, 40 + 7 + 10);
    server.has_age(second, 7 + 10);
    assert_eq!(server.ages(third), [17, 17]);
}

#[test]
fn clock_step_causes_commit() {
    let mut server = Server::new(BEHIND);
    let row = server.row();
    server.live(1);
    let last = server.committed.clone();
    server.committed = server.clock.state();
    assert!(!server.committed.wall_was_set_since(&last));
    server.set(0);
    server.committed = server.clock.state();
    assert!(server.committed.wall_was_set_since(&last));
    server.live(1);
    server.die(2, 0);
    server.live(1);
    server.has_age(row, 1 + 1 + 3);
}

#[test]
fn unset_clock_adds_no_downtime() {
    let epoch = Duration::ZERO;
    // The file is created before the clock is set. The clock is then set while the file is
    // closed, or while the process runs.
    let clock = ExpiryClock::resume(&ClockState::new(at(0)), START, epoch);
    assert_eq!(
        (clock.uncounted_downtime(), clock.reading()),
        (Millis::ZERO, at(0))
    );
    let mut clock = ExpiryClock::resume(&ClockState::new(at(0)), at(0), epoch);
    assert_eq!(clock.advance(START, Duration::from_secs(1)), at(1_000));
    assert_eq!((clock.set_ahead, clock.state().wall), (Millis::ZERO, START));

    // A server whose clock was set starts once without a set clock. The next start counts the
    // whole time between.
    let mut committed = ClockState::new(START);
    let mut clock = ExpiryClock::resume(&committed, at(0), epoch);
    clock.advance(at(HOUR), hours(1).to_duration());
    assert_eq!(
        (clock.uncounted_downtime(), clock.state.set_back),
        (Millis::ZERO, Millis::ZERO)
    );
    committed = clock.state();
    let clock = ExpiryClock::resume(&committed, START.plus(hours(10)), epoch);
    assert_eq!(clock.uncounted_downtime(), hours(9));

    // A clock beyond the last year is ignored too. Without this, the expiry clock would stop at
    // its maximum.
    let clock = ExpiryClock::resume(&ClockState::new(START), Timestamp::MAX, epoch);
    assert_eq!(clock.reading(), START);
}

#[test]
fn slewed_clock_reduces_downtime_by_the_slew() {
    let began = START.plus(hours(100));
    let mut clock = ExpiryClock::resume(&ClockState::new(START), began, Duration::ZERO);
    for ms in 1..=100_000_u64 {
        // The clock is a tenth of a percent too slow, and is read in whole milliseconds.
        clock.advance(
            began.plus(Millis::new(ms - ms / 1000)),
            Duration::from_millis(ms),
        );
    }
    let uncounted_downtime = 100 * HOUR - 8 * 100_000;
    assert!(
        (uncounted_downtime - 100..=uncounted_downtime).contains(&clock.uncounted_downtime().get()),
        "{:?}",
        clock.uncounted_downtime()
    );
}

#[test]
fn nightly_shutdowns_for_a_year_keep_true_ages() {
    let mut server = Server::new(0);
    let mut rows = Vec::new();
    for _ in 0..365 {
        rows.push(server.row());
        server.live(8);
        server.restart(16, 0);
        assert!(
            rows.iter()
                .all(|row| server.ages(*row)[1] - server.ages(*row)[0] <= 16)
        );
    }
    server.live(2);
    assert!(
        rows.iter()
            .all(|row| server.ages(*row)[0] == server.ages(*row)[1])
    );
}

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
    fn a_wall_clock_that_is_right_or_behind_makes_no_row_older_than_it_is(steps in steps(&[0, 0, -1000])) {
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
        lives in prop::collection::vec((0..200_u64, prop::sample::select(vec![0, 70, -100, AHEAD, BEHIND])), 1..20),
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
