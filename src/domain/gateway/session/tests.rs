//! Sessions that drop, lie, fall silent and need somebody.

use super::*;

const CHECK: Millis = Millis::from_secs(60);

fn at(seconds: u64) -> Moment {
    Moment { at: Timestamp::from_millis(1000 * seconds), elapsed: Duration::from_secs(seconds), chance: 0.0 }
}

fn session(kind: GatewayKind, silent_after: Option<u64>) -> Session {
    let rule = SessionRule { kind, check: CHECK, silent_after: silent_after.map(Millis::from_secs) };
    Session::new(rule, Standing::unasked(kind, Timestamp::ZERO), Duration::ZERO)
}

fn state(word: &str) -> Look {
    Look::State(word.to_owned())
}

fn notes(step: &Step) -> Vec<&str> {
    step.entries.iter().map(|entry| &*entry.note).collect()
}

#[test]
fn one_that_dropped_is_called_at_once_told_of_once_and_its_end_is_quiet() {
    let mut one = session(GatewayKind::Wasender, None);
    assert_eq!(one.saw(state("connected"), &at(0)).tell, None);
    let step = one.saw(state("DISCONNECTED"), &at(60));
    assert_eq!((step.call, step.tell), (Some(Call::Connect), Some(Alert::Down)));
    let step = one.called(Call::Connect, Answer::State("CONNECTED".to_owned()), &at(61));
    assert_eq!((step.call, step.tell, step.is_well_again), (None, None, true));
    assert_eq!(notes(&step), ["answered connected", "", "well again"]);
    assert_eq!((one.standing().condition, one.standing().alert), (Condition::Up, None));
    assert_eq!(one.standing().since, at(61).at);
}

#[test]
fn pauses_between_calls_double_up_to_an_hour() {
    let mut one = session(GatewayKind::Waha, None);
    let mut calls = Vec::new();
    for second in (0..30_000).step_by(60) {
        let step = one.saw(state("FAILED"), &at(second));
        assert_eq!(step.tell.is_some(), second == 0, "told once");
        if let Some(call) = step.call {
            calls.push(second);
            one.called(call, Answer::Taken, &at(second));
        }
    }
    let pauses: Vec<u64> = calls.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(pauses[..8], [60, 120, 240, 480, 960, 1920, 3600, 3600]);
}

#[test]
fn one_that_is_up_for_a_moment_only_is_not_hammered() {
    let mut one = session(GatewayKind::Wasender, None);
    let mut calls = 0;
    for minute in 0..240 {
        let word = if minute % 2 == 0 { "disconnected" } else { "connected" };
        calls += u32::from(one.saw(state(word), &at(60 * minute)).call.is_some());
    }
    assert!(calls < 10, "{calls} calls in four hours");
    for minute in 240..260 {
        one.saw(state("connected"), &at(60 * minute));
    }
    one.saw(state("disconnected"), &at(60 * 260));
    let again = one.saw(state("disconnected"), &at(60 * 261)).call;
    assert_eq!(again, Some(Call::Connect), "after a while of being well, patience begins anew");
}

#[test]
fn where_somebody_is_needed_nothing_is_called_until_it_is_up() {
    let mut one = session(GatewayKind::Evolution, None);
    assert_eq!(one.saw(state("close"), &at(0)).call, Some(Call::Connect));
    let step = one.called(Call::Connect, Answer::Code, &at(1));
    assert_eq!(step.tell, Some(Alert::NeedsPerson), "more than that it is down");
    for (second, word) in [(60, "connecting"), (120, "close"), (9000, "close")] {
        let step = one.saw(state(word), &at(second));
        assert_eq!((step.call, step.tell), (None, None), "{word}");
        assert_eq!(one.standing().condition, Condition::NeedsPerson);
    }
    assert!(one.saw(state("open"), &at(9060)).is_well_again);
    assert_eq!(one.saw(state("close"), &at(99_000)).call, Some(Call::Connect));
}

