//! Creates the functions through which the admin handler reads and changes the running server.
//!
//! See [`crate::admin::ServerHooks`] for the purpose of each function.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::active_config::ActiveConfig;
use super::delivery_hooks::DeliveryHooks;
use super::reload::Reloader;
use super::services::Services;
use crate::admin::ServerHooks;
use crate::clock::Clock;
use crate::http::HealthMonitor;
use crate::reloadable::Reloadable;

/// Returns the functions for the admin handler. `listen` is the address on which the server accepts
/// submissions.
pub(super) fn server_hooks(
    listen: SocketAddr,
    services: &Services,
    active: &Arc<ArcSwap<ActiveConfig>>,
    reloader: &Arc<Reloader>,
    clock: &Arc<dyn Clock>,
) -> ServerHooks {
    let delivery_service = &services.delivery_service;
    let delivery_hooks = DeliveryHooks {
        delivery_service: Arc::clone(delivery_service),
        clock: Arc::clone(clock),
        runtime: services.runtime.clone(),
        subscriptions: Reloadable::part_of(active, |active| Arc::clone(&active.subscriptions)),
    };
    let (stats, resume) = (delivery_service.stats(), Arc::clone(delivery_service));
    let (destinations, tests) = (delivery_hooks.clone(), delivery_hooks);
    let jobs = services.job_system.watch_in_flight();
    let http = Reloadable::part_of(active, |active| Arc::clone(&active.http));
    let (signer, keys) = (http.clone(), http);
    let reloader = Arc::clone(reloader);
    let log_filter = reloader.log_filter.clone();
    ServerHooks {
        listen,
        running_jobs: Arc::new(move || jobs().into_iter().chain(stats.in_flight()).collect()),
        endpoint_health: read_now(services, clock, HealthMonitor::window_stats),
        refusals: read_now(services, clock, HealthMonitor::refusal_stats),
        backup_status: Arc::new(services.backup.status()),
        gateway_registry: services.gateway_registry.clone(),
        warnings: Reloadable::part_of(active, |active| Arc::clone(&active.warnings)),
        destination_stats: Arc::new(move || destinations.destination_stats()),
        test_destination: Arc::new(move |name, to, event| tests.send_test(name, to, event)),
        resume_destination: Arc::new(move |name| resume.resume(name)),
        sign_body: Arc::new(move |body| signer.load().sign(body)),
        flow_public_key: Arc::new(move |flow| keys.load().public_key(flow)),
        log_filter,
        reload_config: Arc::new(move || reloader.reload()),
    }
}

/// Returns a function that reads a value from the health monitor at the time of each call.
fn read_now<T: 'static>(
    services: &Services,
    clock: &Arc<dyn Clock>,
    read: fn(&HealthMonitor, Duration) -> T,
) -> Arc<dyn Fn() -> T + Send + Sync> {
    let (health_monitor, clock) = (services.health_monitor.clone(), Arc::clone(clock));
    Arc::new(move || read(&health_monitor, clock.elapsed()))
}
