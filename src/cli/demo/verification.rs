//! Verifies the result of the demo: compares the responses to the forms with the stored state. The
//! functions are pure, so that tests can pass a wrong state to them.
//!
//! See [`crate::cli::demo`] for the source of the state and [`super::report`] for the
//! output.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

/// Outcome of one form. A duplicate counts as a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormOutcome {
    /// The server accepted the form.
    Accepted,
    /// The server reported a duplicate.
    Duplicate,
    /// The requested slot is taken.
    SlotTaken,
    /// The server sent another response. The text is its status and body.
    Refused(String),
    /// No response arrived in any attempt. The text is the last error.
    Unanswered(String),
}

/// Submission, as printed by `submissions --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct SubmissionRecord {
    /// Submission ID.
    pub id: u64,
    /// Flow token of the form.
    pub flow_token: Option<String>,
    /// State of the submission.
    pub state: String,
    /// Booking ID. `None` if the submission has no booking.
    pub booking_id: Option<u64>,
}

/// Lead, as printed by `leads --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct LeadRecord {
    /// Submission ID of the lead.
    pub submission_id: u64,
    /// Name of the agent. `None` while the lead waits.
    pub agent: Option<String>,
}

/// Agent, as printed by `agents --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct AgentRecord {
    /// Agent name.
    pub name: String,
    /// Weight: share of the leads relative to other agents.
    pub weight: u32,
    /// Number of open leads.
    pub current_leads: u32,
    /// Maximum number of open leads. `None` means no limit.
    pub max_leads: Option<u32>,
}

impl AgentRecord {
    fn is_full(&self) -> bool {
        self.max_leads.is_some_and(|max| self.current_leads >= max)
    }
}

/// Slot of the concurrent forms, as printed by `slots --json`.
#[derive(Debug, Clone, Deserialize)]
pub struct SlotRecord {
    /// Date in the time zone of the calendar.
    pub date: String,
    /// Start time in the time zone of the calendar.
    pub time: String,
    /// Number of places.
    pub capacity: u32,
    /// Number of booked places.
    pub taken: u32,
}

/// State after the load: outcomes of the forms and rows of the server.
#[derive(Debug, Clone)]
pub struct ObservedState {
    /// Flow token and outcome of each form that was sent.
    pub outcomes: Vec<(String, FormOutcome)>,
    /// Submissions that the server has stored.
    pub submissions: Vec<SubmissionRecord>,
    /// Leads that the server has stored.
    pub leads: Vec<LeadRecord>,
    /// Agents that the server has stored.
    pub agents: Vec<AgentRecord>,
    /// Slot of the concurrent forms.
    pub slot: SlotRecord,
    /// Output of a failed `flowgate check`. Empty if the check succeeded.
    pub check_output: String,
}

/// A difference between the expected and the stored state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discrepancy {
    /// The form was acknowledged and is not stored. The value is its flow token.
    Lost(String),
    /// The form was stored or accepted more than once. The value is its flow token.
    Duplicated(String),
    /// The submission is stored and was never sent. The value is its flow token.
    Unknown(String),
    /// The form was refused for its slot and is stored. The value is its flow token.
    StoredThoughRefused(String),
    /// The form got no response, or an unexpected one. The values are its flow token and the cause.
    NotAnswered(String, String),
    /// The submission is not finished. The values are its flow token and its state.
    NotFinished(String, String),
    /// The submission has not exactly one lead. The values are its flow token and the number of
    /// leads.
    WrongLeadCount(String, usize),
    /// The agent's own count differs from its leads, it exceeds its limit, or it has capacity while
    /// leads wait. The values are its name and the cause.
    WrongAgentCount(String, String),
    /// The first agent got more than its share while the second one had capacity. The values are
    /// their names.
    Unfair(String, String),
    /// The slot has more bookings than places, or a free place that was refused. The value is the
    /// cause.
    WrongSlotCount(String),
    /// `flowgate check` failed. The value is its output.
    CheckFailed(String),
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(token) => write!(f, "{token} was acknowledged but is not stored"),
            Self::Duplicated(token) => write!(f, "{token} was accepted or stored more than once"),
            Self::Unknown(token) => write!(f, "{token} is stored but was never sent"),
            Self::StoredThoughRefused(token) => {
                write!(
                    f,
                    "{token} was refused because its slot was taken, but is stored"
                )
            }
            Self::NotAnswered(token, why) => write!(f, "{token} got no valid response: {why}"),
            Self::NotFinished(token, state) => {
                write!(f, "{token} was acknowledged but is still {state}")
            }
            Self::WrongLeadCount(token, leads) => {
                write!(f, "{token} has {leads} leads instead of one")
            }
            Self::WrongAgentCount(name, why) => write!(f, "{name} {why}"),
            Self::Unfair(more, less) => write!(
                f,
                "{more} got more leads than its share while {less} had capacity"
            ),
            Self::WrongSlotCount(why) => write!(f, "the slot {why}"),
            Self::CheckFailed(why) => write!(f, "flowgate check: {why}"),
        }
    }
}

