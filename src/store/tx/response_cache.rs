//! Stores the responses to encrypted requests: a repeated request gets the same bytes. Without
//! this, one key and IV could encrypt two different texts.
//!
//! Two facts are stored, each for its own time:
//!
//! - The fact that a request was answered stays on disk until four million newer requests were
//!   answered. The number is `max_encrypted_requests` of the options. The time does not matter. An
//!   attacker who recorded a signed body can send it as long as its flow has the private key. That
//!   is long after the flow token in it has expired. Beyond the limit, a repeated request would be
//!   answered anew. See `docs/flows.md` for the remedy.
//! - The response itself is stored within a limit of bytes. Beyond the limit, the oldest responses
//!   are evicted. A request whose response was evicted gets an error, never another response.
//!
//! Only the envelope identifies a request. The flow to which the request is sent does not matter.
//! See [`crate::store::writer::dedup`] for the keys of forms.

use crate::domain::submission::IdempotencyKey;

use crate::store::StoreResult;
use crate::store::engine::Rows;
use crate::store::rows::responses::CachedResponse;
use crate::store::writer::write_context::{Transaction, WriteContext};

/// Maximum size of all stored responses in bytes: about a hundred thousand typical responses.
pub const CACHE_BYTES_MAX: u64 = 64 << 20;

/// Maximum number of requests evicted for each new request beyond the limit. The value is more than
/// 1, so that a file shrinks to a lowered limit. The value is small, so that no commit is delayed.
const EVICTIONS_PER_REQUEST: usize = 2;

/// Stores the response to a request before the response is sent, unless the request was answered
/// before.
#[derive(Debug)]
pub struct StoreResponse {
    /// Key of the encrypted request.
    pub encrypted_request_key: IdempotencyKey,
    /// Response to store and send.
    pub response: CachedResponse,
}

/// Returns the stored response to a request.
#[derive(Debug)]
pub struct GetResponse {
    /// Key of the encrypted request.
    pub encrypted_request_key: IdempotencyKey,
}

/// Outcome of [`StoreResponse`]: the response to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheOutcome {
    /// The given response was stored and must be sent.
    Stored,
    /// An earlier response to the same request exists and must be sent instead.
    Existing(CachedResponse),
    /// The request was answered before, and its response was evicted. No response may be sent.
    Evicted,
}

impl Transaction for StoreResponse {
    type Outcome = CacheOutcome;

    fn bytes(&self) -> usize {
        self.response.body.len()
    }

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<CacheOutcome> {
        match find_response(ctx, self.encrypted_request_key)? {
            Some(existing) => Ok(existing),
            None => store_response(ctx, self.encrypted_request_key, &self.response)
                .map(|()| CacheOutcome::Stored),
        }
    }
}

impl Transaction for GetResponse {
    type Outcome = Option<CachedResponse>;

    fn apply(&self, ctx: &mut WriteContext<'_>) -> StoreResult<Option<CachedResponse>> {
        Ok(match find_response(ctx, self.encrypted_request_key)? {
            Some(CacheOutcome::Existing(response)) => Some(response),
            _ => None,
        })
    }
}

/// Returns `true` if the request was answered. Returns `false` if there is no request key.
pub fn is_replayed_request(
    ctx: &WriteContext<'_>,
    request: Option<IdempotencyKey>,
) -> StoreResult<bool> {
    Ok(match request {
        Some(request) => find_request_number(ctx, request)?.is_some(),
        None => false,
    })
}

fn find_response(
    ctx: &WriteContext<'_>,
    request: IdempotencyKey,
) -> StoreResult<Option<CacheOutcome>> {
    let Some(number) = find_request_number(ctx, request)? else {
        return Ok(None);
    };
    let cached = ctx.tables.cached_responses.get(number)?;
    Ok(Some(
        cached.map_or(CacheOutcome::Evicted, CacheOutcome::Existing),
    ))
}

/// Returns the number under which an answered request is recorded.
fn find_request_number(
    ctx: &WriteContext<'_>,
    request: IdempotencyKey,
) -> StoreResult<Option<u64>> {
    ctx.tables.encrypted_requests.get(request.as_bytes())
}

/// Stores the response to a request that has no response yet.
fn store_response(
    ctx: &mut WriteContext<'_>,
    request: IdempotencyKey,
    response: &CachedResponse,
) -> StoreResult<()> {
    let number = record_request(ctx, request)?;
    let bytes = ctx.tables.cached_responses.put_sized(number, response)?;
    ctx.state.cached_response_bytes = ctx.state.cached_response_bytes.saturating_add(bytes);
    while ctx.state.cached_response_bytes > CACHE_BYTES_MAX
        && ctx.tables.cached_responses.len()? > 1
    {
        evict_oldest_response(ctx)?;
    }
    Ok(())
}

/// Records that a request was answered, and evicts the oldest requests beyond the limit. Returns
/// the number of the request.
fn record_request(ctx: &mut WriteContext<'_>, request: IdempotencyKey) -> StoreResult<u64> {
    let (log, requests) = (
        &mut ctx.tables.encrypted_request_log,
        &mut ctx.tables.encrypted_requests,
    );
    let last = log.last()?.map_or(0, |row| row.key());
    let number = last.saturating_add(1);
    log.put(number, request.as_bytes())?;
    requests.put(request.as_bytes(), &number)?;
    for _ in 0..EVICTIONS_PER_REQUEST {
        if ctx.tables.encrypted_request_log.len()? <= ctx.state.max_encrypted_requests {
            break;
        }
        evict_oldest_request(ctx)?;
    }
    Ok(number)
}

fn evict_oldest_request(ctx: &mut WriteContext<'_>) -> StoreResult<()> {
    let (number, request) = match ctx.tables.encrypted_request_log.pop_first()? {
        Some(oldest) => (oldest.key(), oldest.value()?),
        None => return Ok(()),
    };
    ctx.tables.encrypted_requests.remove(&request)?;
    while ctx
        .tables
        .cached_responses
        .first()?
        .is_some_and(|row| row.key() <= number)
    {
        evict_oldest_response(ctx)?;
    }
    Ok(())
}

fn evict_oldest_response(ctx: &mut WriteContext<'_>) -> StoreResult<()> {
    if let Some(oldest) = ctx.tables.cached_responses.pop_first()? {
        let cached_bytes = &mut ctx.state.cached_response_bytes;
        *cached_bytes = cached_bytes.saturating_sub(oldest.stored_bytes());
    }
    Ok(())
}
