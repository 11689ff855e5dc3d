//! The handshake of a new peer connection: both ends show each other that they know the cluster's key, without saying it, and
//! agree on keys of their own for what follows. It is the Noise protocol, by the crate `snow`.
//!
//! ```text
//!   dialer                                                                              listener
//!     call   = MAGIC | length u16 | 1u8 | n u8, n key ids of 8 | cluster | from | to | e 32, tag 16      ──▶
//!     ◀──      answer = MAGIC | length u16 | 2u8 | key id 8 | e 32 | name, encrypted | tag 16
//!              or       MAGIC | length u16 | 3u8 | why, for people                    (refused; the connection ends)
//!              or       MAGIC | length u16 | 4u8 | why                                (this is another pod; likewise)
//!     proof  = an empty record                                                                   ──▶
//!     records, both ways (see `channel`)
//!
//!   Noise     = Noise_NNpsk2_25519_AESGCM_SHA256; what ends in `tag` are its two messages, the first with an empty payload
//!   prologue  = MAGIC | the call from its kind to `to`                        cluster, from, to: length u8 and text
//!   psk       = HMAC-SHA-256(key, "leasehold peer psk 1")                     see `key`
//! ```
//!
//! - A recording is worth nothing: each side puts a fresh key `e` into the handshake, and every record after it depends on both.
//! - What one side says cannot be sent back as the other's: the two messages differ, and each direction has its own key.
//! - A relay can forward this handshake but gains nothing: it never learns the records' keys, which come from the shared
//!   key as well. Nor can it lead a dialer to another member: `to` is in the prologue, and `name` comes encrypted.
//! - Who steals the key later cannot read what was recorded before: that takes one of the two keys `e`, which nobody keeps.
//! - The handshake covers all that follows on the connection: replication, invitations, questions. Its version is in MAGIC.
//!
//! The listener chooses among the offered keys, and answers before it knows that the dialer has one; so a dialer is believed only
//! by its proof, the first record. Any caller that names an id obtains 16 key-dependent bytes and can attempt an offline guess; a
//! key is 32 random bytes or more. Such a caller costs two multiplications on the curve, about 50 µs.

use std::io;

use snow::resolvers::BoxedCryptoResolver;
use snow::{Builder, HandshakeState, TransportState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::channel::{self, Channel, LENGTH_BYTES, TAG_BYTES};
use super::key::{KeyId, Keys};
use super::primitives::{self, PATTERN};
use crate::peer::rejection::Rejection;

/// How a call and an answer begin. No request of HTTP and no TLS handshake begins with its first letter.
pub const MAGIC: [u8; 8] = *b"LEASENP1";
/// Kinds of what stands behind it. A call sent back is no answer.
const CALL: u8 = 1;
const ANSWER: u8 = 2;
const REFUSED: u8 = 3;
const NOT_ME: u8 = 4;
/// The longest call or answer behind MAGIC and length.
const WORD_BYTES_MAX: usize = 1024;
/// The most keys that a call offers.
const OFFERED_MAX: usize = 4;
/// Where the pattern takes the key: at the end of the second message.
const PSK: u8 = 2;
/// The dialer's proof: an empty record.
const PROOF_BYTES: usize = LENGTH_BYTES + TAG_BYTES;

/// Why two ends did not come together.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The network: it broke, or ended early.
    #[error("the connection was cut off: {0}")]
    Broken(#[from] io::Error),
    /// The other end does not speak this protocol.
    #[error("{0}")]
    NoProtocol(String),
    /// The other end has none of our keys.
    #[error("{0}")]
    NoKey(String),
    /// The other end does not know the key that it names: a forgery, or a recording.
    #[error("{0}")]
    WrongProof(&'static str),
    /// A member of another cluster.
    #[error("{0}")]
    WrongMember(String),
    /// A member of this cluster, but not the one that was meant: an address that has passed from one to the other.
    #[error("{0}")]
    AnotherPod(String),
    /// The other end refused; its words.
    #[error("the other end refused the connection: {0}")]
    Refused(String),
}

impl HandshakeError {
    /// For the metric.
    pub fn reason(&self) -> Rejection {
        match self {
            HandshakeError::Broken(_) => Rejection::Silent,
            HandshakeError::NoProtocol(_) => Rejection::Protocol,
            HandshakeError::NoKey(_) => Rejection::Key,
            HandshakeError::WrongProof(_) => Rejection::Proof,
            HandshakeError::WrongMember(_) => Rejection::Member,
            HandshakeError::AnotherPod(_) => Rejection::Name,
            HandshakeError::Refused(_) => Rejection::Refused,
        }
    }

    /// What our own side cannot do: no random numbers, above all.
    fn ours(error: snow::Error) -> HandshakeError {
        HandshakeError::Broken(io::Error::other(error))
    }
}

/// Who we are, for the other end.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster: the same at all its members.
    pub cluster: String,
    /// This pod.
    pub name: String,
}

/// The dialer's part. `to`: the pod that is meant, where it is known.
///
/// # Errors
/// [`HandshakeError`]; the connection is unusable then.
pub async fn dial<S>(mut stream: S, keys: &Keys, me: &Identity, to: Option<&str>) -> Result<Channel<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (dialling, call) = Dialling::begin(keys, me, to, primitives::ring())?;
    write_word(&mut stream, &call).await?;

    let mut first = [0];
    stream.read_exact(&mut first).await?;
    if first[0] != MAGIC[0] {
        return Err(HandshakeError::NoProtocol(
            "the other end answers without a proof of membership: it has no peer key, or runs an older version".into(),
        ));
    }
    let answer = read_word(&mut stream).await?;
    let (mut noise, name) = dialling.hear(&answer)?;
    if let Some(to) = to.filter(|to| *to != name) {
        return Err(HandshakeError::AnotherPod(format!("{name} answers where {to} is expected")));
    }
    stream.write_all(&prove(&mut noise)?).await?;
    stream.flush().await?;
    Ok(Channel::new(stream, noise))
}