/// Returns all discrepancies. The list is empty if the stored state is correct.
#[must_use]
pub fn find_discrepancies(observed: &ObservedState) -> Vec<Discrepancy> {
    let mut discrepancies = Vec::new();
    check_submissions(observed, &mut discrepancies);
    check_leads(observed, &mut discrepancies);
    check_slot(observed, &mut discrepancies);
    if !observed.check_output.is_empty() {
        discrepancies.push(Discrepancy::CheckFailed(observed.check_output.clone()));
    }
    discrepancies
}

/// Checks that every acknowledged flow token is stored exactly once and finished, and that nothing
/// else is stored.
fn check_submissions(observed: &ObservedState, discrepancies: &mut Vec<Discrepancy>) {
    let mut stored: BTreeMap<&str, Vec<&SubmissionRecord>> = BTreeMap::new();
    for submission in &observed.submissions {
        stored
            .entry(submission.flow_token.as_deref().unwrap_or_default())
            .or_default()
            .push(submission);
    }
    let mut outcomes: BTreeMap<&str, Vec<&FormOutcome>> = BTreeMap::new();
    for (token, outcome) in &observed.outcomes {
        outcomes.entry(token).or_default().push(outcome);
    }
    for (&token, outcomes) in &outcomes {
        let stored = stored.remove(token).unwrap_or_default();
        let accepted = outcomes
            .iter()
            .filter(|outcome| ***outcome == FormOutcome::Accepted)
            .count();
        let acknowledged = outcomes
            .iter()
            .any(|outcome| matches!(outcome, FormOutcome::Accepted | FormOutcome::Duplicate));
        if acknowledged && stored.is_empty() {
            discrepancies.push(Discrepancy::Lost(token.to_owned()));
        }
        if accepted > 1 || stored.len() > 1 {
            discrepancies.push(Discrepancy::Duplicated(token.to_owned()));
        }
        if !stored.is_empty() && outcomes.contains(&&FormOutcome::SlotTaken) && !acknowledged {
            discrepancies.push(Discrepancy::StoredThoughRefused(token.to_owned()));
        }
        for outcome in outcomes {
            if let FormOutcome::Refused(why) | FormOutcome::Unanswered(why) = outcome {
                discrepancies.push(Discrepancy::NotAnswered(token.to_owned(), why.clone()));
            }
        }
        for submission in stored
            .iter()
            .filter(|submission| submission.state != "done")
        {
            discrepancies.push(Discrepancy::NotFinished(
                token.to_owned(),
                submission.state.clone(),
            ));
        }
    }
    discrepancies.extend(
        stored
            .keys()
            .map(|&token| Discrepancy::Unknown(token.to_owned())),
    );
}

/// Checks that every submission has one lead, and that every agent has the leads that it counts,
/// within its limit and by its weight.
fn check_leads(observed: &ObservedState, discrepancies: &mut Vec<Discrepancy>) {
    let mut leads_of: BTreeMap<u64, usize> = BTreeMap::new();
    let mut assigned: BTreeMap<&str, u32> = BTreeMap::new();
    let mut waiting = 0_usize;
    for lead in &observed.leads {
        *leads_of.entry(lead.submission_id).or_default() += 1;
        match &lead.agent {
            Some(agent) => *assigned.entry(agent).or_default() += 1,
            None => waiting += 1,
        }
    }
    for submission in &observed.submissions {
        let leads = leads_of.remove(&submission.id).unwrap_or_default();
        if leads != 1 {
            discrepancies.push(Discrepancy::WrongLeadCount(
                submission.flow_token.clone().unwrap_or_default(),
                leads,
            ));
        }
    }
    discrepancies.extend(leads_of.iter().map(|(id, leads)| {
        Discrepancy::WrongLeadCount(format!("submission {id}, which is not stored,"), *leads)
    }));
    for agent in &observed.agents {
        let assigned = assigned
            .get(agent.name.as_str())
            .copied()
            .unwrap_or_default();
        if assigned != agent.current_leads {
            discrepancies.push(Discrepancy::WrongAgentCount(
                agent.name.clone(),
                format!(
                    "has lead count {}, but its number of leads is {assigned}",
                    agent.current_leads
                ),
            ));
        }
        if agent.max_leads.is_some_and(|max| agent.current_leads > max) {
            discrepancies.push(Discrepancy::WrongAgentCount(
                agent.name.clone(),
                format!("has {assigned} leads, more than its maximum"),
            ));
        }
        if waiting > 0 && !agent.is_full() {
            discrepancies.push(Discrepancy::WrongAgentCount(
                agent.name.clone(),
                format!("has capacity while {waiting} leads are waiting"),
            ));
        }
    }
    check_shares(&observed.agents, discrepancies);
}

