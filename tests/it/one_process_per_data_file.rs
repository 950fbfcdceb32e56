//! Only one process holds the data file. Commands use this process, or open the file of a stopped
//! server.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::form::Form;
use crate::support::{PLAIN_FLOW, Process, Server, assert_each_once, eventually, flowgate};

#[test]
fn second_server_on_same_file_is_refused() {
    let server = Server::start(PLAIN_FLOW);
    let second = server.cli(&["serve", "--lock-timeout", "0s"]);
    assert_eq!(second.code, 4, "{second:?}");
    assert!(
        second
            .err
            .contains("another flowgate command or server has"),
        "{}",
        second.err
    );
    assert!(second.err.contains("flowgate status"), "{}", second.err);
    assert!(
        server.post("/form", &Form::new("t")).is_accepted(),
        "the first one does not mind"
    );
}

#[test]
fn socket_is_private_and_removed_on_exit() {
    let mut server = Server::start(PLAIN_FLOW);
    let socket = server.folder().join("flowgate.redb.sock");
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn commands_work_as_soon_as_port_opens() {
    // The address is used only here, so no other process takes its port before the server starts.
    let free = TcpListener::bind("127.77.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = Server::stopped(PLAIN_FLOW);
    let file = server.folder().join("config.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(
        file,
        config.replacen(
            "listen = \"127.0.0.1:0\"",
            &format!("listen = \"{free}\""),
            1,
        ),
    )
    .unwrap();
    for start in 1..=20 {
        let mut serve = flowgate(server.folder());
        let process = Process(
            serve
                .arg("serve")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        eventually("the port is open", || TcpStream::connect(free).ok());
        let tried = server.cli(&["try"]);
        assert_eq!(tried.code, 0, "start {start}: {tried:?}");
        let ready = crate::support::get(free, "/readyz");
        assert_eq!(
            ready.status, 200,
            "start {start}: whoever gets a connection finds it ready"
        );
        // The server is killed. The next server finds a socket file that no process serves.
        drop(process);
        assert!(server.folder().join("flowgate.redb.sock").exists());
    }
    assert_eq!(server.submissions().len(), 20);
}

/// Opens and locks the data file as another process would, until the result is dropped.
fn lock_data_file(server: &Server) -> File {
    let file = File::options()
        .read(true)
        .write(true)
        .open(server.folder().join("flowgate.redb"))
        .unwrap();
    file.try_lock().unwrap();
    file
}

#[test]
fn server_waits_for_command_with_open_file() {
    let mut server = Server::start(PLAIN_FLOW);
    server.stop();
    let other = lock_data_file(&server);
    let log = server.folder().join("log");
    let waiter = std::thread::spawn(move || {
        eventually("it says that it waits", || {
            fs::read_to_string(&log)
                .ok()?
                .contains("waiting up to 30 s")
                .then_some(())
        });
        drop(other);
    });
    server.start_again();
    waiter.join().unwrap();
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    let output = server
        .log()
        .matches("has the data file open: waiting")
        .count();
    assert_eq!(output, 1, "it says so once: {}", server.log());
}

#[test]
fn command_waits_for_process_with_open_file() {
    let mut server = Server::start(PLAIN_FLOW);
    server.stop();
    let other = lock_data_file(&server);
    let mut command = flowgate(server.folder());
    let mut status = command
        .arg("status")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = String::new();
    BufReader::new(status.stderr.take().unwrap())
        .read_line(&mut output)
        .unwrap();
    assert!(
        output.starts_with("another flowgate command or server has"),
        "{output}"
    );
    assert!(output.ends_with("open: waiting up to 30 s\n"), "{output}");
    drop(other);
    assert!(status.wait().unwrap().success());
}

#[test]
fn same_commands_work_on_file_of_stopped_server() {
    let mut server = Server::start(PLAIN_FLOW);
    server.add_agent("Ann", &[]);
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    server.settled();
    let running = ["submissions", "leads", "agents", "jobs"]
        .map(|command_name| server.rows(&[command_name, "list"]));
    server.stop();
    let stopped = ["submissions", "leads", "agents", "jobs"]
        .map(|command_name| server.rows(&[command_name, "list"]));
    assert_eq!(running, stopped);
    assert_eq!(server.cli(&["check"]).code, 0);
    server.rows(&["leads", "close", &running[1][0]["id"].to_string()]);
    server.start_again();
    assert_eq!(server.row(&["leads", "list"])["state"], "closed");
}

#[test]
fn stale_socket_blocks_neither_commands_nor_start() {
    let mut server = Server::start(PLAIN_FLOW);
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    server.kill9();
    assert_each_once(&server.submissions(), ["t"]);
    server.start_again();
    assert_each_once(&server.submissions(), ["t"]);
}

#[test]
fn damaged_file_has_its_own_exit_code() {
    let mut server = Server::start(PLAIN_FLOW);
    assert!(server.post("/form", &Form::new("t")).is_accepted());
    server.stop();
    let path = server.folder().join("flowgate.redb");
    let mut bytes = fs::read(&path).unwrap();
    let from = bytes.len().min(4096);
    for byte in &mut bytes[from..] {
        *byte ^= 0x5a;
    }
    fs::write(&path, &bytes).unwrap();
    let output = server.cli(&["serve"]);
    assert_eq!(output.code, 6, "{output:?}");
    assert!(
        output.err.contains("damaged") && output.err.contains("backup"),
        "{}",
        output.err
    );
    assert_eq!(
        fs::read(&path).unwrap().len(),
        bytes.len(),
        "the file is left as it is, for whoever is to repair it"
    );
}

#[test]
fn occupied_address_fails_before_file_is_opened() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["listen", "admin_listen"] {
        let server = Server::stopped(PLAIN_FLOW);
        let file = server.folder().join("config.toml");
        let config = fs::read_to_string(&file).unwrap();
        let changed = config.replace(
            &format!("\n{key} = \"127.0.0.1:0\""),
            &format!("\n{key} = \"{address}\""),
        );
        assert_ne!(changed, config);
        fs::write(file, changed).unwrap();
        let output = server.cli(&["serve"]);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(
            output.err.contains(&format!("can't listen on {address}")),
            "{output:?}"
        );
        assert!(
            !server.folder().join("flowgate.redb").exists(),
            "{key}: it need not have been opened"
        );
    }
}

#[test]
fn foreign_file_is_not_changed() {
    let server = Server::stopped(PLAIN_FLOW);
    let path = server.folder().join("flowgate.redb");
    fs::write(&path, "my novel, chapter one").unwrap();
    assert_ne!(server.cli(&["serve"]).code, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), "my novel, chapter one");
}
