//! Checks idempotency keys and cached responses.

use super::slices::{IntegrityReport, check_rows_readable, for_each_row, for_each_value};
use crate::store::rows::schema::{
    CACHED_RESPONSES, COMPLETIONS, ENCRYPTED_REQUEST_LOG, ENCRYPTED_REQUESTS, EVICTED_KEYS,
    MESSAGE_LOG, TOKEN_LOG,
};
use crate::store::{Store, StoreResult};

pub(super) fn check_keys(store: &Store, report: &mut IntegrityReport) -> StoreResult<()> {
    for log in [TOKEN_LOG, MESSAGE_LOG] {
        check_rows_readable(store, report, log)?;
    }
    for_each_row(store, report, COMPLETIONS, |slice, row| {
        let number = row.key();
        slice.decode(&row);
        let is_known = slice.has_row(TOKEN_LOG, number)?;
        slice.require(
            is_known,
            "a completion is stored no longer than its idempotency key",
            || format!("completion {number}"),
        );
        Ok(())
    })?;
    for_each_value(store, report, EVICTED_KEYS, |slice, key, old| {
        let mut is_logged = false;
        for log in [TOKEN_LOG, MESSAGE_LOG] {
            let logged = slice.find(log, old.row)?;
            is_logged |= logged.is_some_and(|logged| logged.key == *key);
        }
        slice.require(is_logged, "an evicted key is in a key log", || {
            format!("key {key:02x?}")
        });
        Ok(())
    })
}

pub(super) fn check_cached_responses(
    store: &Store,
    report: &mut IntegrityReport,
) -> StoreResult<()> {
    check_rows_readable(store, report, CACHED_RESPONSES)?;
    for_each_row(store, report, ENCRYPTED_REQUEST_LOG, |slice, row| {
        let number = row.key();
        let found = slice.find(ENCRYPTED_REQUESTS, &row.value()?)?;
        slice.require(
            found == Some(number),
            "an encrypted request maps to its number in the log",
            || format!("request {number}, found under {found:?}"),
        );
        Ok(())
    })?;
    for_each_row(store, report, ENCRYPTED_REQUESTS, |slice, row| {
        let number = row.value()?;
        let logged = slice.find(ENCRYPTED_REQUEST_LOG, number)?;
        slice.require(
            logged.as_ref() == Some(row.key()),
            "every numbered encrypted request is in the log",
            || format!("request {number}"),
        );
        Ok(())
    })
}
