//! Tests each rule of the agent pool, and compares the pool with a model that scans all agents each
//! time.

use proptest::prelude::*;

use super::*;
use crate::domain::lead::Absence;
use crate::domain::time::Millis;

const NOW: Timestamp = Timestamp::from_millis(20_000 * 86_400_000);

fn team(name: &str) -> TeamName {
    TeamName::new(name).unwrap()
}

fn agent(number: u64, weight: u32) -> (AgentId, Agent) {
    let name = AgentName::new(&format!("agent-{number}")).unwrap();
    (
        AgentId::new(number),
        Agent::new(name, team("sales"), weight, NOW),
    )
}

fn pool_of(weights: &[u32]) -> AgentPool {
    AgentPool::new(
        weights
            .iter()
            .zip(1..)
            .map(|(weight, number)| agent(number, *weight)),
        NOW,
    )
}

/// Assigns a lead to the next agent.
fn assign_next(roster: &mut AgentPool, now: Timestamp) -> Option<u64> {
    let id = roster.choose_agent(&team("sales"), now, &[]).agent?;
    roster.assign(id, now);
    Some(id.get())
}

fn outcomes(choice: &Assignment) -> Vec<(u64, CandidateOutcome)> {
    choice
        .candidates
        .iter()
        .map(|considered| (considered.agent.get(), considered.outcome))
        .collect()
}

#[test]
fn equal_agents_get_equal_leads() {
    let mut pool = pool_of(&[1; 7]);
    for _ in 0..1000 {
        assign_next(&mut pool, NOW).unwrap();
    }
    let counts: Vec<u32> = (1..=7)
        .map(|id| pool.agent(AgentId::new(id)).unwrap().current_leads)
        .collect();
    assert_eq!(counts.iter().sum::<u32>(), 1000);
    assert!(
        counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1,
        "{counts:?}"
    );
}

#[test]
fn leads_follow_weights() {
    let mut pool = pool_of(&[1, 2, 3]);
    for given in 1..=600_u32 {
        assign_next(&mut pool, NOW).unwrap();
        for (id, weight) in [(1, 1), (2, 2), (3, 3)] {
            let current = pool.agent(AgentId::new(id)).unwrap().current_leads;
            assert!(
                (current * 6).abs_diff(given * weight) <= 6,
                "agent {id} has {current} of {given}"
            );
        }
    }
    assert_eq!(pool.agent(AgentId::new(3)).unwrap().current_leads, 300);
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
    assert_eq!(
        assign_next(&mut pool, at(6)),
        Some(1),
        "whose last lead came before that of agent 2"
    );
}

#[test]
fn unavailable_agents_are_passed_over() {
    let mut pool = pool_of(&[1, 1, 1, 1]);
    pool.update_agent(AgentId::new(1), NOW, |agent| agent.max_leads = Some(0));
    pool.update_agent(AgentId::new(2), NOW, |agent| agent.is_active = false);
    pool.update_agent(AgentId::new(3), NOW, |agent| agent.team = team("service"));
    let choice = pool.choose_agent(&team("sales"), NOW, &[]);
    assert_eq!(
        outcomes(&choice),
        [
            (4, CandidateOutcome::Chosen),
            (1, CandidateOutcome::Full),
            (2, CandidateOutcome::Paused)
        ]
    );
    pool.update_agent(AgentId::new(4), NOW, |agent| agent.is_removed = true);
    let choice = pool.choose_agent(&team("sales"), NOW, &[]);
    assert_eq!(
        (choice.agent, choice.reason),
        (None, AssignmentReason::NoAgentFree)
    );
    assert_eq!(
        outcomes(&choice),
        [(1, CandidateOutcome::Full), (2, CandidateOutcome::Paused)]
    );
    assert_eq!(
        pool.choose_agent(&team("nobody"), NOW, &[]).reason,
        AssignmentReason::NoAgentFree
    );
}

