//! What a server is made of before anything runs: its config, and the secrets and keys that the config names. Read and
//! checked here at the start and at each reload, with all that is wrong told at once.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{ServeArgs, ServeError, descriptors};
use crate::cli::flow_keys::{self, FlowKeys, NoFlowKey};
use crate::cli::gateways::{self, NoGateway};
use crate::cli::recipients::{self, NoRecipient};
use crate::cli::secrets::{AppSecrets, NoSecret};
use crate::cli::upstreams::{self, NoUpstream, Upstreams};
use crate::clock::Clock;
use crate::config::{Config, Secret, SecretError};
use crate::courier::Recipients;
use crate::domain::flow::SignatureRule;
use crate::domain::ids::FlowName;
use crate::gateways::{Accesses, Board};
use crate::http::{App, Limits, Trust, Watch};
use crate::intake::{Catalog, PrivateKey, Signers};
use crate::store::{NoteAppSecret, Store};

/// Why a config that is in order can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
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
    /// A secret is not where the config says.
    #[error(transparent)]
    Unreadable(#[from] SecretError),
    /// No secret to check signatures with.
    #[error(transparent)]
    Secret(#[from] NoSecret),
    /// No key to open an encrypted flow's requests with.
    #[error(transparent)]
    FlowKey(#[from] NoFlowKey),
    /// No secret to sign what a flow's program is asked with.
    #[error(transparent)]
    Upstream(#[from] NoUpstream),
    /// A destination can't be told anything.
    #[error(transparent)]
    Recipient(#[from] NoRecipient),
    /// A gateway can't be asked or listened to.
    #[error(transparent)]
    Gateway(#[from] NoGateway),
}

impl Obstacle {
    /// Whether a variable is not set.
    const fn is_unset(&self) -> bool {
        matches!(
            self,
            Self::FlowKey(NoFlowKey::NotSet { .. })
                | Self::Upstream(NoUpstream::NotSet { .. })
                | Self::Recipient(NoRecipient::NotSet { .. })
                | Self::Gateway(NoGateway::NotSet { .. })
        )
    }
}

/// All that keeps a config from being served; never none.
#[derive(Debug)]
pub struct Obstacles(Vec<Obstacle>);

impl fmt::Display for Obstacles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        if self.0.iter().any(Obstacle::is_unset) {
            let hint = "A variable that is not set here may be set for the service: `set -a; . ENVFILE; set +a` sets those of \
                        its file in this shell";
            lines.push(hint.to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Obstacles {}

/// What a config names, but for the app's secrets.
struct Named {
    keys: FlowKeys,
    upstreams: Upstreams,
    recipients: Recipients,
    gateways: Accesses,
}

impl Named {
    /// Reads all that can be read, and says what can't.
    fn read(config: &Config, clock: &Arc<dyn Clock>, before: &Before) -> (Self, Vec<Obstacle>) {
        let places = config.meta.app_secrets.iter().chain([&config.meta.verify_token]);
        let mut obstacles: Vec<Obstacle> =
            places.filter_map(|place| place.resolve().err()).map(Obstacle::from).collect();
        let (keys, missing) = flow_keys::read_all(config);
        obstacles.extend(missing.into_iter().map(Obstacle::from));
        let (upstreams, missing) = upstreams::read_all(config, clock, &before.upstreams);
        obstacles.extend(missing.into_iter().map(Obstacle::from));
        let (recipients, missing) = recipients::read_all(config, &before.recipients);
        obstacles.extend(missing.into_iter().map(Obstacle::from));
        let (gateways, missing) = gateways::read_all(config, &before.gateways);
        obstacles.extend(missing.into_iter().map(Obstacle::from));
        (Self { keys, upstreams, recipients, gateways }, obstacles)
    }
}

/// All that keeps `config` from being served without further options; nothing is made. The environment may be another one
/// than the server's.
pub fn obstacles(config: &Config, clock: &Arc<dyn Clock>) -> Option<Obstacles> {
    let (_, missing) = Named::read(config, clock, &Before::default());
    let obstacles: Vec<Obstacle> = unsigned(config, &[config.listen], false).chain(missing).collect();
    if obstacles.is_empty() { None } else { Some(Obstacles(obstacles)) }
}

/// A config, and what it names.
pub(super) struct Parts {
    pub(super) config: Config,
    secrets: AppSecrets,
    verify_token: Option<Secret>,
    keys: FlowKeys,
    pub(super) upstreams: Upstreams,
    pub(super) recipients: Recipients,
    pub(super) gateways: Accesses,
}

/// What was made of an earlier config, and goes on where nothing of it has changed.
#[derive(Default)]
pub(super) struct Before {
    pub(super) upstreams: Upstreams,
    pub(super) recipients: Recipients,
    pub(super) gateways: Accesses,
}

impl Parts {
    /// Reads all that `config` names. `secrets` gets the app's secrets; `listens` are the addresses at which a server has
    /// it, or is to have it; `before` is what was asked, told and looked after so far.
    ///
    /// # Errors
    /// [`Obstacles`].
    pub(super) fn read(
        config: Config,
        listens: &[SocketAddr],
        args: &ServeArgs,
        clock: &Arc<dyn Clock>,
        before: &Before,
        secrets: impl FnOnce(&Config) -> Result<AppSecrets, NoSecret>,
    ) -> Result<Self, Obstacles> {
        let mut obstacles: Vec<Obstacle> = unsigned(&config, listens, args.allow_unsigned).collect();
        let (Named { keys, upstreams, recipients, gateways }, missing) = Named::read(&config, clock, before);
        obstacles.extend(missing);
        let verify_token = config.verify_token();
        match secrets(&config) {
            Ok(secrets) if obstacles.is_empty() => match verify_token {
                Ok(verify_token) => {
                    return Ok(Self { config, secrets, verify_token, keys, upstreams, recipients, gateways });
                }
                Err(error) => obstacles.push(NoSecret::from(error).into()),
            },
            Ok(_) => {}
            // The first file that can't be read was told above, with the others.
            Err(NoSecret::Unreadable(_)) if !obstacles.is_empty() => {}
            Err(error) => obstacles.push(error.into()),
        }
        Err(Obstacles(obstacles))
    }

    /// Whether signatures are checked with a development secret.
    pub(super) const fn has_development_secret(&self) -> bool {
        self.secrets.development.is_some()
    }

    /// Puts a new development secret into its file, or notes in the data file that there is a real one.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub(super) fn keep_secret(&self, store: &Store) -> Result<(), ServeError> {
        if self.has_development_secret() {
            return self.secrets.keep().map_err(|error| Obstacles(vec![error.into()]).into());
        }
        Ok(store.ask(NoteAppSecret)?)
    }

    /// What is allowed but should be known, one sentence each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.config.notes();
        if let Some(file) = &self.secrets.development {
            notes.push(format!(
                "signatures are checked with a development secret ({}), which Meta does not know: real traffic needs the \
                 app's own secret, in META_APP_SECRET",
                file.display()
            ));
        }
        notes
    }

    /// What answers at the start.
    ///
    /// # Errors
    /// The system's, where it gives no threads.
    pub(super) fn app(
        &self,
        connections: usize,
        store: &Store,
        clock: &Arc<dyn Clock>,
        told: (Watch, Board),
    ) -> io::Result<App> {
        let limits = Limits { connections, ..Limits::from(&self.config) };
        App::new(Catalog::from(&self.config), self.trust(), limits, store.clone(), Arc::clone(clock), told)
    }

    /// What answers after a reload.
    pub(super) fn renewed(&self, app: &App) -> App {
        app.renewed(Catalog::from(&self.config), self.trust(), Limits::from(&self.config))
    }

    /// The app's secrets after a reload: those of `config` or, where it never had any, the development secret.
    pub(super) fn renew_secrets(&self, config: &Config) -> Result<AppSecrets, NoSecret> {
        AppSecrets::get_or_keep(config, &self.secrets)
    }

    /// What is not as it was in `before`, one text each.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        if !self.secrets.all().map(Secret::expose).eq(before.secrets.all().map(Secret::expose)) {
            changes.push("meta.app_secrets changed".to_owned());
        }
        if self.verify_token.as_ref().map(Secret::expose) != before.verify_token.as_ref().map(Secret::expose) {
            changes.push("meta.verify_token changed".to_owned());
        }
        changes.extend(self.config.changes_since(&before.config));
        let halves = |keys: &Arc<[PrivateKey]>| keys.iter().map(|key| key.public_pem().to_owned()).collect::<Vec<_>>();
        for (flow, keys) in &self.keys {
            let (old, new) = (before.keys.get(flow).map(halves), halves(keys));
            if old.is_some_and(|old| old != new) {
                changes.push(format!("flows.{flow}.private_keys changed"));
            }
        }
        for (flow, upstream) in &self.upstreams {
            if before.upstreams.get(flow).is_some_and(|old| !Arc::ptr_eq(old, upstream)) {
                changes.push(format!("flows.{flow}.upstream changed"));
            }
        }
        for (destination, recipient) in &self.recipients {
            if before.recipients.get(destination).is_some_and(|old| !Arc::ptr_eq(old, recipient)) {
                changes.push(format!("destinations.{destination} changed"));
            }
        }
        for (gateway, access) in &self.gateways {
            if before.gateways.get(gateway).is_some_and(|old| !Arc::ptr_eq(old, access)) {
                changes.push(format!("gateways.{gateway} changed"));
            }
        }
        changes
    }

    /// What goes on after a reload where nothing of it has changed.
    pub(super) fn before(&self) -> Before {
        let (upstreams, recipients) = (self.upstreams.clone(), self.recipients.clone());
        Before { upstreams, recipients, gateways: self.gateways.clone() }
    }

    fn trust(&self) -> Trust {
        let signers = Signers::new(self.secrets.all().map(|secret| secret.expose().as_str()));
        let (keys, upstreams) = (self.keys.clone(), self.upstreams.clone());
        let doors = gateways::doors(&self.gateways);
        let has_app_secret = !self.has_development_secret();
        Trust { signers, has_app_secret, verify_token: self.verify_token.clone(), keys, upstreams, doors }
    }
}

/// Lets the command line have its way with `config`, and says where that surprises other commands.
pub(super) fn override_with(args: &ServeArgs, config: &mut Config) -> Option<String> {
    config.listen = args.listen.unwrap_or(config.listen);
    config.admin_listen = args.admin_listen.unwrap_or(config.admin_listen);
    let data = args.data.clone().filter(|data| *data != config.data)?;
    let note = format!(
        "--data {} is not what the config says: other commands look for the server of {}",
        data.display(),
        config.data.display()
    );
    config.data = data;
    Some(note)
}

/// Connections that there are descriptors for, and a note where they are fewer than the config says.
pub(super) fn connections(config: &Config) -> (usize, Option<String>) {
    let mut connections = config.limits.connections;
    let deliveries: usize = config.destinations.values().map(|destination| destination.concurrency).sum();
    let outside = deliveries.saturating_add(config.gateways.len());
    let note = descriptors::fit(&mut connections, config.upstreams.len(), outside);
    (connections, note)
}

/// Flows without signatures are for this machine only, unless that is said twice.
fn unsigned<'a>(config: &'a Config, listens: &[SocketAddr], allowed: bool) -> impl Iterator<Item = Obstacle> + use<'a> {
    let open = listens.iter().find(|listen| !listen.ip().is_loopback() && !allowed).copied();
    let flows = config.flows.values().filter(|flow| flow.signature == SignatureRule::None);
    flows.filter_map(move |flow| Some(Obstacle::Unsigned { flow: flow.name.clone(), listen: open? }))
}