#[test]
fn what_needs_somebody_by_its_own_word_is_told_as_that() {
    for (kind, word) in [
        (GatewayKind::Wasender, "NEED_SCAN"),
        (GatewayKind::Wasender, "need_passkey"),
        (GatewayKind::Wasender, "logged_out"),
        (GatewayKind::Wasender, "expired"),
        (GatewayKind::Waha, "SCAN_QR_CODE"),
        (GatewayKind::Waha, "PASSWORD_REQUIRED"),
    ] {
        let mut one = session(kind, None);
        let step = one.saw(state(word), &at(0));
        assert_eq!((step.call, step.tell), (None, Some(Alert::NeedsPerson)), "{word}");
        assert_eq!(one.saw(state(word), &at(60)), Step::default(), "{word}");
        assert_ne!(one.standing().advice(), "");
    }
}

#[test]
fn somebody_may_ask_for_a_call_where_none_would_be_made() {
    let mut one = session(GatewayKind::Waha, None);
    one.saw(state("SCAN_QR_CODE"), &at(0));
    assert_eq!(one.asked(&at(10)), Call::Restart);
    let step = one.called(Call::Restart, Answer::State("SCAN_QR_CODE".to_owned()), &at(11));
    assert_eq!((step.tell, one.standing().waits_for_person), (None, true), "it is known already");
}

#[test]
fn one_that_does_not_answer_is_told_of_at_the_third_look_and_never_called() {
    let mut one = session(GatewayKind::Waha, None);
    one.saw(state("WORKING"), &at(0));
    let unanswered = || Look::Unanswered("can't reach waha:3000".to_owned());
    for second in [60, 120] {
        assert_eq!(one.saw(unanswered(), &at(second)), Step::default());
    }
    let step = one.saw(unanswered(), &at(180));
    assert_eq!((step.call, step.tell), (None, Some(Alert::Down)));
    assert_eq!(notes(&step), ["can't reach waha:3000"]);
    assert_eq!(one.saw(unanswered(), &at(240)), Step::default());
    assert!(one.saw(state("WORKING"), &at(300)).is_well_again);
    one.saw(unanswered(), &at(360));
    one.saw(state("WORKING"), &at(420));
    one.saw(unanswered(), &at(480));
    assert_eq!(one.saw(unanswered(), &at(540)), Step::default(), "not in a row");
}

#[test]
fn one_that_refuses_to_be_asked_needs_somebody() {
    let mut one = session(GatewayKind::Evolution, None);
    let step = one.saw(Look::Refused("answered 401 Unauthorized".to_owned()), &at(0));
    assert_eq!((step.call, step.tell), (None, Some(Alert::NeedsPerson)));
    assert!(!one.standing().waits_for_person);
    assert_eq!(one.saw(state("close"), &at(60)).call, Some(Call::Connect), "once it can be asked, it is brought back");
}

#[test]
fn one_that_starts_for_ever_is_pushed() {
    for (kind, word, call) in [
        (GatewayKind::Wasender, "connecting", Call::Connect),
        (GatewayKind::Waha, "STARTING", Call::Restart),
        (GatewayKind::Evolution, "connecting", Call::Restart),
    ] {
        let mut one = session(kind, None);
        for second in (0..600).step_by(60) {
            assert_eq!(one.saw(state(word), &at(second)).call, None);
        }
        assert_eq!(one.saw(state(word), &at(600)).call, Some(call));
        assert_eq!(one.standing().alert, None);
    }
}

