//! The way that a destination is told by, where others are told by the same: a gateway, or a number of ours, takes so many
//! messages in a time, whoever they are for. What customers are told goes before what agents are: a note can wait, somebody who
//! has just pressed a button does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::{Destination, Means, Rates};
use crate::domain::ids::GatewayName;
use crate::domain::message::Addressee;
use crate::domain::pace::{Pace, Quota};

/// How long past its time a lane is waited for that goes before others.
const GRACE: Duration = Duration::from_secs(1);

/// How soon one asks again that let others go first.
const YIELD: Duration = Duration::from_millis(50);

/// All ways that are shared. They are few, and stay: what is known of a rate outlives a reload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways(Arc<Mutex<BTreeMap<Shared, Arc<Mutex<Traffic>>>>>);

/// What is shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Number(String),
    Gateway(GatewayName),
}

/// One destination's part in its way.
#[derive(Debug)]
pub(super) struct Way {
    /// Its own pace, at its own rate.
    pace: Pace,
    /// That of all who share the way.
    traffic: Arc<Mutex<Traffic>>,
    shared: Option<Shared>,
    goes_first: bool,
}

#[derive(Debug, Default)]
struct Traffic {
    pace: Pace,
    /// Until then, by the process clock, nobody goes: the one at its end asked for quiet.
    held_until: Duration,
    /// Until then, by the process clock, only those go that go first: one of them waits.
    reserved_until: Duration,
}

impl Ways {
    /// The way of a destination.
    pub(super) fn of(&self, rule: &Destination) -> Way {
        let shared = match &rule.means {
            Means::Whatsapp(rule) => Some(Shared::Number(rule.phone_number_id.clone())),
            Means::Gateway(rule) => Some(Shared::Gateway(rule.gateway.clone())),
            Means::Webhook(_) | Means::Smtp(_) => None,
        };
        let traffic = shared.clone().map_or_else(Arc::default, |shared| {
            let mut ways = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(ways.entry(shared).or_default())
        });
        let goes_first = matches!(rule.means.addressee(), Some(Addressee::Customer));
        Way { pace: Pace::default(), traffic, shared, goes_first }
    }
}

