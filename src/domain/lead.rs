//! Leads and the agents who take care of them: who can take one, and why one was chosen.
//!
//! Choosing quickly among many agents is `super::roster`'s; the queue of leads that nobody can take is the store's.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::ids::{AgentId, AgentName, FlowName, SubmissionId, TeamName};
use super::time::{Millis, Timestamp};

/// The highest weight of an agent; the lowest is 1.
pub const WEIGHT_MAX: u32 = 1000;

/// How many agents a [`Choice`] tells of.
pub const CONSIDERED_MAX: usize = 16;

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

/// One submission in an agent's care, or waiting for one. A stored row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// What it was made for.
    pub submission: SubmissionId,
    /// The flow of that submission.
    pub flow: FlowName,
    /// The team whose agents may have it.
    pub team: TeamName,
    /// Who has it; `None`: it waits.
    pub agent: Option<AgentId>,
    /// Whether somebody still has work with it.
    pub state: LeadState,
    /// When it came to be.
    pub created_at: Timestamp,
    /// When its agent got it.
    pub assigned_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Why this agent, or why none.
    pub why: Choice,
}

/// Whether a lead is still somebody's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadState {
    /// It counts among its agent's current leads, or waits.
    Open,
    /// It is over.
    Closed,
}

impl LeadState {
    /// The name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// A sales agent. A stored row; a removed one stays, as old leads name them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Unique among those who are not removed.
    pub name: AgentName,
    /// Whose leads are theirs.
    pub team: TeamName,
    /// Their share, 1 to [`WEIGHT_MAX`]: twice the weight, twice the leads.
    pub weight: u32,
    /// Open leads at the most; `None`: no limit.
    pub max: Option<u32>,
    /// Leads given in one day (UTC) at the most; `None`: no limit.
    pub max_per_day: Option<u32>,
    /// Whether they are to get leads at all: an admin pauses and resumes them.
    pub active: bool,
    /// Gone for good.
    pub removed: bool,
    /// Open leads.
    pub current: u32,
    /// Leads ever given to them.
    pub total: u64,
    /// When they got their last lead; before the first: when they were added.
    pub waiting_since: Timestamp,
    /// When they are away.
    pub absences: Vec<Absence>,
    /// The day of their last lead, in days since 1970-01-01 UTC.
    pub last_day: u64,
    /// Leads given on that day.
    pub given_that_day: u32,
}

/// A time in which an agent gets no leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

impl Agent {
    /// Somebody new, without limits or leads.
    #[must_use]
    pub const fn new(name: AgentName, team: TeamName, weight: u32, now: Timestamp) -> Self {
        Self {
            name,
            team,
            weight,
            max: None,
            max_per_day: None,
            active: true,
            removed: false,
            current: 0,
            total: 0,
            waiting_since: now,
            absences: Vec::new(),
            last_day: 0,
            given_that_day: 0,
        }
    }

    /// Why they can't take a lead at `now`; `None`: they can.
    #[must_use]
    pub fn obstacle(&self, now: Timestamp) -> Option<Verdict> {
        if self.removed {
            Some(Verdict::Removed)
        } else if !self.active {
            Some(Verdict::Paused)
        } else if self.absences.iter().any(|absence| (absence.from..absence.to).contains(&now)) {
            Some(Verdict::Absent)
        } else if self.max.is_some_and(|max| self.current >= max) {
            Some(Verdict::Full)
        } else if self.is_full_today(now) {
            Some(Verdict::FullToday)
        } else {
            None
        }
    }

