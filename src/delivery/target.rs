//! Defines a destination that is ready for use: its channel with the secrets, and its proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::channel::Channel;
use super::channel::exchange::Connection;
use super::channel::gateway::GatewayChannel;
use super::channel::smtp::SmtpChannel;
use super::channel::test_send::{TestError, TestReport, TestRequest};
use super::channel::webhook::WebhookChannel;
use super::channel::whatsapp::WhatsappChannel;
use super::secret_resolver::{DestinationError, SecretResolver};
use crate::config::{DeliveryPolicy, Destination, DestinationKind, ProxySettings, SecretRef};
use crate::domain::delivery::message::RecipientKind;
use crate::domain::event::EventKind;
use crate::domain::ids::DestinationName;
use crate::domain::rate_limiter::RateLimit;
use crate::net::{AddressPolicy, HttpClients, NetError, Proxy, TlsConfig, probe_host};

/// Destination with credentials and proxy. `Debug` hides the secrets.
#[derive(Debug)]
pub struct DeliveryTarget {
    /// Settings that all kinds have.
    pub policy: DeliveryPolicy,
    pub(super) channel: Box<dyn Channel>,
    /// Proxy to the destination. `None`: direct connection.
    proxy: Option<Proxy>,
}

/// Rate limits of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DestinationLimits {
    /// Rate limit of this destination alone.
    pub(crate) own: RateLimit,
    /// Rate limit shared by all destinations that send through the same gateway or phone number.
    pub(crate) shared: RateLimit,
}

/// Targets of all destinations.
pub type DeliveryTargets = BTreeMap<DestinationName, Arc<DeliveryTarget>>;

impl DeliveryTarget {
    /// Resolves the secrets of a destination.
    ///
    /// # Errors
    /// All errors in the secrets.
    pub fn resolve(
        destination: &DestinationName,
        settings: &Destination,
    ) -> Result<Self, Vec<DestinationError>> {
        let mut secrets = SecretResolver::new(destination);
        let channel: Option<Box<dyn Channel>> = match &settings.kind {
            DestinationKind::Webhook(webhook) => {
                boxed(WebhookChannel::resolve(webhook, &mut secrets))
            }
            DestinationKind::Whatsapp(whatsapp) => {
                boxed(WhatsappChannel::resolve(whatsapp, &mut secrets))
            }
            DestinationKind::Gateway(gateway) => {
                boxed(GatewayChannel::resolve(gateway, &mut secrets))
            }
            DestinationKind::Smtp(smtp) => boxed(SmtpChannel::resolve(smtp, &mut secrets)),
        };
        let proxy = settings
            .proxy
            .as_ref()
            .and_then(|proxy| resolve_proxy(proxy, &mut secrets));
        let errors = secrets.into_errors();
        match channel {
            Some(channel) if errors.is_empty() => Ok(Self {
                policy: settings.policy,
                channel,
                proxy,
            }),
            _ => Err(errors),
        }
    }

    /// Returns the host, with the port if the URL has one.
    #[must_use]
    pub fn host(&self) -> String {
        let authority = self.channel.url().authority();
        authority.map(ToString::to_string).unwrap_or_default()
    }

    /// Connects to the host and sends nothing. `settings` are those of this destination.
    ///
    /// # Errors
    /// [`NetError`] if the host can't be reached.
    pub async fn probe(
        &self,
        settings: &Destination,
        tls: &TlsConfig,
        deadline: Duration,
    ) -> Result<(), NetError> {
        let allow_private = match &settings.kind {
            DestinationKind::Webhook(webhook) => webhook.allow_private,
            DestinationKind::Whatsapp(whatsapp) => whatsapp.allow_private,
            DestinationKind::Gateway(gateway) => gateway.allow_private,
            DestinationKind::Smtp(smtp) => smtp.allow_private,
        };
        let policy = if allow_private {
            AddressPolicy::Any
        } else {
            AddressPolicy::PublicOnly
        };
        let (url, proxy) = (self.channel.url(), self.proxy.as_ref());
        probe_host(url, proxy, tls, policy, deadline)
            .await
            .map(|_| ())
    }