impl Way {
    /// Whether it is the same part in the same way.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.shared == other.shared && self.goes_first == other.goes_first
    }

    /// Lets one pass at `now`, or says how long it is to wait: for its own rate, or for that of all.
    pub(super) fn pass(&mut self, rates: Rates, now: Duration) -> Result<(), Duration> {
        let own = self.pace.wait(rates.own, now);
        if !own.is_zero() {
            return Err(own);
        }
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.goes_first && now < traffic.reserved_until {
            return Err(YIELD);
        }
        let wait = traffic.pace.wait(rates.shared, now).max(traffic.held_until.saturating_sub(now));
        if wait.is_zero() {
            traffic.pace.take(rates.shared, now);
            self.pace.take(rates.own, now);
        }
        if self.goes_first {
            // It asks again in time; should it not (it was paused, say), nobody waits for it for long.
            let again = now.saturating_add(wait).saturating_add(GRACE);
            traffic.reserved_until = if wait.is_zero() { Duration::ZERO } else { again };
        }
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Lets nobody pass for as long as the one at its end asked for.
    pub(super) fn hold(&self, until: Duration) {
        let mut traffic = self.lock();
        traffic.held_until = traffic.held_until.max(until);
    }

    /// Ends that, and the quota that an answer told: whoever said so may be another now, or an admin knows better.
    pub(super) fn let_go(&self) {
        let mut traffic = self.lock();
        traffic.held_until = Duration::ZERO;
        traffic.pace.forget_quota();
    }

    /// Goes by what an answer said.
    pub(super) fn learn(&self, quota: Quota, now: Duration) {
        self.lock().pace.learn(quota, now);
    }

    /// Forgets how far apart the last ones were to be: the rate is another one.
    pub(super) fn begin_again(&mut self) {
        self.pace.begin_again();
        self.lock().pace.begin_again();
    }

    fn lock(&self) -> MutexGuard<'_, Traffic> {
        // Each change sets numbers: whoever panicked left nothing worse than old ones.
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::pace::{Limit, Rate};
    use crate::domain::time::Millis;

    const SECOND: Duration = Duration::from_secs(1);
    const NO_RATES: Rates = Rates { own: Limit::None, shared: Limit::None };

    /// Destinations through two gateways: `thanks` and `notes` through one, `other` through another; and `crm`.
    fn ways(names: &[&str]) -> Vec<Way> {
        let gateway = |name: &str| {
            format!(
                "[gateways.{name}]\nkind = \"waha\"\nurl = \"https://waha.example\"\napi_key = \"env:K\"\nwebhook_secret = \"env:W\"\n"
            )
        };
        let texts = |name: &str, gateway: &str, to: &str| {
            format!(
                "[destinations.{name}]\nkind = \"gateway\"\ngateway = \"{gateway}\"\nto = {to}\n\
                 messages = {{ \"lead.assigned\" = {{ text = \"a\" }} }}\n"
            )
        };
        let tables = [
            gateway("main"),
            gateway("second"),
            texts("thanks", "main", "\"customer\""),
            texts("notes", "main", "\"agent\"\nagents = { Ann = \"+491511234567\" }"),
            texts("other", "second", "\"customer\""),
            "[destinations.crm]\nurl = \"https://crm.example\"\n".to_owned(),
        ];
        let config = Config::parse("config.toml".as_ref(), &tables.concat()).unwrap();
        let ways = Ways::default();
        let rule = |name: &&str| config.destinations.iter().find(|(known, _)| known.as_str() == *name).unwrap().1;
        names.iter().map(|name| ways.of(rule(name))).collect()
    }

    /// One a second, of all together.
    fn a_second() -> Rates {
        Rates { own: Limit::None, shared: Limit::Written(Rate { count: 1, per: Millis::from_secs(1) }) }
    }

    #[test]
    fn those_of_one_gateway_share_its_pace_and_others_do_not() {
        let [thanks, notes, other, crm] = &mut ways(&["thanks", "notes", "other", "crm"])[..] else { panic!() };
        let at = 100 * SECOND;
        assert_eq!(notes.pass(a_second(), at), Ok(()));
        assert!(thanks.pass(a_second(), at).is_err(), "a second has one message");
        assert_eq!(other.pass(a_second(), at), Ok(()));
        assert_eq!(crm.pass(a_second(), at), Ok(()));
        thanks.learn(Quota { left: 0, resets_in: Millis::from_secs(60) }, at);
        assert!(notes.pass(NO_RATES, at + 59 * SECOND).is_err(), "what one learns, the other knows");
    }

    #[test]
    fn whoever_has_a_slower_rate_of_its_own_slows_nobody_else() {
        let [thanks, notes] = &mut ways(&["thanks", "notes"])[..] else { panic!() };
        let slow = Rates { own: Limit::Written(Rate { count: 10, per: Millis::from_secs(3600) }), ..a_second() };
        let at = 100 * SECOND;
        assert_eq!(notes.pass(slow, at), Ok(()));
        assert_eq!(thanks.pass(a_second(), at + SECOND), Ok(()));
        assert!(notes.pass(slow, at + 2 * SECOND).is_err(), "one in six minutes");
        assert_eq!(thanks.pass(a_second(), at + 2 * SECOND), Ok(()));
    }

    #[test]
    fn quiet_that_one_was_asked_for_is_kept_by_all_and_outlives_another_rate() {
        let [thanks, notes, other] = &mut ways(&["thanks", "notes", "other"])[..] else { panic!() };
        let at = 100 * SECOND;
        thanks.hold(at + 30 * SECOND);
        notes.begin_again();
        assert_eq!(notes.pass(NO_RATES, at), Err(30 * SECOND));
        assert_eq!(other.pass(NO_RATES, at), Ok(()));
        notes.let_go();
        assert_eq!(notes.pass(NO_RATES, at), Ok(()));
    }

    #[test]
    fn a_quota_that_an_answer_told_ends_where_its_way_is_let_go() {
        let [thanks, notes] = &mut ways(&["thanks", "notes"])[..] else { panic!() };
        let at = 100 * SECOND;
        thanks.learn(Quota { left: 0, resets_in: Millis::from_secs(3300) }, at);
        assert_eq!(notes.pass(NO_RATES, at), Err(3300 * SECOND));
        notes.let_go();
        assert_eq!(notes.pass(NO_RATES, at), Ok(()));
        assert_eq!(thanks.pass(a_second(), at), Ok(()));
        assert!(thanks.pass(a_second(), at).is_err(), "a rate that somebody wrote stands");
    }

    #[test]
    fn customers_go_before_agents_as_long_as_one_of_them_waits() {
        let [thanks, notes] = &mut ways(&["thanks", "notes"])[..] else { panic!() };
        let at = 100 * SECOND;
        assert_eq!(notes.pass(a_second(), at), Ok(()));
        assert!(thanks.pass(a_second(), at).is_err());
        let next = at + SECOND;
        assert_eq!(notes.pass(a_second(), next), Err(YIELD), "a customer waits");
        assert_eq!(thanks.pass(a_second(), next), Ok(()));
        assert_eq!(notes.pass(a_second(), next + SECOND), Ok(()), "no customer waits any more");

        assert!(thanks.pass(a_second(), next + SECOND).is_err());
        assert!(notes.pass(a_second(), next + 2 * SECOND).is_err());
        assert_eq!(notes.pass(a_second(), next + 3 * SECOND), Ok(()), "one that never comes again is not waited for");
    }
}
