//! Prints the start-up banner: addresses, warnings and the next command to type.

use std::io::{self, Write};
use std::net::SocketAddr;

use crate::config::Config;

/// Texts of the banner for one start.
#[derive(Debug)]
pub(crate) struct Banner {
    /// Address of the HTTP listener.
    listen: SocketAddr,
    admin: SocketAddr,
    data: String,
    /// Warnings for the owner, one sentence each.
    warnings: Vec<String>,
    /// All lines for standard output.
    text: String,
}

impl Banner {
    pub(crate) fn new(
        config: &Config,
        warnings: Vec<String>,
        listen: SocketAddr,
        admin: SocketAddr,
    ) -> Self {
        let flows = config.flows.values();
        let paths: Vec<&str> = flows.map(|flow| flow.path.as_str()).collect();
        let paths = paths.join(", ");
        let data = config.data.display().to_string();
        let flow_option = match config.flows.keys().next() {
            Some(first) if config.flows.len() > 1 => format!(" --flow {first}"),
            _ => String::new(),
        };
        let command = format!("{}try{flow_option}", config.config_option());
        let mut lines = vec![
            format!("flowgate {}", env!("CARGO_PKG_VERSION")),
            format!("  listening on http://{listen}   forms: {paths}   Meta's webhooks: /webhook"),
            format!("  metrics on http://{admin}/metrics"),
            format!("  data file {data}"),
        ];
        lines.extend(warnings.iter().map(|warning| format!("  ! {warning}")));
        lines.extend([
            format!("Next, in another terminal: flowgate {command}"),
            format!("  or, in the source folder: cargo run --release -- {command}"),
            ready_line(listen, admin),
        ]);
        Self {
            listen,
            admin,
            data,
            warnings,
            text: lines.join("\n") + "\n",
        }
    }

    /// Prints the banner to standard output, for people and for programs that start servers, and
    /// logs it.
    pub(crate) fn print(&self) {
        tracing::info!(listen = %self.listen, admin = %self.admin, data = %self.data, "ready");
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        let mut output = io::stdout().lock();
        // The server also runs if no program reads standard output, so a write error is ignored.
        let _ = output.write_all(self.text.as_bytes());
        let _ = output.flush();
    }
}

/// Formats the last line of the banner, for programs that start a server:
/// `ready: http://A admin http://B`.
fn ready_line(listen: SocketAddr, admin: SocketAddr) -> String {
    format!("ready: http://{listen} admin http://{admin}")
}

/// Parses the HTTP address and the admin address from the ready line. Returns `None` for any other
/// line.
#[must_use]
pub fn addresses_in(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (listen, admin) = line
        .trim_end()
        .strip_prefix("ready: http://")?
        .split_once(" admin http://")?;
    Some((listen.parse().ok()?, admin.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_line_round_trips() {
        let [listen, admin] = ["127.0.0.1:8080", "[::1]:8081"].map(|text| text.parse().unwrap());
        let line = format!("{}\n", ready_line(listen, admin));
        assert_eq!(addresses_in(&line), Some((listen, admin)));
        assert_eq!(addresses_in("listening on http://127.0.0.1:8080"), None);
    }

    fn banner_text(config: &str, warnings: &[&str]) -> String {
        let config = Config::parse("config.toml".as_ref(), config).unwrap();
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Banner::new(&config, warnings, config.listen, config.admin_listen).text
    }

    #[test]
    fn try_command_names_flow_if_several() {
        assert!(banner_text("[flows.b]", &[]).contains("flowgate try\n"));
        assert!(banner_text("[flows.b]\n[flows.a]", &[]).contains("flowgate try --flow a\n"));
    }

    #[test]
    fn banner_shows_addresses_warnings_and_commands() {
        let config = "[flows.form]\npath = \"/whatsapp-flow-webhook\"";
        insta::assert_snapshot!(banner_text(config, &["something is missing"]), @r"
        flowgate 0.1.0
          listening on http://127.0.0.1:8080   forms: /whatsapp-flow-webhook   Meta's webhooks: /webhook
          metrics on http://127.0.0.1:8081/metrics
          data file flowgate.redb
          ! something is missing
        Next, in another terminal: flowgate try
          or, in the source folder: cargo run --release -- try
        ready: http://127.0.0.1:8080 admin http://127.0.0.1:8081
        ");
    }
}
