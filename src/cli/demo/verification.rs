//! Verifies the result of the demo: compares the responses to the forms with the stored state. The
//! functions are pure, so that tests can pass a wrong state to them.
//!
//! See [`super::observed`] for the state and [`super::report`] for the output.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::{AgentRecord, FormOutcome, ObservedState, SlotRecord, SubmissionRecord};

/// A difference between the expected and the stored state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Discrepancy {
    /// The form was acknowledged and is not stored. The value is its flow token.
    #[error("{0} was acknowledged but is not stored")]
    Lost(String),
    /// The form was stored or accepted more than once. The value is its flow token.
    #[error("{0} was accepted or stored more than once")]
    Duplicated(String),
    /// The submission is stored and was never sent. The value is its flow token.
    #[error("{0} is stored but was never sent")]
    Unknown(String),
    /// The form was refused for its slot and is stored. The value is its flow token.
    #[error("{0} was refused because its slot was taken, but is stored")]
    StoredThoughRefused(String),
    /// The form got no response, or an unexpected one. The values are its flow token and the cause.
    #[error("{0} got no valid response: {1}")]
    NotAnswered(String, String),
    /// The submission is not finished. The values are its flow token and its state.
    #[error("{0} was acknowledged but is still {1}")]
    NotFinished(String, String),
    /// The submission has not exactly one lead. The values are its flow token and the number of
    /// leads.
    #[error("{0} has {1} leads instead of one")]
    WrongLeadCount(String, usize),
    /// The agent's own count differs from its leads, it exceeds its limit, or it has capacity while
    /// leads wait. The values are its name and the cause.
    #[error("{0} {1}")]
    WrongAgentCount(String, String),
    /// The first agent got more than its share while the second one had capacity. The values are
    /// their names.
    #[error("{0} got more leads than its share while {1} had capacity")]
    Unfair(String, String),
    /// The slot has more bookings than places, or a free place that was refused. The value is the
    /// cause.
    #[error("the slot {0}")]
    WrongSlotCount(String),
    /// `flowgate check` failed. The value is its output.
    #[error("flowgate check: {0}")]
    CheckFailed(String),
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
    for (token, outcomes) in outcomes {
        let stored = stored.remove(token).unwrap_or_default();
        check_form(token, &outcomes, &stored, discrepancies);
    }
    discrepancies.extend(
        stored
            .keys()
            .map(|&token| Discrepancy::Unknown(token.to_owned())),
    );
}

