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
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderMap;

use crate::domain::flow::SignaturePolicy;
use crate::intake::encryption::{DecryptedRequest, Envelope};
use crate::intake::{BadSignature, PrivateKey};
use crate::store::{CacheOutcome, CachedResponse, StoreResponse};

use super::data_exchange::{self, ExchangeReply};
use super::plain::execute;
use crate::http::request_log::{Attribution, RequestLog};
use crate::http::response::{self, HttpError, HttpResponse};
use crate::http::state::{AppState, FlowRoute};

pub(in crate::http) async fn handle_post(
    app: &AppState,
    route: &FlowRoute,
    keys: &Arc<[PrivateKey]>,
    headers: &HeaderMap,
    body: Incoming,
    log: &mut RequestLog<'_>,
) -> Result<HttpResponse, HttpError> {
    let (flow, limit) = (&route.flow, app.limits.max_flow_body);
    let read = app
        .read_signed_body(flow.signature, headers, body, limit, log)
        .await;
    let (bytes, deadline) = read.map_err(|refusal| match refusal {
        HttpError::Signature(why) => {
            if why == BadSignature::Wrong {
                log.attribution = Attribution::Unverified(Arc::clone(flow));
            }
            HttpError::EncryptedSignature
        }
        other => other,
    })?;
    if flow.signature == SignaturePolicy::Required {
        log.attribution = Attribution::Meta(Arc::clone(flow));
    }
    let envelope = Envelope::parse(&bytes)?.map_err(|_| HttpError::DecryptionFailed)?;
    let request = envelope.idempotency_key();
    let started = app.clock.elapsed();
    let decrypted = app
        .decrypt_pool
        .decrypt(envelope, Arc::clone(keys), flow.signature)
        .await?;
    // A failed decryption lasts as long as a successful one, and its time counts, too.
    log.decrypt_time = Some(app.clock.elapsed().saturating_sub(started));
    if flow.signature == SignaturePolicy::None {
        let attribution = if decrypted.is_ok() {
            Attribution::Meta
        } else {
            Attribution::Unverified
        };
        log.attribution = attribution(Arc::clone(flow));
    }
    let DecryptedRequest {
        plaintext: text,
        response_key: seal,
    } = decrypted.map_err(|_| HttpError::DecryptionFailed)?;
    let Some(_guard) = app.request_locks.lock(request, deadline).await else {
        return Err(HttpError::DuplicateInFlight);
    };
    match data_exchange::handle_request(app, route, text.as_bytes(), request, deadline, log).await?
    {
        ExchangeReply::Replayed(cached) => Ok(replayed_response(cached, log)),
        ExchangeReply::Stateless(content) => {
            let encrypted = seal
                .encrypt(&content.to_string())
                .map_err(|_| HttpError::DecryptionFailed)?;
            Ok(encrypted_response(StatusCode::OK, encrypted))
        }
        ExchangeReply::New(status, content) => {
            let encrypted = seal
                .encrypt(&content.to_string())
                .map_err(|_| HttpError::DecryptionFailed)?;
            let cached = CachedResponse {
                status: status.as_u16(),
                body: encrypted.as_str().into(),
            };
            match execute(
                app,
                StoreResponse {
                    encrypted_request_key: request,
                    response: cached,
                },
                deadline,
                log,
            )
            .await?
            {
                CacheOutcome::Stored => Ok(encrypted_response(status, encrypted)),
                CacheOutcome::Existing(cached) => Ok(replayed_response(cached, log)),
                CacheOutcome::Evicted => Err(HttpError::DecryptionFailed),
            }
        }
    }
}

fn replayed_response(cached: CachedResponse, log: &mut RequestLog<'_>) -> HttpResponse {
    log.outcome = "replayed";
    encrypted_response(
        StatusCode::from_u16(cached.status).unwrap_or(StatusCode::OK),
        String::from(cached.body),
    )
}

fn encrypted_response(status: StatusCode, body: String) -> HttpResponse {
    response::response_with_type(status, "text/plain", Bytes::from(body))
}
