//! What each gateway calls its states, what they come to, and which call fits: the one table of these names.
//!
//! `WASenderApi`: its API documentation, *Sessions*; WAHA: *Sessions*, `status`; Evolution API v2: `connectionState`. One and
//! the same gateway writes them in upper and in lower case, so case does not count. A name that is not here is not guessed at.

use super::{Call, Condition, GatewayKind};

/// Characters of an unknown name that are kept.
const NAME_MAX: usize = 64;

/// State, what it comes to, and the call that may bring it back.
type Row = (&'static str, Condition, Option<Call>);

const WASENDER: &[Row] = &[
    ("connected", Condition::Up, None),
    ("connecting", Condition::Starting, None),
    // Takes the session up again, or says that a code is needed.
    ("disconnected", Condition::Down, Some(Call::Connect)),
    ("need_scan", Condition::NeedsPerson, None),
    ("need_passkey", Condition::NeedsPerson, None),
    ("logged_out", Condition::NeedsPerson, None),
    ("expired", Condition::NeedsPerson, None),
];

const WAHA: &[Row] = &[
    ("WORKING", Condition::Up, None),
    ("STARTING", Condition::Starting, None),
    ("FAILED", Condition::Down, Some(Call::Restart)),
    ("STOPPED", Condition::Down, Some(Call::Start)),
    ("SCAN_QR_CODE", Condition::NeedsPerson, None),
];

const EVOLUTION: &[Row] = &[
    ("open", Condition::Up, None),
    ("connecting", Condition::Starting, None),
    // A restart is refused here; a connect takes the session up again, or answers with a code.
    ("close", Condition::Down, Some(Call::Connect)),
];

const fn rows(kind: GatewayKind) -> &'static [Row] {
    match kind {
        GatewayKind::Wasender => WASENDER,
        GatewayKind::Waha => WAHA,
        GatewayKind::Evolution => EVOLUTION,
    }
}

fn row(kind: GatewayKind, state: &str) -> Option<&'static Row> {
    rows(kind).iter().find(|(name, ..)| name.eq_ignore_ascii_case(state.trim()))
}

/// What the state that a gateway names comes to, and its name as the table writes it.
#[must_use]
pub fn read(kind: GatewayKind, state: &str) -> (Condition, Box<str>) {
    match row(kind, state) {
        Some((name, condition, _)) => (*condition, (*name).into()),
        None => (Condition::Strange, state.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect()),
    }
}

/// The call that fits a session which is down.
#[must_use]
pub fn cure(kind: GatewayKind, state: &str) -> Option<Call> {
    row(kind, state).and_then(|(.., call)| *call)
}

/// The call that fits a session which has been starting for too long. `WASenderApi` restarts only what is connected.
#[must_use]
pub const fn push(kind: GatewayKind) -> Call {
    match kind {
        GatewayKind::Wasender => Call::Connect,
        GatewayKind::Waha | GatewayKind::Evolution => Call::Restart,
    }
}

/// Whether a session that says it is starting may be waiting for somebody to scan a code.
#[must_use]
pub const fn starting_may_wait(kind: GatewayKind) -> bool {
    matches!(kind, GatewayKind::Evolution)
}

/// The call to try after a restart was refused: the session was not as connected as it said.
#[must_use]
pub const fn instead_of_restart(kind: GatewayKind) -> Call {
    match kind {
        GatewayKind::Wasender | GatewayKind::Evolution => Call::Connect,
        GatewayKind::Waha => Call::Start,
    }
}

/// The call that fits when somebody asks for one, whatever the state: where a person is needed, the one that makes a new code.
#[must_use]
pub fn on_demand(kind: GatewayKind, condition: Condition, state: &str) -> Call {
    match condition {
        Condition::Up => Call::Restart,
        Condition::Down => cure(kind, state).unwrap_or(push(kind)),
        Condition::NeedsPerson => match kind {
            GatewayKind::Wasender | GatewayKind::Evolution => Call::Connect,
            GatewayKind::Waha => Call::Restart,
        },
        _ => push(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Call::{Connect, Restart, Start};
    use Condition::{Down, NeedsPerson, Starting, Strange, Up};
    use GatewayKind::{Evolution, Waha, Wasender};

    #[test]
    fn every_state_has_its_meaning_and_its_call_in_upper_and_in_lower_case() {
        for (kind, state, condition, call) in [
            (Wasender, "connected", Up, None),
            (Wasender, "connecting", Starting, None),
            (Wasender, "disconnected", Down, Some(Connect)),
            (Wasender, "need_scan", NeedsPerson, None),
            (Wasender, "need_passkey", NeedsPerson, None),
            (Wasender, "logged_out", NeedsPerson, None),
            (Wasender, "expired", NeedsPerson, None),
            (Waha, "WORKING", Up, None),
            (Waha, "STARTING", Starting, None),
            (Waha, "FAILED", Down, Some(Restart)),
            (Waha, "STOPPED", Down, Some(Start)),
            (Waha, "SCAN_QR_CODE", NeedsPerson, None),
            (Evolution, "open", Up, None),
            (Evolution, "connecting", Starting, None),
            (Evolution, "close", Down, Some(Connect)),
        ] {
            for said in [state.to_owned(), state.to_uppercase(), state.to_lowercase(), format!(" {state}\n")] {
                assert_eq!(read(kind, &said), (condition, state.into()), "{kind:?} {said}");
                assert_eq!(cure(kind, &said), call, "{kind:?} {said}");
            }
        }
    }

    #[test]
    fn a_state_of_no_table_is_strange_and_nothing_is_called() {
        for (kind, state) in [(Wasender, "error"), (Waha, "open"), (Evolution, "WORKING"), (Waha, "")] {
            assert_eq!(read(kind, state), (Strange, state.into()));
            assert_eq!(cure(kind, state), None);
        }
        assert_eq!(read(Waha, &"x\n".repeat(500)).1.len(), NAME_MAX);
    }

    #[test]
    fn what_is_called_on_demand_is_what_the_gateway_takes_in_that_state() {
        for (kind, condition, state, call) in [
            (Wasender, Up, "connected", Restart),
            (Wasender, Down, "disconnected", Connect),
            (Wasender, Starting, "connecting", Connect),
            (Wasender, NeedsPerson, "need_scan", Connect),
            (Waha, Up, "WORKING", Restart),
            (Waha, Down, "STOPPED", Start),
            (Waha, Down, "FAILED", Restart),
            (Waha, NeedsPerson, "SCAN_QR_CODE", Restart),
            (Evolution, Up, "open", Restart),
            (Evolution, Down, "close", Connect),
            (Evolution, NeedsPerson, "close", Connect),
            (Evolution, Starting, "connecting", Restart),
        ] {
            assert_eq!(on_demand(kind, condition, state), call, "{kind:?} {state}");
        }
    }

    #[test]
    fn where_a_restart_was_refused_the_other_way_in_is_tried() {
        assert_eq!([Wasender, Waha, Evolution].map(instead_of_restart), [Connect, Start, Connect]);
    }
}
