//! Formats the summary of a config for people.

use std::fmt;

use super::{CalendarSummary, ConfigSummary, DestinationSummary, FlowSummary, GatewaySummary};

impl fmt::Display for ConfigSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is valid", self.file)?;
        writeln!(f, "  listen        {}", self.listen)?;
        writeln!(f, "  admin_listen  {}", self.admin_listen)?;
        writeln!(f, "  data          {}", self.data)?;
        write_all(f, &self.flows)?;
        write_all(f, &self.calendars)?;
        write_all(f, &self.destinations)?;
        write_all(f, &self.gateways)?;
        if !self.alerts.is_empty() {
            writeln!(f, "alerts go to {}", self.alerts.join(", "))?;
        }
        self.warnings
            .iter()
            .try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

fn write_all(f: &mut fmt::Formatter<'_>, rows: &[impl fmt::Display]) -> fmt::Result {
    rows.iter().try_for_each(|row| row.fmt(f))
}

impl fmt::Display for FlowSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "flow {}", self.name)?;
        let encrypted = if self.encrypted { " (encrypted)" } else { "" };
        let signed = if self.signed { "" } else { " (not signed)" };
        writeln!(f, "  path          {}{encrypted}{signed}", self.path)?;
        let screens = match (self.screens.as_slice(), &self.upstream) {
            ([], None) => "any (each can be the final one)".to_owned(),
            ([], Some(_)) => "any (upstream)".to_owned(),
            (screens, _) => screens.join(", "),
        };
        writeln!(f, "  screens       {screens}")?;
        if let Some(url) = &self.upstream {
            writeln!(f, "  upstream      {url}")?;
        }
        for (label, name) in [("calendar", &self.calendar), ("team", &self.team)] {
            let name = name.as_deref().unwrap_or("none");
            writeln!(f, "  {label:<14}{name}")?;
        }
        if !self.deliver.is_empty() {
            writeln!(f, "  delivers to   {}", self.deliver.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for DestinationSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "destination {}", self.name)?;
        let how = match (self.kind, self.signed) {
            ("whatsapp", _) => " (WhatsApp messages)",
            ("smtp", _) | (_, true) => "",
            (_, false) => " (not signed)",
        };
        writeln!(f, "  address       {}{how}", self.host)?;
        if !self.to.is_empty() {
            writeln!(f, "  mails go to   {}", self.to.join(", "))?;
        }
        self.proxy
            .iter()
            .try_for_each(|proxy| writeln!(f, "  proxy         {proxy}"))
    }
}

impl fmt::Display for GatewaySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "gateway {} ({})", self.name, self.kind)?;
        writeln!(f, "  address       {}, session {}", self.url, self.session)?;
        write!(f, "  probed        every {}", self.probe_interval)?;
        if let Some(after) = &self.inactivity_timeout {
            write!(f, ", restarted when silent for {after}")?;
        }
        writeln!(f)?;
        writeln!(f, "  webhook       {}", self.webhook)?;
        if !self.forms.is_empty() {
            writeln!(f, "  texts become  forms of {}", self.forms.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for CalendarSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "calendar {}", self.name)?;
        writeln!(f, "  timezone      {}", self.timezone)?;
        writeln!(f, "  capacity      {}", self.capacity)?;
        for day in &self.days {
            let starts = match day.times.as_slice() {
                [only] => only.clone(),
                [first, .., last] => {
                    format!("{} slots from {first} to {last}", day.times.len())
                }
                [] => String::new(),
            };
            writeln!(f, "  {}    {starts}", day.date)?;
        }
        if self.days.is_empty() {
            writeln!(f, "  no slots in the next two months")?;
        }
        Ok(())
    }
}
