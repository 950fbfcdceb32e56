//! Kept answers to encrypted requests: the same request has the same answer or none, within bounds that are counted right.
//! The ends of forms lie elsewhere, and outlive them.

use redb::ReadableTableMetadata;

use crate::domain::draft::Patience;
use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;
use crate::store::batch::{Batch, Transaction};
use crate::store::tables::ANSWERS;
use crate::store::{
    AnswerKept, KeepAnswer, KeptAnswer, Place, RecallAnswer, RecallEnd, StoreError, StoreOptions, Sweep,
};

use super::support::{Bench, form, open};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

/// Answers of this size that fit in beside each other; one more is too many. A row has a few bytes besides.
const MEBIBYTES: u8 = 63;

fn request(number: u8) -> IdempotencyKey {
    IdempotencyKey::from_bytes([number; 16])
}

/// An answer of about a mebibyte, told from others by its status.
fn answer(number: u8) -> KeptAnswer {
    KeptAnswer { status: 200 + u16::from(number), body: "a".repeat(1 << 20).into() }
}

fn keep(bench: &Bench, number: u8) -> AnswerKept {
    bench.store.ask(KeepAnswer { request: request(number), answer: answer(number) }).unwrap()
}

/// What is kept for a request, by its status. Nothing is written.
fn recalled(bench: &Bench, number: u8) -> Option<u16> {
    bench.store.ask(RecallAnswer { request: request(number) }).unwrap().map(|kept| kept.status)
}

/// Keeps an answer, and then fails: the batch comes to nothing.
struct KeepAndFail(KeepAnswer);

impl Transaction for KeepAndFail {
    type Outcome = ();

    fn apply(&self, batch: &mut Batch<'_, '_>) -> Result<(), StoreError> {
        self.0.apply(batch)?;
        Err(StoreError::row::<KeptAnswer>("it", crate::store::RowProblem::Missing))
    }
}

#[test]
fn past_the_bound_the_oldest_answers_go_and_their_requests_get_no_other_one() {
    let bench = Bench::new();
    for number in 0..MEBIBYTES + 3 {
        assert_eq!(keep(&bench, number), AnswerKept::First, "{number}");
    }
    for number in 0..3 {
        assert_eq!(recalled(&bench, number), None);
        assert_eq!(keep(&bench, number), AnswerKept::Gone, "never another one");
    }
    for number in 3..MEBIBYTES + 3 {
        assert_eq!(recalled(&bench, number), Some(200 + u16::from(number)));
    }
    let other = KeptAnswer { status: 999, body: "b".into() };
    let kept = bench.store.ask(KeepAnswer { request: request(9), answer: other }).unwrap();
    assert_eq!(kept, AnswerKept::Earlier(answer(9)), "what is there is not replaced");
    bench.check();
}

#[test]
fn an_answer_larger_than_the_bound_is_kept_alone_until_the_next_one() {
    let bench = Bench::new();
    keep(&bench, 1);
    let huge = KeptAnswer { status: 200, body: "a".repeat((64 << 20) + 1).into() };
    bench.store.ask(KeepAnswer { request: request(2), answer: huge }).unwrap();
    assert_eq!((recalled(&bench, 1), recalled(&bench, 2)), (None, Some(200)));
    keep(&bench, 3);
    assert_eq!((recalled(&bench, 2), recalled(&bench, 3)), (None, Some(203)));
}

#[test]
fn bytes_are_counted_right_over_a_batch_that_came_to_nothing_and_a_restart() {
    let mut bench = Bench::new();
    for number in 0..MEBIBYTES - 2 {
        keep(&bench, number);
    }
    let huge = KeptAnswer { status: 500, body: "a".repeat(40 << 20).into() };
    let failed = bench.store.ask(KeepAndFail(KeepAnswer { request: request(200), answer: huge }));
    assert!(matches!(failed, Err(StoreError::Row { .. })), "{failed:?}");
    assert_eq!(recalled(&bench, 200), None);
    keep(&bench, MEBIBYTES - 2);
    assert_eq!(recalled(&bench, 0), Some(200), "what the aborted batch added and took away counts no more");

    bench = bench.reopen();
    keep(&bench, MEBIBYTES - 1);
    assert_eq!(recalled(&bench, 0), Some(200), "there is still room");
    keep(&bench, MEBIBYTES);
    assert_eq!((recalled(&bench, 0), recalled(&bench, 1)), (None, Some(201)), "and no more");
}

