//! Listening sockets that a service manager hands over (`sd_listen_fds(3)`). The manager keeps them open across restarts, so
//! connections wait in the system's queue while no server runs.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Sockets of the environment, not looked at yet. Taken before the process has threads: it changes the environment, so that
/// programs started later do not take them for theirs.
pub(super) struct Unsorted {
    sockets: ListenFd,
    /// Their names in the service manager, in the same order.
    names: Vec<String>,
}

/// Sockets by what they are for.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// For senders.
    pub(super) http: Option<TcpListener>,
    /// For operators.
    pub(super) admin: Option<TcpListener>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Http,
    Admin,
}

impl Unsorted {
    pub(super) fn take() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self { sockets: ListenFd::from_env(), names: names.split(':').map(str::to_owned).collect() }
    }

    /// Finds out what each is for. `admin_listen` is where operators look.
    ///
    /// # Errors
    /// One is no TCP socket, or there are several for the same purpose.
    pub(super) fn sort(mut self, admin_listen: SocketAddr) -> io::Result<Handed> {
        let mut handed = Handed::default();
        for index in 0..self.sockets.len() {
            let Some(socket) = self.sockets.take_tcp_listener(index)? else { continue };
            let name = self.names.get(index).map(String::as_str);
            let place = match role(name, socket.local_addr()?, admin_listen) {
                Role::Http => &mut handed.http,
                Role::Admin => &mut handed.admin,
            };
            if place.replace(socket).is_some() {
                return Err(io::Error::other(
                    "several are for the same purpose: give them FileDescriptorName=http and =admin",
                ));
            }
        }
        Ok(handed)
    }
}

impl Handed {
    /// The addresses of both, where they were handed over.
    pub(super) fn addresses(&self) -> io::Result<[Option<SocketAddr>; 2]> {
        let address = |socket: &Option<TcpListener>| socket.as_ref().map(TcpListener::local_addr).transpose();
        Ok([address(&self.http)?, address(&self.admin)?])
    }
}

/// By its name, else by its address, else it is for senders.
fn role(name: Option<&str>, address: SocketAddr, admin_listen: SocketAddr) -> Role {
    match name {
        Some("http") => Role::Http,
        Some("admin") => Role::Admin,
        _ if address == admin_listen => Role::Admin,
        _ => Role::Http,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_known_by_its_name_or_its_address_and_else_is_for_senders() {
        let [one, other] = ["127.0.0.1:8081", "0.0.0.0:443"].map(|address| address.parse().unwrap());
        assert_eq!(role(Some("admin"), other, one), Role::Admin);
        assert_eq!(role(Some("http"), one, one), Role::Http);
        for name in [None, Some(""), Some("flowgate.socket")] {
            assert_eq!(role(name, one, one), Role::Admin, "{name:?}");
            assert_eq!(role(name, other, one), Role::Http, "{name:?}");
        }
    }
}
