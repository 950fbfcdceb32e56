//! Creates the functions through which the admin handler reads and changes the running server.
//!
//! See [`crate::admin::ServerHooks`] for the purpose of each function.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::delivery_hooks::DeliveryHooks;
use super::reload::Reloader;
use crate::admin::ServerHooks;
use crate::clock::Clock;
use crate::gateways::GatewayRegistry;
use crate::http::{AppState, HealthMonitor};
use crate::jobs::JobSystem;
use crate::reloadable::Reloadable;

/// Parts of the running server that the admin handler calls.
pub(super) struct HookSources<'a> {
    /// Address on which the server accepts submissions.
    pub(super) listen: SocketAddr,
    pub(super) job_system: &'a JobSystem,
    pub(super) delivery_hooks: &'a DeliveryHooks,
    pub(super) health_monitor: &'a HealthMonitor,
    pub(super) gateway_registry: GatewayRegistry,
    /// Warnings about the config.
    pub(super) warnings: Reloadable<Vec<String>>,
    pub(super) app: &'a Reloadable<AppState>,
    pub(super) reloader: &'a Arc<Reloader>,
    pub(super) clock: &'a Arc<dyn Clock>,
}

impl HookSources<'_> {
    /// Returns the functions for the admin handler.
    pub(super) fn server_hooks(self) -> ServerHooks {
        let (health_monitor, clock) = (self.health_monitor, self.clock);
        let delivery_service = &self.delivery_hooks.delivery_service;
        let (stats, resume) = (delivery_service.stats(), Arc::clone(delivery_service));
        let (destinations, tests) = (self.delivery_hooks.clone(), self.delivery_hooks.clone());
        let jobs = self.job_system.watch_in_flight();
        let (sign_app, key_app) = (self.app.clone(), self.app.clone());
        let reloader = Arc::clone(self.reloader);
        ServerHooks {
            listen: self.listen,
            running_jobs: Arc::new(move || jobs().into_iter().chain(stats.in_flight()).collect()),
            endpoint_health: read_now(health_monitor, clock, HealthMonitor::window_stats),
            refusals: read_now(health_monitor, clock, HealthMonitor::refusal_stats),
            gateway_registry: self.gateway_registry,
            warnings: self.warnings,
            destination_stats: Arc::new(move || destinations.destination_stats()),
            test_destination: Arc::new(move |name, to, event| tests.send_test(name, to, event)),
            resume_destination: Arc::new(move |name| resume.resume(name)),
            sign_body: Arc::new(move |body| sign_app.load().sign(body)),
            flow_public_key: Arc::new(move |flow| key_app.load().public_key(flow)),
            reload_config: Arc::new(move || reloader.reload()),
        }
    }
}

/// Returns a function that reads a value from `health_monitor` at the time of each call.
fn read_now<T: 'static>(
    health_monitor: &HealthMonitor,
    clock: &Arc<dyn Clock>,
    read: fn(&HealthMonitor, Duration) -> T,
) -> Arc<dyn Fn() -> T + Send + Sync> {
    let (health_monitor, clock) = (health_monitor.clone(), Arc::clone(clock));
    Arc::new(move || read(&health_monitor, clock.elapsed()))
}