#[test]
fn known_customer_returns_to_agent() {
    let mut pool = pool_of(&[1, 1]);
    let second = AgentId::new(2);
    pool.assign(second, NOW);
    let choice = pool.choose_agent(
        &team("sales"),
        NOW,
        &[(second, AssignmentReason::KnownCustomer)],
    );
    assert_eq!(
        (choice.agent, choice.reason),
        (Some(second), AssignmentReason::KnownCustomer)
    );
    assert_eq!(
        outcomes(&choice),
        [
            (2, CandidateOutcome::Chosen),
            (1, CandidateOutcome::NotTheirCustomer)
        ]
    );
}

#[test]
fn unavailable_known_agent_is_passed_over_with_reason() {
    let mut pool = pool_of(&[1, 1, 1]);
    let choice = |roster: &mut AgentPool| {
        outcomes(&roster.choose_agent(
            &team("sales"),
            NOW,
            &[(AgentId::new(3), AssignmentReason::KnownCustomer)],
        ))
    };
    pool.update_agent(AgentId::new(3), NOW, |agent| agent.is_active = false);
    assert_eq!(
        choice(&mut pool),
        [
            (1, CandidateOutcome::Chosen),
            (3, CandidateOutcome::Paused),
            (2, CandidateOutcome::AddedLater)
        ]
    );
    pool.update_agent(AgentId::new(3), NOW, |agent| {
        (agent.is_active, agent.team) = (true, team("service"));
    });
    assert_eq!(
        choice(&mut pool),
        [
            (1, CandidateOutcome::Chosen),
            (3, CandidateOutcome::OtherTeam),
            (2, CandidateOutcome::AddedLater)
        ]
    );
    pool.update_agent(AgentId::new(3), NOW, |agent| agent.is_removed = true);
    assert_eq!(
        choice(&mut pool),
        [
            (1, CandidateOutcome::Chosen),
            (3, CandidateOutcome::Removed),
            (2, CandidateOutcome::AddedLater)
        ]
    );
}

#[test]
fn candidate_outcomes_are_recorded() {
    let mut pool = pool_of(&[1, 1, 1]);
    pool.assign(AgentId::new(3), NOW);
    pool.update_agent(AgentId::new(2), NOW, |agent| {
        agent.idle_since = NOW.plus(Millis::new(1));
    });
    let choice = pool.choose_agent(&team("sales"), NOW, &[]);
    assert_eq!(
        outcomes(&choice),
        [
            (1, CandidateOutcome::Chosen),
            (2, CandidateOutcome::WaitedLess),
            (3, CandidateOutcome::MoreLoaded)
        ]
    );
}

#[test]
fn large_team_records_two_candidates() {
    let mut large = pool_of(&[1; 40]);
    let choice = large.choose_agent(&team("sales"), NOW, &[]);
    assert_eq!(
        outcomes(&choice),
        [
            (1, CandidateOutcome::Chosen),
            (2, CandidateOutcome::AddedLater)
        ]
    );
    assert_eq!(choice.omitted, 38);
    for id in 1..=40 {
        large.update_agent(AgentId::new(id), NOW, |agent| agent.is_active = false);
    }
    let choice = large.choose_agent(&team("sales"), NOW, &[]);
    assert_eq!(
        (choice.candidates.len(), choice.omitted),
        (CANDIDATES_MAX, 24),
        "nobody free: as many as are kept"
    );
}

#[test]
fn absence_follows_clock_in_both_directions() {
    let mut pool = pool_of(&[1]);
    let hour = |hours: u64| NOW.plus(Millis::from_secs(hours * 3600));
    pool.update_agent(AgentId::new(1), NOW, |agent| {
        agent.absences.push(Absence {
            from: hour(1),
            to: hour(2),
        });
    });
    let mut is_free = |at| pool.choose_agent(&team("sales"), at, &[]).agent.is_some();
    assert!(is_free(NOW));
    assert!(!is_free(hour(1)));
    assert!(is_free(hour(2)));
    assert!(!is_free(hour(1)), "the clock was set back");
    assert!(is_free(NOW));
    assert!(is_free(hour(3)));
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
    assert_eq!(changed.len(), 1);
    assert_eq!(
        (changed[0].0, changed[0].1.current_leads),
        (AgentId::new(2), 2)
    );
    assert!(pool.changed_agents().is_empty());
}

