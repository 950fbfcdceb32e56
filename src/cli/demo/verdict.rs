//! Whether the storm was weathered: what was answered against what is kept. Pure, so that it can be shown to fail.
//!
//! Where the evidence comes from is `super`'s; how it is told is `super::report`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

/// What became of one form that was sent, duplicates being forms of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was accepted.
    Accepted,
    /// It was there already.
    Duplicate,
    /// The slot it wanted is gone.
    SlotGone,
    /// Something else was answered.
    Refused(String),
    /// Nothing was answered, however often it was sent.
    Unanswered(String),
}

/// A submission, as `submissions --json` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Submission {
    /// Its number.
    pub id: u64,
    /// The token it came under.
    pub flow_token: Option<String>,
    /// Where it stands.
    pub state: String,
    /// The place it took.
    pub booking_id: Option<u64>,
}

/// A lead, as `leads --json` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Lead {
    /// The submission it is made of.
    pub submission_id: u64,
    /// Who has it; nobody while it waits.
    pub agent: Option<String>,
}

/// An agent, as `agents --json` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Agent {
    /// The name.
    pub name: String,
    /// Its share.
    pub weight: u32,
    /// Leads that it has now.
    pub current_leads: u32,
    /// The most it takes.
    pub max_leads: Option<u32>,
}

impl Agent {
    fn is_full(&self) -> bool {
        self.max_leads.is_some_and(|max| self.current_leads >= max)
    }
}

/// The slot that was raced for, as `slots --json` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Slot {
    /// The day.
    pub date: String,
    /// The time of day.
    pub time: String,
    /// Its places.
    pub capacity: u32,
    /// Places taken.
    pub taken: u32,
}

/// All that is known at the end.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Each form that was sent, with what became of it.
    pub sent: Vec<(String, Fate)>,
    /// What the server keeps.
    pub submissions: Vec<Submission>,
    /// The leads.
    pub leads: Vec<Lead>,
    /// The agents.
    pub agents: Vec<Agent>,
    /// The slot that was raced for.
    pub slot: Slot,
    /// What `flowgate check` complained of; empty: nothing.
    pub check: String,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Acknowledged, and not there.
    Lost(String),
    /// There more than once, or accepted more than once.
    Doubled(String),
    /// There, but never sent.
    Unknown(String),
    /// Refused for the sake of a slot, and kept all the same.
    KeptThoughRefused(String),
    /// Never answered, or not as it should have been.
    NotAnswered(String, String),
    /// Has not come to its end.
    NotCarried(String, String),
    /// So many leads where one should be.
    Leads(String, usize),
    /// An agent's own count and its leads differ, or it has more than it takes.
    Agent(String, String),
    /// One agent got more than its share while another had room.
    Unfair(String, String),
    /// A slot with more bookings than places, or with a place left that was refused to somebody.
    Slot(String),
    /// The file is not in order.
    Check(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(token) => write!(f, "{token} was acknowledged and is not there"),
            Self::Doubled(token) => write!(f, "{token} was taken more than once"),
            Self::Unknown(token) => write!(f, "{token} is there and was never sent"),
            Self::KeptThoughRefused(token) => {
                write!(f, "{token} was told that its slot is gone and is there all the same")
            }
            Self::NotAnswered(token, why) => write!(f, "{token} got no proper answer: {why}"),
            Self::NotCarried(token, state) => write!(f, "{token} was acknowledged and is still {state}"),
            Self::Leads(token, leads) => write!(f, "{token} has {leads} leads in place of one"),
            Self::Agent(name, why) => write!(f, "{name} {why}"),
            Self::Unfair(more, less) => write!(f, "{more} got more than its share while {less} had room"),
            Self::Slot(why) => write!(f, "the slot {why}"),
            Self::Check(why) => write!(f, "flowgate check: {why}"),
        }
    }
}

