//! Holds the one row that every commit rewrites: the next free IDs, the expiry clock, and the mark
//! of a clean shutdown.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{AgentId, BookingId, JobId, LeadId, SubmissionId};
use crate::domain::time::{Millis, Timestamp};

use crate::store::downtime::{DowntimePeriods, minus, plus};

/// Last IDs assigned, and the clocks. IDs begin at 1 and are never assigned twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Counters {
    submissions: u64,
    jobs: u64,
    leads: u64,
    bookings: u64,
    agents: u64,
    /// Number of rows written to the token log and to the message log.
    pub(in crate::store) log_rows: [u64; 2],
    /// Last evicted row of each log: the keys up to this row are not in memory, but in table
    /// `evicted_keys`.
    pub(in crate::store) evicted_up_to: [u64; 2],
    /// Expiry clock at this commit. See [`ExpiryClock`].
    expiry_reading: Timestamp,
    /// Periods of downtime that earlier rows do not fully count. See [`ExpiryClock`].
    pub(in crate::store) downtime: DowntimePeriods,
    /// Time by which the wall clock was set back and has not been set ahead again since.
    set_back: Millis,
    /// `true` if a start found the wall clock set back. The length of the downtime before that
    /// start is unknown.
    has_unknown_downtime: bool,
    /// Wall clock at this commit, in UTC, if the wall clock was ever set.
    wall_clock: Timestamp,
    /// `true` if this commit is the last one of a clean shutdown.
    pub(in crate::store) is_clean: bool,
}

impl Counters {
    /// Returns the counters of an empty file.
    pub(in crate::store) fn new(now: Timestamp) -> Self {
        Self {
            submissions: 0,
            jobs: 0,
            leads: 0,
            bookings: 0,
            agents: 0,
            log_rows: [0; 2],
            evicted_up_to: [0; 2],
            expiry_reading: now,
            downtime: DowntimePeriods::default(),
            set_back: Millis::ZERO,
            has_unknown_downtime: false,
            wall_clock: now,
            is_clean: true,
        }
    }

    pub(in crate::store) const fn next_submission(&mut self) -> SubmissionId {
        SubmissionId::new(increment(&mut self.submissions))
    }

    pub(in crate::store) const fn next_job(&mut self) -> JobId {
        JobId::new(increment(&mut self.jobs))
    }

    pub(in crate::store) const fn next_lead(&mut self) -> LeadId {
        LeadId::new(increment(&mut self.leads))
    }

    pub(in crate::store) const fn next_booking(&mut self) -> BookingId {
        BookingId::new(increment(&mut self.bookings))
    }

    pub(in crate::store) const fn next_agent(&mut self) -> AgentId {
        AgentId::new(increment(&mut self.agents))
    }

    /// Records the readings of the clocks.
    pub(in crate::store) fn record_clocks(&mut self, clock: &ExpiryClock) {
        self.expiry_reading = clock.reading;
        self.downtime.clone_from(&clock.closings);
        (self.set_back, self.has_unknown_downtime) = (clock.set_back, clock.hides_closing);
        self.wall_clock = clock.wall();
    }

    /// Returns `true` if the wall clock was set between the commit of `earlier` and these counters.
    pub(in crate::store) fn wall_was_set_since(&self, earlier: &Self) -> bool {
        let expected = earlier
            .wall_clock
            .plus(self.expiry_reading.since(earlier.expiry_reading));
        // Without a setting, the two times differ only by rounding. A setting moves the wall clock
        // by at least twice this threshold.
        distance(expected, self.wall_clock) >= Millis::new(CLOCK_SET_MIN.get() / 2)
    }
}

/// The expiry clock: a clock of elapsed time. Idempotency keys expire by this clock, and retention
/// purges rows by it. The expiry clock never goes back. While the process runs, the expiry clock
/// follows the process clock and ignores changes of the wall clock.
///
/// Only the wall clock knows how long the file was closed, and the wall clock may be wrong.
/// Therefore:
///
/// - The expiry clock counts a downtime at once, but rows written before the downtime count it
///   slowly. With each millisecond that passes, such rows also get older by [`SPEED`] ms of the
///   downtime. A row written after the downtime gets no part of it. After a downtime of a week, all
///   ages are right within a day.
/// - Example: a server starts with a wall clock that is a year ahead, and the wall clock is
///   corrected after a minute. Earlier rows then get older by nine minutes, and later rows get
///   older only by the minute. See [`DowntimePeriods`].
/// - If the wall clock is set back, the expiry clock takes back the downtime that rows have not
///   counted yet. The expiry clock records the rest of the setting. The wall clock may be behind
///   from then on, and its correction must not count as downtime.
/// - A downtime shorter than the recorded time does not count. Of a longer downtime, the excess
///   counts. If the excess also covers the downtime that was taken back, rows count that downtime
///   again. If a start found the wall clock set back, the excess does not count: the excess may be
///   older than that start.
/// - If the wall clock is set ahead while the process runs, no age changes. Settings ahead and back
///   cancel each other out.
/// - A wall clock that shows a time before this program existed is ignored.
///
/// So a wrong wall clock, or its correction, can make the ages of rows too small, but hardly too
/// large. In any case, rows get older by the time that the process runs.
#[derive(Clone, Debug)]
pub(in crate::store) struct ExpiryClock {
    /// Expiry clock when it was last advanced.
    reading: Timestamp,
    /// Process clock at the same moment.
    process_elapsed: Duration,
    /// Periods of downtime, as in [`Counters`].
    closings: DowntimePeriods,
    /// Time by which the wall clock was set back, as in [`Counters`].
    set_back: Millis,
    /// Mark of a start with the wall clock set back, as in [`Counters`].
    hides_closing: bool,
    /// Time by which the wall clock was set ahead in this process and has not been set back again
    /// since.
    set_ahead: Millis,
    /// Wall clock and process clock at the last comparison that found a difference.
    last_compared: (Timestamp, Duration),
}

