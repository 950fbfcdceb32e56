//! Defines agents: their limits and absences, and the reasons why an agent can't accept a lead.

use serde::{Deserialize, Serialize};

use super::assignment::CandidateOutcome;
use super::load::LeadLoad;
use crate::domain::ids::{AgentName, TeamName};
use crate::domain::time::{Millis, Timestamp};

/// Maximum weight of an agent. The minimum is 1.
pub const WEIGHT_MAX: u32 = 1000;

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

/// Stored sales agent. The row of a removed agent remains, because old leads refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Name of the agent, unique among agents that are not removed.
    pub name: AgentName,
    /// Team whose leads the agent gets.
    pub team: TeamName,
    /// Weight of the agent, from 1 to [`WEIGHT_MAX`]. An agent with twice the weight gets twice the
    /// leads.
    pub weight: u32,
    /// Maximum number of open leads. `None`: no limit.
    pub max_leads: Option<u32>,
    /// Maximum number of leads per day (UTC). `None`: no limit.
    pub max_leads_per_day: Option<u32>,
    /// `true` if the agent gets leads. An admin pauses and resumes the agent.
    pub is_active: bool,
    /// `true` if the agent was removed for good.
    pub is_removed: bool,
    /// Number of open leads.
    pub current_leads: u32,
    /// Number of leads ever assigned to the agent.
    pub total_leads: u64,
    /// Time when the agent got the last lead or, before the first one, was added, in UTC.
    pub idle_since: Timestamp,
    /// Periods in which the agent is absent.
    pub absences: Vec<Absence>,
    /// Day of the agent's last lead, in days since 1970-01-01 UTC.
    pub last_lead_day: u64,
    /// Number of leads assigned on that day.
    pub leads_that_day: u32,
}

/// Period in which an agent gets no leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Start of the absence, in UTC, inclusive.
    pub from: Timestamp,
    /// End of the absence, in UTC, exclusive.
    pub to: Timestamp,
}

impl Agent {
    /// Creates an agent without limits or leads.
    #[must_use]
    pub const fn new(name: AgentName, team: TeamName, weight: u32, now: Timestamp) -> Self {
        Self {
            name,
            team,
            weight,
            max_leads: None,
            max_leads_per_day: None,
            is_active: true,
            is_removed: false,
            current_leads: 0,
            total_leads: 0,
            idle_since: now,
            absences: Vec::new(),
            last_lead_day: 0,
            leads_that_day: 0,
        }
    }

    /// Returns the reason why the agent can't accept a lead at `now`. `None` if the agent is
    /// available.
    #[must_use]
    pub fn unavailable_reason(&self, now: Timestamp) -> Option<CandidateOutcome> {
        let is_absent = |absence: &Absence| (absence.from..absence.to).contains(&now);
        if self.is_removed {
            Some(CandidateOutcome::Removed)
        } else if !self.is_active {
            Some(CandidateOutcome::Paused)
        } else if self.absences.iter().any(is_absent) {
            Some(CandidateOutcome::Absent)
        } else if self.max_leads.is_some_and(|max| self.current_leads >= max) {
            Some(CandidateOutcome::Full)
        } else if self.is_full_today(now) {
            Some(CandidateOutcome::FullToday)
        } else {
            None
        }
    }

    /// Returns the next time after `now` at which the result of [`Agent::unavailable_reason`] may
    /// change by time alone.
    #[must_use]
    pub fn next_change_at(&self, now: Timestamp) -> Option<Timestamp> {
        let absences = self.absences.iter();
        let absences = absences.flat_map(|absence| [absence.from, absence.to]);
        // The start of the day counts too, because the clock may have been set back to before it.
        let full_day = [self.last_lead_day, self.last_lead_day.saturating_add(1)].map(midnight);
        let is_full_day = self
            .max_leads_per_day
            .is_some_and(|max| self.leads_that_day >= max);
        let full_day = full_day.into_iter().filter(|_| is_full_day);
        absences.chain(full_day).filter(|at| *at > now).min()
    }

    /// Returns the load of the agent.
    #[must_use]
    pub const fn load(&self) -> LeadLoad {
        LeadLoad {
            current_leads: self.current_leads,
            weight: self.weight,
        }
    }

