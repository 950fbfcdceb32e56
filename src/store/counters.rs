//! The one row that every commit rewrites: the next free numbers, the clock that expiry goes by, and whether the file
//! was closed in peace.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{AgentId, BookingId, JobId, LeadId, SubmissionId};
use crate::domain::time::{Millis, Timestamp};

use super::closings::{Closings, minus, plus};

/// Numbers given out so far, and when. Numbers begin at 1 and are never given twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    submissions: u64,
    jobs: u64,
    leads: u64,
    bookings: u64,
    agents: u64,
    /// Rows written to the token log and to the message log.
    pub(super) log_rows: [u64; 2],
    /// Rows up to these are no longer in memory: their keys are in `old_keys`.
    pub(super) evicted: [u64; 2],
    /// The elapsed clock at this commit. See [`ExpiryClock`].
    expiry: Timestamp,
    /// Closed periods that rows from before do not count in full. See [`ExpiryClock`].
    pub(super) closings: Closings,
    /// Time by which the wall clock was set back, as far as the wall clock has not been set ahead again.
    set_back: Millis,
    /// True if a start found the wall clock set back. The length of the closed period before that start is unknown.
    hides_closing: bool,
    /// The wall clock at this commit, if the wall clock was ever set.
    wall: Timestamp,
    /// Whether nothing came after this commit: the store was closed.
    pub(super) clean: bool,
}

impl Counters {
    /// The counters of a file that holds nothing.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            submissions: 0,
            jobs: 0,
            leads: 0,
            bookings: 0,
            agents: 0,
            log_rows: [0; 2],
            evicted: [0; 2],
            expiry: now,
            closings: Closings::default(),
            set_back: Millis::ZERO,
            hides_closing: false,
            wall: now,
            clean: true,
        }
    }

    pub(super) const fn next_submission(&mut self) -> SubmissionId {
        SubmissionId::new(next(&mut self.submissions))
    }

    pub(super) const fn next_job(&mut self) -> JobId {
        JobId::new(next(&mut self.jobs))
    }

    pub(super) const fn next_lead(&mut self) -> LeadId {
        LeadId::new(next(&mut self.leads))
    }

    pub(super) const fn next_booking(&mut self) -> BookingId {
        BookingId::new(next(&mut self.bookings))
    }

    pub(super) const fn next_agent(&mut self) -> AgentId {
        AgentId::new(next(&mut self.agents))
    }

    /// Notes what the clocks show.
    pub(super) fn stamp(&mut self, clock: &ExpiryClock) {
        self.expiry = clock.shown;
        self.closings.clone_from(&clock.closings);
        (self.set_back, self.hides_closing) = (clock.set_back, clock.hides_closing);
        self.wall = clock.wall();
    }

    /// Returns `true` if the wall clock was set between the commit of `earlier` and these counters.
    pub(super) fn wall_was_set_since(&self, earlier: &Self) -> bool {
        let expected = earlier.wall.plus(self.expiry.since(earlier.expiry));
        // The two differ by the rounding of both, or by a setting of at least twice as much.
        distance(expected, self.wall) >= Millis::new(SET.get() / 2)
    }
}

/// The elapsed clock: idempotency keys expire by it and retention goes by it. The elapsed clock never goes back. While the
/// process runs, the clock counts the time of the process, whatever the wall clock does.
///
/// Only the wall clock knows for how long the file was closed, and the wall clock may be wrong. Therefore:
///
/// - The clock counts a closed period at once, but rows from before the period count it slowly: they get older by [`SPEED`]
///   ms of the period with each ms that goes by. A row that is written after the period keeps its own time. After a week's
///   pause all ages are right within a day. A start with a clock that is a year ahead, set right after a minute, costs rows
///   from before nine minutes, and later rows nothing. See [`Closings`].
/// - A setting back of the wall clock takes back what rows have not counted yet, and is remembered beyond that: the wall
///   clock may be behind from then on, and its correction must not pass for a closed period. A period shorter than what is
///   remembered does not count. Of a longer period the excess counts. If the excess also covers what was taken back, the
///   setting back is undone: rows count that again. If a start found the wall clock set back, the excess does not count: it
///   may be from before that start.
/// - A setting ahead of the wall clock while the process runs changes no age. Settings ahead and back cancel each other out.
/// - A wall clock that shows a time before this program existed says nothing.
///
/// So a wrong wall clock, or its correction, can make the ages of rows too small, but hardly too large. Rows get older in any
/// case by the time that the process lives.
#[derive(Clone, Debug)]
pub(super) struct ExpiryClock {
    /// The elapsed clock when it was last read.
    shown: Timestamp,
    /// The process clock at that time.
    elapsed: Duration,
    /// As in [`Counters`].
    closings: Closings,
    /// As in [`Counters`].
    set_back: Millis,
    /// As in [`Counters`].
    hides_closing: bool,
    /// Time by which the wall clock was set ahead in this process, as far as the wall clock has not been set back again.
    set_ahead: Millis,
    /// The wall clock and the process clock when the two were last compared and had come apart.
    compared: (Timestamp, Duration),
}