    /// Returns `true` if the content of a delivery must be checked before it is sent. The content
    /// may make the delivery wait or expire.
    pub(super) fn needs_content_check(&self) -> bool {
        self.policy.max_age.is_some() || self.channel.recipients().is_some()
    }

    /// Returns `true` if the messages go to customers.
    pub(super) fn is_for_customers(&self) -> bool {
        self.channel
            .recipients()
            .is_some_and(|recipients| recipients.kind == RecipientKind::Customer)
    }

    /// Returns the rate limits of the destination.
    pub(super) fn limits(&self) -> DestinationLimits {
        let shared = self.channel.shared_rate();
        let own = self.policy.rate;
        DestinationLimits {
            own: own.map_or(RateLimit::Unlimited, RateLimit::Configured),
            shared: shared.map_or(RateLimit::Unlimited, |shared| shared.limit),
        }
    }

    /// Returns the network access for one exchange.
    pub(super) fn connection<'a>(&'a self, clients: &'a HttpClients) -> Connection<'a> {
        Connection {
            clients,
            proxy: self.proxy.as_ref(),
            deadline: self.policy.timeout.to_duration(),
        }
    }

    /// Returns the event whose sample is sent as a test if the admin names none. `subscribed` are
    /// the events that the destination gets. `None`: a plain test is enough.
    #[must_use]
    pub fn default_test_event(&self, subscribed: &BTreeSet<EventKind>) -> Option<EventKind> {
        self.channel.default_test_event(subscribed)
    }

    /// Sends a test. The test is sent like a delivery, is marked as a test and is not stored.
    ///
    /// # Errors
    /// [`TestError`] if no request can be sent.
    pub async fn test(
        &self,
        clients: &HttpClients,
        request: &TestRequest,
    ) -> Result<TestReport, TestError> {
        let (name, writes_to_people) = (&request.destination, self.channel.recipients().is_some());
        if writes_to_people && request.event.is_some() {
            return Err(TestError::InvalidOptions(format!(
                "{name} sends messages to people, whom a sample event would mislead: --event \
                 works only for webhook and smtp destinations"
            )));
        }
        if !writes_to_people && request.to.is_some() {
            return Err(TestError::InvalidOptions(format!(
                "--to works only for whatsapp and gateway destinations: repeat the test of {name} \
                 without --to"
            )));
        }
        self.channel.test(self.connection(clients), request).await
    }

    /// Returns `true` if both have the same settings, secret values and hidden headers. The sources
    /// of the secrets, such as a file or a variable, do not matter.
    #[must_use]
    pub fn has_same_config(&self, other: &Self) -> bool {
        self.policy == other.policy
            && self.channel.has_same_config(&*other.channel)
            && self.proxy == other.proxy
    }

    /// Returns `true` if both have the same URL, credentials and proxy.
    pub(super) fn has_same_access(&self, other: &Self) -> bool {
        self.channel.has_same_access(&*other.channel) && self.proxy == other.proxy
    }
}

fn boxed(channel: Option<impl Channel>) -> Option<Box<dyn Channel>> {
    Some(Box::new(channel?))
}

fn resolve_proxy(settings: &ProxySettings, secrets: &mut SecretResolver<'_>) -> Option<Proxy> {
    let auth = match &settings.auth {
        Some(location) => Some(secrets.resolve_secret("proxy_auth", location)?),
        None => None,
    };
    let auth = auth.as_ref().map(|secret| secret.expose().as_str());
    let proxy = Proxy::new(settings.url.clone(), auth);
    proxy
        .map_err(|error| {
            let location = settings.auth.as_ref().map(SecretRef::location);
            let location = location.unwrap_or_default();
            secrets.report_invalid(format!("proxy_auth: the value of {location} {error}"));
        })
        .ok()
}
