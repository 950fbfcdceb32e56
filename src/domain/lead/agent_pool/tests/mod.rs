//! Tests each rule of the agent pool.

mod model;

use super::*;
use crate::domain::lead::Absence;
use crate::domain::time::Millis;
use CandidateOutcome::{
    AddedLater, Chosen, Full, MoreLoaded, NotTheirCustomer, OtherTeam, Paused, Removed, WaitedLess,
};

const NOW: Timestamp = Timestamp::from_millis(20_000 * 86_400_000);

fn team(name: &str) -> TeamName {
    TeamName::new(name).unwrap()
}

fn agent(number: u64, weight: u32) -> (AgentId, Agent) {
    let name = AgentName::new(&format!("agent-{number}")).unwrap();
    let agent = Agent::new(name, team("sales"), weight, NOW);
    (AgentId::new(number), agent)
}

fn pool_of(weights: &[u32]) -> AgentPool {
    let agents = (1..).zip(weights);
    AgentPool::new(agents.map(|(number, weight)| agent(number, *weight)), NOW)
}

/// Assigns a lead to the next agent.
fn assign_next(roster: &mut AgentPool, now: Timestamp) -> Option<u64> {
    let id = roster.choose_agent(&team("sales"), now, &[]).agent?;
    roster.assign(id, now);
    Some(id.get())
}

/// Chooses the agent for a lead of the team `sales`.
fn choose(pool: &mut AgentPool, preferred: &[(AgentId, AssignmentReason)]) -> Assignment {
    pool.choose_agent(&team("sales"), NOW, preferred)
}

fn outcomes(choice: &Assignment) -> Vec<(u64, CandidateOutcome)> {
    let candidates = choice.candidates.iter();
    candidates
        .map(|one| (one.agent.get(), one.outcome))
        .collect()
}

fn current_leads(pool: &AgentPool, id: u64) -> u32 {
    pool.agent(AgentId::new(id)).unwrap().current_leads
}

#[test]
fn equal_agents_get_equal_leads() {
    let mut pool = pool_of(&[1; 7]);
    for _ in 0..1000 {
        assign_next(&mut pool, NOW).unwrap();
    }
    let mut counts = [1, 2, 3, 4, 5, 6, 7].map(|id| current_leads(&pool, id));
    counts.sort_unstable();
    assert_eq!(counts, [142, 143, 143, 143, 143, 143, 143]);
}

#[test]
fn leads_follow_weights() {
    let mut pool = pool_of(&[1, 2, 3]);
    for given in 1..=600_u32 {
        assign_next(&mut pool, NOW).unwrap();
        for (id, weight) in [(1, 1), (2, 2), (3, 3)] {
            let current = current_leads(&pool, id);
            let is_fair = (current * 6).abs_diff(given * weight) <= 6;
            assert!(is_fair, "agent {id} has {current} of {given}");
        }
    }
    assert_eq!(current_leads(&pool, 3), 300);
}

#[test]
fn longest_idle_agent_wins_tie() {
    let mut pool = pool_of(&[1, 1, 1]);
    let at = |ms| NOW.plus(Millis::new(ms));
    assert_eq!(assign_next(&mut pool, at(1)), Some(1));
    assert_eq!(assign_next(&mut pool, at(2)), Some(2));
    assert_eq!(assign_next(&mut pool, at(3)), Some(3));
    pool.unassign(AgentId::new(2), at(4));
    pool.unassign(AgentId::new(1), at(5));
    // Agent 1 got its last lead before agent 2.
    assert_eq!(assign_next(&mut pool, at(6)), Some(1));
}

#[test]
fn unavailable_agents_are_passed_over() {
    let mut pool = pool_of(&[1, 1, 1, 1]);
    pool.update_agent(AgentId::new(1), NOW, |agent| agent.max_leads = Some(0));
    pool.update_agent(AgentId::new(2), NOW, |agent| agent.is_active = false);
    pool.update_agent(AgentId::new(3), NOW, |agent| agent.team = team("service"));
    let choice = choose(&mut pool, &[]);
    assert_eq!(outcomes(&choice), [(4, Chosen), (1, Full), (2, Paused)]);
    pool.update_agent(AgentId::new(4), NOW, |agent| agent.is_removed = true);
    let choice = choose(&mut pool, &[]);
    assert_eq!(choice.agent, None);
    assert_eq!(choice.reason, AssignmentReason::NoAgentFree);
    assert_eq!(outcomes(&choice), [(1, Full), (2, Paused)]);
    let choice = pool.choose_agent(&team("nobody"), NOW, &[]);
    assert_eq!(choice.reason, AssignmentReason::NoAgentFree);
}