/// Milliseconds of a closed period that rows from before count with each millisecond that goes by.
const SPEED: u64 = 8;

/// A wall clock that moved by so much more or less than the process clock was set. Less is how time servers steer it.
const SET: Millis = Millis::from_secs(1);

/// 2025-01-01, when this program did not exist: a wall clock that shows less was never set, and says nothing.
const NEVER_SET: Timestamp = Timestamp::from_millis(1_735_689_600_000);

/// The end of the year 9999. A wall clock that shows more says nothing.
const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_999);

impl ExpiryClock {
    /// Takes up the clock where a file's last commit left it.
    pub(super) fn resume(counters: &Counters, wall: Timestamp, elapsed: Duration) -> Self {
        let mut clock = Self {
            shown: counters.expiry,
            elapsed,
            closings: counters.closings.clone(),
            set_back: counters.set_back,
            hides_closing: counters.hides_closing,
            set_ahead: Millis::ZERO,
            compared: (counters.wall, elapsed),
        };
        if says_something(wall) {
            clock.compared = (wall, elapsed);
            if says_something(counters.wall) {
                let set_back = counters.wall.since(wall);
                if set_back >= SET {
                    clock.note_set_back(set_back);
                    clock.hides_closing = true;
                } else if wall > counters.wall {
                    clock.note_closed(wall.since(counters.wall));
                }
            }
        }
        clock
    }

    /// The elapsed clock when it was last read.
    pub(super) const fn shown(&self) -> Timestamp {
        self.shown
    }

    /// Time spent closed that rows from before will count.
    pub(super) fn owed(&self) -> Millis {
        self.closings.owed()
    }

    /// Reads the clock. `wall` and `elapsed`: the wall clock and the process clock.
    pub(super) fn read(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        self.compare(wall, elapsed);
        let went_by = millis(elapsed.saturating_sub(self.elapsed));
        self.closings.count(Millis::new(went_by.get().saturating_mul(SPEED)));
        self.shown = self.shown.plus(went_by);
        // What is less than a millisecond is left for the next reading.
        self.elapsed = self.elapsed.saturating_add(went_by.to_duration());
        self.shown
    }

    /// The wall clock when the clock was last read. One that says nothing is replaced by what it showed before and the time
    /// since then.
    fn wall(&self) -> Timestamp {
        self.wall_at(self.elapsed)
    }

    fn wall_at(&self, elapsed: Duration) -> Timestamp {
        let (wall, then) = self.compared;
        wall.plus(millis(elapsed.saturating_sub(then)))
    }

    /// Looks whether the wall clock was set.
    fn compare(&mut self, wall: Timestamp, elapsed: Duration) {
        let expected = self.wall_at(elapsed);
        if !says_something(wall) || distance(expected, wall) < SET {
            return;
        }
        self.compared = (wall, elapsed);
        if says_something(expected) {
            self.note_set_back(expected.since(wall));
            self.note_set_ahead(wall.since(expected));
        }
    }

    /// The file was closed for `length` by the wall clock.
    fn note_closed(&mut self, length: Millis) {
        if length < self.set_back {
            return;
        }
        let mut closed = minus(length, std::mem::take(&mut self.set_back));
        let taken_back = self.closings.void();
        if closed >= taken_back {
            self.closings.give_back();
            closed = minus(closed, taken_back);
        }
        // The rest may be from before the start that found the wall clock set back: rows written since must not count it.
        if std::mem::take(&mut self.hides_closing) {
            return;
        }
        self.closings.add(self.shown, closed);
        self.shown = self.shown.plus(closed);
    }

    /// The wall clock was set back by `length`.
    fn note_set_back(&mut self, length: Millis) {
        let corrects = length.min(self.set_ahead);
        self.set_ahead = minus(self.set_ahead, corrects);
        let rest = self.closings.take_back(minus(length, corrects));
        self.set_back = plus(self.set_back, rest);
    }

    /// The wall clock was set ahead by `length` while the process ran.
    fn note_set_ahead(&mut self, length: Millis) {
        let corrects = length.min(self.set_back);
        self.set_back = minus(self.set_back, corrects);
        self.set_ahead = plus(self.set_ahead, minus(length, corrects));
    }
}

/// Returns `true` if a wall clock that shows `wall` may be right.
fn says_something(wall: Timestamp) -> bool {
    (NEVER_SET..=LAST).contains(&wall)
}

