//! What Noise is made of here: X25519, AES-256-GCM and SHA-256 of ring, in the form in which `snow` asks for them.
//!
//! ```text
//!   Noise_NNpsk2_25519_AESGCM_SHA256        nonce = 4 zeros | number u64, big-endian        [Noise, revision 34, sections 5 and 12]
//! ```
//!
//! snow has a resolver for ring, but without a Diffie-Hellman, and it brings SHA-2 and BLAKE2 of a second library. This one
//! adds none. AES-256-GCM and not ChaCha20-Poly1305: where the processor knows AES, as servers' do, ring's takes a quarter of the
//! time (docs/design.md, 5.0). Nothing that a peer sends panics here: what does not fit is an error.

use std::sync::{Mutex, PoisonError};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{BoxedCryptoResolver, CryptoResolver};
use snow::types::{Cipher, Dh, Hash, Random};

/// The pattern and the primitives, as the two ends mix it into their first hash.
pub(super) const PATTERN: &str = "Noise_NNpsk2_25519_AESGCM_SHA256";
/// Of X25519, public or private, and of what it agrees on.
const POINT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// For [`snow::Builder::with_resolver`].
pub(super) fn ring() -> BoxedCryptoResolver {
    Box::new(Primitives)
}

struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(System))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha256::default()) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::AESGCM).then(|| Box::new(AesGcm::default()) as Box<dyn Cipher>)
    }
}

struct System;

impl Random for System {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        SystemRandom::new().fill(dest).map_err(|_| Error::Rng)
    }
}

/// An ephemeral key: made once, used once. ring never shows a private key nor takes one, and NN asks for neither.
#[derive(Default)]
struct X25519 {
    private: Mutex<Option<EphemeralPrivateKey>>,
    public: [u8; POINT_BYTES],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        POINT_BYTES
    }

    fn priv_len(&self) -> usize {
        POINT_BYTES
    }

    /// For static keys and for tests. There is no key then, and the agreement fails.
    fn set(&mut self, _privkey: &[u8]) {
        self.private = Mutex::default();
    }

    fn generate(&mut self, _rng: &mut dyn Random) -> Result<(), Error> {
        let private =
            EphemeralPrivateKey::generate(&agreement::X25519, &SystemRandom::new()).map_err(|_| Error::Rng)?;
        let public = private.compute_public_key().map_err(|_| Error::Rng)?;
        self.public.copy_from_slice(public.as_ref());
        self.private = Mutex::new(Some(private));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &[]
    }

    /// A point of low order, on which everybody would agree, is an error of ring's.
    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let private = self.private.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Error::Dh)?;
        let theirs = pubkey.get(..POINT_BYTES).ok_or(Error::Dh)?;
        let out = out.get_mut(..POINT_BYTES).ok_or(Error::Dh)?;
        let theirs = UnparsedPublicKey::new(&agreement::X25519, theirs);
        agreement::agree_ephemeral(private, &theirs, |shared| out.copy_from_slice(shared)).map_err(|_| Error::Dh)
    }
}

struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Sha256 {
        Sha256(digest::Context::new(&digest::SHA256))
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        digest::SHA256.block_len()
    }

    fn hash_len(&self) -> usize {
        digest::SHA256_OUTPUT_LEN
    }

    fn reset(&mut self) {
        *self = Sha256::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let context = std::mem::replace(&mut self.0, digest::Context::new(&digest::SHA256));
        out[..digest::SHA256_OUTPUT_LEN].copy_from_slice(context.finish().as_ref());
    }
}

struct AesGcm(LessSafeKey);

impl AesGcm {
    fn with(key: &[u8; 32]) -> AesGcm {
        AesGcm(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of AES-256 has 32 bytes")))
    }

    fn nonce(number: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(bytes)
    }
}

impl Default for AesGcm {
    /// snow asks for a cipher before there is a key, and sets one before it uses it.
    fn default() -> AesGcm {
        AesGcm::with(&[0; 32])
    }
}

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; 32]) {
        *self = AesGcm::with(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, rest) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let tag = self.0.seal_in_place_separate_tag(AesGcm::nonce(nonce), Aad::from(authtext), text);
        rest[..TAG_BYTES].copy_from_slice(tag.expect("a message of Noise has at most 64 KiB").as_ref());
        plaintext.len() + TAG_BYTES
    }

    /// ring opens a text where it stands, together with its tag: `out` has room for both, or they pass by a vector.
    fn decrypt(&self, nonce: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let open = |bytes: &mut [u8]| {
            let opened = self.0.open_in_place(AesGcm::nonce(nonce), Aad::from(authtext), bytes);
            opened.map(|text| text.len()).map_err(|_| Error::Decrypt)
        };
        if let Some(room) = out.get_mut(..ciphertext.len()) {
            room.copy_from_slice(ciphertext);
            return open(room);
        }
        let mut bytes = ciphertext.to_vec();
        let count = open(&mut bytes)?;
        out.get_mut(..count).ok_or(Error::Decrypt)?.copy_from_slice(&bytes[..count]);
        Ok(count)
    }
}
