//! One gateway's session over time: what it says goes in; what is to be called, noted and told comes out.
//!
//! Pure. Pauses and silences go by time that really went by, histories and alerts by the wall clock. The rules:
//! - A session that is down is called back at once, then after pauses that double, up to an hour. One that was up for a
//!   moment only does not begin anew with them.
//! - Where somebody is needed nothing is called any more until it is up, or somebody asks for a call: each call would only
//!   make the next code, and take away the one that is being scanned.
//! - `connected` is not believed for ever: where nothing came for `silent_after`, and then twice, four times as long, the
//!   session is restarted. The first time may be a quiet day and is no alert.
//! - One that has been starting for too long is called, and told of as down once a second call was needed. Evolution API says
//!   the same while a code waits to be scanned: there, a few calls are all.
//! - An alert goes out once, when it begins; "needs a person" may follow "is down". Its end is quiet.

use std::time::Duration;

use super::{Alert, Call, Condition, Entry, GatewayKind, Standing, states};
use crate::domain::retry::{RetryPolicy, Verdict};
use crate::domain::time::{Millis, Timestamp};

/// Looks without an answer until the gateway counts as unreachable: one may be a restart of its own.
const UNANSWERED: u32 = 3;
/// A session that starts for so many looks is stuck; one that is up for as many is well again.
const LOOKS: u32 = 10;
/// Calls of a session that is starting, where it may be waiting for somebody: each would replace the code.
const PUSHES_MAX: u32 = 3;
/// The longest pause between two calls, unless looks are further apart.
const PAUSE_MAX: Millis = Millis::from_secs(60 * 60);
/// The longest silence that doubling comes to, unless the config says more.
const SILENCE_MAX: Duration = Duration::from_hours(24);

/// What a config says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRule {
    /// Which program it is in.
    pub kind: GatewayKind,
    /// How often it is looked at.
    pub check: Millis,
    /// After how long without anything it is suspected to be deaf. `None`: never.
    pub silent_after: Option<Millis>,
}

/// The moment of something, and its chance.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the wall clock.
    pub at: Timestamp,
    /// By the process clock.
    pub elapsed: Duration,
    /// From 0 to 1.
    pub chance: f64,
}

/// What came of asking for the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// This is what it calls it.
    State(String),
    /// It may not be asked, or there is no such session: why.
    Refused(String),
    /// No answer: why.
    Unanswered(String),
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The session is in this state now.
    State(String),
    /// It was taken.
    Taken,
    /// Somebody is to scan a code.
    Code,
    /// Nothing came of it: why.
    Failed(String),
}

impl Answer {
    /// It in a few words, as a gateway of that kind gave it.
    #[must_use]
    pub fn note(&self, kind: GatewayKind) -> String {
        match self {
            Self::State(word) => format!("answered {}", states::read(kind, word).1),
            Self::Taken => "taken".to_owned(),
            Self::Code => "answered with a code that somebody must scan".to_owned(),
            Self::Failed(why) => why.clone(),
        }
    }
}

/// What follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Call this.
    pub call: Option<Call>,
    /// Keep these in the history.
    pub entries: Vec<Entry>,
    /// Tell of this.
    pub tell: Option<Alert>,
    /// What was told of is over.
    pub is_well_again: bool,
    /// The standing is not what it was.
    pub changed: bool,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    rule: SessionRule,
    standing: Standing,
    /// When its condition began, by the process clock; or when we did.
    begun: Duration,
    /// When it was last heard, restarted, or came up, likewise.
    heard: Duration,
    /// Looks in a row without an answer.
    unanswered: u32,
    /// Calls in this trouble.
    calls: u32,
    /// No call before this.
    not_before: Duration,
    /// The last restart was refused.
    restart_refused: bool,
}

impl Session {
    /// A session that stood like this when it was last seen.
    #[must_use]
    pub const fn new(rule: SessionRule, standing: Standing, elapsed: Duration) -> Self {
        Self {
            rule,
            standing,
            begun: elapsed,
            heard: elapsed,
            unanswered: 0,
            calls: 0,
            not_before: Duration::ZERO,
            restart_refused: false,
        }
    }

