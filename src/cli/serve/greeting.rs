//! What a server says when it is ready: where it listens, what should be known, what to type next.

use std::io::{self, Write};
use std::net::SocketAddr;

use crate::config::Config;

/// The words for one start.
#[derive(Debug)]
pub(super) struct Greeting {
    /// Where it takes submissions.
    pub(super) listen: SocketAddr,
    admin: SocketAddr,
    data: String,
    paths: String,
    /// What its owner should know, one sentence each.
    pub(super) notes: Vec<String>,
    /// `--config FILE `, where it is not the one that is looked for.
    config_option: String,
    /// ` --flow NAME`, where it is not the only one.
    flow_option: String,
}

impl Greeting {
    pub(super) fn new(config: &Config, notes: Vec<String>, listen: SocketAddr, admin: SocketAddr) -> Self {
        let paths: Vec<&str> = config.flows.values().map(|flow| flow.path.as_str()).collect();
        let config_option = config.option();
        let data = config.data.display().to_string();
        let flow_option = match config.flows.keys().next() {
            Some(first) if config.flows.len() > 1 => format!(" --flow {first}"),
            _ => String::new(),
        };
        Self { listen, admin, data, paths: paths.join(", "), notes, config_option, flow_option }
    }

    /// Says it: on standard output for people and for programs that start servers, in the log for later.
    pub(super) fn say(&self) {
        tracing::info!(listen = %self.listen, admin = %self.admin, data = %self.data, "ready");
        for note in &self.notes {
            tracing::warn!("{note}");
        }
        // Whoever started it need not read this.
        let _ = self.write(&mut io::stdout().lock());
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { listen, admin, data, paths, notes, config_option, flow_option } = self;
        writeln!(out, "flowgate {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "  listening on http://{listen}   forms: {paths}   Meta's webhooks: /webhook")?;
        writeln!(out, "  for operators http://{admin}/metrics")?;
        writeln!(out, "  data in {data}")?;
        notes.iter().try_for_each(|note| writeln!(out, "  ! {note}"))?;
        writeln!(out, "Next, in another terminal: flowgate {config_option}try{flow_option}")?;
        writeln!(out, "  or, in the source folder: cargo run --release -- {config_option}try{flow_option}")?;
        writeln!(out, "{}", ready_line(*listen, *admin))?;
        out.flush()
    }
}

/// The line that comes last, for programs that start a server: `ready: http://A admin http://B`.
fn ready_line(listen: SocketAddr, admin: SocketAddr) -> String {
    format!("ready: http://{listen} admin http://{admin}")
}

/// The two addresses in the line that says that a server is ready; `None` for any other line.
#[must_use]
pub fn addresses_in(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (listen, admin) = line.trim_end().strip_prefix("ready: http://")?.split_once(" admin http://")?;
    Some((listen.parse().ok()?, admin.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_can_be_read_again() {
        let (listen, admin) = ("127.0.0.1:8080".parse().unwrap(), "[::1]:8081".parse().unwrap());
        assert_eq!(addresses_in(&format!("{}\n", ready_line(listen, admin))), Some((listen, admin)));
        assert_eq!(addresses_in("listening on http://127.0.0.1:8080"), None);
    }

    #[test]
    fn where_there_are_several_flows_one_is_named() {
        let said = |flows: &str| {
            let config = Config::parse(std::path::Path::new("config.toml"), flows).unwrap();
            let address = "127.0.0.1:1".parse().unwrap();
            let mut out = Vec::new();
            Greeting::new(&config, Vec::new(), address, address).write(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(said("[flows.b]").contains("flowgate try\n"));
        assert!(said("[flows.b]\n[flows.a]").contains("flowgate try --flow a\n"));
    }

    #[test]
    fn a_newcomer_is_told_where_it_is_what_is_missing_and_what_to_type() {
        let greeting = Greeting {
            listen: "127.0.0.1:8080".parse().unwrap(),
            admin: "127.0.0.1:8081".parse().unwrap(),
            data: "flowgate.redb".to_owned(),
            paths: "/whatsapp-flow-webhook".to_owned(),
            notes: vec!["something is missing".to_owned()],
            config_option: String::new(),
            flow_option: String::new(),
        };
        let mut out = Vec::new();
        greeting.write(&mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        flowgate 0.1.0
          listening on http://127.0.0.1:8080   forms: /whatsapp-flow-webhook   Meta's webhooks: /webhook
          for operators http://127.0.0.1:8081/metrics
          data in flowgate.redb
          ! something is missing
        Next, in another terminal: flowgate try
          or, in the source folder: cargo run --release -- try
        ready: http://127.0.0.1:8080 admin http://127.0.0.1:8081
        ");
    }
}
