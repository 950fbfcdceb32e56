//! Learns the usual number of messages of a phone number by hour of the week, and detects unusually
//! long silence.
//!
//! The unit is a sample: one minute with or without messages. Ten texts that a customer sends in
//! one minute count once. Many messages that Meta sends together after an outage also count once.
//! Only observed time counts. The wall clock only selects the hour of the week. Neither a clock
//! jump nor a stop of the server therefore counts as silence.

use serde::{Deserialize, Serialize};

use crate::domain::time::{Millis, Timestamp};

/// Time between two samples.
pub const SAMPLE_INTERVAL: Millis = Millis::from_secs(60);

const HOUR: Millis = Millis::from_secs(60 * 60);
const HOURS_OF_WEEK: u64 = 7 * 24;
/// Scale of the means: thousandths of a sample, so means have three decimals.
const SCALE: u64 = 1000;
/// Number of weeks in an hour's moving mean: each new week counts a quarter.
const LEARNING_WEEKS: u64 = 4;
/// Minimum observed time of an hour from which its mean is updated.
const OBSERVED_MIN: Millis = Millis::from_secs(45 * 60);
/// Minimum number of learned hours before a silence can be unusual: two weeks, minus an allowance
/// for restarts.
const TRAINED_HOURS_MIN: u32 = 300;
/// Minimum number of samples with messages in a usual week. Below this, a number does not usually
/// receive messages and its silence is not unusual.
const WEEKLY_MIN: u64 = 10 * SCALE;
/// Minimum number of samples with messages that were expected since the last message before a
/// silence is unusual. If messages came independently, such a silence would occur by chance once in
/// 500 million times. Real messages come in groups, so this threshold has a large margin.
const EXPECTED_MIN: u64 = 20 * SCALE;
/// Minimum length of an unusual silence, even for a busy number.
const SILENCE_MIN: Millis = HOUR;
/// Length of a silence after which the number is considered removed and its traffic is deleted.
const SILENCE_MAX: Millis = Millis::from_secs(28 * 24 * 60 * 60);

/// Usual traffic of a phone number, and its current silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberTraffic {
    /// Phone number in display format.
    display_number: Option<Box<str>>,
    /// For each hour of the week, from Thursday 00:00 UTC: the mean in thousandths, and the number
    /// of updates.
    hourly_means: Vec<(u32, u8)>,
    /// Number of hours learned so far.
    trained_hours: u32,
    /// Current hour, in hours since 1970.
    current_hour: u64,
    /// Observed time of the current hour.
    observed: Millis,
    /// Number of samples with messages in the current hour.
    active_samples: u32,
    /// Time of the last message, in UTC.
    last_message_at: Timestamp,
    /// Observed time since the last message.
    silence: Millis,
    /// Expected number of samples with messages since the last message, in thousandths.
    expected_samples: u64,
    /// `true` if the silence is unusual. Reset by the next message.
    is_silent: bool,
}

