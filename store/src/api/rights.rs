//! What a token permits. Its files say so, by their names:
//!
//! ```text
//!   admin ⊇ write ⊇ read              all collections; admin: also what they are
//!   write.orders ⊇ read.orders        this collection
//!   backup                            every watch, and the snapshot, which admin may read, too
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use leasehold_documents::is_name;
use warp::http::Extensions;

/// What a token permits. Rights of several files add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    admin: bool,
    backup: bool,
    read: bool,
    write: bool,
    read_of: BTreeSet<String>,
    write_of: BTreeSet<String>,
}

/// Of every request where there are no tokens.
pub(super) static ALL: Rights =
    Rights { admin: true, backup: true, read: true, write: true, read_of: BTreeSet::new(), write_of: BTreeSet::new() };

impl Rights {
    /// Those that the guard has found for a request.
    pub(super) fn of(extensions: &Extensions) -> &Rights {
        extensions.get::<Arc<Rights>>().map_or(&ALL, |rights| rights)
    }

    /// Adds what a file of this name gives.
    ///
    /// # Errors
    /// There is no such file.
    pub(super) fn add(&mut self, file: &str) -> Result<(), String> {
        match file.split_once('.') {
            None => match file {
                "admin" => self.admin = true,
                "backup" => self.backup = true,
                "read" => self.read = true,
                "write" => self.write = true,
                _ => return Err(unknown(file)),
            },
            Some((word, name)) => {
                let of = match word {
                    "read" => &mut self.read_of,
                    "write" => &mut self.write_of,
                    _ => return Err(unknown(file)),
                };
                if !is_name(name) {
                    return Err(unknown(file));
                }
                of.insert(name.to_owned());
            }
        }
        Ok(())
    }

    /// May it change what collections are?
    pub(super) fn administers(&self) -> bool {
        self.admin
    }

    /// May it read all collections?
    pub(super) fn reads_all(&self) -> bool {
        self.read || self.writes_all()
    }

    /// May it read this collection?
    pub(super) fn reads(&self, collection: &str) -> bool {
        self.reads_all() || self.read_of.contains(collection) || self.write_of.contains(collection)
    }

    /// May it read any collection?
    pub(super) fn reads_something(&self) -> bool {
        self.reads_all() || !self.read_of.is_empty() || !self.write_of.is_empty()
    }

    fn writes_all(&self) -> bool {
        self.write || self.admin
    }

    /// May it write to this collection?
    pub(super) fn writes(&self, collection: &str) -> bool {
        self.writes_all() || self.write_of.contains(collection)
    }

    /// May it write to any collection?
    pub(super) fn writes_something(&self) -> bool {
        self.writes_all() || !self.write_of.is_empty()
    }

    /// May it watch all collections?
    pub(super) fn watches_all(&self) -> bool {
        self.backup || self.reads_all()
    }

    /// May it read all that there is, in one file?
    pub(super) fn backs_up(&self) -> bool {
        self.backup || self.admin
    }

    /// May it watch this collection?
    pub(super) fn watches(&self, collection: &str) -> bool {
        self.backup || self.reads(collection)
    }

    /// The collections that it may read by their names.
    pub(super) fn named(&self) -> BTreeSet<String> {
        self.read_of.union(&self.write_of).cloned().collect()
    }
}

fn unknown(file: &str) -> String {
    format!(
        "the file {file:?} is unknown: there are `read`, `write`, `admin`, `backup`, and `read.<collection>` and \
         `write.<collection>` with the name of a collection"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(files: &[&str]) -> Rights {
        let mut rights = Rights::default();
        files.iter().for_each(|file| rights.add(file).unwrap());
        rights
    }

    #[test]
    fn each_file_gives_what_its_name_says_and_what_lies_below_that() {
        // Of orders: reads, writes, watches; of users: reads; all: reads, watches, backs up; administers.
        for (files, expected) in [
            (&["admin"][..], [true; 8]),
            (&["write"], [true, true, true, true, true, true, false, false]),
            (&["read"], [true, false, true, true, true, true, false, false]),
            (&["backup"], [false, false, true, false, false, true, true, false]),
            (&["read.orders"], [true, false, true, false, false, false, false, false]),
            (&["write.orders"], [true, true, true, false, false, false, false, false]),
            (&["read.users", "write.orders"], [true, true, true, true, false, false, false, false]),
            (&["read", "write.orders"], [true, true, true, true, true, true, false, false]),
            (&[], [false; 8]),
        ] {
            let rights = of(files);
            let found = [
                rights.reads("orders"),
                rights.writes("orders"),
                rights.watches("orders"),
                rights.reads("users"),
                rights.reads_all(),
                rights.watches_all(),
                rights.backs_up(),
                rights.administers(),
            ];
            assert_eq!(found, expected, "{files:?}");
        }
        assert!(of(&["read.orders"]).reads_something() && !of(&["backup"]).reads_something());
        assert!(of(&["write.orders"]).writes_something() && !of(&["read"]).writes_something());
        assert_eq!(of(&["read.b", "write.a"]).named(), ["a".to_owned(), "b".to_owned()].into());
    }

    #[test]
    fn a_file_of_another_name_is_refused_in_words_that_list_those_that_exist() {
        for file in ["raed", "READ", "read.", "read.Orders", "read.api", "admin.orders", "backup.x", "ca.crt", ".read"]
        {
            let why = Rights::default().add(file).unwrap_err();
            assert!(why.contains(file) && why.contains("`read.<collection>`"), "{why}");
        }
    }
}