    /// Counts one more lead for the agent.
    pub fn record_assignment(&mut self, now: Timestamp) {
        let today = day_index(now);
        if self.last_lead_day != today {
            (self.last_lead_day, self.leads_that_day) = (today, 0);
        }
        self.leads_that_day = self.leads_that_day.saturating_add(1);
        self.current_leads = self.current_leads.saturating_add(1);
        self.total_leads = self.total_leads.saturating_add(1);
        self.idle_since = now;
    }

    /// Counts one lead less: the lead was closed or reassigned.
    pub const fn record_release(&mut self) {
        self.current_leads = self.current_leads.saturating_sub(1);
    }

    fn is_full_today(&self, now: Timestamp) -> bool {
        let is_today = self.last_lead_day == day_index(now);
        let leads_today = if is_today { self.leads_that_day } else { 0 };
        self.max_leads_per_day.is_some_and(|max| leads_today >= max)
    }
}

const fn day_index(at: Timestamp) -> u64 {
    at.as_millis() / DAY.get()
}

const fn midnight(day: u64) -> Timestamp {
    Timestamp::from_millis(day.saturating_mul(DAY.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use CandidateOutcome::{Absent, Full, FullToday, Paused, Removed};

    const NOON: Timestamp = Timestamp::from_millis(20_000 * 86_400_000 + 43_200_000);

    fn ann() -> Agent {
        let (name, team) = (AgentName::new("ann"), TeamName::new("sales"));
        Agent::new(name.unwrap(), team.unwrap(), 1, NOON)
    }

    /// Asserts the reason why `agent` is unavailable at `now`, and the time of the next change.
    fn assert_state(
        agent: &Agent,
        now: Timestamp,
        reason: Option<CandidateOutcome>,
        next_change_at: Option<Timestamp>,
    ) {
        assert_eq!(agent.unavailable_reason(now), reason, "{now}");
        assert_eq!(agent.next_change_at(now), next_change_at, "{now}");
    }

    #[test]
    fn new_agent_is_available() {
        assert_state(&ann(), NOON, None, None);
    }

    #[test]
    fn full_agent_is_available_after_release() {
        let mut ann = Agent {
            max_leads: Some(1),
            ..ann()
        };
        ann.record_assignment(NOON);
        assert_eq!(ann.unavailable_reason(NOON), Some(Full));
        ann.record_release();
        assert_eq!(ann.unavailable_reason(NOON), None);
        assert_eq!((ann.current_leads, ann.total_leads), (0, 1));
    }

    #[test]
    fn daily_limit_resets_at_midnight() {
        let mut ann = Agent {
            max_leads_per_day: Some(2),
            ..ann()
        };
        ann.record_assignment(NOON);
        assert_eq!(ann.unavailable_reason(NOON), None);
        ann.record_assignment(NOON);
        ann.record_release();
        // A closed lead still counts for the day.
        let midnight = Timestamp::from_millis(20_001 * 86_400_000);
        assert_state(&ann, NOON, Some(FullToday), Some(midnight));
        let evening = midnight.minus(Millis::new(1));
        assert_eq!(ann.unavailable_reason(evening), Some(FullToday));
        assert_eq!(ann.unavailable_reason(midnight), None);
        ann.record_assignment(midnight);
        assert_eq!(ann.leads_that_day, 1);
    }

    #[test]
    fn daily_limit_holds_after_clock_set_back() {
        let mut ann = Agent {
            max_leads_per_day: Some(1),
            ..ann()
        };
        ann.record_assignment(NOON);
        let (yesterday, morning) = (NOON.minus(DAY), midnight(20_000));
        assert_state(&ann, yesterday, None, Some(morning));
        assert_eq!(ann.unavailable_reason(morning), Some(FullToday));
    }

    #[test]
    fn absence_starts_and_finishes_by_time() {
        let hour = Millis::from_secs(3600);
        let (from, to) = (NOON.plus(hour), NOON.plus(hour).plus(hour));
        let ann = Agent {
            absences: vec![Absence { from, to }],
            ..ann()
        };
        assert_state(&ann, NOON, None, Some(from));
        assert_state(&ann, from, Some(Absent), Some(to));
        assert_state(&ann, to, None, None);
    }

    #[test]
    fn pause_and_removal_take_precedence() {
        let paused = Agent {
            is_active: false,
            max_leads: Some(0),
            ..ann()
        };
        assert_eq!(paused.unavailable_reason(NOON), Some(Paused));
        let removed = Agent {
            is_removed: true,
            ..paused
        };
        assert_eq!(removed.unavailable_reason(NOON), Some(Removed));
    }
}