impl NumberTraffic {
    /// Creates the traffic of a number that has just received its first known message.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            display_number: None,
            hourly_means: vec![(0, 0); usize::try_from(HOURS_OF_WEEK).unwrap_or_default()],
            trained_hours: 0,
            current_hour: hour_of(now),
            observed: Millis::ZERO,
            active_samples: 0,
            last_message_at: now,
            silence: Millis::ZERO,
            expected_samples: 0,
            is_silent: false,
        }
    }

    /// Records a sample at `now`. `observed` is the observed time since the previous sample.
    /// `active_number` is the number in display format if messages arrived, or `None` without
    /// messages.
    pub fn record_sample(&mut self, now: Timestamp, observed: Millis, active_number: Option<&str>) {
        if hour_of(now) != self.current_hour {
            self.finish_hour();
            self.current_hour = hour_of(now);
        }
        self.observed = add(self.observed, observed);
        if let Some(number) = active_number {
            if !number.is_empty() {
                self.display_number = Some(number.into());
            }
            self.active_samples = self.active_samples.saturating_add(1);
            (self.last_message_at, self.silence) = (now, Millis::ZERO);
            (self.expected_samples, self.is_silent) = (0, false);
            return;
        }
        self.silence = add(self.silence, observed);
        let mean = self.hourly_means.get(self.hour_index());
        let mean = mean.map_or(0, |(mean, _)| u64::from(*mean));
        let usual = mean.saturating_mul(observed.get()) / HOUR.get();
        self.expected_samples = self.expected_samples.saturating_add(usual);
        self.is_silent |= self.is_unusually_silent();
    }

    /// Updates the mean of the hour that is over, unless too little of the hour was observed.
    fn finish_hour(&mut self) {
        let (active_samples, observed) = (u64::from(self.active_samples) * SCALE, self.observed);
        (self.active_samples, self.observed) = (0, Millis::ZERO);
        if observed < OBSERVED_MIN {
            return;
        }
        let index = self.hour_index();
        let Some((mean, times)) = self.hourly_means.get_mut(index) else {
            return;
        };
        *times = times.saturating_add(1);
        let weight = u64::from(*times).clamp(1, LEARNING_WEEKS);
        let mean_samples = (u64::from(*mean) * (weight - 1) + active_samples) / weight;
        *mean = u32::try_from(mean_samples).unwrap_or(u32::MAX);
        self.trained_hours = self.trained_hours.saturating_add(1);
    }

    fn is_unusually_silent(&self) -> bool {
        let means = self.hourly_means.iter();
        let weekly: u64 = means.map(|(mean, _)| u64::from(*mean)).sum();
        self.trained_hours >= TRAINED_HOURS_MIN
            && weekly >= WEEKLY_MIN
            && self.silence >= SILENCE_MIN
            && self.expected_samples >= EXPECTED_MIN
    }

    fn hour_index(&self) -> usize {
        usize::try_from(self.current_hour % HOURS_OF_WEEK).unwrap_or_default()
    }

    /// Returns `true` if the number has been silent for unusually long.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Returns `true` if the number has been silent for so long that it is considered removed.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.silence >= SILENCE_MAX
    }

    /// Returns the phone number in display format.
    #[must_use]
    pub fn display_number(&self) -> Option<&str> {
        self.display_number.as_deref()
    }

    /// Returns the time of the last message.
    #[must_use]
    pub const fn last_message_at(&self) -> Timestamp {
        self.last_message_at
    }

    /// Returns the number of minutes with messages that were expected since the last message.
    #[must_use]
    pub const fn expected_samples(&self) -> u64 {
        self.expected_samples / SCALE
    }
}

const fn add(one: Millis, other: Millis) -> Millis {
    Millis::new(one.get().saturating_add(other.get()))
}

