//! The proof of membership: both ends of a new peer connection show each other that they know the cluster's key, without
//! saying it.
//!
//! ```text
//!   dialer                                                                              listener
//!     call   = MAGIC | length u16 | nonce 32 | n u8, n key ids of 8 | cluster | from | to        ──▶
//!     ◀──      answer = MAGIC | length u16 | 0u8 | nonce 32 | key id 8 | name | proof 32
//!              or       MAGIC | length u16 | 1u8 | why, for people                    (refused; the connection ends)
//!              or       MAGIC | length u16 | 2u8 | why                                (this is another pod; likewise)
//!     proof  = 32 bytes                                                                          ──▶
//!     sealed records, both ways (see `sealed`)
//!
//!   said          = SHA-256(call | answer without its proof)                  cluster, from, to, name: length u8 and text
//!   proof         = HMAC-SHA-256(key, "leasehold peer 1, <listener|dialer> proves" | said)
//!   session       = HMAC-SHA-256(key, "leasehold peer 1, session" | said)
//!   key of a way  = HMAC-SHA-256(session, "from the <dialer|listener>")
//! ```
//!
//! - A recording is worth nothing: each side puts 32 fresh random bytes into `said`, and what is sealed after it.
//! - What one side proves cannot be sent back as the other's proof: their roles are in it.
//! - A relay can forward this handshake but gains nothing: it never learns the record keys, which come from the shared
//!   key. Nor can it lead a dialer to another member: `to` and `name` are in `said`.
//! - The proof covers all that follows on the connection: replication, invitations, questions. Its version is in MAGIC.
//!
//! The listener proves first, so that the dialer's request can follow its own proof at once. Any caller therefore
//! obtains 32 key-dependent bytes and can attempt an offline guess; a key is 32 random bytes or more.

use std::io;

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::key::{Key, KeyId, Keys};
use super::sealed::Sealed;
use crate::peer::rejection::Rejection;

/// How a call and an answer begin. No request of HTTP and no TLS handshake begins with its first letter.
pub const MAGIC: [u8; 8] = *b"LEASEPR1";
const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
/// Kinds of answers that prove nothing.
const REFUSED: u8 = 1;
const NOT_ME: u8 = 2;
/// The longest call or answer behind MAGIC and length.
const WORD_BYTES_MAX: usize = 1024;
/// The most keys that a call offers.
const OFFERED_MAX: usize = 4;

const LISTENER_PROVES: &[u8] = b"leasehold peer 1, listener proves";
const DIALER_PROVES: &[u8] = b"leasehold peer 1, dialer proves";
const SESSION: &[u8] = b"leasehold peer 1, session";
const FROM_DIALER: &[u8] = b"from the dialer";
const FROM_LISTENER: &[u8] = b"from the listener";

/// Why two ends did not come together.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
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

impl ProofError {
    /// For the metric.
    pub fn reason(&self) -> Rejection {
        match self {
            ProofError::Broken(_) => Rejection::Silent,
            ProofError::NoProtocol(_) => Rejection::Protocol,
            ProofError::NoKey(_) => Rejection::Key,
            ProofError::WrongProof(_) => Rejection::Proof,
            ProofError::WrongMember(_) => Rejection::Member,
            ProofError::AnotherPod(_) => Rejection::Name,
            ProofError::Refused(_) => Rejection::Refused,
        }
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
/// [`ProofError`]; the connection is unusable then.
pub async fn dial<S>(mut stream: S, keys: &Keys, me: &Identity, to: Option<&str>) -> Result<Sealed<S>, ProofError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let offered = &keys.all()[..keys.all().len().min(OFFERED_MAX)];
    let mut call = Vec::with_capacity(256);
    call.extend_from_slice(&nonce()?);
    call.push(u8::try_from(offered.len()).expect("a handful of keys"));
    offered.iter().for_each(|key| call.extend_from_slice(&key.id()));
    for text in [&me.cluster, &me.name, to.unwrap_or_default()] {
        put_text(&mut call, text);
    }
    write_word(&mut stream, &call).await?;

    let mut first = [0];
    stream.read_exact(&mut first).await?;
    if first[0] != MAGIC[0] {
        return Err(ProofError::NoProtocol(
            "the other end answers without a proof of membership: it has no peer key, or runs an older version".into(),
        ));
    }
    let answer = read_word(&mut stream).await?;
    let mut rest = Reader(&answer);
    let (name, key, said, proof) = match rest.byte()? {
        0 => {
            rest.take(NONCE_BYTES)?;
            let id: KeyId = rest.array()?;
            let name = rest.text()?;
            let proof: [u8; PROOF_BYTES] = rest.array()?;
            rest.end()?;
            let key = offered.iter().find(|key| key.id() == id);
            let key =
                key.ok_or_else(|| ProofError::NoProtocol("the answer names a key that was not offered".into()))?;
            (name, key, digest_of(&call, &answer[..answer.len() - PROOF_BYTES]), proof)
        }
        REFUSED => return Err(ProofError::Refused(for_people(rest.0))),
        NOT_ME => return Err(ProofError::AnotherPod(for_people(rest.0))),
        _ => return Err(ProofError::NoProtocol("the answer is of an unknown kind".into())),
    };
    if !bool::from(key.sign(&[LISTENER_PROVES, said.as_ref()]).as_ref().ct_eq(&proof)) {
        return Err(ProofError::WrongProof("the other end names our key, but does not know it"));
    }
    if let Some(to) = to.filter(|to| *to != name) {
        return Err(ProofError::AnotherPod(format!("{name} answers where {to} is expected")));
    }
    stream.write_all(key.sign(&[DIALER_PROVES, said.as_ref()]).as_ref()).await?;
    stream.flush().await?;
    let (dialers, listeners) = directions(key, said.as_ref());
    Ok(Sealed::new(stream, &dialers, &listeners))
}

/// The listener's part. The first byte of `stream` must be that of [`MAGIC`]; see [`super::sniffed::Sniffed`]. Gives the
/// dialer's name as well.
///
/// # Errors
/// [`ProofError`]: the dialer received the reason, where that helps, and the connection is unusable.
pub async fn accept<S>(mut stream: S, keys: &Keys, me: &Identity) -> Result<(Sealed<S>, String), ProofError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut first = [0];
    stream.read_exact(&mut first).await?;
    let call = read_word(&mut stream).await?;
    let mut rest = Reader(&call);
    rest.take(NONCE_BYTES)?;
    let offered = usize::from(rest.byte()?);
    if offered == 0 || offered > OFFERED_MAX {
        return Err(ProofError::NoProtocol("the call names an impossible number of keys".into()));
    }
    let ids = (0..offered).map(|_| rest.array::<8>()).collect::<Result<Vec<KeyId>, _>>()?;
    let (cluster, from, to) = (rest.text()?, rest.text()?, rest.text()?);
    rest.end()?;

