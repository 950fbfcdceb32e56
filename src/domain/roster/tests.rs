//! The roster's rules one by one, and the roster against a model that looks at everybody each time.

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
    (AgentId::new(number), Agent::new(name, team("sales"), weight, NOW))
}

fn roster(weights: &[u32]) -> Roster {
    Roster::new(weights.iter().zip(1..).map(|(weight, number)| agent(number, *weight)), NOW)
}

/// Gives a lead to whoever is next.
fn give(roster: &mut Roster, now: Timestamp) -> Option<u64> {
    let id = roster.pick(&team("sales"), now, &[]).agent?;
    roster.take(id, now);
    Some(id.get())
}

fn verdicts(choice: &Choice) -> Vec<(u64, Verdict)> {
    choice.considered.iter().map(|considered| (considered.agent.get(), considered.verdict)).collect()
}

#[test]
fn a_thousand_leads_over_equal_agents_differ_by_at_most_one() {
    let mut roster = roster(&[1; 7]);
    for _ in 0..1000 {
        give(&mut roster, NOW).unwrap();
    }
    let counts: Vec<u32> = (1..=7).map(|id| roster.get(AgentId::new(id)).unwrap().current).collect();
    assert_eq!(counts.iter().sum::<u32>(), 1000);
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
}

#[test]
fn leads_follow_the_weights_within_one() {
    let mut roster = roster(&[1, 2, 3]);
    for given in 1..=600_u32 {
        give(&mut roster, NOW).unwrap();
        for (id, weight) in [(1, 1), (2, 2), (3, 3)] {
            let current = roster.get(AgentId::new(id)).unwrap().current;
            assert!((current * 6).abs_diff(given * weight) <= 6, "agent {id} has {current} of {given}");
        }
    }
    assert_eq!(roster.get(AgentId::new(3)).unwrap().current, 300);
}

#[test]
fn of_equals_the_one_who_waited_longest_is_next_and_then_the_one_who_was_added_first() {
    let mut roster = roster(&[1, 1, 1]);
    let at = |ms| NOW.plus(Millis::new(ms));
    assert_eq!(give(&mut roster, at(1)), Some(1));
    assert_eq!(give(&mut roster, at(2)), Some(2));
    assert_eq!(give(&mut roster, at(3)), Some(3));
    roster.release(AgentId::new(2), at(4));
    roster.release(AgentId::new(1), at(5));
    assert_eq!(give(&mut roster, at(6)), Some(1), "whose last lead came before that of agent 2");
}

#[test]
fn those_who_are_full_paused_or_of_another_team_get_nothing() {
    let mut roster = roster(&[1, 1, 1, 1]);
    roster.change(AgentId::new(1), NOW, |agent| agent.max = Some(0));
    roster.change(AgentId::new(2), NOW, |agent| agent.active = false);
    roster.change(AgentId::new(3), NOW, |agent| agent.team = team("service"));
    let choice = roster.pick(&team("sales"), NOW, &[]);
    assert_eq!(verdicts(&choice), [(4, Verdict::Chosen), (1, Verdict::Full), (2, Verdict::Paused)]);
    roster.change(AgentId::new(4), NOW, |agent| agent.removed = true);
    let choice = roster.pick(&team("sales"), NOW, &[]);
    assert_eq!((choice.agent, choice.reason), (None, Reason::NobodyFree));
    assert_eq!(verdicts(&choice), [(1, Verdict::Full), (2, Verdict::Paused)]);
    assert_eq!(roster.pick(&team("nobody"), NOW, &[]).reason, Reason::NobodyFree);
}

#[test]
fn a_known_customer_returns_to_their_agent_however_loaded() {
    let mut roster = roster(&[1, 1]);
    let second = AgentId::new(2);
    roster.take(second, NOW);
    let choice = roster.pick(&team("sales"), NOW, &[(second, Reason::KnownCustomer)]);
    assert_eq!((choice.agent, choice.reason), (Some(second), Reason::KnownCustomer));
    assert_eq!(verdicts(&choice), [(2, Verdict::Chosen), (1, Verdict::NotTheirCustomer)]);
}

#[test]
fn a_known_agent_who_can_not_is_passed_over_and_it_is_told_why() {
    let mut roster = roster(&[1, 1, 1]);
    let choice =
        |roster: &mut Roster| verdicts(&roster.pick(&team("sales"), NOW, &[(AgentId::new(3), Reason::KnownCustomer)]));
    roster.change(AgentId::new(3), NOW, |agent| agent.active = false);
    assert_eq!(choice(&mut roster), [(1, Verdict::Chosen), (3, Verdict::Paused), (2, Verdict::AddedLater)]);
    roster.change(AgentId::new(3), NOW, |agent| (agent.active, agent.team) = (true, team("service")));
    assert_eq!(choice(&mut roster), [(1, Verdict::Chosen), (3, Verdict::OtherTeam), (2, Verdict::AddedLater)]);
    roster.change(AgentId::new(3), NOW, |agent| agent.removed = true);
    assert_eq!(choice(&mut roster), [(1, Verdict::Chosen), (3, Verdict::Removed), (2, Verdict::AddedLater)]);
}

