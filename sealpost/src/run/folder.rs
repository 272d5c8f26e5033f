//! The folder of `serve`: `sealpost.db` (the store), `log/` (the event log), `keys.env`. All for the owner alone.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Nothing is made.
    pub fn at(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// Makes what is missing, with mode 0700.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let folder = Self(path.to_path_buf());
        for path in [folder.0.clone(), folder.log()] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.with_context(|| format!("{} cannot be made: set data_dir to a folder of your own", path.display()))?;
        }
        let mode =
            fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others can look into the data folder: run `chmod 700` on it");
        }
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub fn database(&self) -> PathBuf {
        self.0.join("sealpost.db")
    }

    /// SQLite makes files for everybody, but takes over the mode of one that is there.
    pub fn create_database(&self) -> anyhow::Result<()> {
        let path = self.database();
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("{} cannot be made", path.display()))
            }
            _ => Ok(()),
        }
    }
}