/// The listener's part. The first byte of `stream` must be that of [`MAGIC`]; see [`super::sniffed::Sniffed`]. Gives the
/// dialer's name as well.
///
/// # Errors
/// [`HandshakeError`]; the other end was notified, where it understands us, and the connection is unusable.
pub async fn accept<S>(mut stream: S, keys: &Keys, me: &Identity) -> Result<(Channel<S>, String), HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.read_u8().await?;
    let call = read_word(&mut stream).await?;
    let answered = answer(&call, keys, me, primitives::ring());
    let (mut noise, answer, from) = match answered {
        Ok(answered) => answered,
        Err(error) => {
            match &error {
                HandshakeError::NoKey(why) | HandshakeError::WrongMember(why) => refuse(&mut stream, why).await,
                HandshakeError::AnotherPod(why) => refuse_by(NOT_ME, &mut stream, why).await,
                _ => {}
            }
            return Err(error);
        }
    };
    write_word(&mut stream, &answer).await?;

    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await?;
    believe(&mut noise, &proof)?;
    Ok((Channel::new(stream, noise), from))
}

/// A dialer between its call and the answer.
pub(super) struct Dialling<'a> {
    offered: &'a [super::key::Key],
    noise: HandshakeState,
}

impl<'a> Dialling<'a> {
    /// With the call behind MAGIC and length.
    pub(super) fn begin(
        keys: &'a Keys,
        me: &Identity,
        to: Option<&str>,
        resolver: BoxedCryptoResolver,
    ) -> Result<(Dialling<'a>, Vec<u8>), HandshakeError> {
        let offered = &keys.all()[..keys.all().len().min(OFFERED_MAX)];
        let mut call = vec![CALL, u8::try_from(offered.len()).expect("a handful of keys")];
        offered.iter().for_each(|key| call.extend_from_slice(&key.id()));
        for text in [&me.cluster, &me.name, to.unwrap_or_default()] {
            put_text(&mut call, text);
        }
        let builder = builder(resolver)?.prologue(&prologue(&call)).map_err(HandshakeError::ours)?.build_initiator();
        let mut noise = builder.map_err(HandshakeError::ours)?;
        put_message(&mut noise, &[], &mut call)?;
        Ok((Dialling { offered, noise }, call))
    }

