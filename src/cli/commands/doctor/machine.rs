//! Checks the machine: modes and owners of files, disk space, sync time, clock, descriptors.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tempfile::NamedTempFile;

use super::context::{Context, data_folder};
use super::report::Report;
use super::secrets::find_user;
use crate::bootstrap::fd_limit;
use crate::clock::Clock;
use crate::config::units::format_mebibytes;
use crate::domain::health::disk_sync::{SyncJudgement, SyncTimes};

/// Number of syncs that are measured.
const SYNCS: usize = 50;
/// Bytes of one measured write, about the size of a small commit.
const SYNC_BYTES: usize = 16 * 1024;
/// Free space, as a multiple of the minimum, below which an admin should act.
const SPACE_FACTOR: u64 = 4;

/// Runs all checks of the machine.
pub(super) fn check(context: &Context, report: &mut Report<'_>) {
    check_files(context, report);
    check_space(context, report);
    check_sync(context, report);
    check_clock(report);
    check_descriptors(context, report);
}

fn check_files(context: &Context, report: &mut Report<'_>) {
    let config = &context.config;
    check_mode("config", &config.file, 0o022, "go-w", report);
    let folder = data_folder(config);
    check_mode("data folder", &folder, 0o022, "go-w", report);
    if config.data.exists() {
        check_mode("data file", &config.data, 0o007, "o-rwx", report);
        check_owner(context, &config.data, report);
    }
}

/// Checks that none of the `forbidden` bits is set. `fix` is the argument for `chmod`.
fn check_mode(what: &str, path: &Path, forbidden: u32, fix: &str, report: &mut Report<'_>) {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o7777;
            let message = format!("{what} {shown} has mode {mode:04o}");
            if mode & forbidden == 0 {
                report.right("files", message);
            } else {
                report.wrong("files", message, format!("chmod {fix} {shown}"));
            }
        }
        Err(error) => report.wrong("files", format!("{what} {shown}: {error}"), ""),
    }
}

fn check_owner(context: &Context, data: &Path, report: &mut Report<'_>) {
    let user = context.unit.as_ref().and_then(|unit| unit.user.as_deref());
    let (Some(user), Ok(metadata)) = (user, fs::metadata(data)) else {
        return;
    };
    match find_user(user) {
        Some((uid, _)) if uid == metadata.uid() => {}
        Some(_) => report.wrong(
            "files",
            format!(
                "{} does not belong to the service's user {user}",
                data.display()
            ),
            format!("chown {user}: {}", data.display()),
        ),
        None => report.wrong(
            "files",
            format!("the service's user {user} does not exist"),
            "systemd-sysusers flowgate.conf",
        ),
    }
}

fn check_space(context: &Context, report: &mut Report<'_>) {
    let folder = data_folder(&context.config);
    let minimum = context.config.limits.min_free_space;
    let Ok(stat) = rustix::fs::statvfs(&folder) else {
        report.warning(
            "disk space",
            format!("unknown for {}", folder.display()),
            "",
        );
        return;
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let message = format!("{} free in {}", format_mebibytes(free), folder.display());
    if free < minimum {
        let advice = format!(
            "free disk space: with less than {} (limits.min_free_space), forms get 503",
            format_mebibytes(minimum)
        );
        report.wrong("disk space", message, advice);
    } else if free < minimum.saturating_mul(SPACE_FACTOR) {
        report.warning(
            "disk space",
            message,
            "free disk space, or use a larger disk",
        );
    } else {
        report.right("disk space", message);
    }
}

/// Measures how long the disk needs to store a small write durably.
fn check_sync(context: &Context, report: &mut Report<'_>) {
    let folder = data_folder(&context.config);
    let times = match measure_syncs(&folder, &*context.clock) {
        Ok(times) => times,
        Err(error) => {
            let message = format!("can't write in {}: {error}", folder.display());
            report.warning("disk sync", message, "run the command as root");
            return;
        }
    };
    let Some(times) = SyncTimes::summarize(&times) else {
        return;
    };
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let message = format!(
        "{SYNCS} syncs: median {}, fastest {}, slowest {}",
        ms(times.median),
        ms(times.fastest),
        ms(times.slowest)
    );
    match times.judge() {
        SyncJudgement::Good => report.right("disk sync", message),
        SyncJudgement::Slow => report.warning(
            "disk sync",
            message,
            "the disk is slow: each commit waits for it, so few forms are stored in a second; use a local SSD",
        ),
        SyncJudgement::Uneven => report.warning(
            "disk sync",
            message,
            "some syncs are slow: another program uses the disk, or the provider limits it",
        ),
        SyncJudgement::TooSlow => report.wrong(
            "disk sync",
            message,
            "forms may miss WhatsApp's deadline of 10 s: use another disk",
        ),
    }
}

fn measure_syncs(folder: &Path, clock: &dyn Clock) -> io::Result<Vec<Duration>> {
    // The file has no data and is removed at the end.
    let mut file = NamedTempFile::with_prefix_in(".doctor-", folder)?;
    let bytes = [0; SYNC_BYTES];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&bytes)?;
        let began = clock.elapsed();
        file.as_file().sync_data()?;
        times.push(clock.elapsed().saturating_sub(began));
    }
    Ok(times)
}

/// Checks that the system synchronizes its clock. Meta's signatures have no time, but bookings,
/// retries and signed deliveries need the right one.
fn check_clock(report: &mut Report<'_>) {
    let output = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    let answer = output.ok().filter(|output| output.status.success());
    let answer = answer.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match answer.as_deref() {
        Some("yes") => report.right("clock", "synchronized with a time server"),
        Some("no") => report.wrong(
            "clock",
            "not synchronized: bookings and retries follow a wrong time",
            "timedatectl set-ntp true (package systemd-timesyncd or chrony)",
        ),
        _ => report.warning(
            "clock",
            "unknown whether it is synchronized: timedatectl does not answer",
            "make sure that chrony or systemd-timesyncd runs",
        ),
    }
}

/// Checks that there are enough descriptors for the connections of the config.
fn check_descriptors(context: &Context, report: &mut Report<'_>) {
    let required = fd_limit::required_descriptors(&context.config);
    let unit_limit = context.unit.as_ref().and_then(|unit| unit.open_files);
    let own_limit = || getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let allowed = unit_limit.unwrap_or_else(own_limit);
    let message = format!("{allowed} open files are allowed, the config needs {required}");
    if allowed >= required {
        report.right("descriptors", message);
    } else {
        let advice =
            format!("set LimitNOFILE={required} in the unit, or lower limits.max_connections");
        report.warning("descriptors", message, advice);
    }
}
