//! The demo's last word: what was sent, what was answered, how fast, and what is lost (nothing).

use std::fmt;
use std::time::Duration;

use super::verdict::{Agent, Evidence, Fate, Fault};

/// Faults shown one by one; past these, their number is enough.
const FAULTS_SHOWN: usize = 20;

/// What the storm looked like from the sender's side.
#[derive(Debug, Clone, Default)]
pub struct Sending {
    /// Requests that left, first tries and those that were sent again.
    pub requests: u64,
    /// Of these, the ones sent again, because the first got no answer or a 503.
    pub again: u64,
    /// From the moment a form of the storm was due to its answer, where it came at the first try, the server being up.
    pub delays: Vec<Duration>,
    /// All other forms of the storm: those that met the outage.
    pub held_up: u64,
    /// How long the last of the rivals waited.
    pub race: Duration,
    /// From the kill until the server was ready again.
    pub outage: Duration,
    /// How long the storm lasted.
    pub lasted: Duration,
}

/// The whole report, ready to be printed.
#[derive(Debug)]
pub struct Report<'a> {
    /// What is known.
    pub evidence: &'a Evidence,
    /// What the sender saw.
    pub sending: &'a Sending,
    /// What is wrong.
    pub faults: &'a [Fault],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sender(f)?;
        self.slot(f)?;
        self.leads(f)?;
        self.verdict(f)
    }
}

impl Report<'_> {
    fn sender(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = &self.evidence.sent;
        let answered = sent.iter().filter(|(_, fate)| !matches!(fate, Fate::Unanswered(_))).count();
        let Sending { requests, again, held_up, outage, lasted, delays, .. } = self.sending;
        let mut delays = delays.clone();
        delays.sort_unstable();
        line(
            f,
            "sent",
            &format!(
                "{} forms in {:.1} s: {requests} requests, {again} of them again",
                sent.len(),
                lasted.as_secs_f64()
            ),
        )?;
        line(f, "answered", &answered.to_string())?;
        let [p50, p99, max] =
            [(50, 100), (99, 100), (1, 1)].map(|(part, of)| milliseconds(quantile(&delays, part, of)));
        line(f, "answer after", &format!("p50 {p50}, p99 {p99}, max {max}"))?;
        line(
            f,
            "kill -9",
            &format!("ready again after {}; {held_up} forms met it and were answered later", milliseconds(*outage)),
        )?;
        line(f, "duplicates", &format!("{} answered as such", self.count(&Fate::Duplicate)))
    }

    fn slot(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = &self.evidence.slot;
        let gone = self.count(&Fate::SlotGone);
        let text = format!(
            "{} of {} places of {} {} taken; {gone} were offered another time",
            slot.taken, slot.capacity, slot.date, slot.time
        );
        line(f, "slots", &text)?;
        line(
            f,
            "the race",
            &format!("the last of those who came at once was answered after {}", milliseconds(self.sending.race)),
        )
    }

    fn leads(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.evidence.leads.iter().filter(|lead| lead.agent.is_none()).count();
        line(f, "leads", &format!("{}, {waiting} of them waiting for an agent", self.evidence.leads.len()))?;
        for Agent { name, weight, current_leads, max_leads } in &self.evidence.agents {
            let limit = max_leads.map_or("no limit".to_owned(), |max| format!("at most {max}"));
            line(f, "", &format!("{name:<6}{current_leads:>7}   weight {weight}, {limit}"))?;
        }
        Ok(())
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.faults.iter().filter(|fault| matches!(fault, Fault::Lost(_))).count();
        let doubled = self.faults.iter().filter(|fault| matches!(fault, Fault::Doubled(_))).count();
        writeln!(f, "\nlost: {lost}\ndoubled: {doubled}")?;
        if self.faults.is_empty() {
            return writeln!(f, "Each form that was acknowledged is there once and has its lead.");
        }
        writeln!(f, "{} things are wrong:", self.faults.len())?;
        self.faults.iter().take(FAULTS_SHOWN).try_for_each(|fault| writeln!(f, "  {fault}"))
    }

    fn count(&self, wanted: &Fate) -> usize {
        self.evidence.sent.iter().filter(|(_, fate)| fate == wanted).count()
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {name:<14}{text}")
}

fn milliseconds(length: Duration) -> String {
    format!("{:.1} ms", length.as_secs_f64() * 1000.0)
}

/// The smallest of `sorted` that at least `part` in `of` don't exceed; nothing of nothing.
fn quantile(sorted: &[Duration], part: usize, of: usize) -> Duration {
    let place = (sorted.len() * part).div_ceil(of).max(1);
    sorted.get(place - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{Lead, Slot, Submission};
    use super::*;

    fn evidence() -> Evidence {
        Evidence {
            sent: vec![
                ("a".to_owned(), Fate::Accepted),
                ("a".to_owned(), Fate::Duplicate),
                ("b".to_owned(), Fate::SlotGone),
            ],
            submissions: vec![Submission {
                id: 1,
                flow_token: Some("a".to_owned()),
                state: "done".to_owned(),
                booking_id: Some(1),
            }],
            leads: vec![Lead { submission_id: 1, agent: Some("Ann".to_owned()) }],
            agents: vec![Agent { name: "Ann".to_owned(), weight: 1, current_leads: 1, max_leads: Some(3) }],
            slot: Slot { date: "2026-11-25".to_owned(), time: "09:00".to_owned(), capacity: 1, taken: 1 },
            check: String::new(),
        }
    }

    #[test]
    fn the_report_says_everything_that_was_promised() {
        let sending = Sending {
            requests: 4,
            again: 1,
            delays: (1..=100).map(Duration::from_millis).collect(),
            held_up: 2,
            race: Duration::from_millis(80),
            outage: Duration::from_millis(250),
            lasted: Duration::from_secs(10),
        };
        let text = Report { evidence: &evidence(), sending: &sending, faults: &[] }.to_string();
        insta::assert_snapshot!(text, @r"
          sent          3 forms in 10.0 s: 4 requests, 1 of them again
          answered      3
          answer after  p50 50.0 ms, p99 99.0 ms, max 100.0 ms
          kill -9       ready again after 250.0 ms; 2 forms met it and were answered later
          duplicates    1 answered as such
          slots         1 of 1 places of 2026-11-25 09:00 taken; 1 were offered another time
          the race      the last of those who came at once was answered after 80.0 ms
          leads         1, 0 of them waiting for an agent
                        Ann         1   weight 1, at most 3

        lost: 0
        doubled: 0
        Each form that was acknowledged is there once and has its lead.
        ");
    }

    #[test]
    fn faults_are_named_and_counted() {
        let faults = [Fault::Lost("a".to_owned()), Fault::Doubled("b".to_owned())];
        let text = Report { evidence: &evidence(), sending: &Sending::default(), faults: &faults }.to_string();
        assert!(
            text.contains("lost: 1\ndoubled: 1\n2 things are wrong:\n  a was acknowledged and is not there"),
            "{text}"
        );
    }

    #[test]
    fn a_quantile_is_one_of_the_delays() {
        let delays: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&delays, 50, 100), Duration::from_millis(100));
        assert_eq!(quantile(&delays, 99, 100), Duration::from_millis(198));
        assert_eq!(quantile(&delays, 1, 1), Duration::from_millis(200));
        assert_eq!(quantile(&[], 1, 2), Duration::ZERO);
    }
}
