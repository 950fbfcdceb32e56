//! The admin listener: figures for Prometheus, on loopback unless the config says otherwise.

use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::listener::{Bounds, Server};
use super::respond::{self, Answer, Refusal};

/// Scrapers are few.
const BOUNDS: Bounds = Bounds {
    connections: 64,
    idle: Duration::from_mins(1),
    head: Duration::from_secs(10),
    drain: Duration::ZERO,
    grace: Duration::from_millis(500),
};

/// The listener for operators.
#[derive(Debug)]
pub struct AdminServer(Server);

impl AdminServer {
    /// Answers operators at `server`.
    #[must_use]
    pub const fn new(server: Server) -> Self {
        Self(server)
    }

    /// Serves what `render` makes as `/metrics` until `stop` is there.
    pub async fn run(self, render: Arc<dyn Fn() -> String + Send + Sync>, stop: impl Future<Output = ()>) {
        let answer = move |_, request: Request<Incoming>| ready(answer(&request, &*render));
        self.0.answer_with(answer, BOUNDS, stop).await;
    }
}

fn answer(request: &Request<Incoming>, render: &(dyn Fn() -> String + Send + Sync)) -> Answer {
    match (request.uri().path(), request.method()) {
        // The text format's own media type (*Prometheus*, "Exposition formats").
        ("/metrics", &Method::GET) => {
            let mut answer = respond::text(StatusCode::OK, render());
            let media_type = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(hyper::header::CONTENT_TYPE, media_type);
            answer
        }
        ("/healthz", &Method::GET) => respond::text(StatusCode::OK, "alive\n"),
        ("/metrics" | "/healthz", _) => Refusal::Method("GET").answer(),
        _ => Refusal::NotFound.answer(),
    }
}
