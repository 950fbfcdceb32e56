//! Resolves a config to components: secrets, keys, upstreams, destinations and gateways. The server
//! does this at its start and at each reload. All errors are reported together.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::fd_limit;
use super::resolve::app_secrets::{AppSecretError, AppSecrets};
use super::resolve::destinations;
use super::resolve::flow_keys::{self, FlowKeyError, FlowPrivateKeys};
use super::resolve::gateways::{self, GatewayError};
use super::resolve::upstreams::{self, UpstreamClients, UpstreamSecretError};
use super::serve::{ServeArgs, ServeError};
use crate::clock::Clock;
use crate::config::{Config, LimitSettings, Secret, SecretError};
use crate::delivery::{DeliveryTargets, DestinationError};
use crate::domain::flow::SignaturePolicy;
use crate::domain::ids::FlowName;
use crate::gateways::{GatewayCredentialsByName, GatewayRegistry};
use crate::http::{AppState, HealthMonitor, InboundCredentials};
use crate::intake::{Catalog, PrivateKey, SignatureVerifier};
use crate::store::{RecordAppSecret, Store};

/// Reason why the server can't run with a valid config.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// A flow accepts forms without a signature, and the server listens for other machines. Any of
    /// them could send forms.
    #[error(
        "flow {flow} accepts forms without a signature, and {listen} is open to other machines: anybody could send \
         forms. Set `signature = \"required\"`, listen on 127.0.0.1, or confirm with --allow-unsigned"
    )]
    Unsigned {
        /// Flow name.
        flow: FlowName,
        /// Address that is open to other machines.
        listen: SocketAddr,
    },
    /// A secret can't be read from its location in the config.
    #[error(transparent)]
    SecretUnreadable(#[from] SecretError),
    /// No app secret for the verification of signatures is available.
    #[error(transparent)]
    AppSecret(#[from] AppSecretError),
    /// An encrypted flow has no private key that can be used.
    #[error(transparent)]
    FlowKey(#[from] FlowKeyError),
    /// The upstream of a flow has no secret that can sign requests.
    #[error(transparent)]
    Upstream(#[from] UpstreamSecretError),
    /// A destination can't be used.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// A gateway can't be used.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

impl StartupError {
    /// Returns `true` if an environment variable is not set.
    const fn is_unset_variable(&self) -> bool {
        matches!(
            self,
            Self::FlowKey(FlowKeyError::NotSet { .. })
                | Self::Upstream(UpstreamSecretError::NotSet { .. })
                | Self::Destination(DestinationError::NotSet { .. })
                | Self::Gateway(GatewayError::NotSet { .. })
        )
    }
}

/// All reasons why the server can't run with a config. The list is never empty.
#[derive(Debug)]
pub struct StartupErrors(Vec<StartupError>);

impl fmt::Display for StartupErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        if self.0.iter().any(StartupError::is_unset_variable) {
            let suggestion = "if a variable is set only for the service, load the environment file of the service \
                        into this shell: `set -a; . ENVFILE; set +a`";
            lines.push(suggestion.to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for StartupErrors {}

/// Secrets and keys that a config names, without the app secrets.
struct ResolvedConfig {
    flow_keys: FlowPrivateKeys,
    upstreams: UpstreamClients,
    targets: DeliveryTargets,
    gateway_credentials: GatewayCredentialsByName,
}

impl ResolvedConfig {
    /// Resolves everything that can be resolved, and returns the errors of the rest.
    fn resolve(
        config: &Config,
        clock: &Arc<dyn Clock>,
        previous: &PreviousComponents,
    ) -> (Self, Vec<StartupError>) {
        let locations = config
            .meta
            .app_secrets
            .iter()
            .chain([&config.meta.verify_token]);
        let mut errors: Vec<StartupError> = locations
            .filter_map(|location| location.resolve().err())
            .map(StartupError::from)
            .collect();
        let (keys, missing) = flow_keys::resolve_all(config);
        errors.extend(missing.into_iter().map(StartupError::from));
        let (upstreams, missing) = upstreams::resolve_all(config, clock, &previous.upstreams);
        errors.extend(missing.into_iter().map(StartupError::from));
        let (targets, missing) = destinations::resolve_all(config, &previous.targets);
        errors.extend(missing.into_iter().map(StartupError::from));
        let (gateways, missing) = gateways::resolve_all(config, &previous.gateway_credentials);
        errors.extend(missing.into_iter().map(StartupError::from));
        (
            Self {
                flow_keys: keys,
                upstreams,
                targets,
                gateway_credentials: gateways,
            },
            errors,
        )
    }
}

/// Returns all reasons why the server can't run with `config` and without further options. Creates
/// no files. Variables of this process may differ from those of the server.
pub fn find_startup_errors(config: &Config, clock: &Arc<dyn Clock>) -> Option<StartupErrors> {
    let (_, missing) = ResolvedConfig::resolve(config, clock, &PreviousComponents::default());
    let errors: Vec<StartupError> = unsigned_flow_errors(config, &[config.listen], false)
        .chain(missing)
        .collect();
    if errors.is_empty() {
        None
    } else {
        Some(StartupErrors(errors))
    }
}

/// Config with the secrets, keys, clients and destinations that were resolved from it.
pub(crate) struct Components {
    pub(crate) config: Config,
    secrets: AppSecrets,
    verify_token: Option<Secret>,
    flow_keys: FlowPrivateKeys,
    pub(crate) upstreams: UpstreamClients,
    pub(crate) targets: DeliveryTargets,
    pub(crate) gateway_credentials: GatewayCredentialsByName,
}

/// Components of an earlier config. A reload reuses those whose settings did not change.
#[derive(Default)]
pub(crate) struct PreviousComponents {
    pub(crate) upstreams: UpstreamClients,
    pub(crate) targets: DeliveryTargets,
    pub(crate) gateway_credentials: GatewayCredentialsByName,
}

impl Components {
    /// Resolves everything that `config` names. `secrets` returns the app secrets. `listens`
    /// contains the addresses on which the server listens or will listen. `previous` contains the
    /// components to reuse.
    ///
    /// # Errors
    /// Returns [`StartupErrors`] with all causes.
    pub(crate) fn resolve(
        config: Config,
        listens: &[SocketAddr],
        args: &ServeArgs,
        clock: &Arc<dyn Clock>,
        previous: &PreviousComponents,
        secrets: impl FnOnce(&Config) -> Result<AppSecrets, AppSecretError>,
    ) -> Result<Self, StartupErrors> {
        let mut errors: Vec<StartupError> =
            unsigned_flow_errors(&config, listens, args.allow_unsigned).collect();
        let (
            ResolvedConfig {
                flow_keys: keys,
                upstreams,
                targets,
                gateway_credentials: gateways,
            },
            missing,
        ) = ResolvedConfig::resolve(&config, clock, previous);
        errors.extend(missing);
        let verify_token = config.resolve_verify_token();
        match secrets(&config) {
            Ok(secrets) if errors.is_empty() => match verify_token {
                Ok(verify_token) => {
                    return Ok(Self {
                        config,
                        secrets,
                        verify_token,
                        flow_keys: keys,
                        upstreams,
                        targets,
                        gateway_credentials: gateways,
                    });
                }
                Err(error) => errors.push(AppSecretError::from(error).into()),
            },
            Ok(_) => {}
            // The first file that can't be read is already in the list.
            Err(AppSecretError::Unreadable(_)) if !errors.is_empty() => {}
            Err(error) => errors.push(error.into()),
        }
        Err(StartupErrors(errors))
    }

    /// Returns `true` if a development secret verifies signatures.
    pub(crate) const fn has_development_secret(&self) -> bool {
        self.secrets.development.is_some()
    }

    /// Writes a new development secret to its file. With a real app secret, records its use in the
    /// data file instead.
    ///
    /// # Errors
    /// Returns an error if the file of the development secret or the data file can't be written.
    pub(crate) fn persist_secret(&self, store: &Store) -> Result<(), ServeError> {
        if self.has_development_secret() {
            return self
                .secrets
                .persist()
                .map_err(|error| StartupErrors(vec![error.into()]).into());
        }
        Ok(store.execute_blocking(RecordAppSecret)?)
    }

    /// Returns warnings for settings that are allowed but unwise, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.warnings();
        if let Some(file) = &self.secrets.development {
            warnings.push(format!(
                "signatures are verified with a development secret ({}), which Meta does not know: for requests from Meta, set the \
                 app secret of your Meta app in META_APP_SECRET",
                file.display()
            ));
        }
        warnings
    }

    /// Builds the HTTP app for the start.
    ///
    /// # Errors
    /// Returns the error of the system if it provides no threads.
    pub(crate) fn build_app(
        &self,
        connections: usize,
        store: &Store,
        clock: &Arc<dyn Clock>,
        monitors: (HealthMonitor, GatewayRegistry),
    ) -> io::Result<AppState> {
        let limits = LimitSettings {
            max_connections: connections,
            ..self.config.limits.clone()
        };
        AppState::new(
            Catalog::from(&self.config),
            self.inbound_credentials(),
            limits,
            store.clone(),
            Arc::clone(clock),
            monitors.0,
            monitors.1,
        )
    }

    /// Builds the HTTP app after a reload. It continues the state of `app`.
    pub(crate) fn app_for_reload(&self, app: &AppState) -> AppState {
        app.for_reload(
            Catalog::from(&self.config),
            self.inbound_credentials(),
            self.config.limits.clone(),
        )
    }

    /// Returns the app secrets after a reload: those of `config`, or the development secret if no
    /// app secret was ever set.
    pub(crate) fn reload_secrets(&self, config: &Config) -> Result<AppSecrets, AppSecretError> {
        AppSecrets::reload_or_retain(config, &self.secrets)
    }

    /// Returns the differences from `previous`, one text each.
    pub(crate) fn diff(&self, previous: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if !self
            .secrets
            .all()
            .map(Secret::expose)
            .eq(previous.secrets.all().map(Secret::expose))
        {
            changes.push("meta.app_secrets changed".to_owned());
        }
        if self.verify_token.as_ref().map(Secret::expose)
            != previous.verify_token.as_ref().map(Secret::expose)
        {
            changes.push("meta.verify_token changed".to_owned());
        }
        changes.extend(self.config.diff(&previous.config));
        let halves = |keys: &Arc<[PrivateKey]>| {
            keys.iter()
                .map(|key| key.public_pem().to_owned())
                .collect::<Vec<_>>()
        };
        for (flow, keys) in &self.flow_keys {
            let (old, new) = (previous.flow_keys.get(flow).map(halves), halves(keys));
            if old.is_some_and(|old| old != new) {
                changes.push(format!("flows.{flow}.private_keys changed"));
            }
        }
        for (flow, upstream) in &self.upstreams {
            if previous
                .upstreams
                .get(flow)
                .is_some_and(|old| !Arc::ptr_eq(old, upstream))
            {
                changes.push(format!("flows.{flow}.upstream changed"));
            }
        }
        for (destination, target) in &self.targets {
            if previous
                .targets
                .get(destination)
                .is_some_and(|old| !Arc::ptr_eq(old, target))
            {
                changes.push(format!("destinations.{destination} changed"));
            }
        }
        for (gateway, access) in &self.gateway_credentials {
            if previous
                .gateway_credentials
                .get(gateway)
                .is_some_and(|old| !Arc::ptr_eq(old, access))
            {
                changes.push(format!("gateways.{gateway} changed"));
            }
        }
        changes
    }

    /// Returns the components that a reload may reuse.
    pub(crate) fn previous(&self) -> PreviousComponents {
        let (upstreams, targets) = (self.upstreams.clone(), self.targets.clone());
        PreviousComponents {
            upstreams,
            targets,
            gateway_credentials: self.gateway_credentials.clone(),
        }
    }

    fn inbound_credentials(&self) -> InboundCredentials {
        let signature_verifier =
            SignatureVerifier::new(self.secrets.all().map(|secret| secret.expose().as_str()));
        let (keys, upstreams) = (self.flow_keys.clone(), self.upstreams.clone());
        let gateway_webhooks = gateways::gateway_webhooks(&self.gateway_credentials);
        let has_app_secret = !self.has_development_secret();
        InboundCredentials {
            signature_verifier,
            has_app_secret,
            verify_token: self.verify_token.clone(),
            private_keys: keys,
            upstreams,
            gateway_webhooks,
        }
    }
}

/// Applies the command line to `config`. Returns a warning if other commands would look for another
/// data file.
pub(crate) fn apply_overrides(args: &ServeArgs, config: &mut Config) -> Option<String> {
    config.listen = args.listen.unwrap_or(config.listen);
    config.admin_listen = args.admin_listen.unwrap_or(config.admin_listen);
    let data = args.data.clone().filter(|data| *data != config.data)?;
    let warning = format!(
        "--data {} differs from `data` in the config: other commands look for a server on {}",
        data.display(),
        config.data.display()
    );
    config.data = data;
    Some(warning)
}

/// Returns the maximum number of connections for the available file descriptors, with a warning if
/// the config has a higher number.
pub(crate) fn fit_connections(config: &Config) -> (usize, Option<String>) {
    let mut connections = config.limits.max_connections;
    let deliveries: usize = config
        .destinations
        .values()
        .map(|destination| destination.policy.concurrency)
        .sum();
    let outside = deliveries.saturating_add(config.gateways.len());
    let warning = fd_limit::fit_connections(&mut connections, config.upstreams.len(), outside);
    (connections, warning)
}

/// Returns an error for each flow without signatures if an address is open to other machines and
/// `allowed` is `false`.
fn unsigned_flow_errors<'a>(
    config: &'a Config,
    listens: &[SocketAddr],
    allowed: bool,
) -> impl Iterator<Item = StartupError> + use<'a> {
    let open = listens
        .iter()
        .find(|listen| !listen.ip().is_loopback() && !allowed)
        .copied();
    let flows = config
        .flows
        .values()
        .filter(|flow| flow.signature == SignaturePolicy::None);
    flows.filter_map(move |flow| {
        Some(StartupError::Unsigned {
            flow: flow.name.clone(),
            listen: open?,
        })
    })
}