    /// The next moment after `now` at which [`Agent::obstacle`] may answer otherwise though nobody did anything.
    #[must_use]
    pub fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let absences = self.absences.iter().flat_map(|absence| [absence.from, absence.to]);
        // Also its beginning: the clock may have been set back behind it.
        let full_day = [self.last_day, self.last_day.saturating_add(1)].map(midnight);
        let is_full_day = self.max_per_day.is_some_and(|max| self.given_that_day >= max);
        let full_day = full_day.into_iter().filter(|_| is_full_day);
        absences.chain(full_day).filter(|at| *at > now).min()
    }

    /// How much they have to do.
    #[must_use]
    pub const fn load(&self) -> Load {
        Load { current: self.current, weight: self.weight }
    }

    /// Counts one more lead.
    pub fn take(&mut self, now: Timestamp) {
        let today = day(now);
        if self.last_day != today {
            (self.last_day, self.given_that_day) = (today, 0);
        }
        self.given_that_day = self.given_that_day.saturating_add(1);
        self.current = self.current.saturating_add(1);
        self.total = self.total.saturating_add(1);
        self.waiting_since = now;
    }

    /// Counts one lead less: it was closed, or given to somebody else.
    pub const fn release(&mut self) {
        self.current = self.current.saturating_sub(1);
    }

    fn is_full_today(&self, now: Timestamp) -> bool {
        let given = if self.last_day == day(now) { self.given_that_day } else { 0 };
        self.max_per_day.is_some_and(|max| given >= max)
    }
}

const fn day(at: Timestamp) -> u64 {
    at.as_millis() / DAY.get()
}

const fn midnight(day: u64) -> Timestamp {
    Timestamp::from_millis(day.saturating_mul(DAY.get()))
}

/// Open leads for each unit of weight, compared exactly.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    current: u32,
    weight: u32,
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        // current / weight against current / weight, without dividing; both products fit into 64 bits.
        let product = |load: &Self, by: &Self| u64::from(load.current) * u64::from(by.weight.max(1));
        product(self, other).cmp(&product(other, self))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Equal loads, not equal numbers: 1 of 2 is 2 of 4.
impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

/// Who gets a lead, and what that followed from. Kept with the lead. The default is that of a lead that waits in line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Who; `None`: nobody can take it now.
    pub agent: Option<AgentId>,
    /// The rule that decided.
    pub reason: Reason,
    /// Those who were looked at, the chosen one first, [`CONSIDERED_MAX`] at the most. Of larger teams only the chosen
    /// one and the next best are told: choosing must cost the same for ten agents and ten thousand.
    pub considered: Vec<Considered>,
    /// How many others the team has.
    pub more: u32,
}

impl Choice {
    /// An admin's word.
    #[must_use]
    pub const fn by_hand(agent: AgentId) -> Self {
        Self { agent: Some(agent), reason: Reason::ByHand, considered: Vec::new(), more: 0 }
    }
}

/// The rule by which a lead went where it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// To the one with the fewest open leads for their weight.
    LeastLoaded,
    /// To the one who had this customer before.
    KnownCustomer,
    /// Where an admin put it.
    ByHand,
    /// Nowhere: nobody of the team can take a lead.
    NobodyFree,
    /// Nowhere yet: older leads of the team wait, too.
    #[default]
    InLine,
    /// To the one whom the customer chose, or was shown.
    Chosen,
}

impl Reason {
    /// The name that lists and logs show.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least_loaded",
            Self::KnownCustomer => "known_customer",
            Self::ByHand => "by_hand",
            Self::NobodyFree => "nobody_free",
            Self::InLine => "in_line",
            Self::Chosen => "chosen",
        }
    }
}

/// One agent as they stood when a lead was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// Who.
    pub agent: AgentId,
    /// Their open leads, before this one.
    pub current: u32,
    /// Their weight.
    pub weight: u32,
    /// What was found.
    pub verdict: Verdict,
}