/// Milliseconds of a downtime that earlier rows count with each millisecond that passes.
const SPEED: u64 = 8;

/// Minimum difference to the process clock by which the wall clock counts as set. Time servers
/// adjust the wall clock by smaller steps.
const CLOCK_SET_MIN: Millis = Millis::from_secs(1);

/// 2025-01-01, when this program did not exist. A wall clock before this time was never set and is
/// ignored.
const EARLIEST_VALID_TIME: Timestamp = Timestamp::from_millis(1_735_689_600_000);

/// End of the year 9999. A wall clock after this time is ignored.
const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_999);

impl ExpiryClock {
    /// Continues the clock from the last commit of a file.
    pub(in crate::store) fn resume(
        counters: &Counters,
        wall: Timestamp,
        elapsed: Duration,
    ) -> Self {
        let mut clock = Self {
            reading: counters.expiry_reading,
            process_elapsed: elapsed,
            closings: counters.downtime.clone(),
            set_back: counters.set_back,
            hides_closing: counters.has_unknown_downtime,
            set_ahead: Millis::ZERO,
            last_compared: (counters.wall_clock, elapsed),
        };
        if is_plausible(wall) {
            clock.last_compared = (wall, elapsed);
            if is_plausible(counters.wall_clock) {
                let set_back = counters.wall_clock.since(wall);
                if set_back >= CLOCK_SET_MIN {
                    clock.record_set_back(set_back);
                    clock.hides_closing = true;
                } else if wall > counters.wall_clock {
                    clock.record_downtime(wall.since(counters.wall_clock));
                }
            }
        }
        clock
    }

    /// Returns the expiry clock when it was last advanced.
    pub(in crate::store) const fn reading(&self) -> Timestamp {
        self.reading
    }

    /// Returns the downtime that earlier rows will count.
    pub(in crate::store) fn uncounted_downtime(&self) -> Millis {
        self.closings.owed()
    }

    /// Advances the clock and returns its time. The arguments are the wall clock and the process
    /// clock.
    pub(in crate::store) fn advance(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        self.handle_clock_change(wall, elapsed);
        let elapsed_since = millis(elapsed.saturating_sub(self.process_elapsed));
        self.closings
            .count_down(Millis::new(elapsed_since.get().saturating_mul(SPEED)));
        self.reading = self.reading.plus(elapsed_since);
        // The rest below a millisecond remains for the next call.
        self.process_elapsed = self
            .process_elapsed
            .saturating_add(elapsed_since.to_duration());
        self.reading
    }

    /// Returns the wall clock when the expiry clock was last advanced. An ignored wall clock is
    /// replaced by its last valid time plus the time since then.
    fn wall(&self) -> Timestamp {
        self.wall_at(self.process_elapsed)
    }

    fn wall_at(&self, elapsed: Duration) -> Timestamp {
        let (wall, then) = self.last_compared;
        wall.plus(millis(elapsed.saturating_sub(then)))
    }

    /// Detects a setting of the wall clock.
    fn handle_clock_change(&mut self, wall: Timestamp, elapsed: Duration) {
        let expected = self.wall_at(elapsed);
        if !is_plausible(wall) || distance(expected, wall) < CLOCK_SET_MIN {
            return;
        }
        self.last_compared = (wall, elapsed);
        if is_plausible(expected) {
            self.record_set_back(expected.since(wall));
            self.record_set_ahead(wall.since(expected));
        }
    }

    /// Records a downtime of this length by the wall clock.
    fn record_downtime(&mut self, length: Millis) {
        if length < self.set_back {
            return;
        }
        let mut downtime = minus(length, std::mem::take(&mut self.set_back));
        let taken_back = self.closings.void();
        if downtime >= taken_back {
            self.closings.restore_void();
            downtime = minus(downtime, taken_back);
        }
        // The rest may be older than the start that found the wall clock set back. Rows written
        // since that start must not count the rest.
        if std::mem::take(&mut self.hides_closing) {
            return;
        }
        self.closings.add(self.reading, downtime);
        self.reading = self.reading.plus(downtime);
    }

