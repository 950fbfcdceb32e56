//! Checks the running server: its warnings, and the ports of the config.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::context::Context;
use super::report::Report;
use crate::admin::{AdminQuery, ServerCommand, SignatureRow, StatusRow};
use crate::admin_server::{AdminClient, socket_path};
use crate::config::Config;

/// Asks the running server for its status. Reports an error if there is none.
pub(super) fn find_status(config: &Config, report: &mut Report<'_>) -> Option<StatusRow> {
    let start = "start it: systemctl start flowgate (the log: journalctl -u flowgate)";
    let client = match AdminClient::connect(&socket_path(&config.data)) {
        Ok(Some(client)) => client,
        Ok(None) => {
            let message = format!("no server runs on {}", config.data.display());
            report.wrong("server", message, start);
            return None;
        }
        Err(error) => {
            report.wrong("server", error.to_string(), "run the command as root");
            return None;
        }
    };
    let mut status = None;
    let answered = client.send(&AdminQuery::Status.into(), &mut |row| {
        status = serde_json::from_value::<StatusRow>(row).ok();
        true
    });
    match (answered, status) {
        (Ok(()), Some(status)) => Some(status),
        (Err(error), _) => {
            report.wrong("server", error.to_string(), start);
            None
        }
        (Ok(()), None) => {
            let message = "the server has another version of flowgate than this command";
            report.wrong("server", message, "restart it: systemctl restart flowgate");
            None
        }
    }
}

/// Checks the state and the warnings of the server, and the ports.
pub(super) fn check(context: &Context, report: &mut Report<'_>) {
    match &context.status {
        Some(status) => {
            if status.health == "ready" {
                report.right("server", "it runs and can commit");
            } else {
                let message = format!("its state is {}", status.health.replace('_', " "));
                report.wrong("server", message, "see `flowgate status` and the log");
            }
            for warning in &status.warnings {
                report.warning("status", warning, "");
            }
        }
        None => {
            for warning in context.config.warnings() {
                report.warning("config", warning, "");
            }
        }
    }
    check_ports(context, report);
    match &context.unit {
        Some(unit) if !unit.has_watchdog => {
            let message = format!("{} has no WatchdogSec=", unit.path.display());
            let advice =
                "add WatchdogSec=60s and Type=notify: systemd then restarts a server that hangs";
            report.warning("unit", message, advice);
        }
        Some(unit) => report.right("unit", unit.path.display().to_string()),
        None => report.warning(
            "unit",
            "there is no systemd unit of the service",
            "`flowgate init` writes one; --unit FILE names another one",
        ),
    }
}

/// Checks that the ports are held by the server, or free for it.
fn check_ports(context: &Context, report: &mut Report<'_>) {
    let config = &context.config;
    let served = context.status.as_ref().map(|status| status.listen);
    for (key, address) in [
        ("listen", config.listen),
        ("admin_listen", config.admin_listen),
    ] {
        match served {
            Some(Some(served)) if key == "listen" && served != address && address.port() != 0 => {
                let message = format!("the server listens on {served}, and `listen` is {address}");
                report.warning("ports", message, "restart it: systemctl restart flowgate");
            }
            Some(_) => report.right("ports", format!("{key} {address}: held by the server")),
            None => check_free(key, address, report),
        }
    }
}

fn check_free(key: &str, address: SocketAddr, report: &mut Report<'_>) {
    match TcpListener::bind(address) {
        Ok(_) => report.right("ports", format!("{key} {address}: free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => report.warning(
            "ports",
            format!("{key} {address}: another program has it"),
            "right if this is systemd (flowgate.socket); `ss -ltnp` shows the program",
        ),
        Err(error) => report.wrong(
            "ports",
            format!("{key} {address}: {error}"),
            "change the address in the config to one of this machine",
        ),
    }
}

/// Lets the running server sign a body like Meta. Returns `None` if it can't.
pub(super) fn sign(config: &Config, body: String) -> Option<String> {
    let client = AdminClient::connect(&socket_path(&config.data)).ok()??;
    let mut signature = None;
    let request = ServerCommand::SignBody { body }.into();
    let answered = client.send(&request, &mut |row| {
        signature = serde_json::from_value::<SignatureRow>(row)
            .ok()
            .and_then(|row| row.signature);
        true
    });
    answered.ok().and(signature)
}