/// Checks the outcomes of one form against its stored submissions.
fn check_form(
    token: &str,
    outcomes: &[&FormOutcome],
    stored: &[&SubmissionRecord],
    discrepancies: &mut Vec<Discrepancy>,
) {
    let count = |wanted: FormOutcome| outcomes.iter().filter(|each| ***each == wanted).count();
    let accepted = count(FormOutcome::Accepted);
    let is_acknowledged = accepted + count(FormOutcome::Duplicate) > 0;
    if is_acknowledged && stored.is_empty() {
        discrepancies.push(Discrepancy::Lost(token.to_owned()));
    }
    if accepted > 1 || stored.len() > 1 {
        discrepancies.push(Discrepancy::Duplicated(token.to_owned()));
    }
    if !stored.is_empty() && count(FormOutcome::SlotTaken) > 0 && !is_acknowledged {
        discrepancies.push(Discrepancy::StoredThoughRefused(token.to_owned()));
    }
    for outcome in outcomes {
        if let FormOutcome::Refused(why) | FormOutcome::Unanswered(why) = outcome {
            discrepancies.push(Discrepancy::NotAnswered(token.to_owned(), why.clone()));
        }
    }
    let unfinished = stored.iter().filter(|each| each.state != "done");
    discrepancies.extend(
        unfinished.map(|each| Discrepancy::NotFinished(token.to_owned(), each.state.clone())),
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
        let counted = agent.current_leads;
        let assigned = assigned.get(agent.name.as_str()).copied();
        let assigned = assigned.unwrap_or_default();
        let mut report = |why| {
            discrepancies.push(Discrepancy::WrongAgentCount(agent.name.clone(), why));
        };
        if assigned != counted {
            report(format!(
                "has lead count {counted}, but its number of leads is {assigned}"
            ));
        }
        if let Some(max) = agent.max_leads.filter(|max| counted > *max) {
            report(format!(
                "has {counted} leads, more than its maximum of {max}"
            ));
        }
        if waiting > 0 && !agent.is_full() {
            report(format!("has capacity while {waiting} leads are waiting"));
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
    let mut report = |why| discrepancies.push(Discrepancy::WrongSlotCount(why));
    if taken > capacity {
        report(format!("has {taken} bookings for {capacity} places"));
    }
    let mut outcomes = observed.outcomes.iter();
    let is_refused = outcomes.any(|(_, outcome)| *outcome == FormOutcome::SlotTaken);
    if taken < capacity && is_refused {
        report(format!(
            "was refused although only {taken} of its {capacity} places are taken"
        ));
    }
    let bookings = observed.submissions.iter();
    let bookings: BTreeSet<u64> = bookings.filter_map(|each| each.booking_id).collect();
    if u32::try_from(bookings.len()) != Ok(taken) {
        report(format!(
            "has {taken} bookings, but {} submissions name one",
            bookings.len()
        ));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::demo::observed::LeadRecord;

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
    pub fn consistent_state() -> ObservedState {
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

    /// Asserts that the changed state has exactly these discrepancies, one line each.
    fn assert_found(change: fn(&mut ObservedState), expected: &str) {
        let mut observed = consistent_state();
        change(&mut observed);
        let found = find_discrepancies(&observed);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.join("\n"), expected);
    }

    /// Adds a submission with a lead of Ben.
    fn add_submission(observed: &mut ObservedState, id: u64, token: &str) {
        observed.submissions.push(submission(id, token));
        observed.leads.push(lead(id, "Ben"));
        observed.agents[1].current_leads += 1;
    }

    #[test]
    fn consistent_state_has_no_discrepancies() {
        assert_found(|_| {}, "");
    }

    #[test]
    fn lost_and_doubled_forms_are_reported() {
        assert_found(
            |observed| drop(observed.submissions.remove(0)),
            "a was acknowledged but is not stored\n\
             submission 1, which is not stored, has 1 leads instead of one",
        );
        // A duplicate counts as acknowledged.
        assert_found(
            |observed| {
                let duplicate = ("x".to_owned(), FormOutcome::Duplicate);
                observed.outcomes.push(duplicate);
            },
            "x was acknowledged but is not stored",
        );
        let doubled = "a was accepted or stored more than once";
        assert_found(|observed| add_submission(observed, 9, "a"), doubled);
        assert_found(
            |observed| observed.outcomes[1].1 = FormOutcome::Accepted,
            doubled,
        );
        assert_found(
            |observed| add_submission(observed, 9, "ghost"),
            "ghost is stored but was never sent",
        );
        assert_found(
            |observed| add_submission(observed, 4, "d"),
            "d was refused because its slot was taken, but is stored",
        );
    }

    #[test]
    fn unfinished_and_unanswered_forms_are_reported() {
        assert_found(
            |observed| observed.submissions[0].state = "accepted".to_owned(),
            "a was acknowledged but is still accepted",
        );
        assert_found(
            |observed| {
                let unanswered = FormOutcome::Unanswered("late".to_owned());
                observed.outcomes.push(("e".to_owned(), unanswered));
            },
            "e got no valid response: late",
        );
        assert_found(
            |observed| observed.check_output = "a row is broken".to_owned(),
            "flowgate check: a row is broken",
        );
    }

    #[test]
    fn wrong_slot_count_is_reported() {
        assert_found(
            |observed| observed.slot.taken = 2,
            "the slot has 2 bookings for 1 places\n\
             the slot has 2 bookings, but 1 submissions name one",
        );
        assert_found(
            |observed| observed.slot.capacity = 2,
            "the slot was refused although only 1 of its 2 places are taken",
        );
        assert_found(
            |observed| observed.submissions[2].booking_id = None,
            "the slot has 1 bookings, but 0 submissions name one",
        );
    }

    #[test]
    fn wrong_lead_count_is_reported() {
        assert_found(
            |observed| {
                observed.leads.remove(0);
                observed.agents[0].current_leads = 0;
                observed.agents[0].max_leads = Some(0);
            },
            "a has 0 leads instead of one",
        );
        assert_found(
            |observed| {
                observed.leads.push(lead(1, "Ben"));
                observed.agents[1].current_leads += 1;
            },
            "a has 2 leads instead of one",
        );
    }

    #[test]
    fn wrong_agent_count_is_reported() {
        assert_found(
            |observed| observed.agents[1].current_leads = 3,
            "Ben has lead count 3, but its number of leads is 2",
        );
        assert_found(
            |observed| observed.agents[0].max_leads = Some(0),
            "Ann has 1 leads, more than its maximum of 0",
        );
        // The count that is compared with the maximum is shown, not the number of leads.
        assert_found(
            |observed| {
                observed.agents = vec![agent("Ann", 2, 3, Some(2)), agent("Ben", 2, 2, None)];
            },
            "Ann has lead count 3, but its number of leads is 1\n\
             Ann has 3 leads, more than its maximum of 2",
        );
        assert_found(
            |observed| {
                observed.leads[2].agent = None;
                observed.agents[1].current_leads = 1;
            },
            "Ben has capacity while 1 leads are waiting",
        );
        assert_found(
            |observed| {
                observed.agents = vec![agent("Ann", 1, 3, None), agent("Ben", 2, 0, None)];
                observed.leads = vec![lead(1, "Ann"), lead(2, "Ann"), lead(3, "Ann")];
            },
            "Ann got more leads than its share while Ben had capacity",
        );
    }
}