/// Checks that no agent with capacity had a lower load when another agent got its last lead. The
/// demo closes no leads, so the final numbers prove this.
fn check_shares(agents: &[AgentRecord], discrepancies: &mut Vec<Discrepancy>) {
    for more in agents {
        for less in agents.iter().filter(|less| !less.is_full()) {
            let before = u64::from(more.current_leads.saturating_sub(1)) * u64::from(less.weight);
            if before > u64::from(less.current_leads) * u64::from(more.weight) {
                discrepancies.push(Discrepancy::Unfair(more.name.clone(), less.name.clone()));
            }
        }
    }
}

/// Checks the slot of the concurrent forms. The slot must not have more bookings than places, and
/// no form may be refused while a place is free. The number of booked places must equal the number
/// of submissions with a booking.
fn check_slot(observed: &ObservedState, discrepancies: &mut Vec<Discrepancy>) {
    let SlotRecord {
        capacity, taken, ..
    } = observed.slot;
    let refused = observed
        .outcomes
        .iter()
        .any(|(_, outcome)| *outcome == FormOutcome::SlotTaken);
    if taken > capacity {
        discrepancies.push(Discrepancy::WrongSlotCount(format!(
            "has {taken} bookings for {capacity} places"
        )));
    }
    if taken < capacity && refused {
        discrepancies.push(Discrepancy::WrongSlotCount(format!(
            "was refused although only {taken} of its {capacity} places are taken"
        )));
    }
    let bookings: BTreeSet<u64> = observed
        .submissions
        .iter()
        .filter_map(|submission| submission.booking_id)
        .collect();
    if u32::try_from(bookings.len()) != Ok(taken) {
        discrepancies.push(Discrepancy::WrongSlotCount(format!(
            "has {taken} bookings, but {} submissions name one",
            bookings.len()
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(id: u64, token: &str) -> SubmissionRecord {
        SubmissionRecord {
            id,
            flow_token: Some(token.to_owned()),
            state: "done".to_owned(),
            booking_id: None,
        }
    }

    fn lead(submission_id: u64, agent: &str) -> LeadRecord {
        LeadRecord {
            submission_id,
            agent: Some(agent.to_owned()),
        }
    }

    fn agent(name: &str, weight: u32, current_leads: u32, max_leads: Option<u32>) -> AgentRecord {
        AgentRecord {
            name: name.to_owned(),
            weight,
            current_leads,
            max_leads,
        }
    }

    /// Returns a state with four forms: one was sent twice, one got the only place, and one was
    /// refused.
    fn consistent_state() -> ObservedState {
        let sent = [
            ("a", FormOutcome::Accepted),
            ("a", FormOutcome::Duplicate),
            ("b", FormOutcome::Accepted),
            ("c", FormOutcome::Accepted),
            ("d", FormOutcome::SlotTaken),
        ];
        let mut last = submission(3, "c");
        last.booking_id = Some(1);
        ObservedState {
            outcomes: sent
                .map(|(token, outcome)| (token.to_owned(), outcome))
                .to_vec(),
            submissions: vec![submission(1, "a"), submission(2, "b"), last],
            leads: vec![lead(1, "Ann"), lead(2, "Ben"), lead(3, "Ben")],
            agents: vec![agent("Ann", 1, 1, Some(1)), agent("Ben", 2, 2, None)],
            slot: SlotRecord {
                date: "2026-11-25".to_owned(),
                time: "09:00".to_owned(),
                capacity: 1,
                taken: 1,
            },
            check_output: String::new(),
        }
    }

    fn discrepancies_after(change: impl FnOnce(&mut ObservedState)) -> Vec<Discrepancy> {
        let mut observed = consistent_state();
        change(&mut observed);
        find_discrepancies(&observed)
    }

    #[test]
    fn consistent_state_has_no_discrepancies() {
        assert_eq!(discrepancies_after(|_| {}), []);
    }

    #[test]
    fn acknowledged_form_missing_is_lost() {
        let found = discrepancies_after(|observed| {
            observed.submissions.retain(|submission| submission.id != 1);
        });
        assert!(
            found.contains(&Discrepancy::Lost("a".to_owned())),
            "{found:?}"
        );
    }

    #[test]
    fn duplicate_counts_as_acknowledged() {
        let found = discrepancies_after(|observed| {
            observed.outcomes = vec![("x".to_owned(), FormOutcome::Duplicate)];
            observed.submissions.clear();
        });
        assert!(
            found.contains(&Discrepancy::Lost("x".to_owned())),
            "{found:?}"
        );
    }

    #[test]
    fn form_stored_or_accepted_twice_is_duplicated() {
        let doubled = Discrepancy::Duplicated("a".to_owned());
        let stored_twice = discrepancies_after(|observed| {
            observed.submissions.push(submission(9, "a"));
            observed.leads.push(lead(9, "Ben"));
            observed.agents[1].current_leads += 1;
        });
        assert_eq!(stored_twice, std::slice::from_ref(&doubled));
        assert_eq!(
            discrepancies_after(|observed| observed.outcomes[1].1 = FormOutcome::Accepted),
            [doubled]
        );
    }

    #[test]
    fn unsent_form_is_reported() {
        let found = discrepancies_after(|observed| {
            observed.submissions.push(submission(9, "ghost"));
            observed.leads.push(lead(9, "Ben"));
            observed.agents[1].current_leads += 1;
        });
        assert_eq!(found, [Discrepancy::Unknown("ghost".to_owned())]);
    }

    #[test]
    fn wrong_lead_count_is_reported() {
        let none = discrepancies_after(|observed| {
            observed.leads.remove(0);
            observed.agents[0].current_leads = 0;
            observed.agents[0].max_leads = Some(0);
        });
        assert_eq!(none, [Discrepancy::WrongLeadCount("a".to_owned(), 0)]);
        let two = discrepancies_after(|observed| {
            observed.leads.push(lead(1, "Ben"));
            observed.agents[1].current_leads += 1;
        });
        assert_eq!(two, [Discrepancy::WrongLeadCount("a".to_owned(), 2)]);
    }

    #[test]
    fn unfinished_form_is_reported() {
        let found =
            discrepancies_after(|observed| observed.submissions[0].state = "accepted".to_owned());
        assert_eq!(
            found,
            [Discrepancy::NotFinished(
                "a".to_owned(),
                "accepted".to_owned()
            )]
        );
    }

    #[test]
    fn unanswered_form_is_reported() {
        let found = discrepancies_after(|observed| {
            observed
                .outcomes
                .push(("e".to_owned(), FormOutcome::Unanswered("late".to_owned())));
        });
        assert_eq!(
            found,
            [Discrepancy::NotAnswered("e".to_owned(), "late".to_owned())]
        );
    }

    #[test]
    fn wrong_slot_count_is_reported() {
        assert!(!discrepancies_after(|observed| observed.slot.taken = 2).is_empty());
        assert!(!discrepancies_after(|observed| observed.slot.capacity = 2).is_empty());
        let found = discrepancies_after(|observed| observed.submissions[2].booking_id = None);
        assert!(
            matches!(found.as_slice(), [Discrepancy::WrongSlotCount(_)]),
            "{found:?}"
        );
    }

    #[test]
    fn stored_refused_form_is_reported() {
        let found = discrepancies_after(|observed| {
            observed.submissions.push(submission(4, "d"));
            observed.leads.push(lead(4, "Ben"));
            observed.agents[1].current_leads += 1;
        });
        assert_eq!(found, [Discrepancy::StoredThoughRefused("d".to_owned())]);
    }

    #[test]
    fn wrong_agent_count_is_reported() {
        let above = discrepancies_after(|observed| observed.agents[0].max_leads = Some(0));
        assert!(
            matches!(above.as_slice(), [Discrepancy::WrongAgentCount(..)]),
            "{above:?}"
        );
        let wrong = discrepancies_after(|observed| observed.agents[1].current_leads = 3);
        assert!(
            matches!(wrong.first(), Some(Discrepancy::WrongAgentCount(..))),
            "{wrong:?}"
        );
    }

    #[test]
    fn waiting_lead_with_free_agent_is_reported() {
        let found = discrepancies_after(|observed| {
            observed.leads[2].agent = None;
            observed.agents[1].current_leads = 1;
        });
        assert!(
            matches!(found.as_slice(), [Discrepancy::WrongAgentCount(..)]),
            "{found:?}"
        );
    }

    #[test]
    fn unfair_share_is_reported() {
        let found = discrepancies_after(|observed| {
            observed.agents = vec![agent("Ann", 1, 3, None), agent("Ben", 2, 0, None)];
            observed.leads = vec![lead(1, "Ann"), lead(2, "Ann"), lead(3, "Ann")];
        });
        assert_eq!(
            found,
            [Discrepancy::Unfair("Ann".to_owned(), "Ben".to_owned())]
        );
    }

    #[test]
    fn failed_check_is_reported() {
        assert_eq!(
            discrepancies_after(|observed| observed.check_output = "a row is broken".to_owned())
                .len(),
            1
        );
    }
}
