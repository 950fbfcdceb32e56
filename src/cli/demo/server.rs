//! Starts the server of the demo: the same executable, in its own process and folder, so that the
//! demo can kill it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde::de::DeserializeOwned;

use super::error::DemoError;
use super::plan::CONFIG;
use crate::bootstrap::banner::addresses_in;

/// Temporary folder of the demo. Dropping the value removes the folder unless it is retained.
#[derive(Debug)]
pub struct DemoFolder {
    path: PathBuf,
    is_retained: bool,
}

impl DemoFolder {
    /// Creates the folder with mode 0700, and writes the config and `secret` to it.
    ///
    /// # Errors
    /// Returns [`DemoError::File`] if the folder or a file can't be written.
    pub fn create(secret: &str) -> Result<Self, DemoError> {
        let path = std::env::temp_dir().join(format!("flowgate-demo-{}", std::process::id()));
        let created = DirBuilder::new().mode(0o700).create(&path);
        created.map_err(|why| file_error(&path, &why))?;
        let folder = Self {
            path,
            is_retained: false,
        };
        folder.write("config.toml", CONFIG)?;
        folder.write("secret", secret)?;
        Ok(folder)
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Retains the folder when the value is dropped. Returns its path.
    pub fn retain(&mut self) -> &Path {
        self.is_retained = true;
        &self.path
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|why| file_error(&path, &why))
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        if !self.is_retained {
            // An error is ignored, because the next demo uses another folder.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A running server. Dropping the value kills the server.
#[derive(Debug)]
pub struct DemoServer {
    process: Child,
    folder: PathBuf,
    listen: SocketAddr,
    /// Stays open, because the server could not write to its standard output otherwise.
    _stdout: BufReader<ChildStdout>,
}

impl DemoServer {
    /// Starts a server in `folder` and waits for its ready line.
    ///
    /// # Errors
    /// Returns [`DemoError::NotReady`] with the path of its log if the server ends before it is
    /// ready.
    pub fn start(folder: PathBuf) -> Result<Self, DemoError> {
        let log_path = folder.join("server.log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(|why| file_error(&log_path, &why))?;
        let spawned = executable(&folder)?
            .arg("serve")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn();
        let mut process = spawned.map_err(DemoError::Spawn)?;
        let not_ready = || DemoError::NotReady {
            log: log_path.clone(),
        };
        let mut output = BufReader::new(process.stdout.take().ok_or_else(not_ready)?);
        let mut line = String::new();
        let listen = loop {
            line.clear();
            if output.read_line(&mut line).map_err(DemoError::Spawn)? == 0 {
                let _ = process.wait();
                return Err(not_ready());
            }
            if let Some((listen, _)) = addresses_in(&line) {
                break listen;
            }
        };
        Ok(Self {
            process,
            folder,
            listen,
            _stdout: output,
        })
    }

    /// Returns the address of the HTTP listener.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Kills the server with `SIGKILL`, like a power failure. Returns the folder, in which another
    /// server can start.
    ///
    /// # Errors
    /// Returns [`DemoError::Spawn`] if the system refuses.
    pub fn kill(mut self) -> Result<PathBuf, DemoError> {
        let killed = self.process.kill().and_then(|()| self.process.wait());
        killed.map_err(DemoError::Spawn)?;
        Ok(std::mem::take(&mut self.folder))
    }

    /// Runs a command of the command line against the server with `--json` and parses the printed
    /// rows. Spaces separate the words of the command.
    ///
    /// # Errors
    /// Returns [`DemoError::Command`] with the error output if the command fails or prints invalid
    /// rows.
    pub fn run_json<T: DeserializeOwned>(&self, command: &str) -> Result<Vec<T>, DemoError> {
        let output = self.run(&format!("{command} --json"))?;
        let failed = |why: String| DemoError::Command {
            command: command.to_owned(),
            why,
        };
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(|why| failed(format!("{why}: {line}"))))
            .collect()
    }

    /// Runs `flowgate check` and returns its output if it fails. The text is empty if the check
    /// succeeds.
    ///
    /// # Errors
    /// Returns [`DemoError::Spawn`] if the command can't run.
    pub fn check(&self) -> Result<String, DemoError> {
        let output = self.run("check")?;
        if output.status.success() {
            return Ok(String::new());
        }
        Ok(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    fn run(&self, command: &str) -> Result<Output, DemoError> {
        executable(&self.folder)?
            .args(command.split(' '))
            .output()
            .map_err(DemoError::Spawn)
    }
}

/// Kills the server, so that the demo leaves no process behind.
impl Drop for DemoServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns a command that runs this executable with the config of `folder`.
fn executable(folder: &Path) -> Result<Command, DemoError> {
    let mut command = Command::new(std::env::current_exe().map_err(DemoError::Spawn)?);
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .arg("--config")
        .arg(folder.join("config.toml"));
    Ok(command)
}

fn file_error(path: &Path, why: &std::io::Error) -> DemoError {
    DemoError::File {
        path: path.to_owned(),
        why: why.to_string(),
    }
}