#[test]
fn why_an_agent_was_passed_over_is_told() {
    let mut roster = roster(&[1, 1, 1]);
    roster.take(AgentId::new(3), NOW);
    roster.change(AgentId::new(2), NOW, |agent| agent.waiting_since = NOW.plus(Millis::new(1)));
    let choice = roster.pick(&team("sales"), NOW, &[]);
    assert_eq!(verdicts(&choice), [(1, Verdict::Chosen), (2, Verdict::WaitedLess), (3, Verdict::MoreLoaded)]);
}

#[test]
fn of_a_large_team_only_the_best_two_are_told_of() {
    let mut large = roster(&[1; 40]);
    let choice = large.pick(&team("sales"), NOW, &[]);
    assert_eq!(verdicts(&choice), [(1, Verdict::Chosen), (2, Verdict::AddedLater)]);
    assert_eq!(choice.more, 38);
    for id in 1..=40 {
        large.change(AgentId::new(id), NOW, |agent| agent.active = false);
    }
    let choice = large.pick(&team("sales"), NOW, &[]);
    assert_eq!((choice.considered.len(), choice.more), (CONSIDERED_MAX, 24), "nobody free: as many as are kept");
}

#[test]
fn time_alone_frees_an_agent_and_a_clock_set_back_takes_that_back() {
    let mut roster = roster(&[1]);
    let hour = |hours: u64| NOW.plus(Millis::from_secs(hours * 3600));
    roster.change(AgentId::new(1), NOW, |agent| agent.absences.push(Absence { from: hour(1), to: hour(2) }));
    let mut is_free = |at| roster.pick(&team("sales"), at, &[]).agent.is_some();
    assert!(is_free(NOW));
    assert!(!is_free(hour(1)));
    assert!(is_free(hour(2)));
    assert!(!is_free(hour(1)), "the clock was set back");
    assert!(is_free(NOW));
    assert!(is_free(hour(3)));
}

#[test]
fn the_name_of_a_removed_agent_is_free_again() {
    let mut roster = roster(&[1]);
    let name = AgentName::new("agent-1").unwrap();
    assert_eq!(roster.by_name(&name), Some(AgentId::new(1)));
    roster.change(AgentId::new(1), NOW, |agent| agent.removed = true);
    assert_eq!(roster.by_name(&name), None);
    let (_, again) = agent(1, 1);
    roster.insert(AgentId::new(2), again, NOW);
    // The old one may still lose leads.
    roster.release(AgentId::new(1), NOW);
    assert_eq!(roster.by_name(&name), Some(AgentId::new(2)));
}

#[test]
fn only_those_who_changed_are_written() {
    let mut roster = roster(&[1, 1, 1]);
    assert!(roster.changed().is_empty());
    roster.take(AgentId::new(2), NOW);
    roster.take(AgentId::new(2), NOW);
    let dirty = roster.changed();
    roster.keep();
    assert_eq!(dirty.len(), 1);
    assert_eq!((dirty[0].0, dirty[0].1.current), (AgentId::new(2), 2));
    assert!(roster.changed().is_empty());
}