#[test]
fn known_customer_returns_to_agent() {
    let mut pool = pool_of(&[1, 1]);
    let second = AgentId::new(2);
    pool.assign(second, NOW);
    let choice = choose(&mut pool, &[(second, AssignmentReason::KnownCustomer)]);
    assert_eq!(choice.agent, Some(second));
    assert_eq!(choice.reason, AssignmentReason::KnownCustomer);
    assert_eq!(outcomes(&choice), [(2, Chosen), (1, NotTheirCustomer)]);
}

#[test]
fn unavailable_known_agent_is_passed_over_with_reason() {
    let mut pool = pool_of(&[1, 1, 1]);
    let known = AgentId::new(3);
    let outcomes_after = |pool: &mut AgentPool, change: fn(&mut Agent)| {
        pool.update_agent(known, NOW, change);
        outcomes(&choose(pool, &[(known, AssignmentReason::KnownCustomer)]))
    };
    let expected = |outcome| [(1, Chosen), (3, outcome), (2, AddedLater)];
    let paused = outcomes_after(&mut pool, |agent| agent.is_active = false);
    assert_eq!(paused, expected(Paused));
    let moved = outcomes_after(&mut pool, |agent| {
        (agent.is_active, agent.team) = (true, team("service"));
    });
    assert_eq!(moved, expected(OtherTeam));
    let removed = outcomes_after(&mut pool, |agent| agent.is_removed = true);
    assert_eq!(removed, expected(Removed));
}

#[test]
fn candidate_outcomes_are_recorded() {
    let mut pool = pool_of(&[1, 1, 1]);
    pool.assign(AgentId::new(3), NOW);
    pool.update_agent(AgentId::new(2), NOW, |agent| {
        agent.idle_since = NOW.plus(Millis::new(1));
    });
    let expected = [(1, Chosen), (2, WaitedLess), (3, MoreLoaded)];
    assert_eq!(outcomes(&choose(&mut pool, &[])), expected);
}

#[test]
fn large_team_records_two_candidates() {
    let mut large = pool_of(&[1; 40]);
    let choice = choose(&mut large, &[]);
    assert_eq!(outcomes(&choice), [(1, Chosen), (2, AddedLater)]);
    assert_eq!(choice.omitted, 38);
    for id in 1..=40 {
        large.update_agent(AgentId::new(id), NOW, |agent| agent.is_active = false);
    }
    let choice = choose(&mut large, &[]);
    // No agent is available, so as many are listed as are stored.
    assert_eq!(choice.candidates.len(), CANDIDATES_MAX);
    assert_eq!(choice.omitted, 24);
}

#[test]
fn absence_follows_clock_in_both_directions() {
    let mut pool = pool_of(&[1]);
    let hour = |hours: u64| NOW.plus(Millis::from_secs(hours * 3600));
    let (from, to) = (hour(1), hour(2));
    pool.update_agent(AgentId::new(1), NOW, |agent| {
        agent.absences.push(Absence { from, to });
    });
    let mut is_free = |at| pool.choose_agent(&team("sales"), at, &[]).agent.is_some();
    // From the fourth step on, the clock is set back.
    for (hours, expected) in [
        (0, true),
        (1, false),
        (2, true),
        (1, false),
        (0, true),
        (3, true),
    ] {
        assert_eq!(is_free(hour(hours)), expected, "{hours}");
    }
}

#[test]
fn name_of_removed_agent_is_reusable() {
    let mut pool = pool_of(&[1]);
    let name = AgentName::new("agent-1").unwrap();
    assert_eq!(pool.find_by_name(&name), Some(AgentId::new(1)));
    pool.update_agent(AgentId::new(1), NOW, |agent| agent.is_removed = true);
    assert_eq!(pool.find_by_name(&name), None);
    let (_, again) = agent(1, 1);
    pool.insert_agent(AgentId::new(2), again, NOW);
    // The removed agent may still lose leads.
    pool.unassign(AgentId::new(1), NOW);
    assert_eq!(pool.find_by_name(&name), Some(AgentId::new(2)));
}

#[test]
fn only_changed_agents_are_written() {
    let mut pool = pool_of(&[1, 1, 1]);
    assert!(pool.changed_agents().is_empty());
    pool.assign(AgentId::new(2), NOW);
    pool.assign(AgentId::new(2), NOW);
    let changed = pool.changed_agents();
    pool.mark_saved();
    let [(id, agent)] = &changed[..] else {
        panic!("{changed:?}")
    };
    assert_eq!((id.get(), agent.current_leads), (2, 2));
    assert!(pool.changed_agents().is_empty());
}
