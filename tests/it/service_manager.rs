//! The service manager learns when the server is ready, reloads, stops, and that its writer works.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::{PLAIN_FLOW, Server, eventually};

/// Socket of a service manager.
struct ServiceManager(UnixDatagram);

impl ServiceManager {
    fn new(server: &Server) -> (Self, String) {
        let path = server.folder().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        (Self(socket), path.to_str().unwrap().to_owned())
    }

    /// Waits for a message that begins with `start`, and returns it.
    fn wait_for(&self, start: &str) -> String {
        eventually(start, || {
            let mut buffer = [0; 4096];
            let length = self.0.recv(&mut buffer).ok()?;
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            message.starts_with(start).then_some(message)
        })
    }
}

#[test]
fn service_manager_follows_the_server() {
    let mut server = Server::stopped(PLAIN_FLOW);
    let (manager, path) = ServiceManager::new(&server);
    server.start_with(&[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "400000")]);
    let ready = manager.wait_for("READY=1");
    let status = format!("STATUS=listening on http://{}", server.address());
    assert!(ready.contains(&status), "{ready}");
    for _ in 0..5 {
        manager.wait_for("WATCHDOG=1");
    }

    assert_eq!(server.cli(&["reload"]).code, 0);
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(!manager.wait_for("READY=1").contains("refused"));
    let config = server.folder().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\nwrong = 1\n")).unwrap();
    assert_ne!(server.cli(&["reload"]).code, 0);
    manager.wait_for("RELOADING=1");
    let ready = manager.wait_for("READY=1");
    assert!(ready.contains("the last reload was refused"), "{ready}");

    server.send_sigterm();
    manager.wait_for("STOPPING=1");
}

#[test]
fn watchdog_of_another_process_gets_no_signs() {
    let mut server = Server::stopped(PLAIN_FLOW);
    let (manager, path) = ServiceManager::new(&server);
    server.start_with(&[
        ("NOTIFY_SOCKET", &path),
        ("WATCHDOG_USEC", "100000"),
        ("WATCHDOG_PID", "1"),
    ]);
    manager.wait_for("READY=1");
    server.send_sigterm();
    // Nothing arrives between the two.
    let mut buffer = [0; 4096];
    let next = eventually("the next message", || manager.0.recv(&mut buffer).ok());
    assert!(buffer[..next].starts_with(b"STOPPING=1"));
}