/// Operation on an agent pool.
#[derive(Clone, Debug)]
enum PoolOperation {
    Add {
        team: bool,
        weight: u32,
        max: Option<u32>,
        max_per_day: Option<u32>,
    },
    Give {
        team: bool,
        preferred: Option<u64>,
    },
    Release(u64),
    Weight(u64, u32),
    Max(u64, Option<u32>),
    Team(u64, bool),
    Active(u64, bool),
    Absent(u64, u64, u64),
    Remove(u64),
    Wait(u64),
    SetBack(u64),
}

fn operation() -> impl Strategy<Value = PoolOperation> {
    let id = || 1_u64..8;
    let limit = || proptest::option::of(0_u32..4);
    let hours = || 0_u64..40;
    prop_oneof![
        2 => (any::<bool>(), 1_u32..5, limit(), limit())
            .prop_map(|(team, weight, max, max_per_day)| PoolOperation::Add { team, weight, max, max_per_day }),
        8 => (any::<bool>(), proptest::option::of(id())).prop_map(|(team, preferred)| PoolOperation::Give { team, preferred }),
        3 => id().prop_map(PoolOperation::Release),
        1 => (id(), 1_u32..5).prop_map(|(id, weight)| PoolOperation::Weight(id, weight)),
        1 => (id(), limit()).prop_map(|(id, max)| PoolOperation::Max(id, max)),
        1 => (id(), any::<bool>()).prop_map(|(id, team)| PoolOperation::Team(id, team)),
        1 => (id(), any::<bool>()).prop_map(|(id, active)| PoolOperation::Active(id, active)),
        1 => (id(), hours(), hours()).prop_map(|(id, from, length)| PoolOperation::Absent(id, from, length)),
        1 => id().prop_map(PoolOperation::Remove),
        2 => hours().prop_map(PoolOperation::Wait),
        1 => hours().prop_map(PoolOperation::SetBack),
    ]
}

/// Reference model: a map of agents without an index.
#[derive(Default)]
struct Model(BTreeMap<AgentId, Agent>);

impl Model {
    fn pick(&self, team: &TeamName, now: Timestamp, preferred: Option<AgentId>) -> Option<AgentId> {
        let can = |agent: &Agent| agent.team == *team && agent.unavailable_reason(now).is_none();
        let known = preferred.filter(|id| self.0.get(id).is_some_and(can));
        let free = self.0.iter().filter(|(_, agent)| can(agent));
        known.or_else(|| {
            free.min_by_key(|(id, agent)| (agent.load(), agent.idle_since, **id))
                .map(|(id, _)| *id)
        })
    }
}

fn team_for(of: bool) -> TeamName {
    team(if of { "sales" } else { "service" })
}

