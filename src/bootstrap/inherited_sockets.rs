//! Receives listening sockets from a service manager (`sd_listen_fds(3)`). The manager holds the
//! sockets open across restarts, so connections wait in the system's queue while no server runs.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use super::error::ServeError;
use crate::config::Config;
use crate::http::{BoundSocket, HttpServer};

/// Sockets from the environment that are not yet assigned to a role.
///
/// The process reads the sockets before it starts threads, because reading removes them from the
/// environment. Otherwise, programs that are started later would treat the sockets as their own.
pub(crate) struct InheritedSockets {
    sockets: ListenFd,
    /// Names of the sockets in the service manager, in the same order.
    names: Vec<String>,
}

/// Inherited sockets, each assigned to its role.
#[derive(Debug, Default)]
pub(crate) struct AssignedSockets {
    /// Socket of the HTTP listener. `None` if the service manager passed none.
    pub(crate) http: Option<TcpListener>,
    /// Socket of the admin listener. `None` if the service manager passed none.
    pub(crate) admin: Option<TcpListener>,
}

impl InheritedSockets {
    pub(crate) fn take_from_environment() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self {
            sockets: ListenFd::from_env(),
            names: names.split(':').map(str::to_owned).collect(),
        }
    }

    /// Assigns each socket to a role. `admin_listen` is the admin address of the config.
    ///
    /// # Errors
    /// Returns an error if a socket is no TCP socket, or if two sockets have the same role.
    pub(crate) fn assign(mut self, admin_listen: SocketAddr) -> io::Result<AssignedSockets> {
        let mut assigned = AssignedSockets::default();
        for index in 0..self.sockets.len() {
            let Some(socket) = self.sockets.take_tcp_listener(index)? else {
                continue;
            };
            let name = self.names.get(index).map(String::as_str);
            let slot = if is_for_admin(name, socket.local_addr()?, admin_listen) {
                &mut assigned.admin
            } else {
                &mut assigned.http
            };
            if slot.replace(socket).is_some() {
                return Err(io::Error::other(
                    "two sockets have the same role: name them with FileDescriptorName=http and FileDescriptorName=admin",
                ));
            }
        }
        Ok(assigned)
    }
}

impl AssignedSockets {
    /// Returns the addresses of the sockets for the HTTP listener and the admin listener. `None`
    /// stands for a socket that was not passed.
    pub(crate) fn addresses(&self) -> io::Result<[Option<SocketAddr>; 2]> {
        let address =
            |socket: &Option<TcpListener>| socket.as_ref().map(TcpListener::local_addr).transpose();
        Ok([address(&self.http)?, address(&self.admin)?])
    }

    /// Reserves the addresses of `config` for which no socket was passed.
    ///
    /// # Errors
    /// Returns [`ServeError::Listen`] with the address that can't be used.
    pub(crate) fn bind(self, config: &Config) -> Result<BoundSockets, ServeError> {
        let bind = |inherited: Option<TcpListener>, address| {
            inherited
                .map_or_else(|| BoundSocket::bind(address), BoundSocket::from_inherited)
                .map_err(|source| ServeError::Listen { address, source })
        };
        Ok(BoundSockets {
            http: bind(self.http, config.listen)?,
            admin: bind(self.admin, config.admin_listen)?,
        })
    }
}

/// Reserved addresses of the server.
pub(crate) struct BoundSockets {
    pub(crate) http: BoundSocket,
    pub(crate) admin: BoundSocket,
}

impl BoundSockets {
    /// Starts to listen, first on the admin address. Returns the HTTP server and the admin server.
    ///
    /// # Errors
    /// Returns [`ServeError::Listen`] with the address that can't be used.
    pub(crate) fn listen(self) -> Result<(HttpServer, HttpServer), ServeError> {
        let listen = |socket: BoundSocket| {
            let address = socket.local_addr();
            socket
                .listen()
                .map_err(|source| ServeError::Listen { address, source })
        };
        let admin = listen(self.admin)?;
        Ok((listen(self.http)?, admin))
    }
}

/// Returns `true` if the socket is for the admin listener: by the name of the socket, or by its
/// address if the name is unknown. The default is the HTTP listener.
fn is_for_admin(name: Option<&str>, address: SocketAddr, admin_listen: SocketAddr) -> bool {
    match name {
        Some("http") => false,
        Some("admin") => true,
        _ => address == admin_listen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_role_follows_name_then_address() {
        let [one, other] =
            ["127.0.0.1:8081", "0.0.0.0:443"].map(|address| address.parse().unwrap());
        assert!(is_for_admin(Some("admin"), other, one));
        assert!(!is_for_admin(Some("http"), one, one));
        for name in [None, Some(""), Some("flowgate.socket")] {
            assert!(is_for_admin(name, one, one), "{name:?}");
            assert!(!is_for_admin(name, other, one), "{name:?}");
        }
    }
}
