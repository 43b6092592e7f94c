//! A disk: an ext4 file system in a file, mounted, whose power can be cut.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use rustix::io::Errno;
use tempfile::TempDir;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH` (Linux, fs/ext4/ext4.h): from here on
/// nothing is written any more, neither data nor journal. `ioctl` is unsafe in Rust.
const SHUTDOWN: &str = "open(my $f, '<', $ARGV[0]) or die $!; my $flag = pack('L', 2); \
                        ioctl($f, 0x8004587d, $flag) or die $!";

pub(super) struct Disk {
    /// Where it is mounted.
    pub(super) dir: PathBuf,
    image: PathBuf,
    _home: TempDir,
}

impl Disk {
    pub(super) fn new(mebibytes: u64) -> Disk {
        // In memory where possible: what is tried is ext4, not the disk below.
        let shm = Path::new("/dev/shm");
        let home = if shm.is_dir() { TempDir::new_in(shm) } else { TempDir::new() }.unwrap();
        let (image, dir) = (home.path().join("image"), home.path().join("disk"));
        File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        fs::create_dir(&dir).unwrap();
        let disk = Disk { dir, image, _home: home };
        run("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&disk.image]);
        disk.mount();
        disk
    }

    fn mount(&self) {
        // A container that is starting beside this may have a copy of the mount, and keep the file system
        // without power for as long.
        for _ in 0..100 {
            run("mount", &["-o", "loop"], &[&self.image, &self.dir]);
            // Something to hold on to when the power is cut.
            match fs::write(self.dir.join("plug"), "") {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => {
                    run("umount", &[], &[&self.dir]);
                    thread::sleep(Duration::from_millis(100));
                }
                written => return written.unwrap(),
            }
        }
        panic!("{} is without power: who else has it mounted?", self.dir.display());
    }

    /// From here on nothing reaches the disk.
    pub(super) fn cut_power(&self) {
        run("perl", &["-e", SHUTDOWN], &[&self.dir.join("plug")]);
    }

    /// As after the power came back. The server must be gone.
    pub(super) fn mount_again(&mut self) {
        run("umount", &[], &[&self.dir]);
        self.mount();
    }

    pub(super) fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}")], &[&self.dir]);
    }

    /// Takes all the space there is.
    pub(super) fn fill(&self) {
        let path = self.dir.join("ballast");
        for blocks in [1024, 64, 1] {
            let bytes = blocks << 12;
            loop {
                let length = fs::metadata(&path).map_or(0, |file| file.len());
                let file = File::options().create(true).append(true).open(&path).unwrap();
                let flags = rustix::fs::FallocateFlags::empty();
                if rustix::fs::fallocate(&file, flags, length, bytes).is_err() {
                    break;
                }
            }
        }
    }

    pub(super) fn free(&self) {
        // It may be gone with the power.
        let _ = fs::remove_file(self.dir.join("ballast"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A server that was killed just now may hold it for a moment.
        for _ in 0..50 {
            if output("umount", &[], &[&self.dir]).status.success() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        eprintln!("{} stays mounted", self.dir.display());
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&str], paths: &[&Path]) {
    let output = output(program, arguments, paths);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} (as root, with loop devices): {text}");
}

fn output(program: &str, arguments: &[&str], paths: &[&Path]) -> Output {
    let output = Command::new(program).args(arguments).args(paths).output();
    output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"))
}
