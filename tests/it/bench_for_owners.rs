//! `flowgate bench` measures this machine, gives a verdict and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Process, eventually, flowgate, run};

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn report_has_all_measurements_and_a_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["bench", "--folder", ".", "--seconds", "1", "--rate", "20"];
    let text = run(folder.path(), &args);
    // A busy machine may miss the second. It still gets a whole report.
    assert!(
        text.code == 0 || text.err.contains("not fast enough"),
        "{text:?}"
    );
    for part in [
        "one sync",
        "Bare server",
        "at 20/s",
        " ms ",
        "nough for 1200 forms a minute",
    ] {
        assert!(text.out.contains(part), "{part} in:\n{}", text.out);
    }
    let json = run(folder.path(), &[&args[..], &["--json"]].concat());
    let row: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert!(row["disk_syncs"].as_u64().unwrap() > 0 && row["disk_sync"]["p50_ms"].is_f64());
    assert!(row["bare_requests_per_second"].as_f64().unwrap() > 0.0);
    assert!(row["max_forms_per_second"].as_f64().unwrap() > 0.0);
    let ranges = row["histogram"].as_array().unwrap().iter();
    let counted: u64 = ranges.map(|range| range["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, row["forms"].as_u64().unwrap());
    assert_eq!(row["verdict"] == "enough", json.code == 0, "{json:?}");
    assert!(is_empty(folder.path()));
}

#[test]
fn nonsense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (args, why) in [
        (&["--rate", "0"][..], "1..=100000"),
        (&["--seconds", "61"], "1..=60"),
        (&["--seconds", "many"], "invalid digit"),
        (&["--folder", "nowhere"], "nowhere is not a folder"),
        (&[], "--folder DIR"),
    ] {
        let refused = run(folder.path(), &[&["bench"], args].concat());
        assert!(
            refused.code == 2 && refused.err.contains(why),
            "{args:?}: {refused:?}"
        );
    }
}

#[test]
fn interrupt_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = flowgate(folder.path());
    command.args(["bench", "--folder", ".", "--seconds", "60"]);
    let mut process = Process(
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // The file is there when the interrupt is handled.
    eventually("the measurement runs", || {
        let folders = fs::read_dir(folder.path()).unwrap();
        let mut files = folders.map(|entry| entry.unwrap().path().join("disk-measurement"));
        files.find(|file| file.exists())
    });
    kill_process(Pid::from_child(&process.0), Signal::INT).unwrap();
    let status = eventually("bench ends", || process.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert!(is_empty(folder.path()));
}