    let Some(key) = ids.iter().find_map(|id| keys.find(*id)) else {
        let why = format!("{} and {from} have no peer key in common", me.name);
        refuse(&mut stream, &why).await;
        return Err(ProofError::NoKey(why));
    };
    // Not secret, and not proven yet; said now because it helps a person.
    if cluster != me.cluster {
        let why = format!("{} belongs to cluster {}, {from} to {cluster}", me.name, me.cluster);
        refuse(&mut stream, &why).await;
        return Err(ProofError::WrongMember(why));
    }
    if !to.is_empty() && to != me.name {
        let why = format!("{from} looks for {to}, and this is {}", me.name);
        refuse_by(NOT_ME, &mut stream, &why).await;
        return Err(ProofError::AnotherPod(why));
    }

    let mut answer = vec![0];
    answer.extend_from_slice(&nonce()?);
    answer.extend_from_slice(&key.id());
    put_text(&mut answer, &me.name);
    let said = digest_of(&call, &answer);
    answer.extend_from_slice(key.sign(&[LISTENER_PROVES, said.as_ref()]).as_ref());
    write_word(&mut stream, &answer).await?;

    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await?;
    if !bool::from(key.sign(&[DIALER_PROVES, said.as_ref()]).as_ref().ct_eq(&proof)) {
        return Err(ProofError::WrongProof("a caller names our key, but does not know it: a forgery, or a recording"));
    }
    let (dialers, listeners) = directions(key, said.as_ref());
    Ok((Sealed::new(stream, &listeners, &dialers), from))
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

fn nonce() -> Result<[u8; NONCE_BYTES], ProofError> {
    let mut nonce = [0; NONCE_BYTES];
    let random = SystemRandom::new().fill(&mut nonce);
    random.map_err(|_| ProofError::Broken(io::Error::other("the system provides no random numbers")))?;
    Ok(nonce)
}

fn digest_of(call: &[u8], answer: &[u8]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for word in [call, answer] {
        // With its length, so that no other call and answer make the same bytes.
        context.update(&(word.len() as u64).to_le_bytes());
        context.update(word);
    }
    context.finish()
}

fn directions(key: &Key, said: &[u8]) -> (ring::hmac::Tag, ring::hmac::Tag) {
    let session = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.sign(&[SESSION, said]).as_ref());
    (ring::hmac::sign(&session, FROM_DIALER), ring::hmac::sign(&session, FROM_LISTENER))
}

async fn write_word(stream: &mut (impl AsyncWrite + Unpin), word: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + 2 + word.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&u16::try_from(word.len()).map_err(io::Error::other)?.to_le_bytes());
    bytes.extend_from_slice(word);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// What follows the first letter of [`MAGIC`].
async fn read_word(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ProofError> {
    let mut head = [0; MAGIC.len() - 1 + 2];
    stream.read_exact(&mut head).await?;
    let (magic, length) = head.split_at(MAGIC.len() - 1);
    if magic != &MAGIC[1..] {
        return Err(ProofError::NoProtocol(
            "the other end does not speak this protocol, or another version of it".into(),
        ));
    }
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    if length > WORD_BYTES_MAX {
        return Err(ProofError::NoProtocol(format!("a message has an invalid length of {length} bytes")));
    }
    let mut word = vec![0; length];
    stream.read_exact(&mut word).await?;
    Ok(word)
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(255)];
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
    fn take(&mut self, count: usize) -> Result<&'a [u8], ProofError> {
        let taken = self.0.split_at_checked(count);
        let (taken, rest) = taken.ok_or_else(|| ProofError::NoProtocol("a message ends early".into()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, ProofError> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProofError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn text(&mut self) -> Result<String, ProofError> {
        let length = self.byte()?;
        Ok(for_people(self.take(usize::from(length))?))
    }

    fn end(&self) -> Result<(), ProofError> {
        if self.0.is_empty() { Ok(()) } else { Err(ProofError::NoProtocol("a message is too long".into())) }
    }
}
