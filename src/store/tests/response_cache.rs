//! Tests of the response cache: the same encrypted request has the same response or none.
//!
//! The cache stays within its limits and counts its bytes correctly. Completions are stored
//! elsewhere and outlive the cached responses.

use crate::domain::submission::IdempotencyKey;
use crate::domain::time::Millis;
use crate::store::engine::Rows;
use crate::store::rows::schema::CACHED_RESPONSES;
use crate::store::{
    CacheOutcome, CachedResponse, GetCompletion, GetResponse, PurgeCursor, StoreError,
    StoreOptions, StoreResponse,
};

use super::corruptions::FailAfter;
use super::purge_rounds::{DAY, days, just_under, purge_slice};
use super::support::{StoreBench, form};

/// Maximum number of responses of this size that fit into the cache. A row has a few additional
/// bytes.
const RESPONSES_MAX: u8 = 63;

fn request(number: u8) -> IdempotencyKey {
    IdempotencyKey::from_bytes([number; 16])
}

/// Response of about 1 MiB, identified by its status.
fn response_of_a_mebibyte(number: u8) -> CachedResponse {
    CachedResponse {
        status: 200 + u16::from(number),
        body: "a".repeat(1 << 20).into(),
    }
}

fn store_response(bench: &StoreBench, number: u8) -> CacheOutcome {
    bench.execute(StoreResponse {
        encrypted_request_key: request(number),
        response: response_of_a_mebibyte(number),
    })
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
        assert_eq!(
            store_response(&bench, number),
            CacheOutcome::Stored,
            "{number}"
        );
    }
    for number in 0..3 {
        assert_eq!(cached_status(&bench, number), None);
        assert_eq!(
            store_response(&bench, number),
            CacheOutcome::Evicted,
            "never another one"
        );
    }
    for number in 3..RESPONSES_MAX + 3 {
        assert_eq!(cached_status(&bench, number), Some(200 + u16::from(number)));
    }
    let other = CachedResponse {
        status: 999,
        body: "b".into(),
    };
    let outcome = bench.execute(StoreResponse {
        encrypted_request_key: request(9),
        response: other,
    });
    assert_eq!(
        outcome,
        CacheOutcome::Existing(response_of_a_mebibyte(9)),
        "what is there is not replaced"
    );
    bench.assert_invariants();
}

#[test]
fn oversized_response_is_cached_until_the_next() {
    let bench = StoreBench::new();
    store_response(&bench, 1);
    let huge = CachedResponse {
        status: 200,
        body: "a".repeat((64 << 20) + 1).into(),
    };
    bench.execute(StoreResponse {
        encrypted_request_key: request(2),
        response: huge,
    });
    assert_eq!(
        (cached_status(&bench, 1), cached_status(&bench, 2)),
        (None, Some(200))
    );
    store_response(&bench, 3);
    assert_eq!(
        (cached_status(&bench, 2), cached_status(&bench, 3)),
        (None, Some(203))
    );
}

#[test]
fn cached_bytes_are_exact_after_aborted_batch_and_restart() {
    let mut bench = StoreBench::new();
    for number in 0..RESPONSES_MAX - 2 {
        store_response(&bench, number);
    }
    let huge = CachedResponse {
        status: 500,
        body: "a".repeat(40 << 20).into(),
    };
    let failed = bench.store.execute_blocking(FailAfter(StoreResponse {
        encrypted_request_key: request(200),
        response: huge,
    }));
    assert!(matches!(failed, Err(StoreError::Row { .. })), "{failed:?}");
    assert_eq!(cached_status(&bench, 200), None);
    store_response(&bench, RESPONSES_MAX - 2);
    assert_eq!(
        cached_status(&bench, 0),
        Some(200),
        "what the aborted batch added and took away counts no more"
    );

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
    assert!(
        bench.store.writer_stats().keys <= 4,
        "{:?}",
        bench.store.writer_stats()
    );
    bench.clock.advance(days(400));
    let slice = purge_slice(PurgeCursor::Keys, 100);
    assert_eq!(
        bench.execute(slice).rows_removed,
        10,
        "the keys of the forms"
    );
    bench = bench.reopen();
    for number in 0..10 {
        assert_eq!(
            store_response(&bench, number),
            CacheOutcome::Existing(response_of_a_mebibyte(number))
        );
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
    let row_count = bench
        .read()
        .with_read_txn(|txn| txn.open(CACHED_RESPONSES)?.len())
        .unwrap();
    assert_eq!(row_count, 5, "what nobody can ask for is not kept");
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
    let completion_of =
        |bench: &StoreBench, form_key| bench.execute(GetCompletion { key: form_key });
    for number in 0..RESPONSES_MAX + 3 {
        store_response(&bench, number);
    }
    assert_eq!(
        cached_status(&bench, 0),
        None,
        "answers have made room for each other"
    );
    bench = bench.reopen();
    assert_eq!(
        completion_of(&bench, key).as_deref(),
        Some("{\"visit\":17}")
    );
    assert_eq!(completion_of(&bench, request(200)), None);
    bench.clock.advance(just_under(DAY));
    bench.accept(form("later", "{}"));
    assert!(completion_of(&bench, key).is_some());

    bench.clock.advance(Millis::new(1));
    assert_eq!(completion_of(&bench, key), None);
    let slice = purge_slice(PurgeCursor::Keys, 100);
    assert_eq!(
        bench.execute(slice).rows_removed,
        1,
        "the end; its key waits for the message that follows"
    );
    bench.assert_invariants();
}