/// All faults, none if the storm was weathered.
#[must_use]
pub fn faults(evidence: &Evidence) -> Vec<Fault> {
    let mut faults = Vec::new();
    judge_submissions(evidence, &mut faults);
    judge_leads(evidence, &mut faults);
    judge_slot(evidence, &mut faults);
    if !evidence.check.is_empty() {
        faults.push(Fault::Check(evidence.check.clone()));
    }
    faults
}

/// Every acknowledged token is there exactly once and at its end, and nothing else is.
fn judge_submissions(evidence: &Evidence, faults: &mut Vec<Fault>) {
    let mut kept: BTreeMap<&str, Vec<&Submission>> = BTreeMap::new();
    for submission in &evidence.submissions {
        kept.entry(submission.flow_token.as_deref().unwrap_or_default()).or_default().push(submission);
    }
    let mut fates: BTreeMap<&str, Vec<&Fate>> = BTreeMap::new();
    for (token, fate) in &evidence.sent {
        fates.entry(token).or_default().push(fate);
    }
    for (&token, fates) in &fates {
        let kept = kept.remove(token).unwrap_or_default();
        let accepted = fates.iter().filter(|fate| ***fate == Fate::Accepted).count();
        let acknowledged = fates.iter().any(|fate| matches!(fate, Fate::Accepted | Fate::Duplicate));
        if acknowledged && kept.is_empty() {
            faults.push(Fault::Lost(token.to_owned()));
        }
        if accepted > 1 || kept.len() > 1 {
            faults.push(Fault::Doubled(token.to_owned()));
        }
        if !kept.is_empty() && fates.contains(&&Fate::SlotGone) && !acknowledged {
            faults.push(Fault::KeptThoughRefused(token.to_owned()));
        }
        for fate in fates {
            if let Fate::Refused(why) | Fate::Unanswered(why) = fate {
                faults.push(Fault::NotAnswered(token.to_owned(), why.clone()));
            }
        }
        for submission in kept.iter().filter(|submission| submission.state != "done") {
            faults.push(Fault::NotCarried(token.to_owned(), submission.state.clone()));
        }
    }
    faults.extend(kept.keys().map(|&token| Fault::Unknown(token.to_owned())));
}

/// Every submission has one lead; every agent has what it counts, within its limit, by its weight.
fn judge_leads(evidence: &Evidence, faults: &mut Vec<Fault>) {
    let mut leads_of: BTreeMap<u64, usize> = BTreeMap::new();
    let mut held: BTreeMap<&str, u32> = BTreeMap::new();
    let mut waiting = 0_usize;
    for lead in &evidence.leads {
        *leads_of.entry(lead.submission_id).or_default() += 1;
        match &lead.agent {
            Some(agent) => *held.entry(agent).or_default() += 1,
            None => waiting += 1,
        }
    }
    for submission in &evidence.submissions {
        let leads = leads_of.remove(&submission.id).unwrap_or_default();
        if leads != 1 {
            faults.push(Fault::Leads(submission.flow_token.clone().unwrap_or_default(), leads));
        }
    }
    faults.extend(
        leads_of.iter().map(|(id, leads)| Fault::Leads(format!("submission {id}, which is not there,"), *leads)),
    );
    for agent in &evidence.agents {
        let held = held.get(agent.name.as_str()).copied().unwrap_or_default();
        if held != agent.current_leads {
            faults
                .push(Fault::Agent(agent.name.clone(), format!("counts {} leads and has {held}", agent.current_leads)));
        }
        if agent.max_leads.is_some_and(|max| agent.current_leads > max) {
            faults.push(Fault::Agent(agent.name.clone(), format!("has {held} leads, more than it takes")));
        }
        if waiting > 0 && !agent.is_full() {
            faults.push(Fault::Agent(agent.name.clone(), format!("has room while {waiting} leads wait")));
        }
    }
    judge_shares(&evidence.agents, faults);
}