#[test]
fn that_a_request_was_answered_is_known_long_after_the_tokens_of_its_time_are_forgotten() {
    let mut bench = Bench::with(|options| options.keys_max = 2);
    for number in 0..10 {
        keep(&bench, number);
        bench.accept(form(&format!("t{number}"), "{}"));
    }
    assert!(bench.store.figures().keys <= 4, "{:?}", bench.store.figures());
    bench.clock.advance(Millis::new(DAY.get() * 400));
    let sweep = Sweep {
        from: Place::Keys,
        most: 100,
        submissions: Millis::new(DAY.get() * 90),
        attempts: DAY,
        patience: Patience::default(),
    };
    assert_eq!(bench.store.ask(sweep).unwrap().removed, 10, "the keys of the forms");
    bench = bench.reopen();
    for number in 0..10 {
        assert_eq!(keep(&bench, number), AnswerKept::Earlier(answer(number)));
    }
    bench.check();
}

#[test]
fn past_the_number_that_is_remembered_the_oldest_requests_are_forgotten_with_their_answers() {
    let lowered = |most| move |options: &mut StoreOptions| options.answered_max = most;
    let bench = Bench::with(lowered(5));
    for number in 0..8 {
        assert_eq!(keep(&bench, number), AnswerKept::First);
    }
    let known = |bench: &Bench| -> Vec<u8> { (0..20).filter(|number| recalled(bench, *number).is_some()).collect() };
    assert_eq!(known(&bench), [3, 4, 5, 6, 7]);
    let kept = bench.store.read().unwrap().reading(|txn| Ok(txn.open_table(ANSWERS)?.len()?)).unwrap();
    assert_eq!(kept, 5, "what nobody can ask for is not kept");
    bench.check();

    bench.store.close().unwrap();
    let store = open(bench.path(), &bench.clock, lowered(2));
    let bench = Bench { store, ..bench };
    for number in 8..10 {
        keep(&bench, number);
    }
    assert_eq!(known(&bench), [7, 8, 9], "a file comes down to a lower bound by and by");
    keep(&bench, 10);
    assert_eq!(known(&bench), [9, 10]);
    bench.check();
}

#[test]
fn the_end_of_a_form_is_kept_as_long_as_its_token_whatever_is_answered_meanwhile() {
    let mut bench = Bench::new();
    let mut sent = form("t", "{}");
    let key = sent.form_key.unwrap();
    sent.end = Some("{\"visit\":17}".into());
    bench.accept(sent);
    let end = |bench: &Bench, form| bench.store.ask(RecallEnd { form }).unwrap();
    for number in 0..MEBIBYTES + 3 {
        keep(&bench, number);
    }
    assert_eq!(recalled(&bench, 0), None, "answers have made room for each other");
    bench = bench.reopen();
    assert_eq!(end(&bench, key).as_deref(), Some("{\"visit\":17}"));
    assert_eq!(end(&bench, request(200)), None);
    bench.clock.advance(Millis::new(DAY.get() - 1));
    bench.accept(form("later", "{}"));
    assert!(end(&bench, key).is_some());

    bench.clock.advance(Millis::new(1));
    assert_eq!(end(&bench, key), None);
    let sweep = Sweep {
        from: Place::Keys,
        most: 100,
        submissions: Millis::new(DAY.get() * 90),
        attempts: DAY,
        patience: Patience::default(),
    };
    assert_eq!(bench.store.ask(sweep).unwrap().removed, 1, "the end; its key waits for the message that follows");
    bench.check();
}
