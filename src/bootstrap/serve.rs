//! `flowgate serve`: starts the parts of the server in order, and stops them in order.
//!
//! ```text
//! start: inherited sockets → signals → components → addresses (bound) → store (locks the file)
//!        → admin socket ("starting") → file open → delivery, gateways, workers
//!        → admin socket answers → HTTP listens → "ready"
//! stop:  HTTP stops accepting, answers requests in flight and those of open connections
//!        → workers, delivery and gateways finish → admin socket → store commits and closes
//! ```
//! This file decides only the order. See `super::components` for the requirements of a config,
//! `super::services` for the parts that work on the open file, `super::reload` for changes of the
//! config, `super::banner` for the output at the start and `super::metrics` for Prometheus.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::active_config::ActiveConfig;
use super::banner::Banner;
use super::components::{Components, ResolvedConfig};
use super::error::ServeError;
use super::fd_limit;
use super::inherited_sockets::{BoundSockets, InheritedSockets};
use super::metrics;
use super::reload::Reloader;
use super::resolve::app_secrets::AppSecrets;
use super::serve_args::ServeArgs;
use super::server_hooks::server_hooks;
use super::service_manager::ServiceManager;
use super::services::Services;
use super::signals::Signals;
use super::store_options::store_options;
use crate::admin::access::AccessService;
use crate::admin::{AdminError, AdminHandler};
use crate::admin_server::{AdminServer, HandlerSource, Mount, SocketServer, socket_path};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Config, ConfigError, LimitSettings};
use crate::dashboard::Dashboard;
use crate::http::{AppState, HealthAlerter};
use crate::reloadable::Reloadable;
use crate::store::{Store, StoreError};
use crate::telemetry::{self, LogFilter, LogGuard};

/// Maximum time at the stop for requests in flight and for those that open connections still send.
/// With the other limits the stop takes less than the guaranteed ten seconds.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);

/// Runs the server until it gets a stop signal, and then stops it in order. A second signal ends
/// the process at once. `load` loads the config.
///
/// # Errors
/// Returns `ServeError` if the server can't start, or if it fails while it runs or stops.
pub fn run(
    load: impl FnOnce() -> Result<Config, ConfigError>,
    args: &ServeArgs,
) -> Result<(), ServeError> {
    let sockets = InheritedSockets::take_from_environment();
    // Signal handlers come before anything slow. Without a handler, SIGHUP would end the process,
    // for example while it opens a large file.
    let runtime = Runtime::new().map_err(ServeError::System)?;
    let signals = runtime
        .block_on(async { Signals::install() })
        .map_err(ServeError::System)?;
    let server = PreparedServer::new(load()?, sockets, args)?;
    // Dropping the guard writes the last log lines.
    let in_runtime = runtime.enter();
    let log = LogGuard::start(&server.active.load().components.config.log);
    let log = log.map_err(ServeError::System)?;
    // The recorder comes before any metric. A metric registered without a recorder would be lost.
    let recorder = telemetry::install_metrics();
    let store = server.start_store()?;
    let stopped = runtime.block_on(server.serve(&store, recorder, log.filter(), signals));
    let closed = match stopped {
        Ok(ShutdownPoint::WhileServing) => store.close().map_err(ServeError::from),
        // Nothing has changed yet, and opening a large file may take too long to wait for.
        Ok(ShutdownPoint::BeforeOpen) => Ok(()),
        Err(error) => {
            let _ = store.close();
            Err(error)
        }
    };
    #[cfg(feature = "otel")]
    log.finish_traces();
    drop(in_runtime);
    // The runtime does not wait for tasks that are blocked on a socket or on opening a file.
    runtime.shutdown_background();
    closed.inspect_err(
        |error| tracing::error!(error = %error, "the server stops because of an error"),
    )
}

/// Point at which the server got the stop signal.
enum ShutdownPoint {
    /// The data file was not open yet.
    BeforeOpen,
    /// All parts ran. All except the store have stopped.
    WhileServing,
}

