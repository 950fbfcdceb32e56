//! Tests sessions that disconnect, report wrong states, stay silent or need a person.

use super::*;
use GatewayKind::{Evolution, Waha, Wasender};
use RecoveryAction::{Connect, Restart, Start};

const PROBE_INTERVAL: Millis = Millis::from_secs(60);
const DOWN: Option<GatewayAlert> = Some(GatewayAlert::Down);
const NEEDS_PERSON: Option<GatewayAlert> = Some(GatewayAlert::NeedsPerson);

fn at(seconds: u64) -> SessionTick {
    SessionTick {
        at: Timestamp::from_millis(1000 * seconds),
        elapsed: Duration::from_secs(seconds),
        jitter: 0.0,
    }
}

fn session(kind: GatewayKind, silent_after: Option<u64>) -> Session {
    let policy = SessionPolicy {
        kind,
        probe_interval: PROBE_INTERVAL,
        inactivity_timeout: silent_after.map(Millis::from_secs),
    };
    let state = SessionState::unprobed(kind, Timestamp::ZERO);
    Session::new(policy, state, Duration::ZERO)
}

fn probe(session: &mut Session, state: &str, second: u64) -> SessionEffects {
    session.on_probe(Probe::State(state.to_owned()), &at(second))
}

fn details(step: &SessionEffects) -> Vec<&str> {
    step.history.iter().map(|entry| &*entry.detail).collect()
}

fn outcome(step: &SessionEffects) -> (Option<RecoveryAction>, Option<GatewayAlert>) {
    (step.action, step.alert)
}

fn no_effects() -> SessionEffects {
    SessionEffects::default()
}

#[test]
fn dropped_session_is_reconnected_with_one_alert() {
    let mut session = session(Wasender, None);
    assert_eq!(probe(&mut session, "connected", 0).alert, None);
    let step = probe(&mut session, "DISCONNECTED", 60);
    assert_eq!(outcome(&step), (Some(Connect), DOWN));
    let connected = ActionResult::State("CONNECTED".to_owned());
    let step = session.on_action_result(Connect, connected, &at(61));
    assert_eq!(outcome(&step), (None, None));
    assert!(step.has_recovered);
    assert_eq!(details(&step), ["reported connected", "", "recovered"]);
    let state = session.state();
    assert_eq!((state.health, state.alert), (SessionHealth::Up, None));
    assert_eq!(state.since, at(61).at);
}

#[test]
fn backoff_doubles_up_to_an_hour() {
    let mut session = session(Waha, None);
    let mut calls = Vec::new();
    for second in (0..30_000).step_by(60) {
        let step = probe(&mut session, "FAILED", second);
        assert_eq!(step.alert.is_some(), second == 0, "one alert");
        if let Some(call) = step.action {
            calls.push(second);
            session.on_action_result(call, ActionResult::Accepted, &at(second));
        }
    }
    let pauses: Vec<u64> = calls.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(pauses[..8], [60, 120, 240, 480, 960, 1920, 3600, 3600]);
}

#[test]
fn flapping_session_keeps_backoff() {
    let mut session = session(Wasender, None);
    let mut calls = 0;
    for minute in 0..240 {
        let word = ["disconnected", "connected"][usize::from(minute % 2 == 1)];
        calls += u32::from(probe(&mut session, word, 60 * minute).action.is_some());
    }
    assert!(calls < 10, "{calls} calls in four hours");
    for minute in 240..260 {
        probe(&mut session, "connected", 60 * minute);
    }
    probe(&mut session, "disconnected", 60 * 260);
    let again = probe(&mut session, "disconnected", 60 * 261).action;
    // A session that was up for long resets the pauses.
    assert_eq!(again, Some(Connect));
}

#[test]
fn no_action_while_person_is_needed() {
    let mut session = session(Evolution, None);
    assert_eq!(probe(&mut session, "close", 0).action, Some(Connect));
    let step = session.on_action_result(Connect, ActionResult::NeedsScan, &at(1));
    // This alert is more severe than "down".
    assert_eq!(step.alert, NEEDS_PERSON);
    for (second, word) in [(60, "connecting"), (120, "close"), (9000, "close")] {
        let step = probe(&mut session, word, second);
        assert_eq!(outcome(&step), (None, None), "{word}");
        assert_eq!(session.state().health, SessionHealth::NeedsPerson);
    }
    assert!(probe(&mut session, "open", 9060).has_recovered);
    assert_eq!(probe(&mut session, "close", 99_000).action, Some(Connect));
}

#[test]
fn state_that_needs_person_is_alerted() {
    for (kind, word) in [
        (Wasender, "NEED_SCAN"),
        (Wasender, "need_passkey"),
        (Wasender, "logged_out"),
        (Wasender, "expired"),
        (Waha, "SCAN_QR_CODE"),
        (Waha, "PASSWORD_REQUIRED"),
    ] {
        let mut session = session(kind, None);
        let step = probe(&mut session, word, 0);
        assert_eq!(outcome(&step), (None, NEEDS_PERSON), "{word}");
        assert_eq!(probe(&mut session, word, 60), no_effects(), "{word}");
        assert_ne!(session.state().suggestion(), "");
    }
}

#[test]
fn manual_restart_works_while_person_is_needed() {
    let mut session = session(Waha, None);
    probe(&mut session, "SCAN_QR_CODE", 0);
    assert_eq!(session.on_restart_requested(&at(10)), Restart);
    let scan = ActionResult::State("SCAN_QR_CODE".to_owned());
    let step = session.on_action_result(Restart, scan, &at(11));
    // The alert was raised before.
    assert_eq!((step.alert, session.state().awaits_person), (None, true));
}