/// Why an agent got a lead or was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Got it.
    Chosen,
    /// Has more open leads for their weight.
    MoreLoaded,
    /// As loaded, but had a lead more recently.
    WaitedLess,
    /// Equal in all; was added later.
    AddedLater,
    /// The customer belongs to somebody else.
    NotTheirCustomer,
    /// Has as many open leads as they may.
    Full,
    /// Has got as many leads today as they may.
    FullToday,
    /// Is away.
    Absent,
    /// Was paused by an admin.
    Paused,
    /// Knows the customer, but is in another team now.
    OtherTeam,
    /// Knows the customer, but is gone.
    Removed,
    /// The customer chose somebody else.
    NotChosen,
}

impl Verdict {
    /// The name that lists and logs show.
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
        Agent::new(AgentName::new("ann").unwrap(), TeamName::new("sales").unwrap(), 1, NOON)
    }

    #[test]
    fn loads_compare_as_fractions_do() {
        let load = |current, weight| Load { current, weight };
        assert_eq!(load(1, 2), load(2, 4));
        assert!(load(1, 3) < load(1, 2));
        assert!(load(333, 1000) < load(1, 3));
        assert!(load(u32::MAX, 1000) > load(u32::MAX - 1, 1000));
        assert_eq!(load(0, 1), load(0, 1000));
    }

    #[test]
    fn somebody_new_can_take_a_lead() {
        assert_eq!(ann().obstacle(NOON), None);
        assert_eq!(ann().changes_at(NOON), None);
    }

    #[test]
    fn a_full_agent_is_free_again_once_a_lead_is_closed() {
        let mut ann = Agent { max: Some(1), ..ann() };
        ann.take(NOON);
        assert_eq!(ann.obstacle(NOON), Some(Verdict::Full));
        ann.release();
        assert_eq!(ann.obstacle(NOON), None);
        assert_eq!((ann.current, ann.total), (0, 1));
    }

    #[test]
    fn a_cap_by_day_ends_at_midnight_though_leads_stay_open() {
        let mut ann = Agent { max_per_day: Some(2), ..ann() };
        ann.take(NOON);
        assert_eq!(ann.obstacle(NOON), None);
        ann.take(NOON);
        ann.release();
        assert_eq!(ann.obstacle(NOON), Some(Verdict::FullToday), "closing one gives no second chance today");
        let midnight = Timestamp::from_millis(20_001 * 86_400_000);
        assert_eq!(ann.changes_at(NOON), Some(midnight));
        assert_eq!(ann.obstacle(midnight.minus(Millis::new(1))), Some(Verdict::FullToday));
        assert_eq!(ann.obstacle(midnight), None);
        ann.take(midnight);
        assert_eq!(ann.given_that_day, 1);
    }

    #[test]
    fn a_day_that_was_full_is_full_again_when_a_clock_set_back_comes_to_it() {
        let mut ann = Agent { max_per_day: Some(1), ..ann() };
        ann.take(NOON);
        let (yesterday, morning) = (NOON.minus(DAY), midnight(20_000));
        assert_eq!((ann.obstacle(yesterday), ann.changes_at(yesterday)), (None, Some(morning)));
        assert_eq!(ann.obstacle(morning), Some(Verdict::FullToday));
    }

    #[test]
    fn an_absence_begins_and_ends_by_itself() {
        let hour = Millis::from_secs(3600);
        let (from, to) = (NOON.plus(hour), NOON.plus(hour).plus(hour));
        let ann = Agent { absences: vec![Absence { from, to }], ..ann() };
        assert_eq!((ann.obstacle(NOON), ann.changes_at(NOON)), (None, Some(from)));
        assert_eq!((ann.obstacle(from), ann.changes_at(from)), (Some(Verdict::Absent), Some(to)));
        assert_eq!((ann.obstacle(to), ann.changes_at(to)), (None, None));
    }

    #[test]
    fn the_word_of_an_admin_comes_before_all_else() {
        let paused = Agent { active: false, max: Some(0), ..ann() };
        assert_eq!(paused.obstacle(NOON), Some(Verdict::Paused));
        assert_eq!(Agent { removed: true, ..paused }.obstacle(NOON), Some(Verdict::Removed));
    }
}