/// Everything that the server needs before its parts start.
struct PreparedServer {
    args: ServeArgs,
    sockets: BoundSockets,
    active: Arc<ArcSwap<ActiveConfig>>,
    /// Warning that no reload removes. `None` if there is none.
    permanent_warning: Option<String>,
    service_manager: Arc<ServiceManager>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl PreparedServer {
    /// Resolves the config and binds the addresses.
    fn new(
        mut config: Config,
        sockets: InheritedSockets,
        args: &ServeArgs,
    ) -> Result<Self, ServeError> {
        let sockets = sockets
            .assign(config.admin_listen)
            .map_err(ServeError::InheritedSocket)?;
        let [listen, admin_listen] = sockets.addresses().map_err(ServeError::InheritedSocket)?;
        let args = ServeArgs {
            listen: listen.or(args.listen),
            admin_listen,
            ..args.clone()
        };
        let override_warning = args.override_config(&mut config);
        let listens = [config.listen];
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy = SystemEntropy;
        let components = Components::resolve(
            config,
            &listens,
            &args,
            &clock,
            &ResolvedConfig::default(),
            |config| AppSecrets::load_or_create(config, &entropy),
        )?;
        let (max_connections, permanent_warning) = fd_limit::fit_connections(&components.config);
        let limits = LimitSettings {
            max_connections,
            ..components.config.limits.clone()
        };
        // Addresses come before the store. A start on an address in use then fails at once, even if
        // the file opens slowly.
        let sockets = sockets.bind(&components.config)?;
        let warnings = override_warning
            .into_iter()
            .chain(permanent_warning.clone());
        let active = ActiveConfig::new(components, limits, warnings, None);
        Ok(Self {
            args,
            sockets,
            active: Arc::new(ArcSwap::from_pointee(active)),
            permanent_warning,
            service_manager: Arc::new(ServiceManager::from_environment(Arc::clone(&clock))),
            clock,
            entropy: Arc::new(entropy),
        })
    }

    fn start_store(&self) -> Result<Store, ServeError> {
        let components = Arc::clone(&self.active.load().components);
        let mut options = store_options(&components.config, true)?;
        options.lock_timeout = self.args.lock_timeout;
        options.refuses_known_secret =
            components.has_development_secret() && !self.args.development;
        options.subscriptions =
            Reloadable::part_of(&self.active, |active| Arc::clone(&active.subscriptions));
        options.time_zone =
            Reloadable::part_of(&self.active, |active| Arc::clone(&active.catalog.time_zone));
        let service_manager = Arc::clone(&self.service_manager);
        options.on_progress = Arc::new(move || service_manager.report_progress());
        Ok(Store::start(options, Arc::clone(&self.clock))?)
    }

    /// Runs the server until it gets a stop signal, or until the store fails.
    async fn serve(
        self,
        store: &Store,
        recorder: Option<PrometheusHandle>,
        log_filter: LogFilter,
        signals: Signals,
    ) -> Result<ShutdownPoint, ServeError> {
        let Signals { mut stop, hangup } = signals;
        let store_failure = watch_store_failure(store)?;
        let components = Arc::clone(&self.active.load().components);
        if !stop.wait_for_store(store, Store::wait_exclusive).await? {
            return Ok(ShutdownPoint::BeforeOpen);
        }
        // From here on, commands get the response that the server is starting.
        let handler = Arc::new(OnceLock::new());
        let handler_source = handler_source(&handler, store);
        let socket = SocketServer::start(socket_path(&components.config.data), handler_source)
            .map_err(ServeError::Socket)?;
        if !stop.wait_for_store(store, Store::wait_open).await? {
            return Ok(ShutdownPoint::BeforeOpen);
        }
        components.persist_secret(store)?;
        let services = Services::start(&self.active, store, &self.clock, &self.entropy)?;
        let banner = self.banner();
        let service_manager = Arc::clone(&self.service_manager);
        let app = self.app_state(&services, store)?;
        let reloader = Arc::new(self.reloader(&services, store, log_filter));
        let admin_handler = self.admin_handler(&services, &reloader, store);
        let _ = handler.set(admin_handler.clone());
        let (stop_tasks, stopped) = watch::channel(());
        let health_monitor = services.health_monitor.clone();
        let alerter = HealthAlerter::new(health_monitor, store.clone(), Arc::clone(&self.clock));
        tokio::spawn(alerter.run(wait_for_stop(stopped.clone())));
        // The listeners come last, so that each accepted connection gets a response, for forms and
        // for commands.
        let http = self.listen(app, admin_handler, store, recorder, &stopped)?;
        banner.print();
        service_manager.report_ready(&banner.status());
        tokio::spawn(reloader.reload_on_signal(hangup, wait_for_stop(stopped)));

        let result = tokio::select! {
            () = stop.next_signal() => Ok(ShutdownPoint::WhileServing),
            Ok(error) = store_failure => Err(ServeError::from(error)),
        };
        drop(stop_tasks);
        service_manager.report_stopping();
        if result.is_ok() {
            tracing::info!(
                "stop signal received: the server accepts no new connections and finishes its work; a second signal stops it at once"
            );
            tokio::spawn(stop.exit_on_next_signal());
            // The panic hook has already logged a panic of the listener.
            let _ = http.await;
        }
        services.finish(socket).await;
        result
    }

    fn banner(&self) -> Banner {
        let active = self.active.load();
        Banner::new(
            &active.components.config,
            active.warnings.to_vec(),
            self.sockets.http.local_addr(),
            self.sockets.admin.local_addr(),
        )
    }

    fn app_state(&self, services: &Services, store: &Store) -> Result<AppState, ServeError> {
        let config = Arc::clone(&self.active.load().http);
        AppState::new(
            config,
            store.clone(),
            Arc::clone(&self.clock),
            services.health_monitor.clone(),
            services.gateway_registry.clone(),
        )
        .map_err(ServeError::System)
    }

    fn reloader(&self, services: &Services, store: &Store, log_filter: LogFilter) -> Reloader {
        Reloader {
            args: self.args.clone(),
            start_config: self.active.load().components.config.clone(),
            permanent_warning: self.permanent_warning.clone(),
            active: Arc::clone(&self.active),
            delivery_service: Arc::clone(&services.delivery_service),
            gateway_monitors: Arc::clone(&services.gateway_monitors),
            store: store.clone(),
            log_filter,
            clock: Arc::clone(&self.clock),
            service_manager: Arc::clone(&self.service_manager),
            ready_status: self.banner().status(),
            in_progress: Mutex::default(),
        }
    }

    fn admin_handler(
        &self,
        services: &Services,
        reloader: &Arc<Reloader>,
        store: &Store,
    ) -> AdminHandler {
        let listen = self.sockets.http.local_addr();
        let hooks = server_hooks(listen, services, &self.active, reloader, &self.clock);
        let catalog = Reloadable::part_of(&self.active, |active| Arc::clone(&active.catalog));
        AdminHandler::new(store.clone(), Arc::clone(&self.clock), catalog, Some(hooks))
    }

    fn dashboard(&self, admin_handler: AdminHandler, store: &Store) -> Dashboard {
        let components = Arc::clone(&self.active.load().components);
        let config = &components.config;
        let limits = config.dashboard.sign_in_limits();
        let access = AccessService::new(store.clone(), Arc::clone(&self.clock), limits);
        let (url, sign_in_ttl) = (config.dashboard_url(), config.dashboard.sign_in_ttl);
        Dashboard::new(admin_handler, access, &url, sign_in_ttl)
    }

    /// Starts the admin listener and the HTTP listener. Returns the task of the HTTP listener.
    fn listen(
        self,
        app: AppState,
        admin_handler: AdminHandler,
        store: &Store,
        recorder: Option<PrometheusHandle>,
        stopped: &watch::Receiver<()>,
    ) -> Result<JoinHandle<()>, ServeError> {
        let stop = || wait_for_stop(stopped.clone());
        let mount = Mount::of(self.dashboard(admin_handler.clone(), store));
        let (http, admin) = self.sockets.listen()?;
        let render = metrics::start_renderer(admin_handler.clone(), recorder, stop());
        let handler_source: Arc<HandlerSource> = Arc::new(move || Ok(admin_handler.clone()));
        let admin = AdminServer::new(admin, handler_source, render, mount);
        tokio::spawn(admin.run(stop()));
        let config = Reloadable::part_of(&self.active, |active| Arc::clone(&active.http));
        Ok(tokio::spawn(http.run(app, config, stop(), DRAIN_TIMEOUT)))
    }
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
