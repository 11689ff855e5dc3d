//! The shared key of a cluster's replicas: as its files hold it, and its id, by which two replicas find one they share.
//!
//! ```text
//!   DIR/current   proves; always there
//!   DIR/next      is accepted as well, and proves to a replica without the other: there while the key is changed
//! ```
//!
//! A file holds at least 32 bytes of randomness in any form (`openssl rand -base64 48`); white space around it is
//! ignored. The key never crosses the wire, and is never logged. Its id does: 8 bytes that are made from it one way, so
//! people can compare what the pods have. What enters the handshake is made from it, too: a key has any length, and Noise's
//! has 32 bytes.
//!
//! ```text
//!   id  = HMAC-SHA-256(key, "leasehold peer key id 1"), the first 8 bytes
//!   psk = HMAC-SHA-256(key, "leasehold peer psk 1")
//! ```

use ring::hmac;

use leasehold_daemon::reload::{Files, Names};

/// A key shorter than this could be found by trying.
const KEY_BYTES_MIN: usize = 32;
/// Nobody's key is longer; a file that is was meant for something else.
const KEY_BYTES_MAX: usize = 4096;
/// The files.
pub const NAMES: Names = Names::These(&["current", "next"]);

/// Which key: made from it one way.
pub type KeyId = [u8; 8];

/// One key.
#[derive(Clone)]
pub struct Key {
    id: KeyId,
    psk: [u8; 32],
}

impl Key {
    /// From a file's bytes.
    ///
    /// # Errors
    /// It is too short or too long, in words that do not repeat it.
    pub fn new(bytes: &[u8]) -> Result<Key, String> {
        let bytes = bytes.trim_ascii();
        if bytes.len() < KEY_BYTES_MIN || bytes.len() > KEY_BYTES_MAX {
            return Err(format!(
                "has {} bytes; a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} (create one: openssl rand -base64 48)",
                bytes.len()
            ));
        }
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let (mut id, mut psk) = (KeyId::default(), [0; 32]);
        id.copy_from_slice(&hmac::sign(&hmac, b"leasehold peer key id 1").as_ref()[..8]);
        psk.copy_from_slice(hmac::sign(&hmac, b"leasehold peer psk 1").as_ref());
        Ok(Key { id, psk })
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the handshake takes as the shared key.
    pub(super) fn psk(&self) -> &[u8; 32] {
        &self.psk
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", hex(&self.id))
    }
}

/// The keys that are good now, the one that proves first.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// From the files of [`NAMES`].
    ///
    /// # Errors
    /// `current` is missing, or one of them is no key.
    pub fn from_files(files: &Files) -> Result<Keys, String> {
        let current = files.get("current").ok_or("the file `current` is missing")?;
        let mut keys = vec![Key::new(current).map_err(|why| format!("the file `current` {why}"))?];
        // An empty `next` is what a Secret's template leaves behind: none.
        if let Some(next) = files.get("next").filter(|next| !next.trim_ascii().is_empty()) {
            let next = Key::new(next).map_err(|why| format!("the file `next` {why}"))?;
            if next.id() != keys[0].id() {
                keys.push(next);
            }
        }
        Ok(Keys(keys))
    }

    /// All of them, the one that proves first.
    pub fn all(&self) -> &[Key] {
        &self.0
    }

    /// The one of that id.
    pub fn find(&self, id: KeyId) -> Option<&Key> {
        self.0.iter().find(|key| key.id() == id)
    }

    /// Their ids for people, `current` first.
    pub fn ids(&self) -> Vec<String> {
        self.0.iter().map(|key| hex(&key.id())).collect()
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn files(all: &[(&'static str, &str)]) -> Files {
        all.iter().map(|(name, text)| ((*name).into(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn white_space_does_not_make_another_key_and_a_debug_line_does_not_show_it() {
        let text = "0123456789abcdef0123456789abcdef";
        let key = Key::new(text.as_bytes()).unwrap();
        assert_eq!(key.id(), Key::new(format!("  {text}\n").as_bytes()).unwrap().id());
        assert!(!format!("{key:?}").contains("0123"));
        assert_ne!(key.id(), Key::new(b"0123456789abcdef0123456789abcdeF").unwrap().id());
    }

    #[test]
    fn what_is_no_key_is_refused_in_words_that_do_not_repeat_it() {
        let long = "k".repeat(32);
        for (all, word) in [
            (files(&[]), "`current` is missing"),
            (files(&[("next", &long)]), "`current` is missing"),
            (files(&[("current", "hunter2")]), "`current` has 7 bytes"),
            (files(&[("current", &long), ("next", "short")]), "`next` has 5 bytes"),
        ] {
            let why = Keys::from_files(&all).unwrap_err();
            assert!(why.contains(word) && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn the_same_key_twice_is_one_and_an_empty_next_is_none() {
        let (one, two) = ("1".repeat(32), "2".repeat(32));
        assert_eq!(Keys::from_files(&files(&[("current", &one), ("next", &one)])).unwrap().ids().len(), 1);
        assert_eq!(Keys::from_files(&files(&[("current", &one), ("next", "\n")])).unwrap().ids().len(), 1);
        let both = Keys::from_files(&files(&[("current", &one), ("next", &two)])).unwrap();
        assert_eq!(both.all()[0].id(), Key::new(one.as_bytes()).unwrap().id());
        assert!(both.find(Key::new(two.as_bytes()).unwrap().id()).is_some());
    }
}
