//! How many connections the process can hold: each takes a file descriptor, and the system gives only so many.
//!
//! A server that takes its last descriptor for a connection can't be asked what is wrong with it. So some are kept for the
//! data file, for operators and for commands, and the bound on connections is lowered to what is left. Where a program is
//! behind a flow, any connection may have a request under way for which it is asked: that takes a second descriptor. Each
//! delivery that may be under way takes one, too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::Upstream;

/// Descriptors for everything but senders: commands (32), operators (64), the data file, listeners, the runtime's own.
const OTHERS: u64 = 128;

/// What descriptors are needed for.
#[derive(Clone, Copy)]
struct Need {
    /// Connections at once.
    connections: u64,
    /// Programs behind flows.
    programs: u64,
    /// Deliveries and questions to gateways at once.
    outside: u64,
}

/// Asks the system for as many descriptors as `connections` need while `programs` are behind flows and `outside` requests to the
/// outside may be under way. Where it gives fewer, lowers the bound, and says so.
pub(super) fn fit(connections: &mut usize, programs: usize, outside: usize) -> Option<String> {
    let configured = *connections;
    let count = |many: usize| u64::try_from(many).unwrap_or(u64::MAX);
    let need = Need { connections: count(configured), programs: count(programs), outside: count(outside) };
    // A reload may bring the first program.
    let allowed = raise(Need { programs: need.programs.max(1), ..need }.wanted());
    let room = usize::try_from(need.room(allowed)).unwrap_or(usize::MAX);
    if room >= configured {
        return None;
    }
    *connections = room;
    let why = if programs > 0 { " A request takes a second one while a flow's program is asked." } else { "" };
    Some(format!(
        "the system allows {allowed} open files: at most {room} connections are taken, not {configured} \
         (limits.connections); `ulimit -n`, or LimitNOFILE of a systemd unit, allows more.{why}"
    ))
}

impl Need {
    fn wanted(self) -> u64 {
        self.connections.saturating_mul(self.each()).saturating_add(self.others())
    }

    /// Descriptors of one connection.
    const fn each(self) -> u64 {
        if self.programs > 0 { 2 } else { 1 }
    }

    /// All but those of connections: to programs some wait for the next request.
    const fn others(self) -> u64 {
        OTHERS.saturating_add(self.programs.saturating_mul(Upstream::IDLE_MAX)).saturating_add(self.outside)
    }

    /// Connections that `allowed` descriptors have room for: where there are very few, half of them are for connections.
    fn room(self, allowed: u64) -> u64 {
        let allowed = allowed.min(self.wanted());
        (allowed.saturating_sub(self.others()).max(allowed / 2) / self.each()).max(1)
    }
}

/// Raises the soft limit as far as it may go, and returns it.
fn raise(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    if now >= wanted {
        return now;
    }
    let most = limit.maximum.unwrap_or(u64::MAX).min(wanted);
    match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }) {
        Ok(()) => most,
        Err(_) => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn need(connections: u64, programs: u64) -> Need {
        Need { connections, programs, outside: 0 }
    }

    #[test]
    fn enough_descriptors_leave_the_bound_as_it_is() {
        assert_eq!(need(10_000, 0).room(1 << 20), 10_000);
        assert_eq!(need(10_000, 0).room(10_000 + OTHERS), 10_000);
    }

    #[test]
    fn some_are_always_kept_for_commands() {
        assert_eq!(need(10_000, 0).room(1024), 1024 - OTHERS);
        assert_eq!(need(10_000, 0).room(64), 32);
        assert_eq!(need(1, 0).room(0), 1, "a server without any could not have started");
    }

    #[test]
    fn deliveries_have_theirs() {
        let need = Need { outside: 300, ..need(10_000, 0) };
        assert_eq!((need.wanted(), need.room(1024)), (10_000 + OTHERS + 300, 1024 - OTHERS - 300));
    }

    #[test]
    fn where_programs_are_asked_a_connection_takes_two() {
        let others = OTHERS + 2 * Upstream::IDLE_MAX;
        assert_eq!(need(10_000, 2).room(20_000 + others), 10_000);
        assert_eq!(need(10_000, 2).room(10_000 + others), 5000);
        assert_eq!(need(10_000, 2).room(64), 16);
    }
}
