//! `flowgate serve`: puts the parts together, and takes them apart again in order.
//!
//! ```text
//! start:  sockets handed over → signals → parts → addresses (bound) → store (locks the file) → admin socket ("starting") → [open] → courier, gateways,
//!         workers → admin socket answers → http listens → "ready"
//! end:    http stops accepting, answers what is in flight and what open connections still send → workers, courier and gateways finish → socket → store commits and closes
//! ```
//! Nothing is decided here but the order. What a config must have is in `parts`, how it is changed in `reload`, what people
//! are told in `greeting`, what Prometheus is told in `figures`.

mod descriptors;
mod figures;
mod greeting;
mod handed;
mod outside;
mod parts;
mod reload;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::reach::store_options;
use super::secrets::AppSecrets;
use crate::admin::{AdminError, Desk, Live, Reception, SocketServer, socket_path};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Config, ConfigError, units};
use crate::courier::Courier;
use crate::current::Current;
use crate::domain::routes::Routes;
use crate::domain::time::Millis;
use crate::gateways::{Board, Gateways};
use crate::http::{AdminServer, Reserved, Vigil, Watch};
use crate::intake::Catalog;
use crate::outgoing::{Clients, OutgoingError};
use crate::store::{Store, StoreError};
use crate::telemetry::{self, Log};
use crate::work::{Rules, Work, WorkError};
use figures::Figures;
use greeting::Greeting;
pub use greeting::addresses_in;
use handed::Unsorted;
use outside::Outside;
use parts::{Before, Parts};
pub use parts::{Obstacle, Obstacles, obstacles};
use reload::{Held, Reloader};

/// For requests in flight, and those that open connections still send, when the end is asked for. With the rest it stays below the ten seconds that are promised.
const DRAIN: Duration = Duration::from_secs(6);
/// For jobs that run, and deliveries that are under way.
const FINISH: Duration = Duration::from_secs(2);

/// How the config is overridden for one run.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    /// Listen here, whatever the config says; port 0: any free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where the service manager listens for operators.
    #[arg(skip)]
    pub(super) admin_listen: Option<SocketAddr>,
    /// Use this data file, whatever the config says
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Listen for other machines although a flow takes forms without a signature
    #[arg(long)]
    pub allow_unsigned: bool,
    /// Check signatures with a development secret although the data file's server had the app's own secret before
    #[arg(long)]
    pub development: bool,
    /// Wait so long for another command or server to close the data file; 0s: not at all
    #[arg(long, value_name = "LENGTH", value_parser = lock_timeout, default_value = "30s")]
    pub lock_timeout: Duration,
}

