//! The Lease as the API server keeps it: compare-and-swap on a version, and its validation.

use uuid::Uuid;

use leasehold_election::{Body, Lease, LeaseWrite, RecordWrite, RecordWritten, Term, Version, Why};

#[derive(Default)]
pub struct Register {
    pub lease: Option<Lease>,
    /// The record of terms: its version, term and duration, and the mark of who created it.
    pub record: Option<(Version, Term, u32, Option<Uuid>)>,
    count: u64,
}

impl Register {
    pub fn version(&self) -> Version {
        Version(self.count.to_string())
    }

    pub fn write(&mut self, write: &LeaseWrite) -> Result<Lease, ()> {
        let is_timed = write.body.duration_seconds.is_some_and(|seconds| seconds > 0);
        assert!(is_timed || write.why == Why::Place, "refused by the API: {write:?}");
        assert!(write.body.term <= leasehold_election::Term::MAX, "refused by the API: {write:?}");
        if write.expected.as_ref() != self.lease.as_ref().map(|lease| &lease.version) {
            return Err(());
        }
        self.count += 1;
        let stamp = Some(format!("stamp {}", self.count));
        let old = self.lease.as_ref().and_then(|lease| lease.renewed.clone());
        let stamp = if write.why.is_stamped() { stamp } else { old };
        let lease = Lease { version: self.version(), renewed: stamp, body: write.body.clone() };
        self.lease = Some(lease.clone());
        Ok(lease)
    }

    pub fn write_record(&mut self, write: &RecordWrite) -> RecordWritten {
        if write.expected.as_ref() != self.record.as_ref().map(|(version, ..)| version) {
            return RecordWritten::Conflict;
        }
        self.count += 1;
        self.record = Some((self.version(), write.term, write.duration_seconds, write.created_by));
        RecordWritten::Written { version: self.version() }
    }

    /// An edit by hand: `renewTime` stays.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Body)) -> Option<Lease> {
        let lease = self.lease.as_mut()?;
        self.count += 1;
        lease.version = Version(self.count.to_string());
        edit(&mut lease.body);
        Some(lease.clone())
    }

    pub fn delete(&mut self) -> Option<Version> {
        self.lease.take()?;
        self.count += 1;
        Some(self.version())
    }
}
