//! Finds the handler of each request by its path and method, and records the request. Never fails:
//! every error has its own response.

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request};

use super::flow::{encrypted, plain};
use super::request::RequestContext;
use super::request_log::{RequestLog, RouteKind};
use super::response::{HttpError, HttpResponse};
use super::state::{AppState, FlowRoute};
use super::timeout_stream::ConnectionPhase;
use super::{calendar_feed, gateways, health, lead_close, webhook};
use crate::domain::calendar_feed::{FEED_PATH, FeedSecret};
use crate::intake::GatewayWebhook;

/// Path prefix of gateway webhooks. No flow has such a path.
const GATEWAYS_PREFIX: &str = "/gateways/";

/// Endpoint at a path.
#[derive(Clone, Copy)]
enum Route<'a> {
    Webhook,
    Healthz,
    Readyz,
    Gateway(&'a GatewayWebhook),
    /// Close of a lead, with its ID as text.
    CloseLead(&'a str),
    Feed,
    Flow(&'a FlowRoute),
    Unknown,
}

impl<'a> Route<'a> {
    fn find(app: &'a AppState, path: &'a str) -> Self {
        let gateway = || app.gateway_webhook(path.strip_prefix(GATEWAYS_PREFIX)?);
        match path {
            "/webhook" => Self::Webhook,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            _ if path.starts_with(FEED_PATH) => Self::Feed,
            _ => gateway()
                .map(Self::Gateway)
                .or_else(|| lead_close::parse_path(path).map(Self::CloseLead))
                .or_else(|| app.flow_route(path).map(Self::Flow))
                .unwrap_or(Self::Unknown),
        }
    }

    const fn kind(self) -> RouteKind {
        match self {
            Self::Webhook => RouteKind::Webhook,
            Self::Healthz | Self::Readyz => RouteKind::Health,
            Self::Gateway(_) => RouteKind::Gateway,
            Self::CloseLead(_) => RouteKind::Lead,
            Self::Feed => RouteKind::Feed,
            Self::Flow(_) => RouteKind::Flow,
            Self::Unknown => RouteKind::Unknown,
        }
    }
}

/// Handles one request.
#[cfg_attr(
    feature = "otel",
    tracing::instrument(name = "request", skip_all, fields(request.path = request.uri().path()))
)]
pub(super) async fn handle(
    app: &AppState,
    phase: &ConnectionPhase,
    request: Request<Incoming>,
) -> HttpResponse {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = Route::find(app, &path);
    // The path of a feed contains a secret, which the log must not show.
    let logged_path = match route {
        Route::Feed => FEED_PATH.to_owned(),
        _ => path.clone(),
    };
    let log = RequestLog::start(&app.metrics, &*app.clock, route.kind(), method, logged_path);
    let mut context = RequestContext::new(app, log);
    let has_body = !request.body().is_end_stream();
    let mut response = match dispatch(&mut context, route, request).await {
        Ok(response) => response,
        Err(refusal) => {
            context.log.record_error(&refusal);
            refusal.to_response()
        }
    };
    context.log.status = Some(response.status().as_u16());
    if has_body && context.log.body_bytes.is_none() {
        phase.mark_body_unread();
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn dispatch(
    context: &mut RequestContext<'_>,
    route: Route<'_>,
    request: Request<Incoming>,
) -> Result<HttpResponse, HttpError> {
    match (route, request.method()) {
        (Route::Webhook, &Method::GET) => {
            webhook::handle_verification(context, request.uri().query().unwrap_or_default())
        }
        (Route::Webhook, &Method::POST) => webhook::handle_post(context, request).await,
        (Route::Webhook, _) => Err(HttpError::MethodNotAllowed("GET, POST")),
        (Route::Healthz, &Method::GET | &Method::HEAD) => Ok(health::healthz(context)),
        (Route::Readyz, &Method::GET | &Method::HEAD) => Ok(health::readyz(context)),
        (Route::Feed, &Method::GET | &Method::HEAD) => {
            let secret = FeedSecret::from_path(request.uri().path()).ok_or(HttpError::NotFound)?;
            calendar_feed::handle_get(context, &secret, request.headers()).await
        }
        (Route::Healthz | Route::Readyz | Route::Feed, _) => {
            Err(HttpError::MethodNotAllowed("GET, HEAD"))
        }
        (Route::Gateway(webhook), &Method::POST) => {
            gateways::handle_post(context, webhook, request).await
        }
        (Route::CloseLead(id), &Method::POST) => {
            lead_close::handle_post(context, id, request).await
        }
        (Route::Flow(flow), &Method::POST) => match &flow.private_keys {
            Some(keys) => encrypted::handle_post(context, flow, keys, request).await,
            None => plain::handle_post(context, flow, request).await,
        },
        (Route::Gateway(_) | Route::CloseLead(_) | Route::Flow(_), _) => {
            Err(HttpError::MethodNotAllowed("POST"))
        }
        (Route::Unknown, _) => Err(HttpError::NotFound),
    }
}
