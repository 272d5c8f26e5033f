//! Writes the history down, in memory for the checker and on disk for people.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::history::{Call, Entry, Number, OpId, What};

pub struct Recorder {
    start: Instant,
    inner: Mutex<Inner>,
    next_op: AtomicU64,
}

struct Inner {
    entries: Vec<Entry>,
    file: BufWriter<File>,
}

impl Recorder {
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let inner = Inner { entries: Vec::new(), file: BufWriter::new(File::create(path)?) };
        Ok(Self { start: Instant::now(), inner: Mutex::new(inner), next_op: AtomicU64::new(1) })
    }

    pub fn note(&self, what: What) {
        let mut inner = self.lock();
        // Under the lock, so that the order of entries is that of their times.
        let entry = Entry { at: self.micros(), what };
        serde_json::to_writer(&mut inner.file, &entry).unwrap();
        inner.file.write_all(b"\n").unwrap();
        inner.entries.push(entry);
    }

    /// Begins an operation.
    pub fn invoke(&self, device: Number, call: Call) -> OpId {
        let op = self.next_op.fetch_add(1, Ordering::Relaxed);
        self.note(What::Invoke { op, device, call });
        op
    }

    pub fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Everything so far; the file is complete then.
    pub fn take(&self) -> Vec<Entry> {
        let mut inner = self.lock();
        inner.file.flush().unwrap();
        std::mem::take(&mut inner.entries)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
