//! How often a number of ours receives messages, learned by the hour of the week, and whether it has been silent for unusually
//! long.
//!
//! What is counted are looks, a minute apart, since which messages came: a customer who writes ten texts at once, and a queue
//! of Meta's that empties after an outage, count once. Only time that somebody watched counts: the wall clock says which hour of
//! the week it is and nothing else, so that neither a jump of it nor a stop of the server is a silence.

use serde::{Deserialize, Serialize};

use super::time::{Millis, Timestamp};

/// From one look to the next.
pub const LOOK: Millis = Millis::from_secs(60);

const HOUR: Millis = Millis::from_secs(60 * 60);
const HOURS_OF_WEEK: u64 = 7 * 24;
/// Thousandths of a look: means have three decimals.
const ONE: u64 = 1000;
/// Weeks over which an hour's mean forgets: each new one counts a quarter.
const WEEKS: u64 = 4;
/// An hour is learned if at least so much of it was watched.
const WATCHED_MIN: Millis = Millis::from_secs(45 * 60);
/// Hours to be learned before anything is unusual: two weeks, less what restarts cost.
const LEARNED_MIN: u32 = 300;
/// Looks with messages in a usual week below which a number is no number that usually receives messages.
const WEEKLY_MIN: u64 = 10 * ONE;
/// Looks with messages that would usually have been since the last one before a silence is unusual. If they came by chance
/// alone, none of so many would be once in 500 million times; real ones come in bunches, which this leaves room for.
const EXPECTED_MIN: u64 = 20 * ONE;
/// No shorter silence is unusual, however busy the number is.
const QUIET_MIN: Millis = HOUR;
/// A number that was silent for so long is forgotten: it is gone.
const QUIET_MAX: Millis = Millis::from_secs(28 * 24 * 60 * 60);

/// The usual traffic of a number, and its silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// The number as people know it.
    number: Option<Box<str>>,
    /// The mean of each hour of the week, from Thursday 00:00 UTC on, in thousandths, and how often it was learned.
    hours: Vec<(u32, u8)>,
    /// Hours learned so far.
    learned: u32,
    /// The hour that is counted, since 1970.
    hour: u64,
    /// How much of it was watched.
    watched: Millis,
    /// Looks in it with messages.
    active: u32,
    /// When the last message came.
    last_message_at: Timestamp,
    /// How much was watched since.
    quiet: Millis,
    /// Looks with messages that would usually have been since, in thousandths.
    expected: u64,
    /// Whether that is unusual; until the next message.
    silent: bool,
}

impl Traffic {
    /// A number of which nothing is known but that it has just received a message.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            number: None,
            hours: vec![(0, 0); usize::try_from(HOURS_OF_WEEK).unwrap_or_default()],
            learned: 0,
            hour: hour_of(now),
            watched: Millis::ZERO,
            active: 0,
            last_message_at: now,
            quiet: Millis::ZERO,
            expected: 0,
            silent: false,
        }
    }

    /// Takes one look at `now`. `watched`: time that went by since the look before, as far as somebody watched. `heard`:
    /// messages came in it, to the number that people know as this.
    pub fn look(&mut self, now: Timestamp, watched: Millis, heard: Option<&str>) {
        if hour_of(now) != self.hour {
            self.learn();
            self.hour = hour_of(now);
        }
        self.watched = sum(self.watched, watched);
        if let Some(number) = heard {
            self.number = Some(number).filter(|number| !number.is_empty()).map(Box::from).or(self.number.take());
            self.active = self.active.saturating_add(1);
            (self.last_message_at, self.quiet, self.expected, self.silent) = (now, Millis::ZERO, 0, false);
            return;
        }
        self.quiet = sum(self.quiet, watched);
        let mean = self.place().and_then(|place| self.hours.get(place)).map_or(0, |(mean, _)| u64::from(*mean));
        let usual = mean.saturating_mul(watched.get()).checked_div(HOUR.get()).unwrap_or_default();
        self.expected = self.expected.saturating_add(usual);
        self.silent |= self.is_unusual();
    }

    /// The hour is over: its mean learns from it, unless too little of it was watched.
    fn learn(&mut self) {
        let (active, watched) = (u64::from(self.active) * ONE, self.watched);
        (self.active, self.watched) = (0, Millis::ZERO);
        if watched < WATCHED_MIN {
            return;
        }
        let Some((mean, times)) = self.place().and_then(|place| self.hours.get_mut(place)) else { return };
        *times = times.saturating_add(1);
        let weight = u64::from(*times).clamp(1, WEEKS);
        let learned = (u64::from(*mean) * (weight - 1) + active) / weight;
        *mean = u32::try_from(learned).unwrap_or(u32::MAX);
        self.learned = self.learned.saturating_add(1);
    }

    fn is_unusual(&self) -> bool {
        let weekly: u64 = self.hours.iter().map(|(mean, _)| u64::from(*mean)).sum();
        self.learned >= LEARNED_MIN && weekly >= WEEKLY_MIN && self.quiet >= QUIET_MIN && self.expected >= EXPECTED_MIN
    }

    fn place(&self) -> Option<usize> {
        usize::try_from(self.hour % HOURS_OF_WEEK).ok()
    }

    /// Whether it has been silent for unusually long.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.silent
    }

    /// Whether it has been silent for so long that it is no number of ours any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.quiet >= QUIET_MAX
    }

    /// The number as people know it.
    #[must_use]
    pub fn number(&self) -> Option<&str> {
        self.number.as_deref()
    }

    /// When the last message came.
    #[must_use]
    pub const fn last_message_at(&self) -> Timestamp {
        self.last_message_at
    }

    /// In how many minutes since then messages would usually have come.
    #[must_use]
    pub const fn expected(&self) -> u64 {
        self.expected / ONE
    }
}

