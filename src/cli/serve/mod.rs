//! `flowgate serve`: puts the parts together, and takes them apart again in order.
//!
//! ```text
//! start:  signals → parts → store (opens in its thread) → http (503 until open) → [open] → courier, gateways, workers → admin socket → "ready"
//! end:    http stops accepting and answers what is in flight → workers, courier and gateways finish → socket → store commits and closes
//! ```
//! Nothing is decided here but the order. What a config must have is in `parts`, how it is changed in `reload`, what people
//! are told in `greeting`, what Prometheus is told in `figures`.

mod descriptors;
mod figures;
mod greeting;
mod outside;
mod parts;
mod reload;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::reach::store_options;
use super::secrets::AppSecrets;
use crate::admin::{Desk, Live, SocketServer, socket_path};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Config, ConfigError};
use crate::courier::Courier;
use crate::current::Current;
use crate::domain::routes::Routes;
use crate::gateways::{Board, Gateways};
use crate::http::{AdminServer, Server, Vigil, Watch};
use crate::intake::Catalog;
use crate::outgoing::OutgoingError;
use crate::store::{Store, StoreError};
use crate::telemetry::{self, Log};
use crate::work::{Rules, Work, WorkError};
use figures::Figures;
use greeting::Greeting;
pub use greeting::addresses_in;
use outside::Outside;
use parts::{Before, Parts};
pub use parts::{Obstacle, Obstacles};
use reload::{Held, Reloader};

/// For requests in flight when the end is asked for. With the rest it stays below the ten seconds that are promised.
const DRAIN: Duration = Duration::from_secs(6);
/// For jobs that run, and deliveries that are under way.
const FINISH: Duration = Duration::from_secs(2);

/// How the config is overridden for one run.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    /// Listen here, whatever the config says; port 0: any free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Use this data file, whatever the config says
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Listen for other machines although a flow takes forms without a signature
    #[arg(long)]
    pub allow_unsigned: bool,
}

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the config names, or asks for.
    #[error(transparent)]
    Unfit(#[from] Obstacles),
    /// An address is taken, or not ours.
    #[error("can't listen on {address}: {source}. If a flowgate runs there already, `flowgate status` asks it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the data file.
    #[error("{} is in use by another process: if that is a server, `flowgate status` and all other commands ask it", .0.display())]
    InUse(PathBuf),
    /// The data file.
    #[error(transparent)]
    Store(StoreError),
    /// The workers.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The system's TLS, for what goes out.
    #[error(transparent)]
    Outgoing(#[from] OutgoingError),
    /// The socket for commands.
    #[error("no socket for commands: {0}")]
    Socket(#[source] io::Error),
    /// The system gives no threads or signals.
    #[error("can't run: {0}")]
    System(#[source] io::Error),
}

impl From<StoreError> for ServeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse(path) => Self::InUse(path),
            other => Self::Store(other),
        }
    }
}

/// Runs the server until it is asked to end, and ends it in good order. A second signal ends the process at once. `load`
/// loads the config.
///
/// # Errors
/// [`ServeError`].
pub fn run(load: impl FnOnce() -> Result<Config, ConfigError>, args: &ServeArgs) -> Result<(), ServeError> {
    // First of all: a SIGHUP that nobody waits for ends the process, also while it opens a large file.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::System)?;
    let signals = runtime.block_on(async { Signals::new() }).map_err(ServeError::System)?;
    let mut config = load()?;
    let overridden = parts::override_with(args, &mut config);
    let (listen, entropy) = (config.listen, SystemEntropy);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let secrets = |config: &Config| AppSecrets::get_or_make(config, &entropy);
    let parts = Parts::read(config, &[listen], args, &clock, &Before::default(), secrets)?;
    let (connections, lasting) = parts::connections(&parts.config);
    // The last lines are written when it is dropped.
    let _log = Log::start().map_err(ServeError::System)?;
    // Before anything counts: what is registered without it counts for nobody.
    let metrics = telemetry::start_metrics();
    let options = store_options(&parts.config, true)?;
    let routes = options.routes.clone();
    let store = Store::start(options, Arc::clone(&clock))?;
    let setup = Setup { args, routes, parts, connections, overridden, lasting, clock, entropy: Arc::new(entropy) };
    let ended = runtime.block_on(serve(setup, &store, metrics, signals));
    let closed = match ended {
        Ok(End::Serving) => store.close().map_err(ServeError::from),
        // Nothing was changed yet, and a large file may take longer to open than anybody waits.
        Ok(End::Opening) => Ok(()),
        Err(error) => {
            let _ = store.close();
            Err(error)
        }
    };
    // Whatever still hangs on a socket, or on a file that is being opened, is not waited for.
    runtime.shutdown_background();
    closed.inspect_err(|error| tracing::error!(error = %error, "flowgate ends"))
}

/// What the server is made of before anything runs.
struct Setup<'a> {
    args: &'a ServeArgs,
    parts: Parts,
    /// Who is told of what, as the store goes by it.
    routes: Current<Routes>,
    /// As many as there is room for.
    connections: usize,
    /// What the command line has changed in the config that surprises.
    overridden: Option<String>,
    /// What should be known, and stays so.
    lasting: Option<String>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// How far it had come when it was asked to end.
enum End {
    /// The data file was not open yet.
    Opening,
    /// Everything ran, and has ended but for the store.
    Serving,
}

