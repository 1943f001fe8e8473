//! Real file systems that are full, out of inodes, read-only, or vanish. The children are this very test binary, run again
//! in a mount namespace of their own, where a small file system is mounted: it goes with them, whatever happens.
//!
//! Where nothing may be mounted (without root and user namespaces), these tests say so and are left out; those at the end
//! need no mount.

mod program;
mod recorder;
mod vanishing;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the child finds the small file system.
const DISK: &str = "SIFT_REPLAY_TEST_DISK";

/// How the child tells that it came to its end.
const DONE: &str = "all of it was checked";

/// What the shell ends with if nothing can be mounted.
const REFUSED: i32 = 97;

/// Runs the child test of this name with a tmpfs of these options, such as `size=64k`.
#[track_caller]
fn on_a_disk(options: &str, child: &str) {
    let dir = tempfile::tempdir().unwrap();
    // Root needs no user namespace; others need one to be allowed to mount anything.
    let outputs = ["-m", "-rm"].map(|namespaces| run(namespaces, options, dir.path(), child));
    let Some(output) = outputs.into_iter().find_map(|output| output) else {
        println!("left out, because nothing can be mounted here: {child}");
        return;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains(DONE), "{child}: {}\n{out}\n{err}", output.status);
}

/// `None` if nothing can be mounted so.
fn run(namespaces: &str, options: &str, dir: &Path, child: &str) -> Option<Output> {
    let script = format!("mount -t tmpfs -o \"$0\" none \"$1\" || exit {REFUSED}; shift; exec \"$@\"");
    let output = Command::new("unshare")
        .args([namespaces, "sh", "-c", &script, options])
        .arg(dir)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", &format!("real_disk::{child}")])
        .env(DISK, dir)
        .output()
        .ok()?;
    let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
    ran.then_some(output)
}

/// The child's small file system.
fn disk() -> PathBuf {
    PathBuf::from(std::env::var(DISK).unwrap())
}

/// Says that the child came to its end.
fn done() {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{DONE}\n").as_bytes()).unwrap();
}

/// Fills the file system until `free` pages are left.
fn fill(disk: &Path, free: usize) -> PathBuf {
    const PAGE: usize = 4096;
    let (ballast, spare) = (disk.join("ballast"), disk.join("spare"));
    std::fs::write(&spare, vec![1; free * PAGE]).unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(&ballast).unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[1; PAGE]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    std::fs::remove_file(spare).unwrap();
    ballast
}

/// Mounts the file system anew, read-only or not.
fn remount(disk: &Path, how: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk).status().unwrap();
    assert!(status.success());
}
