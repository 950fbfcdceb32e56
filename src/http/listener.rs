//! The accept loop: connections up to a bound, each with its deadlines, and a drain when it is time to end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::guard::{Guard, Phase};
use super::service::App;

/// Bytes of a head, and of the read buffer of each connection.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// Pauses after an accept that failed, most likely for want of file descriptors (accept(2), EMFILE).
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// A listener that is bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
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

    /// Serves until `stop` is there. Then it accepts nothing more, closes what is idle, and gives requests that are under
    /// way `grace` to be answered.
    pub async fn run(self, app: Arc<App>, stop: impl Future<Output = ()>, grace: Duration) {
        let places = Arc::new(Semaphore::new(app.limits.connections));
        let all = u32::try_from(app.limits.connections).unwrap_or(u32::MAX);
        let (draining, drain) = watch::channel(());
        let mut stop = pin!(stop);
        let [shortest, longest] = PAUSES;
        let mut pause = shortest;
        loop {
            // At the bound nothing is accepted: who comes waits in the system's queue until there is a place.
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = &mut stop => break,
                accepted = accepted => accepted,
            };
            match (place, accepted) {
                (Ok(place), Ok((stream, _))) => {
                    pause = shortest;
                    let connection = serve(stream, Arc::clone(&app), drain.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                (_, Err(error)) => {
                    tracing::warn!(error = %error, pause_ms = pause.as_millis(), "can't accept connections");
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(longest);
                }
                // The semaphore is never closed.
                (Err(_), Ok(_)) => break,
            }
        }
        drop(self.listener);
        drop(draining);
        if timeout(grace, places.acquire_many(all)).await.is_err() {
            tracing::warn!("connections were still busy at the end: they are let go");
        }
    }
}

/// One connection, until it is closed.
async fn serve(stream: TcpStream, app: Arc<App>, mut drain: watch::Receiver<()>) {
    // Answers are small and whole: waiting for more to send would only make them late.
    let _ = stream.set_nodelay(true);
    let phase = Arc::new(Phase::default());
    let (idle, head) = (app.limits.idle.to_duration(), app.limits.header_timeout.to_duration());
    let guard = Guard::new(stream, Arc::clone(&phase), idle, head);
    let service = service_fn(move |request| {
        let (app, phase) = (Arc::clone(&app), Arc::clone(&phase));
        async move { app.answer(&phase, request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The guard has the real deadlines; this one is behind them.
        .header_read_timeout(idle.saturating_add(head).saturating_add(Duration::from_secs(1)))
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .keep_alive(true)
        // A sender that has said all, and closed its half, still gets its answer.
        .half_close(true)
        .writev(false)
        .serve_connection(TokioIo::new(guard), service);
    let mut connection = pin!(connection);
    let mut is_draining = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error = %error, "a connection broke off");
                }
                return;
            }
            _ = drain.changed(), if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
