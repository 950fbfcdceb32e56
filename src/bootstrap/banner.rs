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
    paths: String,
    /// Warnings for the owner, one sentence each.
    warnings: Vec<String>,
    /// `--config FILE `, or empty if the config was found without the option.
    config_option: String,
    /// ` --flow NAME`, or empty if the config has at most one flow.
    flow_option: String,
}

impl Banner {
    pub(crate) fn new(
        config: &Config,
        warnings: Vec<String>,
        listen: SocketAddr,
        admin: SocketAddr,
    ) -> Self {
        let paths: Vec<&str> = config
            .flows
            .values()
            .map(|flow| flow.path.as_str())
            .collect();
        let config_option = config.config_option();
        let data = config.data.display().to_string();
        let flow_option = match config.flows.keys().next() {
            Some(first) if config.flows.len() > 1 => format!(" --flow {first}"),
            _ => String::new(),
        };
        Self {
            listen,
            admin,
            data,
            paths: paths.join(", "),
            warnings,
            config_option,
            flow_option,
        }
    }

    /// Prints the banner to standard output, for people and for programs that start servers, and
    /// logs it.
    pub(crate) fn print(&self) {
        tracing::info!(listen = %self.listen, admin = %self.admin, data = %self.data, "ready");
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        // The server also runs if no program reads standard output, so a write error is ignored.
        let _ = self.write(&mut io::stdout().lock());
    }

    fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let Self {
            listen,
            admin,
            data,
            paths,
            warnings,
            config_option,
            flow_option,
        } = self;
        writeln!(output, "flowgate {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(
            output,
            "  listening on http://{listen}   forms: {paths}   Meta's webhooks: /webhook"
        )?;
        writeln!(output, "  metrics on http://{admin}/metrics")?;
        writeln!(output, "  data file {data}")?;
        warnings
            .iter()
            .try_for_each(|warning| writeln!(output, "  ! {warning}"))?;
        writeln!(
            output,
            "Next, in another terminal: flowgate {config_option}try{flow_option}"
        )?;
        writeln!(
            output,
            "  or, in the source folder: cargo run --release -- {config_option}try{flow_option}"
        )?;
        writeln!(output, "{}", ready_line(*listen, *admin))?;
        output.flush()
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
        let (listen, admin) = (
            "127.0.0.1:8080".parse().unwrap(),
            "[::1]:8081".parse().unwrap(),
        );
        assert_eq!(
            addresses_in(&format!("{}\n", ready_line(listen, admin))),
            Some((listen, admin))
        );
        assert_eq!(addresses_in("listening on http://127.0.0.1:8080"), None);
    }

    #[test]
    fn try_command_names_flow_if_several() {
        let text = |flows: &str| {
            let config = Config::parse(std::path::Path::new("config.toml"), flows).unwrap();
            let address = "127.0.0.1:1".parse().unwrap();
            let mut output = Vec::new();
            Banner::new(&config, Vec::new(), address, address)
                .write(&mut output)
                .unwrap();
            String::from_utf8(output).unwrap()
        };
        assert!(text("[flows.b]").contains("flowgate try\n"));
        assert!(text("[flows.b]\n[flows.a]").contains("flowgate try --flow a\n"));
    }

    #[test]
    fn banner_shows_addresses_warnings_and_commands() {
        let banner = Banner {
            listen: "127.0.0.1:8080".parse().unwrap(),
            admin: "127.0.0.1:8081".parse().unwrap(),
            data: "flowgate.redb".to_owned(),
            paths: "/whatsapp-flow-webhook".to_owned(),
            warnings: vec!["something is missing".to_owned()],
            config_option: String::new(),
            flow_option: String::new(),
        };
        let mut output = Vec::new();
        banner.write(&mut output).unwrap();
        insta::assert_snapshot!(String::from_utf8(output).unwrap(), @r"
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
