//! Requests that were refused since the start, by reason, and how signed requests fared.
//!
//! A wrong app secret refuses every form, and nothing else shows it: neither the disk nor the queue is any worse. A stranger
//! can cause the same with signatures of their own, so the first signature that fits ends the suspicion.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Signed requests in a row that must be refused before the app secret is suspected.
pub const MISFITS_LEAST: u64 = 5;
/// Minutes for which requests that were turned away are counted.
const MINUTES: u64 = 60;

/// What an operator must do where the app secret looks wrong. [`is_about_app_secret`] knows its warning by these words.
pub const COMPARE_SECRETS: &str = "compare the app secret in the config (meta.app_secrets) with the one in Meta's dashboard \
     (App settings → Basic) of the app that sends";

/// The counts.
#[derive(Debug, Default)]
pub struct Refusals {
    by_reason: BTreeMap<&'static str, u64>,
    /// Signed requests in a row whose signature did not fit.
    misfits: u64,
    /// Forms and webhooks that were turned away although nothing was wrong with them: minute, reason and count, oldest first.
    turned_away: VecDeque<(u64, &'static str, u64)>,
}

/// What the counts show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Requests refused since the start, by reason.
    pub by_reason: BTreeMap<&'static str, u64>,
    /// Signed requests in a row whose signature did not fit, up to the last one; 0 while they are too few to mean anything.
    pub misfits: u64,
    /// Forms and webhooks turned away in the last hour, by reason.
    pub turned_away: BTreeMap<&'static str, u64>,
}

impl Refusals {
    /// Counts one refused request.
    pub fn refuse(&mut self, reason: &'static str) {
        count(self.by_reason.entry(reason).or_default(), 1);
    }

    /// Counts a form or a webhook that the server could not take at `now`, by a clock that never jumps.
    pub fn turn_away(&mut self, now: Duration, reason: &'static str) {
        let minute = minute_of(now);
        self.turned_away.retain(|(then, ..)| is_recent(*then, minute));
        match self.turned_away.iter_mut().find(|(then, of, _)| (*then, *of) == (minute, reason)) {
            Some((.., many)) => count(many, 1),
            None => self.turned_away.push_back((minute, reason, 1)),
        }
    }

    /// Notes that a well-formed signature fits or does not. True: so many in a row did not fit that the operator must know.
    pub fn note_signature(&mut self, fits: bool) -> bool {
        self.misfits = if fits { 0 } else { self.misfits.saturating_add(1) };
        self.misfits == MISFITS_LEAST
    }

    /// The counts at `now`.
    #[must_use]
    pub fn read(&self, now: Duration) -> Refused {
        let mut turned_away = BTreeMap::new();
        for (_, reason, many) in self.turned_away.iter().filter(|(then, ..)| is_recent(*then, minute_of(now))) {
            count(turned_away.entry(*reason).or_default(), *many);
        }
        let misfits = if self.misfits < MISFITS_LEAST { 0 } else { self.misfits };
        Refused { by_reason: self.by_reason.clone(), misfits, turned_away }
    }
}

impl Refused {
    /// What the operator must know, one sentence each.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        if self.misfits > 0 {
            hints.push(format!(
                "the last {} signed requests were all refused (bad_signature): {COMPARE_SECRETS}",
                self.misfits
            ));
        }
        let total: u64 = self.turned_away.values().sum();
        if total > 0 {
            let were = if total == 1 { "form or webhook was" } else { "forms and webhooks were" };
            hints.push(format!("{total} {were} refused in the last hour: {}", in_words(&self.turned_away)));
        }
        hints
    }
}

/// Returns true for the warning of [`Refused::hints`] that the app secret looks wrong.
#[must_use]
pub fn is_about_app_secret(hint: &str) -> bool {
    hint.contains(COMPARE_SECRETS)
}

/// Counts by reason: `3 bad_signature, 1 busy`.
#[must_use]
pub fn in_words<R: std::fmt::Display>(counts: &BTreeMap<R, u64>) -> String {
    let counts: Vec<String> = counts.iter().map(|(reason, many)| format!("{many} {reason}")).collect();
    counts.join(", ")
}

fn count(sum: &mut u64, many: u64) {
    *sum = sum.saturating_add(many);
}

const fn minute_of(now: Duration) -> u64 {
    now.as_secs() / 60
}

const fn is_recent(minute: u64, now: u64) -> bool {
    minute.saturating_add(MINUTES) > now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_secret_is_suspected_after_five_in_a_row_and_no_more_after_one_that_fits() {
        let mut refusals = Refusals::default();
        let mut note = |fits| refusals.note_signature(fits);
        assert_eq!([false; 7].map(&mut note), [false, false, false, false, true, false, false], "told once");
        assert_eq!(refusals.read(Duration::ZERO).misfits, 7);
        assert!(refusals.read(Duration::ZERO).hints()[0].starts_with("the last 7 signed requests"));
        refusals.note_signature(true);
        assert_eq!(refusals.read(Duration::ZERO).hints(), Vec::<String>::new());
        let told = [false; 5].map(|fits| refusals.note_signature(fits));
        assert_eq!(told, [false, false, false, false, true], "and told again when it goes wrong later");
    }

    #[test]
    fn what_was_turned_away_is_told_for_an_hour() {
        let minute = |minutes| Duration::from_mins(minutes);
        let mut refusals = Refusals::default();
        for (at, reason) in [(0, "busy"), (0, "busy"), (30, "disk_full"), (30, "busy")] {
            refusals.turn_away(minute(at), reason);
        }
        let hints = |at| refusals.read(minute(at)).hints();
        assert_eq!(hints(59), ["4 forms and webhooks were refused in the last hour: 3 busy, 1 disk_full"]);
        assert_eq!(hints(60), ["2 forms and webhooks were refused in the last hour: 1 busy, 1 disk_full"]);
        assert_eq!(hints(90), Vec::<String>::new());
        refusals.turn_away(minute(200), "busy");
        assert_eq!(refusals.turned_away.len(), 1, "what is over takes no memory");
    }
}
