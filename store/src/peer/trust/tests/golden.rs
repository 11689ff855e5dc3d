//! The bytes of a connection do not change unnoticed: peer-connection.json (docs/golden.md) was made by another implementation, and
//! the primitives are held to a public vector of the Noise protocol.
//!
//! ring takes no private key, so the agreement of the two ephemeral keys is given; all else is computed as in the program.

use serde_json::Value;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{BoxedCryptoResolver, CryptoResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, TransportState};

use super::super::channel::{self, RECORDS_PER_KEY};
use super::super::handshake::{Dialling, answer, believe, framed, prove};
use super::super::primitives::{self, PATTERN};
use super::*;

/// The primitives, but for a key that is not random.
pub(super) struct Fixed(pub(super) Agreement);

/// One end's public key, and what it agrees on with the other's.
#[derive(Clone)]
pub(super) struct Agreement {
    pub(super) ours: Vec<u8>,
    pub(super) theirs: Vec<u8>,
    pub(super) shared: Vec<u8>,
}

impl CryptoResolver for Fixed {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        primitives::ring().resolve_rng()
    }
    fn resolve_dh(&self, _choice: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(self.0.clone()))
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        primitives::ring().resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        primitives::ring().resolve_cipher(choice)
    }
}

impl Dh for Agreement {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, _privkey: &[u8]) {}
    fn generate(&mut self, _rng: &mut dyn Random) -> Result<(), Error> {
        Ok(())
    }
    fn pubkey(&self) -> &[u8] {
        &self.ours
    }
    fn privkey(&self) -> &[u8] {
        &[]
    }
    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        assert_eq!(pubkey[..32], self.theirs, "the other end's key is another");
        out[..32].copy_from_slice(&self.shared);
        Ok(())
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Both ends of one agreement.
fn agreements(dialer: &str, listener: &str, shared: &str) -> [BoxedCryptoResolver; 2] {
    let (dialer, listener, shared) = (bytes(dialer), bytes(listener), bytes(shared));
    let one = Agreement { ours: dialer.clone(), theirs: listener.clone(), shared: shared.clone() };
    let other = Agreement { ours: listener, theirs: dialer, shared };
    [Box::new(Fixed(one)), Box::new(Fixed(other))]
}

/// `Noise_NNpsk2_25519_AESGCM_SHA256` of the vectors of cacophony, which snow and others test with.
#[test]
fn the_primitives_make_the_public_vector_of_this_pattern() {
    let messages = [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944549b0edeb71a151500be4f4aed135263975b279d5fe2\
             1ece264f1ec3adc09285",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884314c03d6656fd93f69704a6afdacfe06a8dde564c6581\
             20536e28d2d345bcef",
        ),
        ("462e20412e20486179656b", "cb3f90eca42daa742e587a4b15d925bbe034272897e2854c38a22e"),
        ("4361726c204d656e676572", "34a9d00e66c653b36c0e4f095a7c52d8759673e17dd26054722900"),
        ("4a65616e2d426170746973746520536179", "7ea762eb5a4bd9c06005e720c01c2405e2fc01539be29847b6e3ec3c575f0e46e7"),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "3e42cde21b6a9517beefa279a9672f32ca63f7560f6e0c4a4e62ea75b993b473dccefc228e",
        ),
    ]
    .map(|(payload, message)| (bytes(payload), bytes(message)));
    let psk: [u8; 32] = bytes("54686973206973206d7920417573747269616e20706572737065637469766521").try_into().unwrap();
    let (public, shared) =
        (|at: usize| &messages[at].1[..32], "934eec08e1e6aad416990e8efcc5aca54520a3ceb2fb2d8bd54ed2bfe4129e2f");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let [dialer, listener] = agreements(&hex(public(0)), &hex(public(1)), shared);
    let builder = |resolver| {
        let builder = Builder::with_resolver(PATTERN.parse().unwrap(), resolver).psk(2, &psk).unwrap();
        builder.prologue(b"John Galt").unwrap()
    };
    let mut dialer = builder(dialer).build_initiator().unwrap();
    let mut listener = builder(listener).build_responder().unwrap();
    let (mut room, mut read) = ([0; 200], [0; 200]);
    for (number, (payload, message)) in messages[..2].iter().enumerate() {
        let ends = if number == 0 { [&mut dialer, &mut listener] } else { [&mut listener, &mut dialer] };
        let count = ends[0].write_message(payload, &mut room).unwrap();
        assert_eq!(room[..count], message[..], "message {number}");
        let count = ends[1].read_message(message, &mut read).unwrap();
        assert_eq!(read[..count], payload[..]);
    }
    let (mut dialer, mut listener) = (dialer.into_transport_mode().unwrap(), listener.into_transport_mode().unwrap());
    for (number, (payload, message)) in messages[2..].iter().enumerate() {
        let ends = if number % 2 == 0 { [&mut dialer, &mut listener] } else { [&mut listener, &mut dialer] };
        let count = ends[0].write_message(payload, &mut room).unwrap();
        assert_eq!(room[..count], message[..], "message {number} after the handshake");
        let count = ends[1].read_message(message, &mut read).unwrap();
        assert_eq!(read[..count], payload[..]);
    }
}

