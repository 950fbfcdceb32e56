//! Reports the state of the server to the service manager (`sd_notify(3)`): ready, reloading,
//! stopping, and signs of life of the writer.
//!
//! The writer itself feeds the watchdog: after each commit, and each second without work. A timer
//! would also run while the writer hangs. Then the service manager would not restart the server.
//!
//! The socket never blocks: a service manager that does not read must not stop the writer. A lost
//! sign of life does no harm, because the interval has several of them.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use crate::clock::Clock;

/// Signs of life in one watchdog interval.
const SIGNS_PER_INTERVAL: u32 = 4;

/// Connection to the service manager. Does nothing if no service manager started the process.
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// Minimum time between two signs of life. `None`: the service manager expects none.
    sign_interval: Option<Duration>,
    /// Time of the last sign of life.
    last_sign: Mutex<Option<Duration>>,
    clock: Arc<dyn Clock>,
}

impl ServiceManager {
    /// Connects to the service manager that the environment names.
    pub(super) fn from_environment(clock: Arc<dyn Clock>) -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let unreachable = |error: &io::Error| {
                tracing::warn!(error = %error, "the service manager can't be notified (NOTIFY_SOCKET)");
            };
            connect(&name).inspect_err(unreachable).ok()
        });
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let is_for_this_process =
            number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let interval = number("WATCHDOG_USEC").filter(|us| is_for_this_process && *us > 0);
        Self {
            socket,
            sign_interval: interval.map(|us| Duration::from_micros(us) / SIGNS_PER_INTERVAL),
            last_sign: Mutex::new(None),
            clock,
        }
    }

    /// Reports that the server can commit and accepts requests. Also ends a reload.
    pub(super) fn report_ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// Reports the begin of a reload. [`Self::report_ready`] ends it.
    pub(super) fn report_reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// Reports that the server stops.
    pub(super) fn report_stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping: requests in flight are answered");
    }

    /// Sends a sign of life, if the last one is old enough.
    pub(super) fn report_progress(&self) {
        let Some(interval) = self.sign_interval else {
            return;
        };
        let now = self.clock.elapsed();
        let mut last = self.last_sign.lock();
        if last.is_none_or(|last| now.saturating_sub(last) >= interval) {
            *last = Some(now);
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // The server works without its service manager, so an error is ignored.
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// Connects to the socket `name`. A name that begins with `@` is an abstract one.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::{Millis, Timestamp};

    #[test]
    fn signs_of_life_are_sent_a_few_times_per_interval() {
        let (socket, manager_socket) = UnixDatagram::pair().unwrap();
        manager_socket.set_nonblocking(true).unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::ZERO));
        let manager = ServiceManager {
            socket: Some(socket),
            sign_interval: Some(Duration::from_secs(15)),
            last_sign: Mutex::new(None),
            clock: Arc::<ManualClock>::clone(&clock),
        };
        let mut signs = 0;
        for _ in 0..600 {
            manager.report_progress();
            while manager_socket.recv(&mut [0; 64]).is_ok() {
                signs += 1;
            }
            clock.advance(Millis::new(100));
        }
        assert_eq!(signs, 4, "one minute");
    }

    #[test]
    fn full_socket_does_not_block() {
        let (socket, _reader) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let manager = ServiceManager {
            socket: Some(socket),
            sign_interval: None,
            last_sign: Mutex::new(None),
            clock: Arc::new(ManualClock::at(Timestamp::ZERO)),
        };
        for _ in 0..10_000 {
            manager.report_stopping();
        }
    }
}