    /// How it stands.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Goes by another rule from now on.
    pub const fn renew(&mut self, rule: SessionRule) {
        self.rule = rule;
    }

    /// It was looked at, or told its state by itself.
    pub fn saw(&mut self, look: Look, now: &Moment) -> Step {
        let before = self.standing.clone();
        let mut step = Step::default();
        match look {
            Look::State(word) => {
                self.unanswered = 0;
                let (condition, state) = states::read(self.rule.kind, &word);
                self.turn_to(condition, state, "", now, &mut step);
            }
            Look::Refused(why) => {
                self.unanswered = 0;
                let condition = Condition::Refused;
                self.turn_to(condition, condition.as_str().into(), &why, now, &mut step);
            }
            Look::Unanswered(why) => {
                self.unanswered = self.unanswered.saturating_add(1);
                if self.unanswered >= UNANSWERED {
                    let condition = Condition::Unreachable;
                    self.turn_to(condition, condition.as_str().into(), &why, now, &mut step);
                } else {
                    return step;
                }
            }
        }
        step.call = self.due_call(now, &mut step);
        self.settle_alert(now, &mut step);
        step.changed = before != self.standing;
        step
    }

    /// A call was made. What comes of it is seen at the next look, unless the answer says it.
    pub fn called(&mut self, call: Call, answer: Answer, now: &Moment) -> Step {
        let before = self.standing.clone();
        let mut step = Step::default();
        let note = answer.note(self.rule.kind);
        self.restart_refused = call == Call::Restart && matches!(answer, Answer::Failed(_));
        step.entries.push(self.entry(Some(call), &note, now));
        match answer {
            Answer::State(word) => {
                let (condition, state) = states::read(self.rule.kind, &word);
                self.turn_to(condition, state, "", now, &mut step);
            }
            Answer::Code => {
                let state = self.standing.state.clone();
                self.turn_to(Condition::NeedsPerson, state, "somebody must scan a code", now, &mut step);
            }
            Answer::Taken | Answer::Failed(_) => {}
        }
        self.settle_alert(now, &mut step);
        step.changed = before != self.standing;
        step
    }

    /// Somebody asks for a call: the one that fits, whatever was tried so far. Patience begins anew.
    pub fn asked(&mut self, now: &Moment) -> Call {
        (self.standing.waits_for_person, self.standing.pushes) = (false, 0);
        (self.calls, self.heard, self.begun) = (1, now.elapsed, now.elapsed);
        self.not_before = now.elapsed.saturating_add(self.pause(now));
        self.restart_refused = false;
        states::on_demand(self.rule.kind, self.standing.condition, &self.standing.state)
    }

    /// Something came from WhatsApp: it is not deaf.
    pub fn heard(&mut self, now: &Moment) -> Step {
        let mut step = Step::default();
        (self.heard, self.restart_refused) = (now.elapsed, false);
        if self.standing.silences > 0 {
            self.standing.silences = 0;
            step.entries.push(self.entry(None, "something came: it is not silent", now));
            step.changed = true;
            self.settle_alert(now, &mut step);
        }
        step
    }

    fn turn_to(&mut self, condition: Condition, state: Box<str>, why: &str, now: &Moment, step: &mut Step) {
        match condition {
            Condition::NeedsPerson => self.standing.waits_for_person = true,
            Condition::Up => (self.standing.waits_for_person, self.standing.pushes) = (false, 0),
            _ => {}
        }
        // What it says meanwhile, while the code waits to be scanned or has run out, changes nothing about that.
        let waits = self.standing.waits_for_person && matches!(condition, Condition::Down | Condition::Starting);
        let condition = if waits { Condition::NeedsPerson } else { condition };
        if condition == Condition::Up {
            let well = self.rule.check.to_duration().saturating_mul(LOOKS);
            if self.standing.condition != Condition::Up {
                self.heard = now.elapsed;
            } else if self.standing.silences == 0 && now.elapsed.saturating_sub(self.begun) >= well {
                self.calls = 0;
            }
        }
        if self.standing.condition != condition {
            (self.begun, self.standing.since) = (now.elapsed, now.at);
        }
        if self.standing.condition != condition || self.standing.state != state {
            (self.standing.condition, self.standing.state) = (condition, state);
            step.entries.push(self.entry(None, why, now));
        }
    }

