//! Formats the report of the demo: numbers of forms and responses, their speed, and the result of
//! the verification.

use std::fmt;
use std::time::Duration;

use super::observed::{FormOutcome, ObservedState};
use super::verification::Discrepancy;

/// Maximum number of discrepancies that are listed. The report has the total number as well.
const DISCREPANCIES_SHOWN: usize = 20;

/// Statistics of the load generator.
#[derive(Debug, Clone, Default)]
pub struct SendStats {
    /// Number of requests, retries included.
    pub requests: u64,
    /// Number of retries, after no response or a 503.
    pub retries: u64,
    /// Time from the due time of a form to its response. Only forms that succeeded at the first
    /// attempt while the server was up count.
    pub delays: Vec<Duration>,
    /// Number of all other forms of the workload: those affected by the outage.
    pub delayed: u64,
    /// Time until the last of the concurrent forms got its response.
    pub race_duration: Duration,
    /// Time from the kill until the server was ready again.
    pub outage_duration: Duration,
    /// Duration of the whole load.
    pub total_duration: Duration,
}

/// The whole report. `Display` formats it for people.
#[derive(Debug)]
pub struct DemoReport<'a> {
    /// State that the verification used.
    pub observed: &'a ObservedState,
    /// Statistics of the load generator.
    pub stats: &'a SendStats,
    /// Discrepancies that the verification found.
    pub discrepancies: &'a [Discrepancy],
}

impl fmt::Display for DemoReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_sending(f)?;
        self.write_slot(f)?;
        self.write_leads(f)?;
        self.write_result(f)
    }
}

impl DemoReport<'_> {
    fn write_sending(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SendStats {
            requests,
            retries,
            delayed,
            ..
        } = self.stats;
        let outcomes = &self.observed.outcomes;
        let is_answered = |outcome: &FormOutcome| !matches!(outcome, FormOutcome::Unanswered(_));
        let answered = outcomes.iter().filter(|(_, outcome)| is_answered(outcome));
        let mut delays = self.stats.delays.clone();
        delays.sort_unstable();
        let [p50, p99, max] = [(50, 100), (99, 100), (1, 1)]
            .map(|(part, of)| milliseconds(quantile(&delays, part, of)));
        writeln!(
            f,
            "  sent          {} forms in {:.1} s: {requests} requests, {retries} of them retries",
            outcomes.len(),
            self.stats.total_duration.as_secs_f64()
        )?;
        writeln!(f, "  answered      {}", answered.count())?;
        writeln!(f, "  response time p50 {p50}, p99 {p99}, max {max}")?;
        writeln!(
            f,
            "  kill -9       ready again after {}; {delayed} forms were delayed by it and answered later",
            milliseconds(self.stats.outage_duration)
        )?;
        let duplicates = self.count_outcome(&FormOutcome::Duplicate);
        writeln!(f, "  duplicates    {duplicates} answered as duplicates")
    }

    fn write_slot(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = &self.observed.slot;
        writeln!(
            f,
            "  slots         {} of {} places of {} {} taken; {} forms were refused and offered other slots",
            slot.taken,
            slot.capacity,
            slot.date,
            slot.time,
            self.count_outcome(&FormOutcome::SlotTaken)
        )?;
        writeln!(
            f,
            "  concurrent    the last of the concurrent forms was answered after {}",
            milliseconds(self.stats.race_duration)
        )
    }

    fn write_leads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leads = &self.observed.leads;
        let waiting = leads.iter().filter(|lead| lead.agent.is_none()).count();
        writeln!(
            f,
            "  leads         {}, {waiting} of them waiting for an agent",
            leads.len()
        )?;
        self.observed.agents.iter().try_for_each(|agent| {
            let limit = agent
                .max_leads
                .map_or("no limit".to_owned(), |max| format!("at most {max}"));
            writeln!(
                f,
                "                {:<6}{:>7}   weight {}, {limit}",
                agent.name, agent.current_leads, agent.weight
            )
        })
    }

    fn write_result(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is_wanted: fn(&Discrepancy) -> bool| {
            self.discrepancies
                .iter()
                .filter(|each| is_wanted(each))
                .count()
        };
        let lost = count(|each| matches!(each, Discrepancy::Lost(_)));
        let doubled = count(|each| matches!(each, Discrepancy::Duplicated(_)));
        writeln!(f, "\nlost: {lost}\ndoubled: {doubled}")?;
        if self.discrepancies.is_empty() {
            return writeln!(
                f,
                "Each acknowledged form is stored exactly once and has its lead."
            );
        }
        writeln!(f, "{} discrepancies found:", self.discrepancies.len())?;
        self.discrepancies
            .iter()
            .take(DISCREPANCIES_SHOWN)
            .try_for_each(|fault| writeln!(f, "  {fault}"))
    }

    fn count_outcome(&self, wanted: &FormOutcome) -> usize {
        self.observed
            .outcomes
            .iter()
            .filter(|(_, outcome)| outcome == wanted)
            .count()
    }
}

fn milliseconds(length: Duration) -> String {
    format!("{:.1} ms", length.as_secs_f64() * 1000.0)
}

/// Returns the smallest delay in `sorted` that at least `part` in `of` delays do not exceed.
/// Returns 0 for an empty list.
fn quantile(sorted: &[Duration], part: usize, of: usize) -> Duration {
    let index = (sorted.len() * part).div_ceil(of).max(1);
    sorted.get(index - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::verification::tests::consistent_state;

    fn format_report(stats: &SendStats, discrepancies: &[Discrepancy]) -> String {
        let report = DemoReport {
            observed: &consistent_state(),
            stats,
            discrepancies,
        };
        report.to_string()
    }

    #[test]
    fn report_contains_all_sections() {
        let stats = SendStats {
            requests: 4,
            retries: 1,
            delays: (1..=100).map(Duration::from_millis).collect(),
            delayed: 2,
            race_duration: Duration::from_millis(80),
            outage_duration: Duration::from_millis(250),
            total_duration: Duration::from_secs(10),
        };
        let text = format_report(&stats, &[]);
        insta::assert_snapshot!(text, @r"
          sent          5 forms in 10.0 s: 4 requests, 1 of them retries
          answered      5
          response time p50 50.0 ms, p99 99.0 ms, max 100.0 ms
          kill -9       ready again after 250.0 ms; 2 forms were delayed by it and answered later
          duplicates    1 answered as duplicates
          slots         1 of 1 places of 2026-11-25 09:00 taken; 1 forms were refused and offered other slots
          concurrent    the last of the concurrent forms was answered after 80.0 ms
          leads         3, 0 of them waiting for an agent
                        Ann         1   weight 1, at most 1
                        Ben         2   weight 2, no limit

        lost: 0
        doubled: 0
        Each acknowledged form is stored exactly once and has its lead.
        ");
    }

    #[test]
    fn discrepancies_are_listed_and_counted() {
        let discrepancies = [
            Discrepancy::Lost("a".to_owned()),
            Discrepancy::Duplicated("b".to_owned()),
        ];
        let text = format_report(&SendStats::default(), &discrepancies);
        assert!(
            text.contains("lost: 1\ndoubled: 1\n2 discrepancies found:\n  a was acknowledged but is not stored"),
            "{text}"
        );
    }

    #[test]
    fn quantile_is_one_of_the_delays() {
        let delays: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&delays, 50, 100), Duration::from_millis(100));
        assert_eq!(quantile(&delays, 99, 100), Duration::from_millis(198));
        assert_eq!(quantile(&delays, 1, 1), Duration::from_millis(200));
        assert_eq!(quantile(&[], 1, 2), Duration::ZERO);
    }
}
