//! Resolves a config to components: the config with its secrets, keys, upstreams, destinations and
//! gateways. The server does this at its start and at each reload. All errors are reported
//! together.
//!
//! See `super::active_config` for the values that the rest of the server reads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::error::{ServeError, StartupError, StartupErrors};
use super::resolve::app_secrets::{AppSecretError, AppSecrets};
use super::resolve::destinations;
use super::resolve::flow_keys::{self, FlowPrivateKeys};
use super::resolve::gateways;
use super::resolve::upstreams::{self, UpstreamClients};
use super::serve_args::ServeArgs;
use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::delivery::DeliveryTargets;
use crate::domain::flow::SignaturePolicy;
use crate::gateways::GatewayCredentialsByName;
use crate::http::InboundCredentials;
use crate::intake::{PrivateKey, SignatureVerifier};
use crate::store::{RecordAppSecret, Store};

/// Keys, clients, destinations and gateways that a config names, with their secrets.
#[derive(Default)]
pub(crate) struct ResolvedConfig {
    flow_keys: FlowPrivateKeys,
    upstreams: UpstreamClients,
    pub(crate) targets: DeliveryTargets,
    pub(crate) gateway_credentials: GatewayCredentialsByName,
}

impl ResolvedConfig {
    /// Resolves everything that can be resolved, and returns the errors of the rest. Upstreams,
    /// destinations and gateways with unchanged settings are those of `previous`.
    fn resolve(
        config: &Config,
        clock: &Arc<dyn Clock>,
        previous: &Self,
    ) -> (Self, Vec<StartupError>) {
        let meta = &config.meta;
        let locations = meta.app_secrets.iter().chain([&meta.verify_token]);
        let mut errors: Vec<StartupError> = locations
            .filter_map(|location| location.resolve().err())
            .map(StartupError::from)
            .collect();
        let flow_keys = flow_keys::resolve_all(config);
        let upstreams = upstreams::resolve_all(config, clock, &previous.upstreams);
        let targets = destinations::resolve_all(config, &previous.targets);
        let gateways = gateways::resolve_all(config, &previous.gateway_credentials);
        let resolved = Self {
            flow_keys: take_errors(flow_keys, &mut errors),
            upstreams: take_errors(upstreams, &mut errors),
            targets: take_errors(targets, &mut errors),
            gateway_credentials: take_errors(gateways, &mut errors),
        };
        (resolved, errors)
    }
}

/// Adds the errors of `resolved` to `errors`, and returns its values.
fn take_errors<T, E>((values, failed): (T, Vec<E>), errors: &mut Vec<StartupError>) -> T
where
    StartupError: From<E>,
{
    errors.extend(failed.into_iter().map(StartupError::from));
    values
}

/// Returns all reasons why the server can't run with `config` and without further options. Creates
/// no files. Variables of this process may differ from those of the server.
pub fn find_startup_errors(config: &Config, clock: &Arc<dyn Clock>) -> Option<StartupErrors> {
    let (_, failed) = ResolvedConfig::resolve(config, clock, &ResolvedConfig::default());
    let errors: Vec<StartupError> = unsigned_flow_errors(config, &[config.listen], false)
        .chain(failed)
        .collect();
    (!errors.is_empty()).then_some(StartupErrors(errors))
}

/// Config with everything that was resolved from it.
pub(crate) struct Components {
    pub(crate) config: Config,
    pub(super) secrets: AppSecrets,
    verify_token: Option<Secret>,
    pub(crate) resolved: ResolvedConfig,
}