    /// The call that is due now, if one is.
    fn due_call(&mut self, now: &Moment, step: &mut Step) -> Option<Call> {
        let kind = self.rule.kind;
        if now.elapsed < self.not_before || self.standing.waits_for_person {
            return None;
        }
        let call = match self.standing.condition {
            Condition::Down => states::cure(kind, &self.standing.state)?,
            Condition::Starting => {
                let stuck = self.rule.check.to_duration().saturating_mul(LOOKS);
                (now.elapsed.saturating_sub(self.begun) >= stuck).then_some(())?;
                if self.standing.pushes >= PUSHES_MAX && states::starting_may_wait(kind) {
                    let (state, why) =
                        (self.standing.state.clone(), "calls do not help: a code may wait to be scanned");
                    self.turn_to(Condition::NeedsPerson, state, why, now, step);
                    return None;
                }
                self.standing.pushes = self.standing.pushes.saturating_add(1);
                states::push(kind)
            }
            Condition::Up => {
                let quiet = now.elapsed.saturating_sub(self.heard);
                // A restart that was refused has mended nothing: the next call does not wait for another silence.
                if !self.restart_refused {
                    (quiet >= self.silence()?).then_some(())?;
                    self.standing.silences = self.standing.silences.saturating_add(1);
                    self.heard = now.elapsed;
                    let note = format!("it says that it is connected, but nothing came for {} s", quiet.as_secs());
                    step.entries.push(self.entry(None, &note, now));
                }
                Call::Restart
            }
            _ => return None,
        };
        self.calls = self.calls.saturating_add(1);
        self.not_before = now.elapsed.saturating_add(self.pause(now));
        let refused = std::mem::take(&mut self.restart_refused);
        Some(if refused && call == Call::Restart { states::instead_of_restart(kind) } else { call })
    }

    /// How long nothing may come before it is suspected; `None`: for ever.
    fn silence(&self) -> Option<Duration> {
        let first = self.rule.silent_after?.to_duration();
        let doubled = first.saturating_mul(2_u32.saturating_pow(self.standing.silences));
        Some(doubled.min(SILENCE_MAX.max(first)))
    }

    /// How long to wait for the next call after `calls` of them.
    fn pause(&self, now: &Moment) -> Duration {
        let first = self.rule.check;
        let policy = RetryPolicy { first, ceiling: PAUSE_MAX.max(first), attempts: u32::MAX };
        match policy.after(self.calls, now.chance, None, Timestamp::ZERO) {
            Verdict::Again { at } => at.since(Timestamp::ZERO).to_duration(),
            Verdict::Dead => PAUSE_MAX.to_duration(),
        }
    }

    /// Tells what is to be told of how it stands, and was not told yet.
    fn settle_alert(&mut self, now: &Moment, step: &mut Step) {
        let told = self.standing.alert;
        let due = match self.standing.condition {
            Condition::Up if self.standing.silences > 1 => Some(Alert::Down),
            Condition::Up if self.standing.silences == 0 => {
                if told.is_some() {
                    self.standing.alert = None;
                    step.is_well_again = true;
                    step.entries.push(self.entry(None, "well again", now));
                }
                return;
            }
            Condition::Down | Condition::Unreachable => Some(Alert::Down),
            Condition::Starting if self.standing.is_stuck() => Some(Alert::Down),
            Condition::NeedsPerson | Condition::Strange | Condition::Refused => Some(Alert::NeedsPerson),
            Condition::Up | Condition::Starting | Condition::Unasked => None,
        };
        if due > told {
            self.standing.alert = due;
            step.tell = due;
        }
    }

    fn entry(&self, did: Option<Call>, note: &str, now: &Moment) -> Entry {
        Entry { at: now.at, state: self.standing.state.clone(), did, note: note.into() }
    }
}

#[cfg(test)]
mod tests;
