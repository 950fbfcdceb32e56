//! `flowgate serve`: starts the parts of the server in order, and stops them in order.
//!
//! ```text
//! start: inherited sockets → signals → components → addresses (bound) → store (locks the file)
//!        → admin socket ("starting") → file open → delivery, gateways, workers
//!        → admin socket answers → HTTP listens → "ready"
//! stop:  HTTP stops accepting, answers requests in flight and those of open connections
//!        → workers, delivery and gateways finish → admin socket → store commits and closes
//! ```
//! This file decides only the order. See `super::components` for the requirements of a
//! config, `super::reload` for its changes, `super::banner` for the output at
//! the start and `super::metrics` for Prometheus.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::banner::Banner;
pub use super::banner::addresses_in;
use super::components::{Components, PreviousComponents};
pub use super::components::{StartupError, StartupErrors, find_startup_errors};
use super::delivery_hooks::DeliveryHooks;
use super::hook_sources::HookSources;
use super::inherited_sockets::InheritedSockets;
use super::metrics::MetricsRenderer;
use super::reload::{ReloadTargets, Reloader};
use super::resolve::app_secrets::AppSecrets;
use crate::admin::{AdminError, AdminHandler, HandlerSource, SocketServer, socket_path};
use crate::bootstrap::store_options::store_options;
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Config, ConfigError, units};
use crate::delivery::DeliveryService;
use crate::domain::event::subscriptions::Subscriptions;
use crate::domain::time::Millis;
use crate::gateways::{GatewayMonitors, GatewayRegistry};
use crate::http::{BoundSocket, HealthAlerter, HealthMonitor, MetricsServer};
use crate::intake::Catalog;
use crate::jobs::{JobSettings, JobSystem, JobSystemError};
use crate::net::{HttpClients, NetError};
use crate::reloadable::Reloadable;
use crate::store::{Store, StoreError};
use crate::telemetry::{self, LogGuard};

/// Maximum time at the stop for requests in flight and for those that open connections still send.
/// With the other limits the stop takes less than the guaranteed ten seconds.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);
/// Maximum time at the stop for running jobs and deliveries in flight.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Arguments of `serve`. They override the config for one run.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ServeArgs {
    /// Address to listen on, in place of the config (port 0 = any free port). Default: `listen` of
    /// the config
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address of the socket that the service manager passed for the admin listener. `None` if it
    /// passed none.
    #[arg(skip)]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Data file to use, in place of the config. Default: `data` of the config
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Listen for other machines even if a flow accepts forms without a signature
    #[arg(long)]
    pub allow_unsigned: bool,
    /// Verify signatures with a development secret even if a real app secret was used with this
    /// data file before
    #[arg(long)]
    pub development: bool,
    /// Maximum time to wait until another command or server closes the data file (0s = do not wait)
    #[arg(long, value_name = "LENGTH", value_parser = parse_lock_timeout, default_value = "30s")]
    pub lock_timeout: Duration,
}

fn parse_lock_timeout(text: &str) -> Result<Duration, String> {
    units::parse_duration(text)
        .map(Millis::to_duration)
        .map_err(|error| error.to_string())
}