    /// Records that the wall clock was set back by `length`.
    fn record_set_back(&mut self, length: Millis) {
        let corrects = length.min(self.set_ahead);
        self.set_ahead = minus(self.set_ahead, corrects);
        let rest = self.closings.void_pending(minus(length, corrects));
        self.set_back = plus(self.set_back, rest);
    }

    /// Records that the wall clock was set ahead by `length` while the process ran.
    fn record_set_ahead(&mut self, length: Millis) {
        let corrects = length.min(self.set_back);
        self.set_back = minus(self.set_back, corrects);
        self.set_ahead = plus(self.set_ahead, minus(length, corrects));
    }
}

/// Returns `true` if a wall clock that shows `wall` can be right.
fn is_plausible(wall: Timestamp) -> bool {
    (EARLIEST_VALID_TIME..=LAST).contains(&wall)
}

fn distance(one: Timestamp, other: Timestamp) -> Millis {
    one.since(other).max(other.since(one))
}

fn millis(duration: Duration) -> Millis {
    Millis::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

const fn increment(counter: &mut u64) -> u64 {
    // The counter never reaches its maximum: at a million submissions per second, that would need
    // half a million years.
    *counter = counter.saturating_add(1);
    *counter
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Simulated server with its clocks and the true time. Times are in hours.
    struct Server {
        hours: u64,
        /// Hours by which the wall clock is ahead of the true time.
        ahead: i64,
        lived: u64,
        clock: ExpiryClock,
        counters: Counters,
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
            let counters = Counters::new(wall);
            let clock = ExpiryClock::resume(&counters, wall, Duration::ZERO);
            Self {
                hours: YEAR,
                ahead,
                lived: 0,
                clock,
                counters,
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
            self.counters.record_clocks(&self.clock);
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
            self.clock =
                ExpiryClock::resume(&self.counters, wall(self.hours, ahead), self.elapsed());
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
            let age = self.clock.closings.age(row.at, self.clock.reading()).get();
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
        let counters = Counters {
            expiry_reading: at(1_000),
            ..Counters::new(START)
        };
        let mut clock = ExpiryClock::resume(&counters, START, Duration::from_micros(500));
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
        assert_eq!(server.clock.closings, DowntimePeriods::default());
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
            (server.clock.uncounted_downtime(), server.clock.set_back),
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
        let last = server.counters.clone();
        server.counters.record_clocks(&server.clock);
        assert!(!server.counters.wall_was_set_since(&last));
        server.set(0);
        server.counters.record_clocks(&server.clock);
        assert!(server.counters.wall_was_set_since(&last));
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
        let clock = ExpiryClock::resume(&Counters::new(at(0)), START, epoch);
        assert_eq!(
            (clock.uncounted_downtime(), clock.reading()),
            (Millis::ZERO, at(0))
        );
        let mut clock = ExpiryClock::resume(&Counters::new(at(0)), at(0), epoch);
        assert_eq!(clock.advance(START, Duration::from_secs(1)), at(1_000));
        assert_eq!((clock.set_ahead, clock.wall()), (Millis::ZERO, START));

        // A server whose clock was set starts once without a set clock. The next start counts the
        // whole time between.
        let mut counters = Counters::new(START);
        let mut clock = ExpiryClock::resume(&counters, at(0), epoch);
        clock.advance(at(HOUR), hours(1).to_duration());
        assert_eq!(
            (clock.uncounted_downtime(), clock.set_back),
            (Millis::ZERO, Millis::ZERO)
        );
        counters.record_clocks(&clock);
        let clock = ExpiryClock::resume(&counters, START.plus(hours(10)), epoch);
        assert_eq!(clock.uncounted_downtime(), hours(9));

        // A clock beyond the last year is ignored too. Without this, the expiry clock would stop at
        // its maximum.
        let clock = ExpiryClock::resume(&Counters::new(START), Timestamp::MAX, epoch);
        assert_eq!(clock.reading(), START);
    }

    #[test]
    fn slewed_clock_reduces_downtime_by_the_slew() {
        let began = START.plus(hours(100));
        let mut clock = ExpiryClock::resume(&Counters::new(START), began, Duration::ZERO);
        for ms in 1..=100_000_u64 {
            // The clock is a tenth of a percent too slow, and is read in whole milliseconds.
            clock.advance(
                began.plus(Millis::new(ms - ms / 1000)),
                Duration::from_millis(ms),
            );
        }
        let uncounted_downtime = 100 * HOUR - 8 * 100_000;
        assert!(
            (uncounted_downtime - 100..=uncounted_downtime)
                .contains(&clock.uncounted_downtime().get()),
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
}
