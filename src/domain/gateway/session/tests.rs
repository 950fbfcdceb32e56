//! Tests sessions that disconnect, report wrong states, stay silent or need a person.

use super::*;

const PROBE_INTERVAL: Millis = Millis::from_secs(60);

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
    Session::new(
        policy,
        SessionState::unprobed(kind, Timestamp::ZERO),
        Duration::ZERO,
    )
}

fn probe_of(word: &str) -> Probe {
    Probe::State(word.to_owned())
}

fn details(step: &SessionEffects) -> Vec<&str> {
    step.history.iter().map(|entry| &*entry.detail).collect()
}

#[test]
fn dropped_session_is_reconnected_with_one_alert() {
    let mut session = session(GatewayKind::Wasender, None);
    assert_eq!(session.on_probe(probe_of("connected"), &at(0)).alert, None);
    let step = session.on_probe(probe_of("DISCONNECTED"), &at(60));
    assert_eq!(
        (step.action, step.alert),
        (Some(RecoveryAction::Connect), Some(GatewayAlert::Down))
    );
    let step = session.on_action_result(
        RecoveryAction::Connect,
        ActionResult::State("CONNECTED".to_owned()),
        &at(61),
    );
    assert_eq!(
        (step.action, step.alert, step.has_recovered),
        (None, None, true)
    );
    assert_eq!(details(&step), ["reported connected", "", "recovered"]);
    assert_eq!(
        (session.state().health, session.state().alert),
        (SessionHealth::Up, None)
    );
    assert_eq!(session.state().since, at(61).at);
}

