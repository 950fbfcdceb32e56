//! How many connections the process can hold: each takes a file descriptor, and the system gives only so many.
//!
//! A server that takes its last descriptor for a connection can't be asked what is wrong with it. So some are kept for the
//! data file, for operators and for commands, and the bound on connections is lowered to what is left.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but senders: commands (32), operators (64), the data file, listeners, the runtime's own.
const OTHERS: u64 = 128;

/// Asks the system for as many descriptors as `connections` need. Where it gives fewer, lowers the bound, and says so.
pub(super) fn fit(connections: &mut usize) -> Option<String> {
    let configured = *connections;
    let wanted = u64::try_from(configured).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let allowed = raise(wanted);
    let room = usize::try_from(room(wanted, allowed)).unwrap_or(usize::MAX);
    if room >= configured {
        return None;
    }
    *connections = room;
    Some(format!(
        "the system allows {allowed} open files: at most {room} connections are taken, not {configured} \
         (limits.connections); `ulimit -n`, or LimitNOFILE of a systemd unit, allows more"
    ))
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

/// Connections that `allowed` descriptors have room for: where there are very few, half of them.
fn room(wanted: u64, allowed: u64) -> u64 {
    let allowed = allowed.min(wanted);
    allowed.saturating_sub(OTHERS).max(allowed / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_descriptors_leave_the_bound_as_it_is() {
        assert_eq!(room(10_000 + OTHERS, 1 << 20), 10_000);
        assert_eq!(room(10_000 + OTHERS, 10_000 + OTHERS), 10_000);
    }

    #[test]
    fn some_are_always_kept_for_commands() {
        assert_eq!(room(10_000 + OTHERS, 1024), 1024 - OTHERS);
        assert_eq!(room(10_000 + OTHERS, 64), 32);
        assert_eq!(room(1 + OTHERS, 0), 1, "a server without any could not have started");
    }
}
