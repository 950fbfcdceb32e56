//! Defines the log filter: which lines the log contains. An admin can change the filter of a
//! running server.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, Registry, reload};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Error for a text that is not a log filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part:?} {problem}: write a level (off, error, warn, info, debug or trace), or levels of modules such as \"info,flowgate::store=debug\""
)]
pub struct InvalidLogFilter {
    part: String,
    problem: String,
}

/// Log filter of the process. Clones share the same filter.
#[derive(Clone, Debug)]
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    state: Arc<Mutex<LogFilterState>>,
}

/// Current log filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilterState {
    /// Active filter.
    pub active: String,
    /// Filter that the config or the environment sets.
    pub configured: String,
    /// `true` if the environment variable sets the filter. The config then has no effect.
    pub is_from_environment: bool,
}

/// Checks a log filter: a level, or levels of modules, separated by commas.
///
/// # Errors
/// [`InvalidLogFilter`] with the part that is wrong.
pub fn check_log_filter(text: &str) -> Result<&str, InvalidLogFilter> {
    parse(text).map(|_| text)
}

fn parse(text: &str) -> Result<EnvFilter, InvalidLogFilter> {
    let invalid = |part: &str, problem: &str| InvalidLogFilter {
        part: part.to_owned(),
        problem: problem.to_owned(),
    };
    for part in text.split(',') {
        // The library would take an unknown level for the name of a module, and show nothing else.
        let (module, level) = part.rsplit_once('=').unwrap_or(("flowgate", part));
        if !LEVELS.contains(&level.trim().to_ascii_lowercase().as_str()) {
            return Err(invalid(part, "has no log level"));
        }
        if module.trim().is_empty() {
            return Err(invalid(part, "names no module"));
        }
    }
    // The library accepts no space.
    let compact = text.replace(' ', "");
    EnvFilter::try_new(compact).map_err(|error| invalid(text, &format!("is not valid ({error})")))
}

impl LogFilter {
    /// Creates the filter layer of the log and its handle. An invalid filter is replaced by `info`.
    pub(crate) fn create(
        configured: &str,
        is_from_environment: bool,
    ) -> (reload::Layer<EnvFilter, Registry>, Self) {
        let (filter, configured) = match parse(configured) {
            Ok(filter) => (filter, configured),
            Err(_) => (EnvFilter::new("info"), "info"),
        };
        let (layer, handle) = reload::Layer::new(filter);
        let state = LogFilterState {
            active: configured.to_owned(),
            configured: configured.to_owned(),
            is_from_environment,
        };
        let state = Arc::new(Mutex::new(state));
        (layer, Self { handle, state })
    }

    /// Returns the active filter and the configured one.
    #[must_use]
    pub fn state(&self) -> LogFilterState {
        self.state.lock().clone()
    }

    /// Changes the filter until the next start, or until the config sets another one.
    ///
    /// # Errors
    /// [`InvalidLogFilter`] if `text` is not a log filter.
    pub fn set(&self, text: &str) -> Result<(), InvalidLogFilter> {
        let filter = parse(text)?;
        let mut state = self.state.lock();
        // The handle fails only after the log has ended.
        let _ = self.handle.reload(filter);
        text.clone_into(&mut state.active);
        Ok(())
    }

    /// Activates the filter of a reloaded config, unless the environment variable sets the filter.
    pub fn configure(&self, text: &str) {
        if !self.state().is_from_environment && self.set(text).is_ok() {
            text.clone_into(&mut self.state.lock().configured);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_has_levels_and_modules() {
        for good in [
            "info",
            "DEBUG",
            "off",
            "info,flowgate::store=debug",
            "warn, flowgate::http=trace",
        ] {
            assert_eq!(check_log_filter(good), Ok(good));
        }
        for (bad, why) in [
            ("", "\"\" has no log level"),
            ("inof", "\"inof\" has no log level"),
            ("info,", "\"\" has no log level"),
            ("flowgate::store=verbose", "has no log level"),
            ("flowgate::store", "has no log level"),
            ("=debug", "\"=debug\" names no module"),
            ("5", "has no log level"),
        ] {
            let error = check_log_filter(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
            assert!(error.contains("write a level"), "{error}");
        }
    }

    #[test]
    fn environment_overrides_config_but_not_admin() {
        for (is_from_environment, active) in [(false, "debug"), (true, "info")] {
            let (_layer, filter) = LogFilter::create("info", is_from_environment);
            filter.configure("debug");
            assert_eq!(filter.state().active, active);
            filter.set("trace").unwrap();
            assert_eq!(filter.state().active, "trace");
            assert_eq!(filter.state().configured, active);
        }
        assert_eq!(LogFilter::create("inof", true).1.state().active, "info");
    }
}
