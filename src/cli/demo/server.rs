//! The demo's server: this very executable, in a process and a folder of its own, to be killed at will.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde::de::DeserializeOwned;

use super::DemoError;
use super::plan::CONFIG;
use crate::cli::serve::addresses_in;

/// A folder that is gone when the demo is, unless it is to be looked at.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Makes the folder, for this user alone, with the config and `secret` in it.
    ///
    /// # Errors
    /// [`DemoError::File`].
    pub fn make(secret: &str) -> Result<Self, DemoError> {
        let path = std::env::temp_dir().join(format!("flowgate-demo-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).map_err(|why| file_error(&path, &why))?;
        let folder = Self { path, keep: false };
        folder.write("config.toml", CONFIG)?;
        folder.write("secret", secret)?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder where it is.
    pub fn keep(&mut self) -> &Path {
        self.keep = true;
        &self.path
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|why| file_error(&path, &why))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing depends on it: the next demo has another name.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Child,
    folder: PathBuf,
    listen: SocketAddr,
    /// Kept open: a server that can't write to its standard output is another one than ours.
    _out: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server in `folder` and waits until it says that it is ready.
    ///
    /// # Errors
    /// [`DemoError::NotReady`] with the end of its log where it ends before that.
    pub fn start(folder: PathBuf) -> Result<Self, DemoError> {
        let log_path = folder.join("server.log");
        let log =
            File::options().create(true).append(true).open(&log_path).map_err(|why| file_error(&log_path, &why))?;
        let spawned = executable(&folder)?.arg("serve").stdout(Stdio::piped()).stderr(log).spawn();
        let mut process = spawned.map_err(DemoError::Spawn)?;
        let mut out = BufReader::new(process.stdout.take().ok_or(DemoError::NotReady { log: log_path.clone() })?);
        let mut line = String::new();
        let listen = loop {
            line.clear();
            if out.read_line(&mut line).map_err(DemoError::Spawn)? == 0 {
                let _ = process.wait();
                return Err(DemoError::NotReady { log: log_path });
            }
            if let Some((listen, _)) = addresses_in(&line) {
                break listen;
            }
        };
        Ok(Self { process, folder, listen, _out: out })
    }

    /// Where it takes submissions.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Kills it as a power cut would: `SIGKILL`, no chance to tidy up. Gives back the folder, to start another in.
    ///
    /// # Errors
    /// [`DemoError::Spawn`] where the system refuses.
    pub fn kill(mut self) -> Result<PathBuf, DemoError> {
        self.process.kill().and_then(|()| self.process.wait()).map_err(DemoError::Spawn)?;
        Ok(std::mem::take(&mut self.folder))
    }

    /// Runs a command of the command line against it and reads what it prints with `--json`.
    ///
    /// # Errors
    /// [`DemoError::Command`] with what it complained of.
    pub fn ask<T: DeserializeOwned>(&self, args: &[&str]) -> Result<Vec<T>, DemoError> {
        let output = self.run(&[args, &["--json"]].concat())?;
        let failed = |why: String| DemoError::Command { command: args.join(" "), why };
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(|line| serde_json::from_str(line).map_err(|why| failed(format!("{why}: {line}")))).collect()
    }

    /// What `flowgate check` complains of; nothing if all is well.
    ///
    /// # Errors
    /// [`DemoError::Spawn`].
    pub fn check(&self) -> Result<String, DemoError> {
        let output = self.run(&["check"])?;
        if output.status.success() {
            return Ok(String::new());
        }
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    fn run(&self, args: &[&str]) -> Result<Output, DemoError> {
        executable(&self.folder)?.args(args).output().map_err(DemoError::Spawn)
    }
}

/// No demo leaves a server behind.
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// This executable, with the config of `folder`.
fn executable(folder: &Path) -> Result<Command, DemoError> {
    let mut command = Command::new(std::env::current_exe().map_err(DemoError::Spawn)?);
    command.current_dir(folder).stdin(Stdio::null()).arg("--config").arg(folder.join("config.toml"));
    Ok(command)
}

fn file_error(path: &Path, why: &std::io::Error) -> DemoError {
    DemoError::File { path: path.to_owned(), why: why.to_string() }
}
