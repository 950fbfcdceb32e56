//! Compares the agent pool with a model that scans all agents each time.

use proptest::prelude::*;

use super::*;

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
            .prop_map(|(team, weight, max, max_per_day)| {
                PoolOperation::Add { team, weight, max, max_per_day }
            }),
        8 => (any::<bool>(), proptest::option::of(id()))
            .prop_map(|(team, preferred)| PoolOperation::Give { team, preferred }),
        3 => id().prop_map(PoolOperation::Release),
        1 => (id(), 1_u32..5).prop_map(|(id, weight)| PoolOperation::Weight(id, weight)),
        1 => (id(), limit()).prop_map(|(id, max)| PoolOperation::Max(id, max)),
        1 => (id(), any::<bool>()).prop_map(|(id, team)| PoolOperation::Team(id, team)),
        1 => (id(), any::<bool>()).prop_map(|(id, active)| PoolOperation::Active(id, active)),
        1 => (id(), hours(), hours())
            .prop_map(|(id, from, length)| PoolOperation::Absent(id, from, length)),
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
        let rank = |(id, agent): &(&AgentId, &Agent)| (agent.load(), agent.idle_since, **id);
        known.or_else(|| Some(*free.min_by_key(rank)?.0))
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
            let known = preferred.map(|id| (id, AssignmentReason::KnownCustomer));
            let choice = roster.choose_agent(&team_for(*team), *now, known.as_slice());
            assert_eq!(choice.agent, model.pick(&team_for(*team), *now, preferred));
            assert!(choice.candidates.len() <= CANDIDATES_MAX);
            if let Some(id) = choice.agent {
                assert_eq!(choice.candidates[0].agent, id);
                roster.assign(id, *now);
                model.0.get_mut(&id).unwrap().record_assignment(*now);
            }
        }
        PoolOperation::Release(id) => {
            let id = AgentId::new(*id);
            roster.unassign(id, *now);
            model.0.entry(id).and_modify(Agent::record_release);
        }
        PoolOperation::Weight(id, weight) => change(*id, &|agent| agent.weight = *weight),
        PoolOperation::Max(id, max) => change(*id, &|agent| agent.max_leads = *max),
        PoolOperation::Team(id, team) => change(*id, &|agent| agent.team = team_for(*team)),
        PoolOperation::Active(id, active) => change(*id, &|agent| agent.is_active = *active),
        PoolOperation::Absent(id, from, length) => {
            let from = now.plus(hours(*from));
            let to = from.plus(hours(*length));
            change(*id, &|agent| agent.absences.push(Absence { from, to }));
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
            let chosen = roster.choose_agent(&team, now, &[]);
            let chosen_after_restart = restored.choose_agent(&team, now, &[]);
            prop_assert_eq!(chosen, chosen_after_restart, "after a restart as before");
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
            let [chosen, chosen_again] =
                [&mut roster, &mut restored].map(|pool| pool.choose_agent(&team, now, &[]));
            prop_assert_eq!(chosen, chosen_again);
            let [available, available_again] =
                [&mut roster, &mut restored].map(|pool| pool.available_agents(&team, now));
            prop_assert_eq!(available, available_again);
        }
        for (id, agent) in written {
            prop_assert_eq!(roster.agent(id), Some(&agent));
            prop_assert_eq!(roster.find_by_name(&agent.name), restored.find_by_name(&agent.name));
        }
    }
}
