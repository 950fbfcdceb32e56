//! Contains the table of the state names of each gateway, their meaning and the matching recovery
//! action.
//!
//! Sources: the API documentation of `WASenderApi`, *Sessions*; of WAHA, *Sessions*, `status`; of
//! Evolution API v2, `connectionState`. The same gateway may write a name in upper or in lower
//! case, so the comparison ignores case. The health of a name that is not in the table is
//! `Unrecognized`.

use super::GatewayKind::{self, Evolution, Waha, Wasender};
use super::RecoveryAction::{self, Connect, Restart, Start};
use super::SessionHealth::{self, Down, NeedsPerson, Starting, Unrecognized, Up};

/// Maximum number of characters stored of an unknown state name.
const STATE_NAME_CHARS_MAX: usize = 64;

/// State name, its health, and the recovery action that may reconnect the session.
type StateRow = (&'static str, SessionHealth, Option<RecoveryAction>);

const WASENDER: &[StateRow] = &[
    ("connected", Up, None),
    ("connecting", Starting, None),
    // `connect` resumes the session, or reports that a code is needed.
    ("disconnected", Down, Some(Connect)),
    ("need_scan", NeedsPerson, None),
    ("need_passkey", NeedsPerson, None),
    ("logged_out", NeedsPerson, None),
    ("expired", NeedsPerson, None),
];

const WAHA: &[StateRow] = &[
    ("WORKING", Up, None),
    ("STARTING", Starting, None),
    ("FAILED", Down, Some(Restart)),
    ("STOPPED", Down, Some(Start)),
    ("SCAN_QR_CODE", NeedsPerson, None),
];

const EVOLUTION: &[StateRow] = &[
    ("open", Up, None),
    ("connecting", Starting, None),
    // Evolution API refuses `restart` in this state. `connect` resumes the session, or returns a
    // code.
    ("close", Down, Some(Connect)),
];

const fn state_table(kind: GatewayKind) -> &'static [StateRow] {
    match kind {
        Wasender => WASENDER,
        Waha => WAHA,
        Evolution => EVOLUTION,
    }
}

fn find_row(kind: GatewayKind, state: &str) -> Option<&'static StateRow> {
    let mut rows = state_table(kind).iter();
    rows.find(|(name, ..)| name.eq_ignore_ascii_case(state.trim()))
}

/// Returns the health of a state that a gateway reports, and the state's name as the table writes
/// it.
#[must_use]
pub fn parse_state(kind: GatewayKind, state: &str) -> (SessionHealth, Box<str>) {
    if let Some((name, health, _)) = find_row(kind, state) {
        return (*health, (*name).into());
    }
    let shown = state.chars().filter(|c| !c.is_control());
    (Unrecognized, shown.take(STATE_NAME_CHARS_MAX).collect())
}

/// Returns the recovery action for a session that is down.
#[must_use]
pub fn recovery_action(kind: GatewayKind, state: &str) -> Option<RecoveryAction> {
    find_row(kind, state).and_then(|(.., call)| *call)
}

/// Returns the recovery action for a session that has been starting for too long. `WASenderApi`
/// restarts connected sessions only.
#[must_use]
pub const fn action_when_stuck(kind: GatewayKind) -> RecoveryAction {
    match kind {
        Wasender => Connect,
        Waha | Evolution => Restart,
    }
}

/// Returns `true` if a session in the state `starting` may be waiting for a person to scan a code.
#[must_use]
pub const fn starting_may_need_scan(kind: GatewayKind) -> bool {
    matches!(kind, Evolution)
}

/// Returns the recovery action after a refused restart: the session was not really connected.
#[must_use]
pub const fn action_after_refused_restart(kind: GatewayKind) -> RecoveryAction {
    match kind {
        Wasender | Evolution => Connect,
        Waha => Start,
    }
}

/// Returns the recovery action for an admin's request, in any state. If the session needs a person,
/// this action creates a new code.
#[must_use]
pub fn manual_action(kind: GatewayKind, condition: SessionHealth, state: &str) -> RecoveryAction {
    match condition {
        Up => Restart,
        Down => recovery_action(kind, state).unwrap_or(action_when_stuck(kind)),
        NeedsPerson => match kind {
            Wasender | Evolution => Connect,
            Waha => Restart,
        },
        _ => action_when_stuck(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_lookup_ignores_case() {
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
            let (upper, lower) = (state.to_uppercase(), state.to_lowercase());
            for spelling in [state, &upper, &lower, &format!(" {state}\n")] {
                let actual = (parse_state(kind, spelling), recovery_action(kind, spelling));
                let expected = ((condition, state.into()), call);
                assert_eq!(actual, expected, "{kind:?} {spelling}");
            }
        }
    }

    #[test]
    fn unknown_state_is_unrecognized_without_action() {
        for (kind, state) in [
            (Wasender, "error"),
            (Waha, "open"),
            (Evolution, "WORKING"),
            (Waha, ""),
        ] {
            assert_eq!(parse_state(kind, state), (Unrecognized, state.into()));
            assert_eq!(recovery_action(kind, state), None);
        }
        let (_, long) = parse_state(Waha, &"x\n".repeat(500));
        assert_eq!(long.len(), STATE_NAME_CHARS_MAX);
    }

    #[test]
    fn manual_action_fits_state() {
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
            let action = manual_action(kind, condition, state);
            assert_eq!(action, call, "{kind:?} {state}");
        }
    }

    #[test]
    fn action_after_refused_restart_by_kind() {
        let actions = [Wasender, Waha, Evolution].map(action_after_refused_restart);
        assert_eq!(actions, [Connect, Start, Connect]);
    }
}