#[test]
fn backoff_doubles_up_to_an_hour() {
    let mut session = session(GatewayKind::Waha, None);
    let mut calls = Vec::new();
    for second in (0..30_000).step_by(60) {
        let step = session.on_probe(probe_of("FAILED"), &at(second));
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
    let mut session = session(GatewayKind::Wasender, None);
    let mut calls = 0;
    for minute in 0..240 {
        let word = if minute % 2 == 0 {
            "disconnected"
        } else {
            "connected"
        };
        calls += u32::from(
            session
                .on_probe(probe_of(word), &at(60 * minute))
                .action
                .is_some(),
        );
    }
    assert!(calls < 10, "{calls} calls in four hours");
    for minute in 240..260 {
        session.on_probe(probe_of("connected"), &at(60 * minute));
    }
    session.on_probe(probe_of("disconnected"), &at(60 * 260));
    let again = session
        .on_probe(probe_of("disconnected"), &at(60 * 261))
        .action;
    assert_eq!(
        again,
        Some(RecoveryAction::Connect),
        "after a while of being well, patience begins anew"
    );
}

#[test]
fn no_action_while_person_is_needed() {
    let mut session = session(GatewayKind::Evolution, None);
    assert_eq!(
        session.on_probe(probe_of("close"), &at(0)).action,
        Some(RecoveryAction::Connect)
    );
    let step = session.on_action_result(RecoveryAction::Connect, ActionResult::NeedsScan, &at(1));
    assert_eq!(
        step.alert,
        Some(GatewayAlert::NeedsPerson),
        "more than that it is down"
    );
    for (second, word) in [(60, "connecting"), (120, "close"), (9000, "close")] {
        let step = session.on_probe(probe_of(word), &at(second));
        assert_eq!((step.action, step.alert), (None, None), "{word}");
        assert_eq!(session.state().health, SessionHealth::NeedsPerson);
    }
    assert!(session.on_probe(probe_of("open"), &at(9060)).has_recovered);
    assert_eq!(
        session.on_probe(probe_of("close"), &at(99_000)).action,
        Some(RecoveryAction::Connect)
    );
}

#[test]
fn state_that_needs_person_is_alerted() {
    for (kind, word) in [
        (GatewayKind::Wasender, "NEED_SCAN"),
        (GatewayKind::Wasender, "need_passkey"),
        (GatewayKind::Wasender, "logged_out"),
        (GatewayKind::Wasender, "expired"),
        (GatewayKind::Waha, "SCAN_QR_CODE"),
        (GatewayKind::Waha, "PASSWORD_REQUIRED"),
    ] {
        let mut session = session(kind, None);
        let step = session.on_probe(probe_of(word), &at(0));
        assert_eq!(
            (step.action, step.alert),
            (None, Some(GatewayAlert::NeedsPerson)),
            "{word}"
        );
        assert_eq!(
            session.on_probe(probe_of(word), &at(60)),
            SessionEffects::default(),
            "{word}"
        );
        assert_ne!(session.state().suggestion(), "");
    }
}

#[test]
fn manual_restart_works_while_person_is_needed() {
    let mut session = session(GatewayKind::Waha, None);
    session.on_probe(probe_of("SCAN_QR_CODE"), &at(0));
    assert_eq!(
        session.on_restart_requested(&at(10)),
        RecoveryAction::Restart
    );
    let step = session.on_action_result(
        RecoveryAction::Restart,
        ActionResult::State("SCAN_QR_CODE".to_owned()),
        &at(11),
    );
    assert_eq!(
        (step.alert, session.state().awaits_person),
        (None, true),
        "it is known already"
    );
}

#[test]
fn unreachable_gateway_is_alerted_after_three_probes() {
    let mut session = session(GatewayKind::Waha, None);
    session.on_probe(probe_of("WORKING"), &at(0));
    let unanswered = || Probe::Unanswered("can't reach waha:3000".to_owned());
    for second in [60, 120] {
        assert_eq!(
            session.on_probe(unanswered(), &at(second)),
            SessionEffects::default()
        );
    }
    let step = session.on_probe(unanswered(), &at(180));
    assert_eq!((step.action, step.alert), (None, Some(GatewayAlert::Down)));
    assert_eq!(details(&step), ["can't reach waha:3000"]);
    assert_eq!(
        session.on_probe(unanswered(), &at(240)),
        SessionEffects::default()
    );
    assert!(
        session
            .on_probe(probe_of("WORKING"), &at(300))
            .has_recovered
    );
    session.on_probe(unanswered(), &at(360));
    session.on_probe(probe_of("WORKING"), &at(420));
    session.on_probe(unanswered(), &at(480));
    assert_eq!(
        session.on_probe(unanswered(), &at(540)),
        SessionEffects::default(),
        "not in a row"
    );
}

#[test]
fn refused_probe_needs_person() {
    let mut session = session(GatewayKind::Evolution, None);
    let step = session.on_probe(
        Probe::Refused("responded with 401 Unauthorized".to_owned()),
        &at(0),
    );
    assert_eq!(
        (step.action, step.alert),
        (None, Some(GatewayAlert::NeedsPerson))
    );
    assert!(!session.state().awaits_person);
    assert_eq!(
        session.on_probe(probe_of("close"), &at(60)).action,
        Some(RecoveryAction::Connect),
        "once it can be asked, it is brought back"
    );
}

#[test]
fn stuck_session_gets_action() {
    for (kind, word, call) in [
        (GatewayKind::Wasender, "connecting", RecoveryAction::Connect),
        (GatewayKind::Waha, "STARTING", RecoveryAction::Restart),
        (
            GatewayKind::Evolution,
            "connecting",
            RecoveryAction::Restart,
        ),
    ] {
        let mut session = session(kind, None);
        for second in (0..600).step_by(60) {
            assert_eq!(session.on_probe(probe_of(word), &at(second)).action, None);
        }
        assert_eq!(
            session.on_probe(probe_of(word), &at(600)).action,
            Some(call)
        );
        assert_eq!(session.state().alert, None);
    }
}

#[test]
fn stuck_session_is_alerted_at_second_action() {
    for (kind, word) in [
        (GatewayKind::Wasender, "connecting"),
        (GatewayKind::Waha, "STARTING"),
        (GatewayKind::Evolution, "connecting"),
    ] {
        let mut session = session(kind, None);
        let (mut calls, mut alerts) = (0, Vec::new());
        for second in (0..86_400).step_by(60) {
            let step = session.on_probe(probe_of(word), &at(second));
            if let Some(call) = step.action {
                calls += 1;
                session.on_action_result(call, ActionResult::Accepted, &at(second));
            }
            alerts.extend(step.alert.map(|alert| (alert, calls)));
            assert!(
                calls < 2 || !session.state().suggestion().is_empty(),
                "{kind:?}"
            );
        }
        if kind == GatewayKind::Evolution {
            assert_eq!(
                (calls, alerts),
                (
                    3,
                    vec![(GatewayAlert::Down, 2), (GatewayAlert::NeedsPerson, 3)]
                )
            );
            assert!(session.state().awaits_person);
        } else {
            assert_eq!(alerts, [(GatewayAlert::Down, 2)], "{kind:?}");
            assert!(
                calls > 20,
                "{kind:?}: it is called on, with pauses: {calls}"
            );
        }
        assert!(
            session
                .on_probe(probe_of(connected_word(kind)), &at(86_400))
                .has_recovered,
            "{kind:?}"
        );
        assert_eq!(session.state().stuck_attempts, 0);
    }
}

const fn connected_word(kind: GatewayKind) -> &'static str {
    match kind {
        GatewayKind::Wasender => "connected",
        GatewayKind::Waha => "WORKING",
        GatewayKind::Evolution => "open",
    }
}

