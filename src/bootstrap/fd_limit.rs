//! Raises the limit of open files and lowers the maximum number of connections to the file
//! descriptors that exist.
//!
//! Each connection needs one file descriptor, and the system limits their number. A server that
//! uses its last descriptor for a connection could no longer be reached by an admin. So some
//! descriptors are reserved for the data file, the admin listener and commands. If flows have an
//! upstream, each connection may need a second descriptor for a request to the upstream. Each
//! delivery in flight also needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::http::UpstreamClient;

/// Descriptors reserved for everything but connections: commands (32), the admin listener (64), the
/// data file, the listeners and the async runtime.
const RESERVED_DESCRIPTORS: u64 = 128;

/// Numbers that determine how many descriptors are needed.
#[derive(Clone, Copy)]
struct FdBudget {
    /// Maximum number of connections.
    connections: u64,
    /// Number of flows with an upstream.
    upstreams: u64,
    /// Maximum number of deliveries and gateway requests in flight.
    outbound: u64,
}

/// Raises the limit of open files to what `config` needs. Returns the maximum number of
/// connections, with a warning if the system allows fewer than the config.
pub(crate) fn fit_connections(config: &Config) -> (usize, Option<String>) {
    let configured = config.limits.max_connections;
    let destinations = config.destinations.values();
    let deliveries = destinations.map(|destination| destination.policy.concurrency);
    let outbound = deliveries
        .sum::<usize>()
        .saturating_add(config.gateways.len());
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let budget = FdBudget {
        connections: count(configured),
        upstreams: count(config.upstreams.len()),
        outbound: count(outbound),
    };
    // A reload may add the first upstream.
    let with_upstream = FdBudget {
        upstreams: budget.upstreams.max(1),
        ..budget
    };
    let allowed = raise_limit(with_upstream.required());
    let available = usize::try_from(budget.max_connections(allowed)).unwrap_or(usize::MAX);
    if available >= configured {
        return (configured, None);
    }
    let why = if config.upstreams.is_empty() {
        ""
    } else {
        " A request that waits for an upstream uses a second file."
    };
    let warning = format!(
        "the system allows {allowed} open files: the server accepts at most {available} connections, not {configured} \
         (limits.max_connections); raise the limit with `ulimit -n`, or LimitNOFILE in a systemd unit.{why}"
    );
    (available, Some(warning))
}

impl FdBudget {
    fn required(self) -> u64 {
        self.connections
            .saturating_mul(self.per_connection())
            .saturating_add(self.reserved())
    }

    /// Returns the number of descriptors of one connection.
    const fn per_connection(self) -> u64 {
        if self.upstreams > 0 { 2 } else { 1 }
    }

    /// Returns the number of descriptors that connections do not use. Idle connections to upstreams
    /// count here.
    const fn reserved(self) -> u64 {
        RESERVED_DESCRIPTORS
            .saturating_add(self.upstreams.saturating_mul(UpstreamClient::IDLE_MAX))
            .saturating_add(self.outbound)
    }

    /// Returns the maximum number of connections for `allowed` descriptors, at least 1. If there
    /// are very few descriptors, connections get half of them.
    fn max_connections(self, allowed: u64) -> u64 {
        let allowed = allowed.min(self.required());
        (allowed.saturating_sub(self.reserved()).max(allowed / 2) / self.per_connection()).max(1)
    }
}

/// Raises the soft limit of open files to at most `required` and returns the limit that now
/// applies.
fn raise_limit(required: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    if now >= required {
        return now;
    }
    let current = limit.maximum.unwrap_or(u64::MAX).min(required);
    let raised = Rlimit {
        current: Some(current),
        ..limit
    };
    setrlimit(Resource::Nofile, raised).map_or(now, |()| current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_reserved_descriptors() {
        const RESERVED: u64 = RESERVED_DESCRIPTORS;
        let reserved = RESERVED + 2 * UpstreamClient::IDLE_MAX;
        for (case, connections, upstreams, outbound, allowed, expected) in [
            ("enough", 10_000, 0, 0, 1 << 20, 10_000),
            ("just enough", 10_000, 0, 0, 10_000 + RESERVED, 10_000),
            ("too few", 10_000, 0, 0, 1024, 1024 - RESERVED),
            ("half of very few", 10_000, 0, 0, 64, 32),
            ("a server without any could not have started", 1, 0, 0, 0, 1),
            ("deliveries", 10_000, 0, 300, 1024, 1024 - RESERVED - 300),
            ("two each", 10_000, 2, 0, 20_000 + reserved, 10_000),
            ("too few of two each", 10_000, 2, 0, 10_000 + reserved, 5000),
            ("half of very few, two each", 10_000, 2, 0, 64, 16),
        ] {
            let budget = FdBudget {
                connections,
                upstreams,
                outbound,
            };
            assert_eq!(budget.max_connections(allowed), expected, "{case}");
        }
    }

    #[test]
    fn deliveries_require_descriptors() {
        let budget = FdBudget {
            connections: 10_000,
            upstreams: 0,
            outbound: 300,
        };
        assert_eq!(budget.required(), 10_000 + RESERVED_DESCRIPTORS + 300);
    }
}