#[test]
fn one_that_starts_for_ever_is_told_of_at_the_second_call_and_left_alone_where_a_code_may_wait() {
    for (kind, word) in
        [(GatewayKind::Wasender, "connecting"), (GatewayKind::Waha, "STARTING"), (GatewayKind::Evolution, "connecting")]
    {
        let mut one = session(kind, None);
        let (mut calls, mut told) = (0, Vec::new());
        for second in (0..86_400).step_by(60) {
            let step = one.saw(state(word), &at(second));
            if let Some(call) = step.call {
                calls += 1;
                one.called(call, Answer::Taken, &at(second));
            }
            told.extend(step.tell.map(|alert| (alert, calls)));
            assert!(calls < 2 || !one.standing().advice().is_empty(), "{kind:?}");
        }
        if kind == GatewayKind::Evolution {
            assert_eq!((calls, told), (3, vec![(Alert::Down, 2), (Alert::NeedsPerson, 3)]));
            assert!(one.standing().waits_for_person);
        } else {
            assert_eq!(told, [(Alert::Down, 2)], "{kind:?}");
            assert!(calls > 20, "{kind:?}: it is called on, with pauses: {calls}");
        }
        assert!(one.saw(state(connected(kind)), &at(86_400)).is_well_again, "{kind:?}");
        assert_eq!(one.standing().pushes, 0);
    }
}

const fn connected(kind: GatewayKind) -> &'static str {
    match kind {
        GatewayKind::Wasender => "connected",
        GatewayKind::Waha => "WORKING",
        GatewayKind::Evolution => "open",
    }
}

#[test]
fn one_that_is_connected_and_silent_is_restarted_and_told_of_only_if_that_did_not_help() {
    let mut one = session(GatewayKind::Waha, Some(3600));
    let mut calls = Vec::new();
    for second in (0..20_000).step_by(60) {
        let step = one.saw(state("WORKING"), &at(second));
        if let Some(call) = step.call {
            calls.push((second, call, step.tell));
            one.called(call, Answer::Taken, &at(second));
        }
    }
    let restart = Call::Restart;
    assert_eq!(calls, [(3600, restart, None), (10_800, restart, Some(Alert::Down))], "each after twice as long");
    assert!(one.heard(&at(20_000)).is_well_again);
    assert_eq!(one.saw(state("WORKING"), &at(20_060)).call, None);
    assert_eq!(one.saw(state("WORKING"), &at(23_600)).call, Some(restart), "as at the beginning");
}

#[test]
fn what_comes_keeps_suspicion_away_and_without_a_rule_there_is_none() {
    let mut one = session(GatewayKind::Waha, Some(3600));
    for second in (0..40_000).step_by(1800) {
        assert_eq!(one.saw(state("WORKING"), &at(second)).call, None);
        one.heard(&at(second));
    }
    let mut other = session(GatewayKind::Waha, None);
    other.saw(state("WORKING"), &at(0));
    assert_eq!(other.saw(state("WORKING"), &at(10_000_000)).call, None);
}

#[test]
fn a_restart_that_is_refused_leads_to_the_other_call() {
    for (kind, word, other) in [
        (GatewayKind::Wasender, "connected", Call::Connect),
        (GatewayKind::Evolution, "open", Call::Connect),
        (GatewayKind::Waha, "WORKING", Call::Start),
    ] {
        let mut one = session(kind, Some(600));
        one.saw(state(word), &at(0));
        assert_eq!(one.saw(state(word), &at(600)).call, Some(Call::Restart));
        one.called(Call::Restart, Answer::Failed("it is not connected".to_owned()), &at(600));
        assert_eq!(one.saw(state(word), &at(630)).call, None, "after a pause");
        assert_eq!(one.saw(state(word), &at(660)).call, Some(other), "{kind:?}");
    }
}

#[test]
fn a_new_start_of_ours_tells_nothing_twice() {
    let mut one = session(GatewayKind::Wasender, None);
    one.saw(state("need_scan"), &at(0));
    let rule = SessionRule { kind: GatewayKind::Wasender, check: CHECK, silent_after: None };
    let mut again = Session::new(rule, one.standing().clone(), Duration::ZERO);
    assert_eq!(again.saw(state("need_scan"), &at(5)), Step::default());
    assert_eq!(again.saw(state("disconnected"), &at(65)).call, None, "somebody is still needed");
}