/// Applies `step` to the pool and to the model, and compares the results.
fn apply_to_both(
    step: &PoolOperation,
    roster: &mut AgentPool,
    model: &mut Model,
    now: &mut Timestamp,
) {
    let hours = |hours: u64| Millis::from_secs(hours * 3600);
    let mut change = |id: u64, change: &dyn Fn(&mut Agent)| {
        roster.update_agent(AgentId::new(id), *now, change);
        if let Some(agent) = model.0.get_mut(&AgentId::new(id)) {
            change(agent);
            agent.absences.retain(|absence| absence.to > *now);
        }
    };
    match step {
        PoolOperation::Add {
            team,
            weight,
            max,
            max_per_day,
        } => {
            let id = AgentId::new(u64::try_from(model.0.len()).unwrap() + 1);
            let name = AgentName::new(&format!("agent-{id}")).unwrap();
            let agent = Agent {
                max_leads: *max,
                max_leads_per_day: *max_per_day,
                ..Agent::new(name, team_for(*team), *weight, *now)
            };
            roster.insert_agent(id, agent.clone(), *now);
            model.0.insert(id, agent);
        }
        PoolOperation::Give { team, preferred } => {
            let preferred = preferred.map(AgentId::new);
            let known: Vec<_> = preferred
                .map(|id| (id, AssignmentReason::KnownCustomer))
                .into_iter()
                .collect();
            let choice = roster.choose_agent(&team_for(*team), *now, &known);
            assert_eq!(choice.agent, model.pick(&team_for(*team), *now, preferred));
            assert!(choice.candidates.len() <= CANDIDATES_MAX);
            if let Some(id) = choice.agent {
                assert_eq!(choice.candidates[0].agent, id);
                roster.assign(id, *now);
                model.0.get_mut(&id).unwrap().record_assignment(*now);
            }
        }
        PoolOperation::Release(id) => {
            roster.unassign(AgentId::new(*id), *now);
            model
                .0
                .entry(AgentId::new(*id))
                .and_modify(Agent::record_release);
        }
        PoolOperation::Weight(id, weight) => change(*id, &|agent| agent.weight = *weight),
        PoolOperation::Max(id, max) => change(*id, &|agent| agent.max_leads = *max),
        PoolOperation::Team(id, team) => change(*id, &|agent| agent.team = team_for(*team)),
        PoolOperation::Active(id, active) => change(*id, &|agent| agent.is_active = *active),
        PoolOperation::Absent(id, from, length) => {
            let from = now.plus(hours(*from));
            change(*id, &|agent| {
                agent.absences.push(Absence {
                    from,
                    to: from.plus(hours(*length)),
                });
            });
        }
        PoolOperation::Remove(id) => change(*id, &|agent| agent.is_removed = true),
        PoolOperation::Wait(length) => *now = now.plus(hours(*length)),
        PoolOperation::SetBack(length) => *now = now.minus(hours(*length)),
    }
}

proptest! {
    #[test]
    fn pool_agrees_with_model(steps in proptest::collection::vec(operation(), 1..120)) {
        let (mut roster, mut model, mut now) = (AgentPool::default(), Model::default(), NOW);
        let mut written = BTreeMap::new();
        for step in &steps {
            apply_to_both(step, &mut roster, &mut model, &mut now);
            written.extend(roster.changed_agents());
            roster.mark_saved();
        }
        prop_assert_eq!(&written, &model.0, "what was written is what there is");
        let mut restored = AgentPool::new(written, now);
        for team in [true, false].map(team_for) {
            let (one, other) = (roster.choose_agent(&team, now, &[]), restored.choose_agent(&team, now, &[]));
            prop_assert_eq!(one, other, "after a restart as before");
        }
    }

    #[test]
    fn roll_back_restores_pool(
        saved_steps in proptest::collection::vec(operation(), 1..60),
        undone in proptest::collection::vec(operation(), 1..30),
    ) {
        let (mut roster, mut model, mut now) = (AgentPool::default(), Model::default(), NOW);
        for step in &saved_steps {
            apply_to_both(step, &mut roster, &mut model, &mut now);
        }
        let written = roster.changed_agents();
        roster.mark_saved();
        for step in &undone {
            apply_to_both(step, &mut roster, &mut model, &mut now);
        }
        roster.roll_back();
        prop_assert!(roster.changed_agents().is_empty());
        let mut restored = AgentPool::new(written.clone(), now);
        for team in [true, false].map(team_for) {
            prop_assert_eq!(roster.choose_agent(&team, now, &[]), restored.choose_agent(&team, now, &[]));
            prop_assert_eq!(roster.available_agents(&team, now), restored.available_agents(&team, now));
        }
        for (id, agent) in written {
            prop_assert_eq!(roster.agent(id), Some(&agent));
            prop_assert_eq!(roster.find_by_name(&agent.name), restored.find_by_name(&agent.name));
        }
    }
}