fn distance(one: Timestamp, other: Timestamp) -> Millis {
    one.since(other).max(other.since(one))
}

fn millis(duration: Duration) -> Millis {
    Millis::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

const fn next(counter: &mut u64) -> u64 {
    // 2⁶⁴ submissions at a million a second take half a million years.
    *counter = counter.saturating_add(1);
    *counter
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A server, its clocks, and the time that they should show. Times are hours.
    struct Server {
        hours: u64,
        /// Hours by which the wall clock is ahead.
        ahead: i64,
        lived: u64,
        clock: ExpiryClock,
        counters: Counters,
    }

    /// A row: its stamp, and when it was written.
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
        /// A new file, made by a server whose wall clock is ahead by so much.
        fn new(ahead: i64) -> Self {
            let wall = wall(YEAR, ahead);
            let counters = Counters::new(wall);
            let clock = ExpiryClock::resume(&counters, wall, Duration::ZERO);
            Self { hours: YEAR, ahead, lived: 0, clock, counters }
        }

        fn elapsed(&self) -> Duration {
            hours(self.lived).to_duration()
        }

        fn read(&mut self) {
            let elapsed = self.elapsed();
            self.clock.read(wall(self.hours, self.ahead), elapsed);
        }

        fn commit(&mut self) {
            self.read();
            self.counters.stamp(&self.clock);
        }

        fn live(&mut self, hours: u64) {
            (self.hours, self.lived) = (self.hours + hours, self.lived + hours);
            self.read();
        }

        /// The wall clock is set.
        fn set(&mut self, ahead: i64) {
            self.ahead = ahead;
            self.read();
        }

        /// The process dies, and another one starts after so many hours.
        fn die(&mut self, closed: u64, ahead: i64) {
            (self.hours, self.ahead) = (self.hours + closed, ahead);
            self.clock = ExpiryClock::resume(&self.counters, wall(self.hours, ahead), self.elapsed());
            self.commit();
        }

        fn restart(&mut self, closed: u64, ahead: i64) {
            self.commit();
            self.die(closed, ahead);
        }

        fn row(&self) -> Row {
            Row { at: self.clock.shown(), hours: self.hours }
        }

        /// The age of a row by the elapsed clock, and the true one.
        fn ages(&self, row: Row) -> [u64; 2] {
            let age = self.clock.closings.age(row.at, self.clock.shown()).get();
            assert_eq!(age % HOUR, 0);
            [age / HOUR, self.hours - row.hours]
        }

        #[track_caller]
        fn has_age(&self, row: Row, age: u64) {
            assert_eq!(self.ages(row)[0], age);
        }
    }

    /// A wall clock that is ahead by so much after so many hours.
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
    fn the_expiry_clock_moves_with_time_that_goes_by_also_in_small_steps() {
        let counters = Counters { expiry: at(1_000), ..Counters::new(START) };
        let mut clock = ExpiryClock::resume(&counters, START, Duration::from_micros(500));
        assert_eq!(clock.read(START, Duration::from_micros(900)), at(1_000));
        assert_eq!(clock.read(START, Duration::from_micros(1_400)), at(1_000));
        assert_eq!(clock.read(START, Duration::from_micros(1_600)), at(1_001));
        assert_eq!(clock.read(START, Duration::from_micros(2_500)), at(1_002));
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
        assert_eq!(server.clock.closings, Closings::default());
    }

    #[test]
    fn a_second_period_ages_no_row_that_was_written_after_the_first_by_what_is_owed_of_the_first() {
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
        assert_eq!([first, second, third].map(|row| server.ages(row)), [[116, 116], [16, 16], [12, 12]]);
    }

    #[test]
    fn a_start_with_a_clock_a_year_ahead_costs_nine_times_the_time_until_it_is_set_right() {
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
            assert_eq!(server.clock.owed(), Millis::ZERO);
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
    fn a_clock_that_was_behind_and_is_set_right_while_the_file_is_closed_is_no_closed_period() {
        let mut server = Server::new(0);
        let first = server.row();
        // The correction must count neither this period nor the next one for rows written since.
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

        // All of the setting back is taken from what was owed: the hidden ten hours are no part of the period of five.
        let mut server = Server::new(0);
        server.restart(200, 0);
        server.restart(10, -100);
        let row = server.row();
        server.restart(5, 0);
        server.live(30);
        server.has_age(row, 30);
    }

    #[test]
    fn a_clock_that_was_behind_and_is_set_right_in_the_running_process_changes_no_age() {
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
    fn a_clock_set_ahead_and_back_in_one_process_changes_no_age_and_no_later_period() {
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
    fn what_a_clock_that_falls_behind_takes_back_counts_again_once_the_clock_is_right_and_concerns_no_later_row() {
        let mut server = Server::new(0);
        let first = server.row();
        server.restart(40, 0);
        let second = server.row();
        server.set(-100);
        assert_eq!((server.clock.owed(), server.clock.set_back), (Millis::ZERO, hours(60)));
        server.restart(5, -100);
        let third = server.row();
        server.restart(7, 0);
        server.live(10);
        server.has_age(first, 40 + 7 + 10);
        server.has_age(second, 7 + 10);
        assert_eq!(server.ages(third), [17, 17]);
    }

    #[test]
    fn a_setting_of_the_wall_clock_is_a_reason_to_commit() {
        let mut server = Server::new(BEHIND);
        let row = server.row();
        server.live(1);
        let last = server.counters.clone();
        server.counters.stamp(&server.clock);
        assert!(!server.counters.wall_was_set_since(&last));
        server.set(0);
        server.counters.stamp(&server.clock);
        assert!(server.counters.wall_was_set_since(&last));
        server.live(1);
        server.die(2, 0);
        server.live(1);
        server.has_age(row, 1 + 1 + 3);
    }

    #[test]
    fn a_clock_that_was_never_set_says_nothing() {
        let epoch = Duration::ZERO;
        // The file is made before the clock is set, which is set while the file is closed, or while the process runs.
        let clock = ExpiryClock::resume(&Counters::new(at(0)), START, epoch);
        assert_eq!((clock.owed(), clock.shown()), (Millis::ZERO, at(0)));
        let mut clock = ExpiryClock::resume(&Counters::new(at(0)), at(0), epoch);
        assert_eq!(clock.read(START, Duration::from_secs(1)), at(1_000));
        assert_eq!((clock.set_ahead, clock.wall()), (Millis::ZERO, START));

        // A server whose clock was set starts once without: the next start knows all of the time between.
        let mut counters = Counters::new(START);
        let mut clock = ExpiryClock::resume(&counters, at(0), epoch);
        clock.read(at(HOUR), hours(1).to_duration());
        assert_eq!((clock.owed(), clock.set_back), (Millis::ZERO, Millis::ZERO));
        counters.stamp(&clock);
        let clock = ExpiryClock::resume(&counters, START.plus(hours(10)), epoch);
        assert_eq!(clock.owed(), hours(9));

        // A clock past all years says nothing either: the elapsed clock must not get stuck at its end.
        let clock = ExpiryClock::resume(&Counters::new(START), Timestamp::MAX, epoch);
        assert_eq!(clock.shown(), START);
    }

    #[test]
    fn a_clock_that_a_time_server_slows_down_takes_back_no_more_than_that() {
        let began = START.plus(hours(100));
        let mut clock = ExpiryClock::resume(&Counters::new(START), began, Duration::ZERO);
        for ms in 1..=100_000_u64 {
            // A tenth of a percent too slow, read in whole milliseconds.
            clock.read(began.plus(Millis::new(ms - ms / 1000)), Duration::from_millis(ms));
        }
        let owed = 100 * HOUR - 8 * 100_000;
        assert!((owed - 100..=owed).contains(&clock.owed().get()), "{:?}", clock.owed());
    }

    #[test]
    fn a_server_that_is_switched_off_each_night_for_a_year_keeps_true_ages() {
        let mut server = Server::new(0);
        let mut rows = Vec::new();
        for _ in 0..365 {
            rows.push(server.row());
            server.live(8);
            server.restart(16, 0);
            assert!(rows.iter().all(|row| server.ages(*row)[1] - server.ages(*row)[0] <= 16));
        }
        server.live(2);
        assert!(rows.iter().all(|row| server.ages(*row)[0] == server.ages(*row)[1]));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Live(u64),
        Set(i64),
        Restart(u64, i64),
        Die(u64, i64),
    }

    /// Steps with a wall clock that is ahead by one of these.
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

    /// Runs the steps with so many hours before each, calls `look` after each with all rows so far, and returns the rows.
    fn run(server: &mut Server, steps: &[Step], between: u64, look: impl Fn(&Server, &[Row])) -> Vec<Row> {
        let mut rows = vec![server.row()];
        for step in steps {
            server.live(between);
            match *step {
                Step::Live(hours) => server.live(hours),
                Step::Set(ahead) => {
                    server.set(ahead);
                    // As the writer does.
                    server.commit();
                }
                Step::Restart(closed, ahead) => server.restart(closed, ahead),
                Step::Die(closed, ahead) => {
                    // Rows are in a file by their commits.
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
            // Nothing is owed when the clock falls behind: a closed period cannot be as long as what is remembered.
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
}