/// Errors of the server at its start or stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The config can't be loaded.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server can't run with the config, or with the secrets that it names.
    #[error(transparent)]
    Startup(#[from] StartupErrors),
    /// The address is in use, or does not belong to this machine.
    #[error(
        "can't listen on {address}: {source}; if a flowgate server already listens there, `flowgate status` shows its state"
    )]
    Listen {
        /// Address of the listener.
        address: SocketAddr,
        /// Error of the system.
        source: io::Error,
    },
    /// A socket of the service manager can't be used.
    #[error("can't use a socket from the service manager (LISTEN_FDS): {0}")]
    InheritedSocket(#[source] io::Error),
    /// Another process has the data file open.
    #[error("another flowgate command or server has {} open: if it is a server, check it with `flowgate status`; if it is a command, wait until it ends", .0.display())]
    InUse(PathBuf),
    /// The data file can't be opened or used.
    #[error(transparent)]
    Store(StoreError),
    /// The workers can't start.
    #[error(transparent)]
    Jobs(#[from] JobSystemError),
    /// The TLS client for outbound requests can't be set up.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The admin socket can't be opened.
    #[error("can't open the admin socket: {0}")]
    Socket(#[source] io::Error),
    /// The system provides no threads or signals.
    #[error("the server can't start: {0}")]
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

/// Runs the server until it gets a stop signal, and then stops it in order. A second signal ends
/// the process at once. `load` loads the config.
///
/// # Errors
/// Returns [`ServeError`] if the server can't start, or if it fails while it runs or stops.
pub fn run(
    load: impl FnOnce() -> Result<Config, ConfigError>,
    args: &ServeArgs,
) -> Result<(), ServeError> {
    let sockets = InheritedSockets::take_from_environment();
    // Signal handlers come before anything slow. Without a handler, SIGHUP would end the process,
    // for example while it opens a large file.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServeError::System)?;
    let signals = runtime
        .block_on(async { Signals::new() })
        .map_err(ServeError::System)?;
    let mut config = load()?;
    let sockets = sockets
        .assign(config.admin_listen)
        .map_err(ServeError::InheritedSocket)?;
    let [listen, admin_listen] = sockets.addresses().map_err(ServeError::InheritedSocket)?;
    let args = &ServeArgs {
        listen: listen.or(args.listen),
        admin_listen,
        ..args.clone()
    };
    let override_warning = super::components::apply_overrides(args, &mut config);
    let (listen, entropy) = (config.listen, SystemEntropy);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let secrets = |config: &Config| AppSecrets::load_or_create(config, &entropy);
    let components = Components::resolve(
        config,
        &[listen],
        args,
        &clock,
        &PreviousComponents::default(),
        secrets,
    )?;
    let (connections, permanent_warning) = super::components::fit_connections(&components.config);
    // Addresses come before the store. A start on an address in use then fails at once, even if the
    // file opens slowly.
    let server = bind_or_inherit(sockets.http, components.config.listen)?;
    let admin = bind_or_inherit(sockets.admin, components.config.admin_listen)?;
    // Dropping the guard writes the last log lines.
    let _log = LogGuard::start().map_err(ServeError::System)?;
    // The recorder comes before any metric. A metric registered without a recorder would be lost.
    let metrics = telemetry::install_metrics();
    let mut options = store_options(&components.config, true)?;
    options.lock_timeout = args.lock_timeout;
    options.refuses_known_secret = components.has_development_secret() && !args.development;
    let subscriptions = options.subscriptions.clone();
    let store = Store::start(options, Arc::clone(&clock))?;
    let entropy = Arc::new(entropy);
    let setup = ServerSetup {
        args,
        server,
        admin,
        components,
        subscriptions,
        connections,
        override_warning,
        permanent_warning,
        clock,
        entropy,
    };
    let result = runtime.block_on(serve(setup, &store, metrics, signals));
    let closed = match result {
        Ok(ShutdownPoint::WhileServing) => store.close().map_err(ServeError::from),
        // Nothing has changed yet, and opening a large file may take too long to wait for.
        Ok(ShutdownPoint::BeforeOpen) => Ok(()),
        Err(error) => {
            let _ = store.close();
            Err(error)
        }
    };
    // The runtime does not wait for tasks that are blocked on a socket or on opening a file.
    runtime.shutdown_background();
    closed.inspect_err(
        |error| tracing::error!(error = %error, "the server stops because of an error"),
    )
}

/// Values that the server prepares before its parts start.
struct ServerSetup<'a> {
    args: &'a ServeArgs,
    /// Bound HTTP address.
    server: BoundSocket,
    /// Bound admin address.
    admin: BoundSocket,
    components: Components,
    /// Event subscriptions, shared with the store.
    subscriptions: Reloadable<Subscriptions>,
    /// Maximum number of connections, limited by the file descriptors.
    connections: usize,
    /// Warning about an override of the command line. `None` if there is none.
    override_warning: Option<String>,
    /// Warning that no reload removes. `None` if there is none.
    permanent_warning: Option<String>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Point at which the server got the stop signal.
enum ShutdownPoint {
    /// The data file was not open yet.
    BeforeOpen,
    /// All parts ran. All except the store have stopped.
    WhileServing,
}

/// Runs the server until it gets a stop signal, or until the store fails.
#[expect(
    clippy::too_many_lines,
    reason = "the parts start in one order, and stop in one"
)]
async fn serve(
    setup: ServerSetup<'_>,
    store: &Store,
    metrics: Option<PrometheusHandle>,
    (mut signals, hangup): (Signals, Signal),
) -> Result<ShutdownPoint, ServeError> {
    let ServerSetup {
        args,
        server,
        admin,
        components,
        subscriptions,
        connections,
        override_warning,
        permanent_warning,
        clock,
        entropy,
    } = setup;
    let config = &components.config;
    let [address, admin_address] = [config.listen, config.admin_listen];
    let warnings = components
        .warnings()
        .into_iter()
        .chain(override_warning)
        .chain(permanent_warning.clone())
        .collect();
    let banner = Banner::new(config, warnings, server.local_addr(), admin.local_addr());
    let failed = watch_store_failure(store)?;
    let (stop, stopped) = watch::channel(());

    if !signals.wait_for_store(store, Store::wait_exclusive).await? {
        return Ok(ShutdownPoint::BeforeOpen);
    }
    // From here on, commands get the response that the server is starting.
    let handler = Arc::new(OnceLock::<AdminHandler>::new());
    let handler_source = handler_source(&handler, store);
    let socket = SocketServer::start(socket_path(&config.data), handler_source)
        .map_err(ServeError::Socket)?;
    if !signals.wait_for_store(store, Store::wait_open).await? {
        return Ok(ShutdownPoint::BeforeOpen);
    }
    components.persist_secret(store)?;

    let (health_monitor, gateway_registry) = (HealthMonitor::default(), GatewayRegistry::default());
    let monitors = (health_monitor.clone(), gateway_registry.clone());
    let app = Reloadable::new(
        components
            .build_app(connections, store, &clock, monitors)
            .map_err(ServeError::System)?,
    );
    let runtime = tokio::runtime::Handle::current();
    let clients = HttpClients::load()?;
    let delivery_service = Arc::new(DeliveryService::start(
        runtime.clone(),
        &components.targets,
        clients.clone(),
        store,
        &clock,
        &entropy,
    ));
    let delivery_hooks = DeliveryHooks {
        delivery_service: Arc::clone(&delivery_service),
        clock: Arc::clone(&clock),
        runtime: runtime.clone(),
        subscriptions: subscriptions.clone(),
    };
    let gateway_monitors = GatewayMonitors::start(
        runtime,
        &components.gateway_credentials,
        gateway_registry.clone(),
        clients,
        store,
        &clock,
        &entropy,
    );
    let gateway_monitors = Arc::new(gateway_monitors);
    let targets = ReloadTargets {
        subscriptions,
        delivery_service: Arc::clone(&delivery_service),
        gateway_monitors: Arc::clone(&gateway_monitors),
        store: store.clone(),
        app: app.clone(),
        job_settings: Reloadable::new(JobSettings::from(config)),
        catalog: Reloadable::new(Catalog::from(config)),
        warnings: Reloadable::new(banner.warnings.clone()),
    };
    let job_system = JobSystem::start(
        &config.workers,
        &targets.job_settings,
        store,
        &clock,
        &entropy,
    )?;
    let (catalog, shared_warnings) = (targets.catalog.clone(), targets.warnings.clone());
    let reloader = Arc::new(Reloader::new(
        args,
        components,
        permanent_warning,
        targets,
        Arc::clone(&clock),
    ));
    let hooks = HookSources {
        listen: banner.listen,
        job_system: &job_system,
        delivery_hooks: &delivery_hooks,
        health_monitor: &health_monitor,
        gateway_registry,
        warnings: shared_warnings,
        app: &app,
        reloader: &reloader,
        clock: &clock,
    }
    .server_hooks();
    tokio::spawn(
        HealthAlerter::new(health_monitor, store.clone(), Arc::clone(&clock))
            .run(wait_for_stop(stopped.clone())),
    );
    let admin_handler = AdminHandler::new(store.clone(), clock, catalog, Some(hooks));
    let metrics_renderer = MetricsRenderer::start(
        admin_handler.clone(),
        metrics,
        wait_for_stop(stopped.clone()),
    );
    let _ = handler.set(admin_handler);
    // The listeners come last, so that each accepted connection gets a response, for forms and for
    // commands.
    let admin = MetricsServer::new(
        admin
            .listen()
            .map_err(|source| listen_error(admin_address, source))?,
    );
    tokio::spawn(admin.run(metrics_renderer.renderer(), wait_for_stop(stopped.clone())));
    let server = server
        .listen()
        .map_err(|source| listen_error(address, source))?;
    let http = tokio::spawn(server.run(app, wait_for_stop(stopped.clone()), DRAIN_TIMEOUT));
    banner.print();
    tokio::spawn(reloader.reload_on_signal(hangup, wait_for_stop(stopped)));

    let result = tokio::select! {
        () = signals.next_signal() => Ok(ShutdownPoint::WhileServing),
        Ok(error) = failed => Err(ServeError::from(error)),
    };
    drop(stop);
    if result.is_ok() {
        tracing::info!(
            "stop signal received: the server accepts no new connections and finishes its work; a second signal stops it at once"
        );
        tokio::spawn(exit_on_second_signal(signals));
        // The panic hook has already logged a panic of the listener.
        let _ = http.await;
    }
    finish(job_system, socket, &delivery_service, &gateway_monitors).await;
    result
}

/// Waits until jobs and requests in flight have finished, and closes the admin socket.
async fn finish(
    job_system: JobSystem,
    socket: SocketServer,
    delivery_service: &DeliveryService,
    gateway_monitors: &GatewayMonitors,
) {
    let jobs = tokio::task::spawn_blocking(move || {
        job_system.stop(FINISH_TIMEOUT);
        drop(socket);
    });
    let _ = tokio::join!(
        jobs,
        delivery_service.stop(FINISH_TIMEOUT),
        gateway_monitors.stop(FINISH_TIMEOUT)
    );
}

/// Returns the source of the admin handler. Until `handler` is set, the source returns the error
/// that the server is starting.
fn handler_source(handler: &Arc<OnceLock<AdminHandler>>, store: &Store) -> Arc<HandlerSource> {
    let (handler, store) = (Arc::clone(handler), store.clone());
    Arc::new(move || {
        handler
            .get()
            .cloned()
            .ok_or_else(|| AdminError::starting(store.verified_percent()))
    })
}

/// Returns the inherited socket, or binds `address` if there is none.
fn bind_or_inherit(
    handed: Option<TcpListener>,
    address: SocketAddr,
) -> Result<BoundSocket, ServeError> {
    let reserved = handed.map_or_else(|| BoundSocket::bind(address), BoundSocket::from_inherited);
    reserved.map_err(|source| listen_error(address, source))
}

fn listen_error(address: SocketAddr, source: io::Error) -> ServeError {
    ServeError::Listen { address, source }
}

/// Waits until `stop` is dropped.
async fn wait_for_stop(mut stop: watch::Receiver<()>) {
    while stop.changed().await.is_ok() {}
}

/// Returns a receiver for the error of the store. The receiver gets nothing if the store closes
/// without an error.
fn watch_store_failure(store: &Store) -> Result<oneshot::Receiver<StoreError>, ServeError> {
    let (error_tx, error_rx) = oneshot::channel();
    let failure = store.failure_receiver();
    let wait = move || {
        if let Ok(error) = failure.recv() {
            let _ = error_tx.send(error);
        }
    };
    std::thread::Builder::new()
        .name("store watch".to_owned())
        .spawn(wait)
        .map_err(ServeError::System)?;
    Ok(error_rx)
}

/// Receivers of the stop signals `SIGTERM` and `SIGINT`.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers. The second value receives `SIGHUP`.
    fn new() -> io::Result<(Self, Signal)> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok((signals, signal(SignalKind::hangup())?))
    }

    /// Waits for the store with `wait`. Returns `false` if a stop signal arrived first.
    async fn wait_for_store(
        &mut self,
        store: &Store,
        wait: fn(&Store) -> Result<(), StoreError>,
    ) -> Result<bool, ServeError> {
        let store = store.clone();
        let waiting = tokio::task::spawn_blocking(move || wait(&store));
        tokio::select! {
            () = self.next_signal() => Ok(false),
            waited = waiting => {
                waited.map_err(|error| ServeError::System(io::Error::other(error)))??;
                Ok(true)
            }
        }
    }

    /// Waits for the next stop signal.
    async fn next_signal(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Ends the process on a second stop signal. Acknowledged submissions are on disk, and the next
/// start continues from there.
async fn exit_on_second_signal(mut signals: Signals) -> Infallible {
    signals.next_signal().await;
    std::process::exit(1)
}