/// When an agent got its last lead, no other with room had a lower load. Nobody closes a lead in the demo, so this
/// still shows at the end.
fn judge_shares(agents: &[Agent], faults: &mut Vec<Fault>) {
    for more in agents {
        for less in agents.iter().filter(|less| !less.is_full()) {
            let before = u64::from(more.current_leads.saturating_sub(1)) * u64::from(less.weight);
            if before > u64::from(less.current_leads) * u64::from(more.weight) {
                faults.push(Fault::Unfair(more.name.clone(), less.name.clone()));
            }
        }
    }
}

/// As many bookings as places, all of them told so, the rest told otherwise.
fn judge_slot(evidence: &Evidence, faults: &mut Vec<Fault>) {
    let Slot { capacity, taken, .. } = evidence.slot;
    let refused = evidence.sent.iter().any(|(_, fate)| *fate == Fate::SlotGone);
    if taken > capacity {
        faults.push(Fault::Slot(format!("has {taken} bookings for {capacity} places")));
    }
    if taken < capacity && refused {
        faults.push(Fault::Slot(format!("was refused though only {taken} of its {capacity} places are taken")));
    }
    let bookings: BTreeSet<u64> = evidence.submissions.iter().filter_map(|submission| submission.booking_id).collect();
    if u32::try_from(bookings.len()) != Ok(taken) {
        faults.push(Fault::Slot(format!("has {taken} bookings, but {} submissions name one", bookings.len())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(id: u64, token: &str) -> Submission {
        Submission { id, flow_token: Some(token.to_owned()), state: "done".to_owned(), booking_id: None }
    }

    fn lead(submission_id: u64, agent: &str) -> Lead {
        Lead { submission_id, agent: Some(agent.to_owned()) }
    }

    fn agent(name: &str, weight: u32, current_leads: u32, max_leads: Option<u32>) -> Agent {
        Agent { name: name.to_owned(), weight, current_leads, max_leads }
    }

    /// Three forms, one of them sent twice, one that got the only place and one that did not.
    fn fine() -> Evidence {
        let sent = [
            ("a", Fate::Accepted),
            ("a", Fate::Duplicate),
            ("b", Fate::Accepted),
            ("c", Fate::Accepted),
            ("d", Fate::SlotGone),
        ];
        let mut last = submission(3, "c");
        last.booking_id = Some(1);
        Evidence {
            sent: sent.map(|(token, fate)| (token.to_owned(), fate)).to_vec(),
            submissions: vec![submission(1, "a"), submission(2, "b"), last],
            leads: vec![lead(1, "Ann"), lead(2, "Ben"), lead(3, "Ben")],
            agents: vec![agent("Ann", 1, 1, Some(1)), agent("Ben", 2, 2, None)],
            slot: Slot { date: "2026-11-25".to_owned(), time: "09:00".to_owned(), capacity: 1, taken: 1 },
            check: String::new(),
        }
    }

    fn after(change: impl FnOnce(&mut Evidence)) -> Vec<Fault> {
        let mut evidence = fine();
        change(&mut evidence);
        faults(&evidence)
    }

    #[test]
    fn a_storm_that_was_weathered_has_no_faults() {
        assert_eq!(after(|_| {}), []);
    }

    #[test]
    fn an_acknowledged_form_that_is_missing_is_lost() {
        let found = after(|evidence| evidence.submissions.retain(|kept| kept.id != 1));
        assert!(found.contains(&Fault::Lost("a".to_owned())), "{found:?}");
    }

    #[test]
    fn a_form_known_only_as_a_duplicate_counts_as_acknowledged() {
        let found = after(|evidence| {
            evidence.sent = vec![("x".to_owned(), Fate::Duplicate)];
            evidence.submissions.clear();
        });
        assert!(found.contains(&Fault::Lost("x".to_owned())), "{found:?}");
    }

    #[test]
    fn a_form_that_is_there_twice_or_accepted_twice_is_doubled() {
        let doubled = Fault::Doubled("a".to_owned());
        let kept_twice = after(|evidence| {
            evidence.submissions.push(submission(9, "a"));
            evidence.leads.push(lead(9, "Ben"));
            evidence.agents[1].current_leads += 1;
        });
        assert_eq!(kept_twice, std::slice::from_ref(&doubled));
        assert_eq!(after(|evidence| evidence.sent[1].1 = Fate::Accepted), [doubled]);
    }

    #[test]
    fn a_form_that_nobody_sent_shows() {
        let found = after(|evidence| {
            evidence.submissions.push(submission(9, "ghost"));
            evidence.leads.push(lead(9, "Ben"));
            evidence.agents[1].current_leads += 1;
        });
        assert_eq!(found, [Fault::Unknown("ghost".to_owned())]);
    }

    #[test]
    fn a_form_without_its_lead_or_with_two_shows() {
        let none = after(|evidence| {
            evidence.leads.remove(0);
            evidence.agents[0].current_leads = 0;
            evidence.agents[0].max_leads = Some(0);
        });
        assert_eq!(none, [Fault::Leads("a".to_owned(), 0)]);
        let two = after(|evidence| {
            evidence.leads.push(lead(1, "Ben"));
            evidence.agents[1].current_leads += 1;
        });
        assert_eq!(two, [Fault::Leads("a".to_owned(), 2)]);
    }

    #[test]
    fn a_form_that_never_came_to_its_end_shows() {
        let found = after(|evidence| evidence.submissions[0].state = "accepted".to_owned());
        assert_eq!(found, [Fault::NotCarried("a".to_owned(), "accepted".to_owned())]);
    }

    #[test]
    fn a_form_without_a_proper_answer_shows() {
        let found = after(|evidence| evidence.sent.push(("e".to_owned(), Fate::Unanswered("late".to_owned()))));
        assert_eq!(found, [Fault::NotAnswered("e".to_owned(), "late".to_owned())]);
    }

    #[test]
    fn an_overbooked_slot_and_a_wasted_place_show() {
        assert!(!after(|evidence| evidence.slot.taken = 2).is_empty());
        assert!(!after(|evidence| evidence.slot.capacity = 2).is_empty());
        let found = after(|evidence| evidence.submissions[2].booking_id = None);
        assert!(matches!(found.as_slice(), [Fault::Slot(_)]), "{found:?}");
    }

    #[test]
    fn a_refused_rival_that_is_kept_all_the_same_shows() {
        let found = after(|evidence| {
            evidence.submissions.push(submission(4, "d"));
            evidence.leads.push(lead(4, "Ben"));
            evidence.agents[1].current_leads += 1;
        });
        assert_eq!(found, [Fault::KeptThoughRefused("d".to_owned())]);
    }

    #[test]
    fn an_agent_above_its_limit_or_with_a_wrong_count_shows() {
        let above = after(|evidence| evidence.agents[0].max_leads = Some(0));
        assert!(matches!(above.as_slice(), [Fault::Agent(..)]), "{above:?}");
        let wrong = after(|evidence| evidence.agents[1].current_leads = 3);
        assert!(matches!(wrong.first(), Some(Fault::Agent(..))), "{wrong:?}");
    }

    #[test]
    fn a_lead_that_waits_while_somebody_has_room_shows() {
        let found = after(|evidence| {
            evidence.leads[2].agent = None;
            evidence.agents[1].current_leads = 1;
        });
        assert!(matches!(found.as_slice(), [Fault::Agent(..)]), "{found:?}");
    }

    #[test]
    fn a_share_beyond_the_weight_shows() {
        let found = after(|evidence| {
            evidence.agents = vec![agent("Ann", 1, 3, None), agent("Ben", 2, 0, None)];
            evidence.leads = vec![lead(1, "Ann"), lead(2, "Ann"), lead(3, "Ann")];
        });
        assert_eq!(found, [Fault::Unfair("Ann".to_owned(), "Ben".to_owned())]);
    }

    #[test]
    fn what_check_complains_of_is_a_fault() {
        assert_eq!(after(|evidence| evidence.check = "a row is broken".to_owned()).len(), 1);
    }
}
