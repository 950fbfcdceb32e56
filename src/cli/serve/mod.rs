//! `flowgate serve`: puts the parts together, and takes them apart again in order.
//!
//! ```text
//! start:  secrets → store (opens in its thread) → http (503 until open) → [open] → workers → admin socket → "ready"
//! end:    http stops accepting and answers what is in flight → workers finish → socket → store commits and closes
//! ```
//! Nothing is decided here but the order. What people are told is in `greeting`, what Prometheus is told in `figures`.

mod descriptors;
mod figures;
mod greeting;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::flow_keys::{self, FlowKeys, NoFlowKey};
use super::reach::store_options;
use super::secrets::{AppSecrets, NoSecret};
use super::upstreams::{self, NoUpstream};
use crate::admin::{Desk, Live, SocketServer, socket_path};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Config, ConfigError, Secret};
use crate::domain::flow::SignatureRule;
use crate::domain::ids::FlowName;
use crate::http::{AdminServer, App, Limits, Server, Trust};
use crate::intake::{Catalog, Signers};
use crate::store::{Store, StoreError};
use crate::telemetry::{self, Log};
use crate::work::{Work, WorkError};
use figures::Figures;
use greeting::Greeting;
pub use greeting::addresses_in;

/// For requests in flight when the end is asked for. With the rest it stays below the ten seconds that are promised.
const DRAIN: Duration = Duration::from_secs(6);
/// For jobs that run.
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
    /// Anybody could send forms.
    #[error(
        "flow {flow} takes forms without a signature, and {listen} is open to other machines: everybody could send \
         forms. Set `signature = \"required\"`, listen on 127.0.0.1, or say it twice with --allow-unsigned"
    )]
    Unsigned {
        /// The flow.
        flow: FlowName,
        /// Where it would listen.
        listen: SocketAddr,
    },
    /// No secret to check signatures with.
    #[error(transparent)]
    Secret(#[from] NoSecret),
    /// No key to open an encrypted flow's requests with.
    #[error(transparent)]
    FlowKey(#[from] NoFlowKey),
    /// No secret to sign what a flow's program is asked with.
    #[error(transparent)]
    Upstream(#[from] NoUpstream),
    /// A secret that the config names.
    #[error(transparent)]
    Config(#[from] ConfigError),
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

/// Runs the server until it is asked to end, and ends it in good order. A second signal ends the process at once.
///
/// # Errors
/// [`ServeError`].
pub fn run(mut config: Config, args: &ServeArgs) -> Result<(), ServeError> {
    config.listen = args.listen.unwrap_or(config.listen);
    refuse_unsigned(&config, args.allow_unsigned)?;
    let mut notes: Vec<String> = descriptors::fit(&mut config.limits.connections).into_iter().collect();
    if let Some(data) = args.data.clone().filter(|data| *data != config.data) {
        notes.push(format!(
            "--data {} is not what the config says: other commands look for the server of {}",
            data.display(),
            config.data.display()
        ));
        config.data = data;
    }
    // The last lines are written when it is dropped.
    let _log = Log::start().map_err(ServeError::System)?;
    // Before anything counts: what is registered without it counts for nobody.
    let metrics = telemetry::start_metrics();
    let parts = Parts::new(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::System)?;
    let signals = runtime.block_on(async { Signals::new() }).map_err(ServeError::System)?;
    let store = Store::start(store_options(&parts.config, true)?, Arc::clone(&parts.clock))?;
    let ended = runtime.block_on(serve(&parts, &store, metrics, notes, signals));
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
struct Parts {
    config: Config,
    secrets: AppSecrets,
    verify_token: Option<Secret>,
    keys: FlowKeys,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Parts {
    fn new(config: Config) -> Result<Self, ServeError> {
        let entropy = SystemEntropy;
        let secrets = AppSecrets::get_or_make(&config, &entropy)?;
        let verify_token = config.verify_token()?;
        let keys = flow_keys::read(&config)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        upstreams::read(&config, &clock)?;
        Ok(Self { config, secrets, verify_token, keys, clock, entropy: Arc::new(entropy) })
    }

    fn app(&self, store: &Store) -> io::Result<App> {
        let signers = Signers::new(self.secrets.all().map(|secret| secret.expose().as_str()));
        let trust = Trust { signers, verify_token: self.verify_token.clone(), keys: self.keys.clone() };
        let limits = Limits::from(&self.config);
        App::new(Catalog::from(&self.config), trust, limits, store.clone(), Arc::clone(&self.clock))
    }

    fn desk(&self, store: &Store, live: Live) -> Desk {
        Desk::new(store.clone(), Arc::clone(&self.clock), self.config.calendars.clone(), Some(live))
    }
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
    parts: &Parts,
    store: &Store,
    metrics: Option<PrometheusHandle>,
    notes: Vec<String>,
    mut signals: Signals,
) -> Result<End, ServeError> {
    let config = &parts.config;
    let server = Server::bind(config.listen).await.map_err(|source| taken(config.listen, source))?;
    let admin = AdminServer::bind(config.admin_listen).await.map_err(|source| taken(config.admin_listen, source))?;
    let mut greeting = Greeting::new(config, &parts.secrets, server.local_addr(), admin.local_addr());
    greeting.notes.extend(notes);
    let failed = failure_of(store)?;
    let (stop, stopped) = watch::channel(());

    // Bound and answering at once: while the file is being verified, senders get a 503 that says so.
    let app = Arc::new(parts.app(store).map_err(ServeError::System)?);
    let http = tokio::spawn(server.run(app, gone(stopped.clone()), DRAIN));
    let opening = tokio::task::spawn_blocking({
        let store = store.clone();
        move || store.wait_open()
    });
    tokio::select! {
        () = signals.next() => return Ok(End::Opening),
        opened = opening => opened.map_err(|error| ServeError::System(io::Error::other(error)))??,
    }

    let work = Work::start(config, store, &parts.clock, &parts.entropy)?;
    let live = Live { listen: greeting.listen, running: Arc::new(work.watch()), hints: greeting.notes.clone() };
    let desk = parts.desk(store, live);
    let figures = Figures::start(desk.clone(), metrics, gone(stopped.clone()));
    tokio::spawn(admin.run(figures.renderer(), gone(stopped)));
    let socket = SocketServer::start(socket_path(&config.data), desk).map_err(ServeError::Socket)?;
    greeting.say();

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
    let _ = finished.await;
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
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
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

/// A flow without signatures is for this machine only, unless that is said twice.
fn refuse_unsigned(config: &Config, allowed: bool) -> Result<(), ServeError> {
    let unsigned = config.flows.values().find(|flow| flow.signature == SignatureRule::None);
    match unsigned {
        Some(flow) if !config.listen.ip().is_loopback() && !allowed => {
            Err(ServeError::Unsigned { flow: flow.name.clone(), listen: config.listen })
        }
        _ => Ok(()),
    }
}
