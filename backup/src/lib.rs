//! Backups of a store.