#[test]
fn silent_session_is_restarted_then_alerted() {
    let mut session = session(GatewayKind::Waha, Some(3600));
    let mut calls = Vec::new();
    for second in (0..20_000).step_by(60) {
        let step = session.on_probe(probe_of("WORKING"), &at(second));
        if let Some(call) = step.action {
            calls.push((second, call, step.alert));
            session.on_action_result(call, ActionResult::Accepted, &at(second));
        }
    }
    let restart = RecoveryAction::Restart;
    assert_eq!(
        calls,
        [
            (3600, restart, None),
            (10_800, restart, Some(GatewayAlert::Down))
        ],
        "each after twice as long"
    );
    assert!(session.on_activity(&at(20_000)).has_recovered);
    assert_eq!(
        session.on_probe(probe_of("WORKING"), &at(20_060)).action,
        None
    );
    assert_eq!(
        session.on_probe(probe_of("WORKING"), &at(23_600)).action,
        Some(restart),
        "as at the beginning"
    );
}

#[test]
fn activity_prevents_silence_restart() {
    let mut monitored = session(GatewayKind::Waha, Some(3600));
    for second in (0..40_000).step_by(1800) {
        assert_eq!(
            monitored.on_probe(probe_of("WORKING"), &at(second)).action,
            None
        );
        monitored.on_activity(&at(second));
    }
    let mut unmonitored = session(GatewayKind::Waha, None);
    unmonitored.on_probe(probe_of("WORKING"), &at(0));
    assert_eq!(
        unmonitored
            .on_probe(probe_of("WORKING"), &at(10_000_000))
            .action,
        None
    );
}

#[test]
fn refused_restart_falls_back_to_other_action() {
    for (kind, word, other) in [
        (GatewayKind::Wasender, "connected", RecoveryAction::Connect),
        (GatewayKind::Evolution, "open", RecoveryAction::Connect),
        (GatewayKind::Waha, "WORKING", RecoveryAction::Start),
    ] {
        let mut session = session(kind, Some(600));
        session.on_probe(probe_of(word), &at(0));
        assert_eq!(
            session.on_probe(probe_of(word), &at(600)).action,
            Some(RecoveryAction::Restart)
        );
        session.on_action_result(
            RecoveryAction::Restart,
            ActionResult::Failed("it is not connected".to_owned()),
            &at(600),
        );
        assert_eq!(
            session.on_probe(probe_of(word), &at(630)).action,
            None,
            "after a pause"
        );
        assert_eq!(
            session.on_probe(probe_of(word), &at(660)).action,
            Some(other),
            "{kind:?}"
        );
    }
}

#[test]
fn process_restart_repeats_no_alert() {
    let mut session = session(GatewayKind::Wasender, None);
    session.on_probe(probe_of("need_scan"), &at(0));
    let policy = SessionPolicy {
        kind: GatewayKind::Wasender,
        probe_interval: PROBE_INTERVAL,
        inactivity_timeout: None,
    };
    let mut restarted = Session::new(policy, session.state().clone(), Duration::ZERO);
    assert_eq!(
        restarted.on_probe(probe_of("need_scan"), &at(5)),
        SessionEffects::default()
    );
    assert_eq!(
        restarted.on_probe(probe_of("disconnected"), &at(65)).action,
        None,
        "somebody is still needed"
    );
}
