//! Formats the output of `flowgate reload`: the changes that the reload made.

use std::fmt;

use crate::admin::ReloadRow;

impl fmt::Display for ReloadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the config was reloaded")?;
        if self.changed.is_empty() {
            write!(f, ": no active setting has changed")?;
        }
        for change in &self.changed {
            write!(f, "\n  {change}")?;
        }
        for key in &self.after_restart {
            write!(f, "\n! {key} changed: takes effect after a restart")?;
        }
        Ok(())
    }
}
