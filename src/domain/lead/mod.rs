//! Defines leads and agents: who can accept a lead, and why an agent was chosen.
//!
//! See [`self::agent_pool`] for the index that chooses among many agents. The store
//! holds the queue of leads that no agent can accept.

pub mod agent_pool;
use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::ids::{AgentId, AgentName, FlowName, SubmissionId, TeamName};
use super::time::{Millis, Timestamp};

/// Maximum weight of an agent. The minimum is 1.
pub const WEIGHT_MAX: u32 = 1000;

/// Maximum number of candidates that an [`Assignment`] lists.
pub const CANDIDATES_MAX: usize = 16;

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

/// Stored lead: one submission in an agent's care, or waiting for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// Submission ID.
    pub submission_id: SubmissionId,
    /// Flow of the submission.
    pub flow: FlowName,
    /// Team whose agents may get the lead.
    pub team: TeamName,
    /// Agent who has the lead. `None` if the lead is waiting.
    pub agent: Option<AgentId>,
    /// State of the lead: open or closed.
    pub state: LeadState,
    /// Time when the lead was created, in UTC.
    pub created_at: Timestamp,
    /// Time when the current agent got the lead, in UTC.
    pub assigned_at: Option<Timestamp>,
    /// Time when the lead was closed, in UTC.
    pub closed_at: Option<Timestamp>,
    /// Reason why this agent, or no agent, got the lead.
    pub assignment: Assignment,
}

/// State of a lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadState {
    /// The lead counts among its agent's open leads, or is waiting.
    Open,
    /// The lead is closed.
    Closed,
}

impl LeadState {
    /// Returns the name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

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
        if self.is_removed {
            Some(CandidateOutcome::Removed)
        } else if !self.is_active {
            Some(CandidateOutcome::Paused)
        } else if self
            .absences
            .iter()
            .any(|absence| (absence.from..absence.to).contains(&now))
        {
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
        let absences = self
            .absences
            .iter()
            .flat_map(|absence| [absence.from, absence.to]);
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
        let leads_today = if self.last_lead_day == day_index(now) {
            self.leads_that_day
        } else {
            0
        };
        self.max_leads_per_day.is_some_and(|max| leads_today >= max)
    }
}

const fn day_index(at: Timestamp) -> u64 {
    at.as_millis() / DAY.get()
}

const fn midnight(day: u64) -> Timestamp {
    Timestamp::from_millis(day.saturating_mul(DAY.get()))
}

/// Open leads per unit of weight, compared exactly.
#[derive(Clone, Copy, Debug)]
pub struct LeadLoad {
    current_leads: u32,
    weight: u32,
}

impl Ord for LeadLoad {
    fn cmp(&self, other: &Self) -> Ordering {
        // Compares current / weight without a division. Both products fit into 64 bits.
        let product =
            |load: &Self, by: &Self| u64::from(load.current_leads) * u64::from(by.weight.max(1));
        product(self, other).cmp(&product(other, self))
    }
}

impl PartialOrd for LeadLoad {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Equality of the fractions, not of the numbers: 1 of 2 equals 2 of 4.
impl PartialEq for LeadLoad {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for LeadLoad {}

/// Assignment of a lead and the reason for it, stored with the lead. The default is that of a
/// queued lead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Agent who got the lead. `None` if no agent can accept the lead now.
    pub agent: Option<AgentId>,
    /// Rule that decided the assignment.
    pub reason: AssignmentReason,
    /// Agents who were considered, the chosen one first, at most [`CANDIDATES_MAX`]. For larger
    /// teams, only the chosen agent and the next best are listed. Without this limit, an assignment
    /// among ten thousand agents would cost more than among ten.
    pub candidates: Vec<AgentCandidate>,
    /// Number of agents of the team that are not listed.
    pub omitted: u32,
}

impl Assignment {
    /// Creates the assignment of a lead that an admin assigns.
    #[must_use]
    pub const fn manual(agent: AgentId) -> Self {
        Self {
            agent: Some(agent),
            reason: AssignmentReason::Manual,
            candidates: Vec::new(),
            omitted: 0,
        }
    }
}

/// Rule that decided an assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssignmentReason {
    /// The agent with the fewest open leads by weight got the lead.
    LeastLoaded,
    /// The agent who had this customer before got the lead.
    KnownCustomer,
    /// An admin assigned the lead.
    Manual,
    /// No agent of the team can accept a lead.
    NoAgentFree,
    /// The lead is queued, because older leads of the team are waiting too.
    #[default]
    Queued,
    /// The agent whom the customer chose, or was shown, got the lead.
    Chosen,
}

impl AssignmentReason {
    /// Returns the name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least_loaded",
            Self::KnownCustomer => "known_customer",
            Self::Manual => "manual",
            Self::NoAgentFree => "no_agent_free",
            Self::Queued => "queued",
            Self::Chosen => "chosen",
        }
    }
}

