//! Checks that destinations can be reached. Connects to each, and sends nothing.

use std::time::Duration;

use super::context::Context;
use super::report::Report;
use crate::delivery::DeliveryTarget;
use crate::net::TlsConfig;

/// Maximum time of one connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to each destination.
pub(super) async fn check(context: &Context, report: &mut Report<'_>) {
    let Ok(tls) = TlsConfig::load() else { return };
    for (name, settings) in &context.config.destinations {
        let target = match DeliveryTarget::resolve(name, settings) {
            Ok(target) => target,
            Err(errors) => {
                for error in errors {
                    let advice = "the connection was not tested: this shell can't read the secret";
                    report.warning("destination", error.to_string(), advice);
                }
                continue;
            }
        };
        match target.probe(settings, &tls, CONNECT_TIMEOUT).await {
            Ok(()) => report.right(
                "destination",
                format!("{name}: {} can be reached", target.host()),
            ),
            Err(error) => {
                let advice =
                    format!("`flowgate destinations test {name}` shows the whole exchange");
                report.wrong("destination", format!("{name}: {error}"), advice);
            }
        }
    }
}
