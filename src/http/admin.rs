//! The admin listener: figures for Prometheus, on loopback unless the config says otherwise.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::respond::{self, Answer, Refusal};

/// Scrapers at once.
const CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The listener for operators.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminServer {
    /// Binds `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// Those of bind(2).
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves what `render` makes as `/metrics` until `stop` is there.
    pub async fn run(self, render: Arc<dyn Fn() -> String + Send + Sync>, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let accept = async {
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let Ok((stream, _)) = self.listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let render = Arc::clone(&render);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let render = Arc::clone(&render);
                        async move { Ok::<_, Infallible>(answer(&request, &*render)) }
                    });
                    let served = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD_TIMEOUT)
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = served.await;
                    drop(place);
                });
            }
        };
        tokio::select! {
            () = accept => {}
            () = stop => {}
        }
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