    /// From an answer behind MAGIC and length: what seals and opens records now, and the listener's name.
    pub(super) fn hear(self, answer: &[u8]) -> Result<(TransportState, String), HandshakeError> {
        let Dialling { offered, mut noise } = self;
        let mut rest = Reader(answer);
        match rest.byte()? {
            ANSWER => {}
            REFUSED => return Err(HandshakeError::Refused(for_people(rest.0))),
            NOT_ME => return Err(HandshakeError::AnotherPod(for_people(rest.0))),
            _ => return Err(HandshakeError::NoProtocol("the answer is of an unknown kind".into())),
        }
        let id: KeyId = rest.array()?;
        let key = offered.iter().find(|key| key.id() == id);
        let key =
            key.ok_or_else(|| HandshakeError::NoProtocol("the answer names a key that was not offered".into()))?;
        noise.set_psk(usize::from(PSK), key.psk()).map_err(HandshakeError::ours)?;
        let mut name = [0; WORD_BYTES_MAX];
        let count = noise.read_message(rest.0, &mut name).map_err(|error| match error {
            snow::Error::Input => HandshakeError::NoProtocol("the answer is too short".into()),
            _ => HandshakeError::WrongProof("the other end names our key, but does not know it"),
        })?;
        Ok((noise.into_transport_mode().map_err(HandshakeError::ours)?, for_people(&name[..count])))
    }
}

/// The dialer's proof, of which nobody else can make the tag: the first record, an empty one.
pub(super) fn prove(noise: &mut TransportState) -> io::Result<[u8; PROOF_BYTES]> {
    let mut proof = [0; PROOF_BYTES];
    channel::seal(noise, &[], &mut proof)?;
    Ok(proof)
}

/// See [`prove`].
pub(super) fn believe(noise: &mut TransportState, proof: &[u8; PROOF_BYTES]) -> Result<(), HandshakeError> {
    let (length, message) = proof.split_at(LENGTH_BYTES);
    if length != [TAG_BYTES as u8, 0] {
        return Err(HandshakeError::NoProtocol("the first record is not an empty one".into()));
    }
    let opened = channel::open(noise, message, &mut [0; TAG_BYTES]);
    opened.map(|_| ()).map_err(|_| {
        HandshakeError::WrongProof("a caller names our key, but does not know it: a forgery, or a recording")
    })
}

/// From a call behind MAGIC and length: what seals and opens records once the dialer has proven itself, the answer behind MAGIC
/// and length, and the dialer's name.
pub(super) fn answer(
    call: &[u8],
    keys: &Keys,
    me: &Identity,
    resolver: BoxedCryptoResolver,
) -> Result<(TransportState, Vec<u8>, String), HandshakeError> {
    let mut rest = Reader(call);
    if rest.byte()? != CALL {
        return Err(HandshakeError::NoProtocol("the first message is not a call".into()));
    }
    let offered = usize::from(rest.byte()?);
    if offered == 0 || offered > OFFERED_MAX {
        return Err(HandshakeError::NoProtocol("the call names an impossible number of keys".into()));
    }
    let ids = (0..offered).map(|_| rest.array::<8>()).collect::<Result<Vec<KeyId>, _>>()?;
    let (cluster, from, to) = (rest.text()?, rest.text()?, rest.text()?);
    let (ahead, message) = call.split_at(call.len() - rest.0.len());

    let Some(key) = ids.iter().find_map(|id| keys.find(*id)) else {
        return Err(HandshakeError::NoKey(format!("{} and {from} have no peer key in common", me.name)));
    };
    // Not secret, and not proven yet; said now because it helps a person.
    if cluster != me.cluster {
        let why = format!("{} belongs to cluster {}, {from} to {cluster}", me.name, me.cluster);
        return Err(HandshakeError::WrongMember(why));
    }
    if !to.is_empty() && to != me.name {
        return Err(HandshakeError::AnotherPod(format!("{from} looks for {to}, and this is {}", me.name)));
    }

    let prologue = prologue(ahead);
    let builder = builder(resolver)?.prologue(&prologue).map_err(HandshakeError::ours)?;
    let builder = builder.psk(PSK, key.psk()).map_err(HandshakeError::ours)?;
    let mut noise = builder.build_responder().map_err(HandshakeError::ours)?;
    // Without a payload: what is longer is no call. Its tag needs no secret, so it finds accidents; what was changed on purpose
    // makes the answer useless to the dialer.
    match noise.read_message(message, &mut []) {
        Ok(0) => {}
        _ => return Err(HandshakeError::NoProtocol("the call is not a message of Noise, or was changed".into())),
    }
    let mut answer = vec![ANSWER];
    answer.extend_from_slice(&key.id());
    let name = me.name.as_bytes();
    put_message(&mut noise, &name[..name.len().min(TEXT_BYTES_MAX)], &mut answer)?;
    Ok((noise.into_transport_mode().map_err(HandshakeError::ours)?, answer, from))
}