const fn hour_of(now: Timestamp) -> u64 {
    now.as_millis() / HOUR.get()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Start time of the tests: 2026-10-22T00:00:00Z, a Thursday.
    pub(crate) const START: Timestamp = Timestamp::from_millis(1_792_627_200_000);
    const DAY: u64 = 24 * 60;

    /// Number that is sampled each minute.
    pub(crate) struct ObservedNumber {
        pub(crate) traffic: NumberTraffic,
        pub(crate) minute: u64,
    }

    impl ObservedNumber {
        pub(crate) fn new() -> Self {
            Self {
                traffic: NumberTraffic::new(START),
                minute: 0,
            }
        }

        pub(crate) fn now(&self) -> Timestamp {
            START.plus(Millis::new(self.minute * SAMPLE_INTERVAL.get()))
        }

        /// Observes this many minutes. `busy` decides which minutes, counted from the start of a
        /// week, have messages. Returns the minute in which the silence became unusual.
        pub(crate) fn observe(&mut self, minutes: u64, busy: impl Fn(u64) -> bool) -> Option<u64> {
            let mut silent = None;
            for _ in 0..minutes {
                self.minute += 1;
                let number = busy(self.minute % (7 * DAY)).then_some("15550783881");
                let now = self.now();
                self.traffic.record_sample(now, SAMPLE_INTERVAL, number);
                silent = silent.or(self.traffic.is_silent().then_some(self.minute));
            }
            silent
        }
    }

    /// Returns `true` for an office's minutes with messages: every five minutes from 8:00 to 18:00
    /// on five days.
    pub(crate) fn office_hours(minute: u64) -> bool {
        minute < 5 * DAY && (8 * 60..18 * 60).contains(&(minute % DAY)) && minute.is_multiple_of(5)
    }

    /// Returns `true` for a salon's minutes with messages: six on each of five days.
    fn salon_hours(minute: u64) -> bool {
        minute < 5 * DAY && (9 * 60..18 * 60).contains(&(minute % DAY)) && minute.is_multiple_of(90)
    }

    #[test]
    fn busy_number_silence_is_detected_in_hours() {
        let mut observed = ObservedNumber::new();
        // Four weeks with the usual traffic.
        assert_eq!(observed.observe(4 * 7 * DAY, office_hours), None);
        assert_eq!(observed.observe(8 * 60, |_| false), None, "its night");
        let silent = observed.observe(10 * 60, |_| false).unwrap() % DAY;
        assert!((9 * 60..11 * 60).contains(&silent), "{silent}");
        assert!(observed.traffic.expected_samples() >= 20);
        assert_eq!(observed.traffic.display_number(), Some("15550783881"));
        observed.observe(1, |_| true);
        assert!(!observed.traffic.is_silent(), "traffic resumes");
        assert_eq!(observed.traffic.last_message_at(), observed.now());
    }

    #[test]
    fn quiet_number_is_not_reported_for_days() {
        let mut observed = ObservedNumber::new();
        assert_eq!(observed.observe(4 * 7 * DAY, salon_hours), None);
        assert_eq!(observed.observe(3 * DAY, |_| false), None, "three days off");
        // Five silent days are unusual.
        assert!(observed.observe(2 * DAY, |_| false).is_some());
        let mut rare = ObservedNumber::new();
        assert_eq!(rare.observe(4 * 7 * DAY, |minute| minute == 600), None);
        // Silence is not unusual for a number with one message each week.
        assert_eq!(rare.observe(3 * 7 * DAY, |_| false), None);
    }

    #[test]
    fn silence_needs_two_weeks_of_samples() {
        let mut observed = ObservedNumber::new();
        assert_eq!(observed.observe(7 * DAY, office_hours), None);
        assert_eq!(observed.observe(5 * DAY, |_| false), None);
    }

    #[test]
    fn restart_and_clock_jump_are_no_silence() {
        let mut observed = ObservedNumber::new();
        observed.observe(3 * 7 * DAY + 12 * 60, office_hours);
        observed.minute += 3 * DAY;
        let now = observed.now();
        observed.traffic.record_sample(now, Millis::ZERO, None);
        assert!(!observed.traffic.is_silent());
        let before = observed.traffic.hourly_means.clone();
        for jump in [400 * DAY, 2 * 400 * DAY, 0] {
            observed.minute = jump;
            let now = observed.now();
            observed.traffic.record_sample(now, SAMPLE_INTERVAL, None);
        }
        assert!(!observed.traffic.is_silent());
        // Hours that were not observed do not change the means.
        assert_eq!(observed.traffic.hourly_means, before);
    }

    #[test]
    fn means_decay_and_silent_number_expires() {
        let mut observed = ObservedNumber::new();
        observed.observe(4 * 7 * DAY, office_hours);
        let weekly = |number: &ObservedNumber| {
            let means = number.traffic.hourly_means.iter();
            means.map(|(mean, _)| u64::from(*mean)).sum::<u64>()
        };
        let usual = weekly(&observed);
        observed.observe(7 * DAY, |minute| minute == 600);
        assert!(weekly(&observed) < usual * 4 / 5);
        assert!(!observed.traffic.is_expired());
        observed.observe(29 * DAY, |_| false);
        assert!(observed.traffic.is_expired());
    }
}
