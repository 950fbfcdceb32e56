//! Reads the body of a request and proves its origin: by Meta's signature, or by what a gateway
//! sends. Checks that need no body run first.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::body::{self, BodyKind};
use super::request::RequestContext;
use super::response::HttpError;
use crate::domain::flow::SignaturePolicy;
use crate::intake::{BadSignature, GatewayWebhook, SignatureHeader, WebhookAuthError};

const SIGNATURE_HEADER: &str = "x-hub-signature-256";

impl RequestContext<'_> {
    /// Reads a JSON body of at most `limit` bytes that is signed according to `policy`.
    pub(super) async fn read_signed_body(
        &mut self,
        request: Request<Incoming>,
        policy: SignaturePolicy,
        limit: u64,
    ) -> Result<Bytes, HttpError> {
        check_head(&request, limit)?;
        let header = match policy {
            SignaturePolicy::Required => Some(parse_signature_header(request.headers())?),
            SignaturePolicy::None => None,
        };
        let bytes = self.read_body(request.into_body(), limit).await?;
        if let Some(header) = header {
            let clock = &self.app.clock;
            let started = clock.elapsed();
            let verifier = &self.app.config.credentials.signature_verifier;
            let result = verifier.verify(header, &bytes);
            self.log.verify_time = Some(clock.elapsed().saturating_sub(started));
            self.log.record_signature(result.is_ok());
            result?;
        }
        Ok(bytes)
    }

    /// Reads a JSON body of a gateway. Either one header or the body itself proves its origin.
    pub(super) async fn read_gateway_body(
        &mut self,
        request: Request<Incoming>,
        webhook: &GatewayWebhook,
    ) -> Result<Bytes, HttpError> {
        let limit = self.app.config.limits.max_webhook_body;
        check_head(&request, limit)?;
        let (head, body) = request.into_parts();
        let proof = webhook
            .proof_header()
            .map(|name| single_header(&head.headers, name).ok_or(WebhookAuthError::Missing(name)));
        let proof = proof.transpose()?;
        let bytes = self.read_body(body, limit).await?;
        webhook.authenticate(proof, &bytes)?;
        Ok(bytes)
    }

    async fn read_body(&mut self, body: Incoming, limit: u64) -> Result<Bytes, HttpError> {
        let kind = if self.log.is_flow_request() {
            BodyKind::FlowRequest
        } else {
            BodyKind::Webhook
        };
        let budget = &self.app.config.body_budget;
        let (bytes, permit) = body::read_body(body, limit, budget, kind, self.deadline).await?;
        self.log.body_bytes = Some(bytes.len());
        self.log.body_permit = Some(Arc::new(permit));
        Ok(bytes)
    }
}

fn check_head(request: &Request<Incoming>, limit: u64) -> Result<(), HttpError> {
    check_media_type(request.headers())?;
    Ok(body::check_announced_length(request.body(), limit)?)
}

/// Returns the value of a header. Returns `None` if the header is missing or occurs several times,
/// because the choice between several values would be a guess.
fn single_header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let mut all = headers.get_all(name).iter();
    all.next()
        .filter(|_| all.next().is_none())
        .map(HeaderValue::as_bytes)
}

/// Parses the only signature header of a request.
fn parse_signature_header(headers: &HeaderMap) -> Result<SignatureHeader, BadSignature> {
    let mut all = headers.get_all(SIGNATURE_HEADER).iter();
    match (all.next(), all.next()) {
        (Some(signature), None) => SignatureHeader::parse(signature.as_bytes()),
        (None, _) => Err(BadSignature::Missing),
        (Some(_), Some(_)) => Err(BadSignature::Several),
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), HttpError> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(HttpError::MediaType(
            "Content-Encoding is not supported: send the body uncompressed",
        ));
    }
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let mut parts = content_type.unwrap_or_default().split(|byte| *byte == b';');
    let media_type = parts.next().unwrap_or_default().trim_ascii();
    if media_type.eq_ignore_ascii_case(b"application/json") {
        Ok(())
    } else {
        Err(HttpError::MediaType(
            "the Content-Type must be application/json",
        ))
    }
}
