//! Tests of the response cache: the same encrypted request has the same response or none.
//!
//! The cache stays within its limits and counts its bytes correctly. Completions are stored
//! elsewhere and outlive the cached responses.

use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;
use crate::store::rows::schema::CACHED_RESPONSES;
use crate::store::{
    CacheOutcome, CachedResponse, GetCompletion, GetResponse, PurgeCursor, StoreError,
    StoreOptions, StoreResponse,
};

use super::corruptions::FailAfter;
use super::purge_rounds::{DAY, days, just_under, purge_slice};
use super::support::{StoreBench, form, row_count};

/// Maximum number of responses of this size that fit into the cache. A row has a few additional
/// bytes.
const RESPONSES_MAX: u8 = 63;

fn request(number: u8) -> IdempotencyKey {
    IdempotencyKey::from_bytes([number; 16])
}

/// Response of about 1 MiB, identified by its status.
fn response_of_a_mebibyte(number: u8) -> CachedResponse {
    response_to(number, 200 + u16::from(number), 1 << 20).response
}

/// Stores a response of `length` bytes, with this status.
fn response_to(number: u8, status: u16, length: usize) -> StoreResponse {
    let body = "a".repeat(length).into();
    StoreResponse {
        encrypted_request_key: request(number),
        response: CachedResponse { status, body },
    }
}

fn store_response(bench: &StoreBench, number: u8) -> CacheOutcome {
    bench.execute(response_to(number, 200 + u16::from(number), 1 << 20))
}

/// Returns the status of the stored response to a request. Writes nothing.
fn cached_status(bench: &StoreBench, number: u8) -> Option<u16> {
    bench
        .execute(GetResponse {
            encrypted_request_key: request(number),
        })
        .map(|cached| cached.status)
}

#[test]
fn evicted_response_is_never_replaced() {
    let bench = StoreBench::new();
    for number in 0..RESPONSES_MAX + 3 {
        let outcome = store_response(&bench, number);
        assert_eq!(outcome, CacheOutcome::Stored, "{number}");
    }
    for number in 0..3 {
        assert_eq!(cached_status(&bench, number), None);
        let outcome = store_response(&bench, number);
        assert_eq!(outcome, CacheOutcome::Evicted, "never another one");
    }
    for number in 3..RESPONSES_MAX + 3 {
        assert_eq!(cached_status(&bench, number), Some(200 + u16::from(number)));
    }
    // A stored response is not replaced.
    let outcome = bench.execute(response_to(9, 999, 1));
    assert_eq!(outcome, CacheOutcome::Existing(response_of_a_mebibyte(9)));
    bench.assert_invariants();
}

#[test]
fn oversized_response_is_cached_until_the_next() {
    let bench = StoreBench::new();
    store_response(&bench, 1);
    bench.execute(response_to(2, 200, (64 << 20) + 1));
    assert_eq!(cached_status(&bench, 1), None);
    assert_eq!(cached_status(&bench, 2), Some(200));
    store_response(&bench, 3);
    assert_eq!(cached_status(&bench, 2), None);
    assert_eq!(cached_status(&bench, 3), Some(203));
}

#[test]
fn cached_bytes_are_exact_after_aborted_batch_and_restart() {
    let mut bench = StoreBench::new();
    for number in 0..RESPONSES_MAX - 2 {
        store_response(&bench, number);
    }
    let huge = response_to(200, 500, 40 << 20);
    let failed = bench.store.execute_blocking(FailAfter(huge));
    assert!(matches!(failed, Err(StoreError::Row { .. })), "{failed:?}");
    assert_eq!(cached_status(&bench, 200), None);
    store_response(&bench, RESPONSES_MAX - 2);
    // The rows that the aborted batch added and removed do not count.
    assert_eq!(cached_status(&bench, 0), Some(200));

    bench = bench.reopen();
    store_response(&bench, RESPONSES_MAX - 1);
    assert_eq!(cached_status(&bench, 0), Some(200), "there is still room");
    store_response(&bench, RESPONSES_MAX);
    assert_eq!(
        (cached_status(&bench, 0), cached_status(&bench, 1)),
        (None, Some(201)),
        "and no more"
    );
}

#[test]
fn encrypted_request_is_remembered_longer_than_idempotency_keys() {
    let mut bench = StoreBench::with_options(|options| options.max_idempotency_keys = 2);
    for number in 0..10 {
        store_response(&bench, number);
        bench.accept(form(&format!("t{number}"), "{}"));
    }
    bench.assert_keys_in_memory(..=4);
    bench.clock.advance(days(400));
    let purged = bench.execute(purge_slice(PurgeCursor::Keys, 100));
    assert_eq!(purged.rows_removed, 10, "the keys of the forms");
    bench = bench.reopen();
    for number in 0..10 {
        let existing = CacheOutcome::Existing(response_of_a_mebibyte(number));
        assert_eq!(store_response(&bench, number), existing);
    }
    bench.assert_invariants();
}

#[test]
fn oldest_requests_are_evicted_with_their_responses() {
    let lowered = |max_requests| {
        move |options: &mut StoreOptions| options.max_encrypted_requests = max_requests
    };
    let bench = StoreBench::with_options(lowered(5));
    for number in 0..8 {
        assert_eq!(store_response(&bench, number), CacheOutcome::Stored);
    }
    let cached_numbers = |bench: &StoreBench| -> Vec<u8> {
        (0..20)
            .filter(|number| cached_status(bench, *number).is_some())
            .collect()
    };
    assert_eq!(cached_numbers(&bench), [3, 4, 5, 6, 7]);
    let cached = row_count(&bench.read(), CACHED_RESPONSES);
    assert_eq!(cached, 5, "what nobody can ask for is not kept");
    bench.assert_invariants();

    let bench = bench.reopen_with(lowered(2));
    for number in 8..10 {
        store_response(&bench, number);
    }
    assert_eq!(
        cached_numbers(&bench),
        [7, 8, 9],
        "a file comes down to a lower bound by and by"
    );
    store_response(&bench, 10);
    assert_eq!(cached_numbers(&bench), [9, 10]);
    bench.assert_invariants();
}

#[test]
fn completion_is_stored_as_long_as_its_idempotency_key() {
    let mut bench = StoreBench::new();
    let mut sent = form("t", "{}");
    let key = sent.form_key.unwrap();
    sent.custom_completion = Some("{\"visit\":17}".into());
    bench.accept(sent);
    let completion_of = |bench: &StoreBench, key| bench.execute(GetCompletion { key });
    for number in 0..RESPONSES_MAX + 3 {
        store_response(&bench, number);
    }
    assert_eq!(cached_status(&bench, 0), None, "evicted");
    bench = bench.reopen();
    let completion = completion_of(&bench, key);
    assert_eq!(completion.as_deref(), Some("{\"visit\":17}"));
    assert_eq!(completion_of(&bench, request(200)), None);
    bench.clock.advance(just_under(DAY));
    bench.accept(form("later", "{}"));
    assert!(completion_of(&bench, key).is_some());

    bench.clock.advance(Millis::new(1));
    assert_eq!(completion_of(&bench, key), None);
    // Only the completion expires. The key of the form waits for the message that follows.
    let purged = bench.execute(purge_slice(PurgeCursor::Keys, 100));
    assert_eq!(purged.rows_removed, 1);
    bench.assert_invariants();
}
