//! A disk that can be full: a file system in memory, of its own and small, for tests that run as root.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a run of some minutes needs, and little more.
const MEGABYTES: u32 = 1500;

/// Mounted at a folder for as long as this lives.
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// `None`: this machine does not let us.
    pub fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).ok()?;
        let size = format!("size={MEGABYTES}m,mode=755");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "sealpost-test"]).arg(folder).output().ok()?;
        mounted.status.success().then(|| Self { folder: folder.to_path_buf() })
    }

    /// Nothing more can be written, until [`Self::free`].
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let zeros = vec![0; 1 << 20];
        while filler.write_all(&zeros).is_ok() {}
        // The last bytes, which a whole block has no room in.
        while filler.write_all(&zeros[..512]).is_ok() {}
    }

    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Who still has a file open there must not keep it for ever.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).output();
    }
}