fn lock_timeout(text: &str) -> Result<Duration, String> {
    units::length(text).map(Millis::to_duration).map_err(|error| error.to_string())
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
    /// A socket of the service manager.
    #[error("can't listen at a socket that the service manager hands over (LISTEN_FDS): {0}")]
    Handed(#[source] io::Error),
    /// Another process has the data file.
    #[error("another flowgate command or server has {} open: if a server, `flowgate status` and all other commands ask it", .0.display())]
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
    let sockets = Unsorted::take();
    // Before anything that takes long: a SIGHUP that nobody waits for ends the process, also while it opens a large file.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::System)?;
    let signals = runtime.block_on(async { Signals::new() }).map_err(ServeError::System)?;
    let mut config = load()?;
    let sockets = sockets.sort(config.admin_listen).map_err(ServeError::Handed)?;
    let [listen, admin_listen] = sockets.addresses().map_err(ServeError::Handed)?;
    let args = &ServeArgs { listen: listen.or(args.listen), admin_listen, ..args.clone() };
    let overridden = parts::override_with(args, &mut config);
    let (listen, entropy) = (config.listen, SystemEntropy);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let secrets = |config: &Config| AppSecrets::get_or_make(config, &entropy);
    let parts = Parts::read(config, &[listen], args, &clock, &Before::default(), secrets)?;
    let (connections, lasting) = parts::connections(&parts.config);
    // Before the store: a start on an address that is taken ends at once, however long the file takes to open.
    let server = reserve(sockets.http, parts.config.listen)?;
    let admin = reserve(sockets.admin, parts.config.admin_listen)?;
    // The last lines are written when it is dropped.
    let _log = Log::start().map_err(ServeError::System)?;
    // Before anything counts: what is registered without it counts for nobody.
    let metrics = telemetry::start_metrics();
    let mut options = store_options(&parts.config, true)?;
    options.lock_timeout = args.lock_timeout;
    options.refuses_known_secret = parts.has_development_secret() && !args.development;
    let routes = options.routes.clone();
    let store = Store::start(options, Arc::clone(&clock))?;
    let entropy = Arc::new(entropy);
    let setup = Setup { args, server, admin, parts, routes, connections, overridden, lasting, clock, entropy };
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
    /// The address for senders.
    server: Reserved,
    /// The address for operators.
    admin: Reserved,
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
    let Setup { args, server, admin, parts, routes, connections, overridden, lasting, clock, entropy } = setup;
    let config = &parts.config;
    let [address, admin_address] = [config.listen, config.admin_listen];
    let notes = parts.notes().into_iter().chain(overridden).chain(lasting.clone()).collect();
    let greeting = Greeting::new(config, notes, server.local_addr(), admin.local_addr());
    let failed = failure_of(store)?;
    let (stop, stopped) = watch::channel(());

    if !signals.wait_for(store, Store::wait_held).await? {
        return Ok(End::Opening);
    }
    // From here on commands are told that the server is starting.
    let desk = Arc::new(OnceLock::<Desk>::new());
    let reception = reception(&desk, store);
    let socket = SocketServer::start(socket_path(&config.data), reception).map_err(ServeError::Socket)?;
    if !signals.wait_for(store, Store::wait_open).await? {
        return Ok(End::Opening);
    }
    parts.keep_secret(store)?;

    let (watch, board) = (Watch::default(), Board::default());
    let told = (watch.clone(), board.clone());
    let app = Current::new(parts.app(connections, store, &clock, told).map_err(ServeError::System)?);
    let runtime = tokio::runtime::Handle::current();
    let clients = Clients::load()?;
    let courier = Courier::start(runtime.clone(), &parts.recipients, clients.clone(), store, &clock, &entropy);
    let courier = Arc::new(courier);
    let outside = Outside {
        courier: Arc::clone(&courier),
        clock: Arc::clone(&clock),
        runtime: runtime.clone(),
        routes: routes.clone(),
    };
    let gateways = Gateways::start(runtime, &parts.gateways, board.clone(), clients, store, &clock, &entropy);
    let gateways = Arc::new(gateways);
    let held = Held {
        routes,
        courier: Arc::clone(&courier),
        gateways: Arc::clone(&gateways),
        store: store.clone(),
        app: app.clone(),
        rules: Current::new(Rules::from(config)),
        catalog: Current::new(Catalog::from(config)),
        hints: Current::new(greeting.notes.clone()),
    };
    let work = Work::start(&config.workers, &held.rules, store, &clock, &entropy)?;
    let (catalog, hints) = (held.catalog.clone(), held.hints.clone());
    let reloader = Arc::new(Reloader::new(args, parts, lasting, held, Arc::clone(&clock)));
    let (reload, signing, sealing) = (Arc::clone(&reloader), app.clone(), app.clone());
    let live = Live {
        listen: greeting.listen,
        running: {
            let (jobs, board) = (work.watch(), courier.board());
            Arc::new(move || jobs().into_iter().chain(board.out()).collect())
        },
        endpoints: at_present(&watch, &clock, Watch::read),
        refused: at_present(&watch, &clock, Watch::refused),
        gateways: board,
        hints,
        lanes: {
            let outside = outside.clone();
            Arc::new(move || outside.lanes())
        },
        resume: {
            let courier = Arc::clone(&courier);
            Arc::new(move |name| courier.resume(name))
        },
        test: Arc::new(move |name, to, event| outside.test(name, to, event)),
        sign: Arc::new(move |body| signing.get().sign(body)),
        public_key: Arc::new(move |flow| sealing.get().public_key(flow)),
        reload: Arc::new(move || reload.reload()),
    };
    tokio::spawn(Vigil::new(watch, store.clone(), Arc::clone(&clock)).run(gone(stopped.clone())));
    let answers = Desk::new(store.clone(), clock, catalog, Some(live));
    let figures = Figures::start(answers.clone(), metrics, gone(stopped.clone()));
    let _ = desk.set(answers);
    // Last of all: whoever gets a connection gets answers, to forms as to commands.
    let admin = AdminServer::new(admin.listen().map_err(|source| taken(admin_address, source))?);
    tokio::spawn(admin.run(figures.renderer(), gone(stopped.clone())));
    let server = server.listen().map_err(|source| taken(address, source))?;
    let http = tokio::spawn(server.run(app, gone(stopped.clone()), DRAIN));
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
        drop(socket);
    });
    let _ = tokio::join!(finished, courier.stop(FINISH), gateways.stop(FINISH));
    ended
}

/// Gives the desk once it is there; until then the server is starting.
fn reception(desk: &Arc<OnceLock<Desk>>, store: &Store) -> Arc<Reception> {
    let (desk, store) = (Arc::clone(desk), store.clone());
    Arc::new(move || desk.get().cloned().ok_or_else(|| AdminError::starting(store.verified_percent())))
}

/// Reads something off `watch` at the moment of each call.
fn at_present<T: 'static>(
    watch: &Watch,
    clock: &Arc<dyn Clock>,
    read: fn(&Watch, Duration) -> T,
) -> Arc<dyn Fn() -> T + Send + Sync> {
    let (watch, clock) = (watch.clone(), Arc::clone(clock));
    Arc::new(move || read(&watch, clock.elapsed()))
}

/// Takes the socket that was handed over, or binds `address`.
fn reserve(handed: Option<TcpListener>, address: SocketAddr) -> Result<Reserved, ServeError> {
    let reserved = handed.map_or_else(|| Reserved::at(address), Reserved::handed);
    reserved.map_err(|source| taken(address, source))
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

    /// Waits for `store` as `wait` does. False: the end was asked for.
    async fn wait_for(
        &mut self,
        store: &Store,
        wait: fn(&Store) -> Result<(), StoreError>,
    ) -> Result<bool, ServeError> {
        let store = store.clone();
        let waiting = tokio::task::spawn_blocking(move || wait(&store));
        tokio::select! {
            () = self.next() => Ok(false),
            waited = waiting => {
                waited.map_err(|error| ServeError::System(io::Error::other(error)))??;
                Ok(true)
            }
        }
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
