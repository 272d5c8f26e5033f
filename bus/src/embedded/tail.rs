//! The newest records, in memory.

use std::collections::{HashMap, VecDeque};

use crate::{Record, Subject};

/// The position is older than the tail: ask the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotCovered;

/// A bounded ring of the newest records. It holds everything after [`Tail::covers_after`], so that for those positions
/// its «no» is an answer and the disk need not be asked.
#[derive(Debug)]
pub(super) struct Tail {
    records: VecDeque<Record>,
    by_subject: HashMap<Subject, VecDeque<u64>>,
    covers_after: u64,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

impl Tail {
    pub(super) fn new(covers_after: u64, max_records: usize, max_bytes: usize) -> Self {
        let (records, by_subject) = (VecDeque::new(), HashMap::new());
        Self { records, by_subject, covers_after, bytes: 0, max_records: max_records.max(1), max_bytes }
    }

    pub(super) fn push(&mut self, record: Record) {
        self.bytes += record.payload.len();
        self.by_subject.entry(record.subject.clone()).or_default().push_back(record.position.0);
        self.records.push_back(record);
        while self.records.len() > self.max_records || (self.bytes > self.max_bytes && self.records.len() > 1) {
            self.evict();
        }
    }

    /// Drops what the age limit has deleted.
    pub(super) fn forget_through(&mut self, position: u64) {
        while self.records.front().is_some_and(|record| record.position.0 <= position) {
            self.evict();
        }
    }

    fn evict(&mut self) {
        let Some(record) = self.records.pop_front() else { return };
        self.bytes -= record.payload.len();
        self.covers_after = record.position.0;
        if let Some(positions) = self.by_subject.get_mut(&record.subject) {
            positions.pop_front();
            if positions.is_empty() {
                self.by_subject.remove(&record.subject);
            }
        }
    }

    fn index_from(&self, position: u64) -> usize {
        self.records.partition_point(|record| record.position.0 < position)
    }

    pub(super) fn get(&self, position: u64) -> Result<Option<Record>, NotCovered> {
        if position <= self.covers_after {
            return Err(NotCovered);
        }
        Ok(self.records.get(self.index_from(position)).filter(|record| record.position.0 == position).cloned())
    }

    /// `None`: the newest one is older than the tail, or there is none; ask the disk.
    pub(super) fn last(&self, subject: &Subject) -> Option<Record> {
        let position = *self.by_subject.get(subject)?.back()?;
        self.get(position).ok()?
    }

    pub(super) fn next(&self, subject: &Subject, from: u64) -> Result<Option<Record>, NotCovered> {
        if from <= self.covers_after {
            return Err(NotCovered);
        }
        let Some(positions) = self.by_subject.get(subject) else { return Ok(None) };
        match positions.get(positions.partition_point(|position| *position < from)) {
            Some(position) => self.get(*position),
            None => Ok(None),
        }
    }

    /// Up to `limit` records after `position`; `None`: not covered, ask the disk.
    pub(super) fn after(&self, position: u64, limit: usize) -> Option<Vec<Record>> {
        (position >= self.covers_after)
            .then(|| self.records.range(self.index_from(position + 1)..).take(limit).cloned().collect())
    }
}
