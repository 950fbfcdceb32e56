//! Tests of single settings of the wall clock and single periods of downtime.

use std::time::Duration;

use crate::domain::time::{Millis, Timestamp};
use crate::store::expiry_clock::downtime::DowntimePeriods;
use crate::store::expiry_clock::{ClockState, ExpiryClock};

use super::simulated_server::{AHEAD, BEHIND, HOUR, START, Server, hours};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

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
    assert_eq!(server.clock.uncounted_downtime(), Millis::ZERO);
    assert_eq!(server.clock.state.set_back, hours(60));
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
    assert_eq!(clock.uncounted_downtime(), Millis::ZERO);
    assert_eq!(clock.reading(), at(0));
    let mut clock = ExpiryClock::resume(&ClockState::new(at(0)), at(0), epoch);
    assert_eq!(clock.advance(START, Duration::from_secs(1)), at(1_000));
    assert_eq!((clock.set_ahead, clock.state().wall), (Millis::ZERO, START));

    // A server whose clock was set starts once without a set clock. The next start counts the
    // whole time between.
    let mut committed = ClockState::new(START);
    let mut clock = ExpiryClock::resume(&committed, at(0), epoch);
    clock.advance(at(HOUR), hours(1).to_duration());
    assert_eq!(clock.uncounted_downtime(), Millis::ZERO);
    assert_eq!(clock.state.set_back, Millis::ZERO);
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