#[test]
fn unreachable_gateway_is_alerted_after_three_probes() {
    let mut session = session(Waha, None);
    probe(&mut session, "WORKING", 0);
    let fail = |session: &mut Session, second| {
        session.on_probe(
            Probe::Unanswered("can't reach waha:3000".to_owned()),
            &at(second),
        )
    };
    for second in [60, 120] {
        assert_eq!(fail(&mut session, second), no_effects());
    }
    let step = fail(&mut session, 180);
    assert_eq!(outcome(&step), (None, DOWN));
    assert_eq!(details(&step), ["can't reach waha:3000"]);
    assert_eq!(fail(&mut session, 240), no_effects());
    assert!(probe(&mut session, "WORKING", 300).has_recovered);
    fail(&mut session, 360);
    probe(&mut session, "WORKING", 420);
    fail(&mut session, 480);
    assert_eq!(fail(&mut session, 540), no_effects(), "not in a row");
}

#[test]
fn refused_probe_needs_person() {
    let mut session = session(Evolution, None);
    let refused = Probe::Refused("responded with 401 Unauthorized".to_owned());
    let step = session.on_probe(refused, &at(0));
    assert_eq!(outcome(&step), (None, NEEDS_PERSON));
    assert!(!session.state().awaits_person);
    // The session is reconnected as soon as a probe succeeds.
    assert_eq!(probe(&mut session, "close", 60).action, Some(Connect));
}

#[test]
fn stuck_session_gets_action() {
    for (kind, word, call) in [
        (Wasender, "connecting", Connect),
        (Waha, "STARTING", Restart),
        (Evolution, "connecting", Restart),
    ] {
        let mut session = session(kind, None);
        for second in (0..600).step_by(60) {
            assert_eq!(probe(&mut session, word, second).action, None);
        }
        assert_eq!(probe(&mut session, word, 600).action, Some(call));
        assert_eq!(session.state().alert, None);
    }
}

#[test]
fn stuck_session_is_alerted_at_second_action() {
    for (kind, word, connected) in [
        (Wasender, "connecting", "connected"),
        (Waha, "STARTING", "WORKING"),
        (Evolution, "connecting", "open"),
    ] {
        let mut session = session(kind, None);
        let (mut calls, mut alerts) = (0, Vec::new());
        for second in (0..86_400).step_by(60) {
            let step = probe(&mut session, word, second);
            if let Some(call) = step.action {
                calls += 1;
                session.on_action_result(call, ActionResult::Accepted, &at(second));
            }
            alerts.extend(step.alert.map(|alert| (alert, calls)));
            let has_suggestion = !session.state().suggestion().is_empty();
            assert!(calls < 2 || has_suggestion, "{kind:?}");
        }
        if kind == Evolution {
            let expected = [(GatewayAlert::Down, 2), (GatewayAlert::NeedsPerson, 3)];
            assert_eq!(alerts, expected);
            assert_eq!(calls, 3);
            assert!(session.state().awaits_person);
        } else {
            assert_eq!(alerts, [(GatewayAlert::Down, 2)], "{kind:?}");
            // The actions go on, with pauses.
            assert!(calls > 20, "{kind:?}: {calls}");
        }
        let step = probe(&mut session, connected, 86_400);
        assert!(step.has_recovered, "{kind:?}");
        assert_eq!(session.state().stuck_attempts, 0);
    }
}

#[test]
fn silent_session_is_restarted_then_alerted() {
    let mut session = session(Waha, Some(3600));
    let mut calls = Vec::new();
    for second in (0..20_000).step_by(60) {
        let step = probe(&mut session, "WORKING", second);
        if let Some(call) = step.action {
            calls.push((second, call, step.alert));
            session.on_action_result(call, ActionResult::Accepted, &at(second));
        }
    }
    // Each restart comes after twice as long.
    assert_eq!(calls, [(3600, Restart, None), (10_800, Restart, DOWN)]);
    assert!(session.on_activity(&at(20_000)).has_recovered);
    assert_eq!(probe(&mut session, "WORKING", 20_060).action, None);
    // Activity resets the timeout.
    assert_eq!(probe(&mut session, "WORKING", 23_600).action, Some(Restart));
}

#[test]
fn activity_prevents_silence_restart() {
    let mut monitored = session(Waha, Some(3600));
    for second in (0..40_000).step_by(1800) {
        assert_eq!(probe(&mut monitored, "WORKING", second).action, None);
        monitored.on_activity(&at(second));
    }
    let mut unmonitored = session(Waha, None);
    probe(&mut unmonitored, "WORKING", 0);
    assert_eq!(probe(&mut unmonitored, "WORKING", 10_000_000).action, None);
}

#[test]
fn refused_restart_falls_back_to_other_action() {
    for (kind, word, other) in [
        (Wasender, "connected", Connect),
        (Evolution, "open", Connect),
        (Waha, "WORKING", Start),
    ] {
        let mut session = session(kind, Some(600));
        probe(&mut session, word, 0);
        assert_eq!(probe(&mut session, word, 600).action, Some(Restart));
        let refused = ActionResult::Failed("it is not connected".to_owned());
        session.on_action_result(Restart, refused, &at(600));
        assert_eq!(probe(&mut session, word, 630).action, None, "after a pause");
        let step = probe(&mut session, word, 660);
        assert_eq!(step.action, Some(other), "{kind:?}");
    }
}

#[test]
fn process_restart_repeats_no_alert() {
    let mut session = session(Wasender, None);
    probe(&mut session, "need_scan", 0);
    let mut restarted = Session::new(session.policy, session.state.clone(), Duration::ZERO);
    assert_eq!(probe(&mut restarted, "need_scan", 5), no_effects());
    // The session still needs a person.
    assert_eq!(probe(&mut restarted, "disconnected", 65).action, None);
}