/// Refuses a caller who offers a proof where no key is known.
pub async fn refuse(stream: &mut (impl AsyncWrite + Unpin), why: &str) {
    refuse_by(REFUSED, stream, why).await;
}

async fn refuse_by(kind: u8, stream: &mut (impl AsyncWrite + Unpin), why: &str) {
    let mut answer = vec![kind];
    answer.extend_from_slice(&why.as_bytes()[..why.len().min(WORD_BYTES_MAX - 1)]);
    // Who is gone does not need it.
    let _ = write_word(stream, &answer).await;
    let _ = stream.shutdown().await;
}

fn builder<'a>(resolver: BoxedCryptoResolver) -> Result<Builder<'a>, HandshakeError> {
    Ok(Builder::with_resolver(PATTERN.parse().map_err(HandshakeError::ours)?, resolver))
}

/// What both ends must have seen alike. `ahead`: what stands in the call ahead of the message of Noise.
fn prologue(ahead: &[u8]) -> Vec<u8> {
    [&MAGIC, ahead].concat()
}

fn put_message(noise: &mut HandshakeState, payload: &[u8], to: &mut Vec<u8>) -> Result<(), HandshakeError> {
    let mut message = [0; WORD_BYTES_MAX];
    // A low point of the other end's, or no random numbers of ours.
    let count = noise.write_message(payload, &mut message).map_err(|error| match error {
        snow::Error::Dh => HandshakeError::NoProtocol("the call holds no key to agree with".into()),
        other => HandshakeError::ours(other),
    })?;
    to.extend_from_slice(&message[..count]);
    Ok(())
}

/// As it crosses the wire.
pub(super) fn framed(word: &[u8]) -> Vec<u8> {
    let length = u16::try_from(word.len()).expect("a call or an answer has at most 1024 bytes");
    [&MAGIC, &length.to_le_bytes()[..], word].concat()
}

async fn write_word(stream: &mut (impl AsyncWrite + Unpin), word: &[u8]) -> io::Result<()> {
    stream.write_all(&framed(word)).await?;
    stream.flush().await
}

/// What follows the first letter of [`MAGIC`].
async fn read_word(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, HandshakeError> {
    let mut head = [0; MAGIC.len() - 1 + 2];
    stream.read_exact(&mut head).await?;
    let (magic, length) = head.split_at(MAGIC.len() - 1);
    if magic != &MAGIC[1..] {
        return Err(HandshakeError::NoProtocol(
            "the other end does not speak this protocol, or another version of it".into(),
        ));
    }
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    if length > WORD_BYTES_MAX {
        return Err(HandshakeError::NoProtocol(format!("a message has an invalid length of {length} bytes")));
    }
    let mut word = vec![0; length];
    stream.read_exact(&mut word).await?;
    Ok(word)
}

/// The longest name of a cluster or a pod.
const TEXT_BYTES_MAX: usize = 255;

fn put_text(to: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(TEXT_BYTES_MAX)];
    to.push(u8::try_from(bytes.len()).expect("cut to 255"));
    to.extend_from_slice(bytes);
}

/// Another end's words, fit for a log line.
fn for_people(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Takes a word apart; whatever is not there is an error, never a panic.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], HandshakeError> {
        let taken = self.0.split_at_checked(count);
        let (taken, rest) = taken.ok_or_else(|| HandshakeError::NoProtocol("a message ends early".into()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, HandshakeError> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HandshakeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn text(&mut self) -> Result<String, HandshakeError> {
        let length = self.byte()?;
        Ok(for_people(self.take(usize::from(length))?))
    }
}