impl Components {
    /// Resolves everything that `config` names. `secrets` returns the app secrets. `listens`
    /// contains the addresses on which the server listens or will listen. `previous` contains what
    /// a reload reuses if its settings did not change.
    ///
    /// # Errors
    /// Returns [`StartupErrors`] with all causes.
    pub(crate) fn resolve(
        config: Config,
        listens: &[SocketAddr],
        args: &ServeArgs,
        clock: &Arc<dyn Clock>,
        previous: &ResolvedConfig,
        secrets: impl FnOnce(&Config) -> Result<AppSecrets, AppSecretError>,
    ) -> Result<Self, StartupErrors> {
        let (resolved, failed) = ResolvedConfig::resolve(&config, clock, previous);
        let unsigned = unsigned_flow_errors(&config, listens, args.allow_unsigned);
        let mut errors: Vec<StartupError> = unsigned.chain(failed).collect();
        let verify_token = config.resolve_verify_token();
        match secrets(&config) {
            Ok(secrets) if errors.is_empty() => match verify_token {
                Ok(verify_token) => {
                    return Ok(Self {
                        config,
                        secrets,
                        verify_token,
                        resolved,
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

    /// Returns the differences from `previous`, one text each.
    pub(crate) fn diff(&self, previous: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if !self.secrets.all().eq(previous.secrets.all()) {
            changes.push("meta.app_secrets changed".to_owned());
        }
        if self.verify_token != previous.verify_token {
            changes.push("meta.verify_token changed".to_owned());
        }
        changes.extend(self.config.diff(&previous.config));
        let (new, old) = (&self.resolved, &previous.resolved);
        let keys = changed_names(&new.flow_keys, &old.flow_keys, has_same_public_keys);
        changes.extend(keys.map(|flow| format!("flows.{flow}.private_keys changed")));
        let upstreams = changed_names(&new.upstreams, &old.upstreams, Arc::ptr_eq);
        changes.extend(upstreams.map(|flow| format!("flows.{flow}.upstream changed")));
        let targets = changed_names(&new.targets, &old.targets, Arc::ptr_eq);
        changes.extend(targets.map(|name| format!("destinations.{name} changed")));
        let (new, old) = (&new.gateway_credentials, &old.gateway_credentials);
        let gateways = changed_names(new, old, Arc::ptr_eq);
        changes.extend(gateways.map(|name| format!("gateways.{name} changed")));
        changes
    }

    /// Returns the credentials that incoming requests are checked against.
    pub(crate) fn inbound_credentials(&self) -> InboundCredentials {
        let secrets = self.secrets.all().map(|secret| secret.expose().as_str());
        InboundCredentials {
            signature_verifier: SignatureVerifier::new(secrets),
            has_app_secret: !self.has_development_secret(),
            verify_token: self.verify_token.clone(),
            private_keys: self.resolved.flow_keys.clone(),
            upstreams: self.resolved.upstreams.clone(),
            gateway_webhooks: gateways::gateway_webhooks(&self.resolved.gateway_credentials),
        }
    }
}

/// Returns the names whose values in `new` and `old` are not the same.
fn changed_names<'a, N: Ord, T>(
    new: &'a BTreeMap<N, T>,
    old: &'a BTreeMap<N, T>,
    is_same: fn(&T, &T) -> bool,
) -> impl Iterator<Item = &'a N> {
    new.iter()
        .filter(move |(name, value)| old.get(*name).is_some_and(|old| !is_same(old, value)))
        .map(|(name, _)| name)
}

fn has_same_public_keys(one: &Arc<[PrivateKey]>, other: &Arc<[PrivateKey]>) -> bool {
    one.iter()
        .map(PrivateKey::public_pem)
        .eq(other.iter().map(PrivateKey::public_pem))
}

/// Returns an error for each flow without signatures if an address is open to other machines and
/// `allowed` is `false`.
fn unsigned_flow_errors<'a>(
    config: &'a Config,
    listens: &[SocketAddr],
    allowed: bool,
) -> impl Iterator<Item = StartupError> + use<'a> {
    let is_refused = |listen: &&SocketAddr| !listen.ip().is_loopback() && !allowed;
    let open = listens.iter().find(is_refused).copied();
    let flows = config.flows.values();
    let unsigned = flows.filter(|flow| flow.signature == SignaturePolicy::None);
    unsigned.filter_map(move |flow| {
        Some(StartupError::Unsigned {
            flow: flow.name.clone(),
            listen: open?,
        })
    })
}