/// What may happen to a roster.
#[derive(Clone, Debug)]
enum Step {
    Add { team: bool, weight: u32, max: Option<u32>, max_per_day: Option<u32> },
    Give { team: bool, preferred: Option<u64> },
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

fn step() -> impl Strategy<Value = Step> {
    let id = || 1_u64..8;
    let limit = || proptest::option::of(0_u32..4);
    let hours = || 0_u64..40;
    prop_oneof![
        2 => (any::<bool>(), 1_u32..5, limit(), limit())
            .prop_map(|(team, weight, max, max_per_day)| Step::Add { team, weight, max, max_per_day }),
        8 => (any::<bool>(), proptest::option::of(id())).prop_map(|(team, preferred)| Step::Give { team, preferred }),
        3 => id().prop_map(Step::Release),
        1 => (id(), 1_u32..5).prop_map(|(id, weight)| Step::Weight(id, weight)),
        1 => (id(), limit()).prop_map(|(id, max)| Step::Max(id, max)),
        1 => (id(), any::<bool>()).prop_map(|(id, team)| Step::Team(id, team)),
        1 => (id(), any::<bool>()).prop_map(|(id, active)| Step::Active(id, active)),
        1 => (id(), hours(), hours()).prop_map(|(id, from, length)| Step::Absent(id, from, length)),
        1 => id().prop_map(Step::Remove),
        2 => hours().prop_map(Step::Wait),
        1 => hours().prop_map(Step::SetBack),
    ]
}

/// Agents and nothing else.
#[derive(Default)]
struct Model(BTreeMap<AgentId, Agent>);

impl Model {
    fn pick(&self, team: &TeamName, now: Timestamp, preferred: Option<AgentId>) -> Option<AgentId> {
        let can = |agent: &Agent| agent.team == *team && agent.obstacle(now).is_none();
        let known = preferred.filter(|id| self.0.get(id).is_some_and(can));
        let free = self.0.iter().filter(|(_, agent)| can(agent));
        known.or_else(|| free.min_by_key(|(id, agent)| (agent.load(), agent.waiting_since, **id)).map(|(id, _)| *id))
    }
}

fn side(of: bool) -> TeamName {
    team(if of { "sales" } else { "service" })
}

/// Does `step` to both and compares what each says.
fn run(step: &Step, roster: &mut Roster, model: &mut Model, now: &mut Timestamp) {
    let hours = |hours: u64| Millis::from_secs(hours * 3600);
    let mut change = |id: u64, change: &dyn Fn(&mut Agent)| {
        roster.change(AgentId::new(id), *now, change);
        if let Some(agent) = model.0.get_mut(&AgentId::new(id)) {
            change(agent);
            agent.absences.retain(|absence| absence.to > *now);
        }
    };
    match step {
        Step::Add { team, weight, max, max_per_day } => {
            let id = AgentId::new(u64::try_from(model.0.len()).unwrap() + 1);
            let name = AgentName::new(&format!("agent-{id}")).unwrap();
            let agent = Agent { max: *max, max_per_day: *max_per_day, ..Agent::new(name, side(*team), *weight, *now) };
            roster.insert(id, agent.clone(), *now);
            model.0.insert(id, agent);
        }
        Step::Give { team, preferred } => {
            let preferred = preferred.map(AgentId::new);
            let known: Vec<_> = preferred.map(|id| (id, Reason::KnownCustomer)).into_iter().collect();
            let choice = roster.pick(&side(*team), *now, &known);
            assert_eq!(choice.agent, model.pick(&side(*team), *now, preferred));
            assert!(choice.considered.len() <= CONSIDERED_MAX);
            if let Some(id) = choice.agent {
                assert_eq!(choice.considered[0].agent, id);
                roster.take(id, *now);
                model.0.get_mut(&id).unwrap().take(*now);
            }
        }
        Step::Release(id) => {
            roster.release(AgentId::new(*id), *now);
            model.0.entry(AgentId::new(*id)).and_modify(Agent::release);
        }
        Step::Weight(id, weight) => change(*id, &|agent| agent.weight = *weight),
        Step::Max(id, max) => change(*id, &|agent| agent.max = *max),
        Step::Team(id, team) => change(*id, &|agent| agent.team = side(*team)),
        Step::Active(id, active) => change(*id, &|agent| agent.active = *active),
        Step::Absent(id, from, length) => {
            let from = now.plus(hours(*from));
            change(*id, &|agent| agent.absences.push(Absence { from, to: from.plus(hours(*length)) }));
        }
        Step::Remove(id) => change(*id, &|agent| agent.removed = true),
        Step::Wait(length) => *now = now.plus(hours(*length)),
        Step::SetBack(length) => *now = now.minus(hours(*length)),
    }
}

proptest! {
    #[test]
    fn the_roster_says_what_looking_at_everybody_would_say(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut roster, mut model, mut now) = (Roster::default(), Model::default(), NOW);
        let mut written = BTreeMap::new();
        for step in &steps {
            run(step, &mut roster, &mut model, &mut now);
            written.extend(roster.changed());
            roster.keep();
        }
        prop_assert_eq!(&written, &model.0, "what was written is what there is");
        let mut again = Roster::new(written, now);
        for team in [true, false].map(side) {
            let (one, other) = (roster.pick(&team, now, &[]), again.pick(&team, now, &[]));
            prop_assert_eq!(one, other, "after a restart as before");
        }
    }

    #[test]
    fn what_came_to_nothing_leaves_no_trace(
        kept in proptest::collection::vec(step(), 1..60),
        undone in proptest::collection::vec(step(), 1..30),
    ) {
        let (mut roster, mut model, mut now) = (Roster::default(), Model::default(), NOW);
        for step in &kept {
            run(step, &mut roster, &mut model, &mut now);
        }
        let written = roster.changed();
        roster.keep();
        for step in &undone {
            run(step, &mut roster, &mut model, &mut now);
        }
        roster.undo();
        prop_assert!(roster.changed().is_empty());
        let mut again = Roster::new(written.clone(), now);
        for team in [true, false].map(side) {
            prop_assert_eq!(roster.pick(&team, now, &[]), again.pick(&team, now, &[]));
            prop_assert_eq!(roster.free(&team, now), again.free(&team, now));
        }
        for (id, agent) in written {
            prop_assert_eq!(roster.get(id), Some(&agent));
            prop_assert_eq!(roster.by_name(&agent.name), again.by_name(&agent.name));
        }
    }
}
