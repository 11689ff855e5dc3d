//! The Lease as the API server keeps it: compare-and-swap on a version, and its validation.

use leasehold_election::{Body, Lease, LeaseWrite, Version};

#[derive(Default)]
pub struct Register {
    pub lease: Option<Lease>,
    count: u64,
}

impl Register {
    pub fn version(&self) -> Version {
        Version(self.count.to_string())
    }

    pub fn write(&mut self, write: &LeaseWrite) -> Result<Lease, ()> {
        assert!(write.body.duration_seconds.is_some_and(|seconds| seconds > 0), "refused by the API: {write:?}");
        assert!(write.body.term <= leasehold_election::Term::MAX, "refused by the API: {write:?}");
        if write.expected.as_ref() != self.lease.as_ref().map(|lease| &lease.version) {
            return Err(());
        }
        self.count += 1;
        let stamp = Some(format!("stamp {}", self.count));
        let lease = Lease { version: self.version(), renewed: stamp, body: write.body.clone() };
        self.lease = Some(lease.clone());
        Ok(lease)
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
