//! Lets `object_store` send its requests with the HTTP client of the program: one TLS config, one
//! address policy, one set of limits.
//!
//! See [`crate::net`] for the client.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient as ObjectClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};

use crate::net::{HttpClient, NetError};

/// Maximum time of one request, with its body and its response.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum size of a response, in bytes. No object is larger.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Connector that uses one client for all requests.
#[derive(Clone, Debug)]
pub(super) struct OwnConnector(pub(super) HttpClient);

impl HttpConnector for OwnConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<ObjectClient> {
        Ok(ObjectClient::new(self.clone()))
    }
}

impl OwnConnector {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let request = hyper::Request::from_parts(head, Full::new(body));
        let response = self.0.send(request, REQUEST_TIMEOUT).await;
        let response = response.map_err(convert_error)?;
        let full = response.read_full(RESPONSE_BYTES_MAX).await;
        let full = full.map_err(convert_error)?;
        let mut response = HttpResponse::new(HttpResponseBody::from(full.body));
        *response.status_mut() = full.status;
        *response.headers_mut() = full.headers;
        Ok(response)
    }
}

impl HttpService for OwnConnector {
    fn call<'service, 'call>(
        &'service self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'call>>
    where
        'service: 'call,
        Self: 'call,
    {
        Box::pin(self.exchange(request))
    }
}

fn convert_error(error: NetError) -> HttpError {
    let kind = match &error {
        NetError::Unreachable { .. } => HttpErrorKind::Connect,
        NetError::Timeout { .. } => HttpErrorKind::Timeout,
        NetError::Disconnected { .. } => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