#[test]
fn a_connection_has_the_bytes_of_the_other_implementation() {
    let golden = crate::testing::golden::golden().newest("peer-connection.json").unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let text = |name: &str| golden[name].as_str().unwrap();
    assert_eq!(text("protocol"), PATTERN);
    let keys = |current: &str, next: &str| {
        let files = [("current".into(), current.as_bytes().to_vec()), ("next".into(), next.as_bytes().to_vec())];
        Keys::from_files(&files.into_iter().collect()).unwrap()
    };
    let me = |name: &str| Identity { cluster: text("cluster").into(), name: name.into() };
    let [dialer, listener] = agreements(text("dialerPublic"), text("listenerPublic"), text("shared"));

    let dialers = keys(text("otherKey"), text("key"));
    let (dialling, call) = Dialling::begin(&dialers, &me(text("from")), Some(text("to")), dialer).unwrap();
    assert_eq!(framed(&call), bytes(text("call")));
    let (mut listener, answer, from) = answer(&call, &keys(text("key"), ""), &me(text("to")), listener).unwrap();
    assert_eq!(framed(&answer), bytes(text("answer")));
    assert_eq!(from, text("from"));
    let (mut dialer, name) = dialling.hear(&answer).unwrap();
    assert_eq!(name, text("to"));
    let proof = prove(&mut dialer).unwrap();
    assert_eq!(proof.to_vec(), bytes(text("proof")));
    believe(&mut listener, &proof).unwrap();

    let records = |way: &str, ends: [&mut TransportState; 2]| {
        let [from, to] = ends;
        let (mut room, mut read, mut replaced) = ([0; 100], [0; 100], 0);
        for record in golden[way].as_array().unwrap() {
            let number = record["number"].as_u64().unwrap();
            while from.sending_nonce() < number {
                let count = channel::seal(from, b"filler", &mut room).unwrap();
                channel::open(to, &room[2..count], &mut read).unwrap();
            }
            let payload = bytes(record["payload"].as_str().unwrap());
            let count = channel::seal(from, &payload, &mut room).unwrap();
            assert_eq!(room[..count], bytes(record["record"].as_str().unwrap()), "{way} {number}");
            let count = channel::open(to, &room[2..count], &mut read).unwrap();
            assert_eq!(read[..count], payload);
            replaced = number / RECORDS_PER_KEY;
        }
        assert_eq!(replaced, 1, "none of them is behind a new key");
    };
    records("fromDialer", [&mut dialer, &mut listener]);
    records("fromListener", [&mut listener, &mut dialer]);
}