const fn sum(one: Millis, other: Millis) -> Millis {
    Millis::new(one.get().saturating_add(other.get()))
}

const fn hour_of(now: Timestamp) -> u64 {
    now.as_millis() / HOUR.get()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 2026-10-22T00:00:00Z, a Thursday.
    pub(crate) const START: Timestamp = Timestamp::from_millis(1_792_627_200_000);
    const DAY: u64 = 24 * 60;

    /// A number that is looked at each minute.
    pub(crate) struct Watched {
        pub(crate) traffic: Traffic,
        pub(crate) minute: u64,
    }

    impl Watched {
        pub(crate) fn new() -> Self {
            Self { traffic: Traffic::new(START), minute: 0 }
        }

        pub(crate) fn now(&self) -> Timestamp {
            START.plus(Millis::new(self.minute * LOOK.get()))
        }

        /// Watches for so many minutes; `busy` says in which of them, counted from the start of a week, messages come. Returns
        /// the minute in which the silence became unusual.
        pub(crate) fn watch(&mut self, minutes: u64, busy: impl Fn(u64) -> bool) -> Option<u64> {
            let mut silent = None;
            for _ in 0..minutes {
                self.minute += 1;
                let heard = busy(self.minute % (7 * DAY)).then_some("15550783881");
                self.traffic.look(self.now(), LOOK, heard);
                silent = silent.or(self.traffic.is_silent().then_some(self.minute));
            }
            silent
        }
    }

    /// An office: each five minutes from 8 to 18 o'clock on five days.
    pub(crate) fn office(minute: u64) -> bool {
        minute < 5 * DAY && (8 * 60..18 * 60).contains(&(minute % DAY)) && minute.is_multiple_of(5)
    }

    /// A salon: six messages on each of five days.
    fn salon(minute: u64) -> bool {
        minute < 5 * DAY && (9 * 60..18 * 60).contains(&(minute % DAY)) && minute.is_multiple_of(90)
    }

    #[test]
    fn a_busy_number_is_silent_after_hours_and_never_at_night_or_on_its_days_off() {
        let mut number = Watched::new();
        assert_eq!(number.watch(4 * 7 * DAY, office), None, "four usual weeks");
        assert_eq!(number.watch(8 * 60, |_| false), None, "its night");
        let silent = number.watch(10 * 60, |_| false).unwrap() % DAY;
        assert!((9 * 60..11 * 60).contains(&silent), "{silent}");
        assert!(number.traffic.expected() >= 20);
        assert_eq!(number.traffic.number(), Some("15550783881"));
        number.watch(1, |_| true);
        assert!(!number.traffic.is_silent(), "traffic resumes");
        assert_eq!(number.traffic.last_message_at(), number.now());
    }

    #[test]
    fn a_quiet_number_may_be_silent_for_days() {
        let mut number = Watched::new();
        assert_eq!(number.watch(4 * 7 * DAY, salon), None);
        assert_eq!(number.watch(3 * DAY, |_| false), None, "three days off");
        assert!(number.watch(2 * DAY, |_| false).is_some(), "five are unusual");
        let mut rare = Watched::new();
        assert_eq!(rare.watch(4 * 7 * DAY, |minute| minute == 600), None);
        assert_eq!(rare.watch(3 * 7 * DAY, |_| false), None, "a number that hardly receives anything");
    }

    #[test]
    fn nothing_is_unusual_before_two_weeks() {
        let mut number = Watched::new();
        assert_eq!(number.watch(7 * DAY, office), None);
        assert_eq!(number.watch(5 * DAY, |_| false), None);
    }

    #[test]
    fn neither_a_stop_of_the_server_nor_a_jump_of_the_clock_is_a_silence() {
        let mut number = Watched::new();
        number.watch(3 * 7 * DAY + 12 * 60, office);
        number.minute += 3 * DAY;
        number.traffic.look(number.now(), Millis::ZERO, None);
        assert!(!number.traffic.is_silent());
        let before = number.traffic.hours.clone();
        for jump in [400 * DAY, 2 * 400 * DAY, 0] {
            number.traffic.look(START.plus(Millis::new(jump * LOOK.get())), LOOK, None);
        }
        assert!(!number.traffic.is_silent());
        assert_eq!(number.traffic.hours, before, "hours that were not watched teach nothing");
    }

    #[test]
    fn what_was_usual_is_forgotten_over_weeks_and_a_number_that_is_gone_is_too() {
        let mut number = Watched::new();
        number.watch(4 * 7 * DAY, office);
        let weekly = |number: &Watched| number.traffic.hours.iter().map(|(mean, _)| u64::from(*mean)).sum::<u64>();
        let usual = weekly(&number);
        number.watch(7 * DAY, |minute| minute == 600);
        assert!(weekly(&number) < usual * 4 / 5);
        assert!(!number.traffic.is_gone());
        number.watch(29 * DAY, |_| false);
        assert!(number.traffic.is_gone());
    }
}
