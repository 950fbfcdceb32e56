//! Handles a `POST` to the path of an encrypted flow: signature → envelope → response → encryption.
//!
//! Statuses and bodies follow *Error Codes* (Flows):
//! - 432 with an empty body: the signature does not match.
//! - 421 with an empty body: nothing can be decrypted. Decrypted text that is not a JSON object
//!   counts as not decrypted.
//! - 400: the body is not an envelope.
//! - 503: the request could not be executed or stored at the moment.
//!
//! The response to any other decrypted request is encrypted.
//!
//! Two different texts must never be encrypted with the same key and IV. Therefore the writer
//! stores a response before it is sent, and the writer decides which response is sent: the new one,
//! or the stored response to the same bytes on any path. After the stored response has expired, 421
//! makes the client repeat the request with another key. The response to a ping is constant, so it
//! is not stored.
//!
//! See [`super::data_exchange`] for the content of responses.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use super::data_exchange;
use super::exchange::ExchangeReply;
use crate::domain::flow::{Flow, SignaturePolicy};
use crate::http::request::RequestContext;
use crate::http::request_log::{Attribution, RequestLog};
use crate::http::response::{self, HttpError, HttpResponse};
use crate::http::state::FlowRoute;
use crate::intake::encryption::{DecryptedRequest, Envelope};
use crate::intake::{BadSignature, PrivateKey};
use crate::store::{CacheOutcome, CachedResponse, StoreResponse};

pub(in crate::http) async fn handle_post(
    context: &mut RequestContext<'_>,
    route: &FlowRoute,
    keys: &Arc<[PrivateKey]>,
    request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    let bytes = read_body(context, &route.flow, request).await?;
    let envelope = Envelope::parse(&bytes)?.map_err(|_| HttpError::DecryptionFailed)?;
    let request_key = envelope.idempotency_key();
    let DecryptedRequest {
        plaintext,
        response_key,
    } = decrypt(context, &route.flow, keys, envelope).await?;
    let locks = &context.app.request_locks;
    let Some(_guard) = locks.lock(request_key, context.deadline).await else {
        return Err(HttpError::DuplicateInFlight);
    };
    let plaintext = plaintext.as_bytes();
    let reply = data_exchange::handle_request(context, route, plaintext, request_key).await?;
    let (status, text, is_stateless) = match reply {
        ExchangeReply::Replayed(cached) => return Ok(replayed(cached, &mut context.log)),
        ExchangeReply::Stateless(text) => (StatusCode::OK, text, true),
        ExchangeReply::New(status, text) => (status, text, false),
    };
    let encrypted = response_key
        .encrypt(&text.to_string())
        .map_err(|_| HttpError::DecryptionFailed)?;
    if is_stateless {
        return Ok(response::encrypted(status, encrypted));
    }
    let store = StoreResponse {
        encrypted_request_key: request_key,
        response: CachedResponse {
            status: status.as_u16(),
            body: encrypted.as_str().into(),
        },
    };
    match context.execute(store).await? {
        CacheOutcome::Stored => Ok(response::encrypted(status, encrypted)),
        CacheOutcome::Existing(cached) => Ok(replayed(cached, &mut context.log)),
        CacheOutcome::Evicted => Err(HttpError::DecryptionFailed),
    }
}

/// Reads the signed body, and attributes the request to the health of its flow.
async fn read_body(
    context: &mut RequestContext<'_>,
    flow: &Arc<Flow>,
    request: Request<Incoming>,
) -> Result<Bytes, HttpError> {
    let limit = context.app.config.limits.max_flow_body;
    let read = context.read_signed_body(request, flow.signature, limit);
    match read.await {
        Ok(bytes) => {
            if flow.signature == SignaturePolicy::Required {
                context.log.attribution = Attribution::Meta(Arc::clone(flow));
            }
            Ok(bytes)
        }
        Err(HttpError::Signature(why)) => {
            if why == BadSignature::Wrong {
                context.log.attribution = Attribution::Unverified(Arc::clone(flow));
            }
            Err(HttpError::EncryptedSignature)
        }
        Err(refusal) => Err(refusal),
    }
}

/// Decrypts a request. A failed decryption lasts as long as a successful one, and its time counts,
/// too.
async fn decrypt(
    context: &mut RequestContext<'_>,
    flow: &Arc<Flow>,
    keys: &Arc<[PrivateKey]>,
    envelope: Envelope,
) -> Result<DecryptedRequest, HttpError> {
    let app = context.app;
    let started = app.clock.elapsed();
    let decrypted = app
        .decrypt_pool
        .decrypt(envelope, Arc::clone(keys), flow.signature)
        .await?;
    context.log.decrypt_time = Some(app.clock.elapsed().saturating_sub(started));
    if flow.signature == SignaturePolicy::None {
        let attribution = if decrypted.is_ok() {
            Attribution::Meta
        } else {
            Attribution::Unverified
        };
        context.log.attribution = attribution(Arc::clone(flow));
    }
    decrypted.map_err(|_| HttpError::DecryptionFailed)
}

fn replayed(cached: CachedResponse, log: &mut RequestLog<'_>) -> HttpResponse {
    log.outcome = "replayed";
    let status = StatusCode::from_u16(cached.status).unwrap_or(StatusCode::OK);
    response::encrypted(status, cached.body.into())
}