/// State of an agent at the time of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCandidate {
    /// Agent ID.
    pub agent: AgentId,
    /// Number of open leads, without the new lead.
    pub current_leads: u32,
    /// Weight of the agent.
    pub weight: u32,
    /// Outcome for this agent.
    pub outcome: CandidateOutcome,
}

/// Reason why a candidate got a lead or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CandidateOutcome {
    /// The agent got the lead.
    Chosen,
    /// The agent has more open leads by weight.
    MoreLoaded,
    /// The agent has the same load, but got a lead more recently.
    WaitedLess,
    /// The agent is equal in load and idle time, but was added later.
    AddedLater,
    /// The customer belongs to another agent.
    NotTheirCustomer,
    /// The agent has the maximum number of open leads.
    Full,
    /// The agent has got the maximum number of leads today.
    FullToday,
    /// The agent is absent.
    Absent,
    /// An admin paused the agent.
    Paused,
    /// The agent knows the customer, but is in another team now.
    OtherTeam,
    /// The agent knows the customer, but was removed.
    Removed,
    /// The customer chose another agent.
    NotChosen,
}

impl CandidateOutcome {
    /// Returns the name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::MoreLoaded => "more_loaded",
            Self::WaitedLess => "waited_less",
            Self::AddedLater => "added_later",
            Self::NotTheirCustomer => "not_their_customer",
            Self::Full => "full",
            Self::FullToday => "full_today",
            Self::Absent => "absent",
            Self::Paused => "paused",
            Self::OtherTeam => "other_team",
            Self::Removed => "removed",
            Self::NotChosen => "not_chosen",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(20_000 * 86_400_000 + 43_200_000);

    fn ann() -> Agent {
        Agent::new(
            AgentName::new("ann").unwrap(),
            TeamName::new("sales").unwrap(),
            1,
            NOON,
        )
    }

    #[test]
    fn load_ranks_compare_as_fractions() {
        let load = |current, weight| LeadLoad {
            current_leads: current,
            weight,
        };
        assert_eq!(load(1, 2), load(2, 4));
        assert!(load(1, 3) < load(1, 2));
        assert!(load(333, 1000) < load(1, 3));
        assert!(load(u32::MAX, 1000) > load(u32::MAX - 1, 1000));
        assert_eq!(load(0, 1), load(0, 1000));
    }

    #[test]
    fn new_agent_is_available() {
        assert_eq!(ann().unavailable_reason(NOON), None);
        assert_eq!(ann().next_change_at(NOON), None);
    }

    #[test]
    fn full_agent_is_available_after_release() {
        let mut ann = Agent {
            max_leads: Some(1),
            ..ann()
        };
        ann.record_assignment(NOON);
        assert_eq!(ann.unavailable_reason(NOON), Some(CandidateOutcome::Full));
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
        assert_eq!(
            ann.unavailable_reason(NOON),
            Some(CandidateOutcome::FullToday),
            "closing one gives no second chance today"
        );
        let midnight = Timestamp::from_millis(20_001 * 86_400_000);
        assert_eq!(ann.next_change_at(NOON), Some(midnight));
        assert_eq!(
            ann.unavailable_reason(midnight.minus(Millis::new(1))),
            Some(CandidateOutcome::FullToday)
        );
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
        assert_eq!(
            (
                ann.unavailable_reason(yesterday),
                ann.next_change_at(yesterday)
            ),
            (None, Some(morning))
        );
        assert_eq!(
            ann.unavailable_reason(morning),
            Some(CandidateOutcome::FullToday)
        );
    }

    #[test]
    fn absence_starts_and_finishes_by_time() {
        let hour = Millis::from_secs(3600);
        let (from, to) = (NOON.plus(hour), NOON.plus(hour).plus(hour));
        let ann = Agent {
            absences: vec![Absence { from, to }],
            ..ann()
        };
        assert_eq!(
            (ann.unavailable_reason(NOON), ann.next_change_at(NOON)),
            (None, Some(from))
        );
        assert_eq!(
            (ann.unavailable_reason(from), ann.next_change_at(from)),
            (Some(CandidateOutcome::Absent), Some(to))
        );
        assert_eq!(
            (ann.unavailable_reason(to), ann.next_change_at(to)),
            (None, None)
        );
    }

    #[test]
    fn pause_and_removal_take_precedence() {
        let paused = Agent {
            is_active: false,
            max_leads: Some(0),
            ..ann()
        };
        assert_eq!(
            paused.unavailable_reason(NOON),
            Some(CandidateOutcome::Paused)
        );
        assert_eq!(
            Agent {
                is_removed: true,
                ..paused
            }
            .unavailable_reason(NOON),
            Some(CandidateOutcome::Removed)
        );
    }
}