/// Serves until the end is asked for, or the store can't go on.
async fn serve(
    setup: Setup<'_>,
    store: &Store,
    metrics: Option<PrometheusHandle>,
    (mut signals, hangup): (Signals, Signal),
) -> Result<End, ServeError> {
    let Setup { args, parts, routes, connections, overridden, lasting, clock, entropy } = setup;
    let config = &parts.config;
    let server = Server::bind(config.listen).await.map_err(|source| taken(config.listen, source))?;
    let admin = AdminServer::bind(config.admin_listen).await.map_err(|source| taken(config.admin_listen, source))?;
    let notes = parts.notes().into_iter().chain(overridden).chain(lasting.clone()).collect();
    let greeting = Greeting::new(config, notes, server.local_addr(), admin.local_addr());
    let failed = failure_of(store)?;
    let (stop, stopped) = watch::channel(());

    // Bound and answering at once: while the file is being verified, senders get a 503 that says so.
    let (watch, board) = (Watch::default(), Board::default());
    let told = (watch.clone(), board.clone());
    let app = Current::new(parts.app(connections, store, &clock, told).map_err(ServeError::System)?);
    let http = tokio::spawn(server.run(app.clone(), gone(stopped.clone()), DRAIN));
    let opening = tokio::task::spawn_blocking({
        let store = store.clone();
        move || store.wait_open()
    });
    tokio::select! {
        () = signals.next() => return Ok(End::Opening),
        opened = opening => opened.map_err(|error| ServeError::System(io::Error::other(error)))??,
    }

    let runtime = tokio::runtime::Handle::current();
    let courier = Arc::new(Courier::start(runtime.clone(), &parts.recipients, store, &clock, &entropy)?);
    let outside = Outside {
        courier: Arc::clone(&courier),
        clock: Arc::clone(&clock),
        runtime: runtime.clone(),
        routes: routes.clone(),
    };
    let gateways = Gateways::start(runtime, &parts.gateways, board.clone(), store, &clock, &entropy)?;
    let gateways = Arc::new(gateways);
    let answering = app.clone();
    let held = Held {
        routes,
        courier: Arc::clone(&courier),
        gateways: Arc::clone(&gateways),
        app,
        rules: Current::new(Rules::from(config)),
        catalog: Current::new(Catalog::from(config)),
        hints: Current::new(greeting.notes.clone()),
    };
    let work = Work::start(&config.workers, &held.rules, store, &clock, &entropy)?;
    let socket = socket_path(&config.data);
    let (catalog, hints) = (held.catalog.clone(), held.hints.clone());
    let reloader = Arc::new(Reloader::new(args, parts, lasting, held, Arc::clone(&clock)));
    let (reload, now) = (Arc::clone(&reloader), Arc::clone(&clock));
    let live = Live {
        listen: greeting.listen,
        running: {
            let (jobs, board) = (work.watch(), courier.board());
            Arc::new(move || jobs().into_iter().chain(board.out()).collect())
        },
        endpoints: {
            let watch = watch.clone();
            Arc::new(move || watch.read(now.elapsed()))
        },
        gateways: board,
        hints,
        lanes: {
            let outside = outside.clone();
            Arc::new(move || outside.lanes())
        },
        test: Arc::new(move |name, to, event| outside.test(name, to, event)),
        reload: Arc::new(move || reload.reload()),
    };
    tokio::spawn(Vigil::new(watch, store.clone(), Arc::clone(&clock)).run(gone(stopped.clone())));
    let desk = Desk::new(store.clone(), clock, catalog, Some(live));
    let figures = Figures::start(desk.clone(), metrics, gone(stopped.clone()));
    tokio::spawn(admin.run(figures.renderer(), gone(stopped.clone())));
    let socket = SocketServer::start(socket, desk).map_err(ServeError::Socket)?;
    answering.get().note_desk();
    greeting.say();
    tokio::spawn(reloader.reload_on(hangup, gone(stopped)));

    let ended = tokio::select! {
        () = signals.next() => Ok(End::Serving),
        Ok(error) = failed => Err(ServeError::from(error)),
    };
    drop(stop);
    if ended.is_ok() {
        tracing::info!("asked to end: no new connections; a second signal ends at once");
        tokio::spawn(end_at_once_on_another(signals));
        // A panic in the listener would have been told by its own hook.
        let _ = http.await;
    }
    let finished = tokio::task::spawn_blocking(move || {
        work.stop(FINISH);
        socket.stop();
    });
    let _ = tokio::join!(finished, courier.stop(FINISH), gateways.stop(FINISH));
    ended
}

fn taken(address: SocketAddr, source: io::Error) -> ServeError {
    ServeError::Listen { address, source }
}

/// Is there when `stop` has been dropped.
async fn gone(mut stop: watch::Receiver<()>) {
    while stop.changed().await.is_ok() {}
}

/// The error with which the store ends, if it does not end in peace.
fn failure_of(store: &Store) -> Result<oneshot::Receiver<StoreError>, ServeError> {
    let (tell, told) = oneshot::channel();
    let failure = store.failure();
    let wait = move || {
        if let Ok(error) = failure.recv() {
            let _ = tell.send(error);
        }
    };
    std::thread::Builder::new().name("store watch".to_owned()).spawn(wait).map_err(ServeError::System)?;
    Ok(told)
}

/// `SIGTERM` and `SIGINT`.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// These two, and `SIGHUP`.
    fn new() -> io::Result<(Self, Signal)> {
        let signals = Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok((signals, signal(SignalKind::hangup())?))
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Somebody is in a hurry: what was acknowledged is on disk, and the next start goes on from there.
async fn end_at_once_on_another(mut signals: Signals) -> Infallible {
    signals.next().await;
    std::process::exit(1)
}
