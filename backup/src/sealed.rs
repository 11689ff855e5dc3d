//! The bytes of objects: compressed by zstd, then, if there are recipients, encrypted by age.
//!
//! ```text
//!   content ──▶ zstd (with its checksum) ──▶ age ──▶ object        Sealer
//!   object ──▶ age ──▶ zstd ──▶ content                            open
//! ```
//!
//! Anybody can read them without this program: `age -d -i key.txt | zstdcat | jq`.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

/// zstd's default.
const LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 128 * 1024;

/// Who can read what is written.
#[derive(Clone, Default)]
pub struct Recipients(Vec<age::x25519::Recipient>);

/// Keys that open what is encrypted.
#[derive(Clone)]
pub struct Identities(Vec<age::x25519::Identity>);

/// Keys, or an object, that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file of keys cannot be read.
    #[error("cannot read the keys in {file}: {source}")]
    File {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A line is not a key of that kind.
    #[error("{place}: not an age {kind}")]
    Key {
        /// Where it stands.
        place: String,
        /// `recipient (age1…)` or `identity (AGE-SECRET-KEY-1…)`.
        kind: &'static str,
    },
    /// The object is encrypted, and there is no key.
    #[error("it is encrypted: name a file with the age identity (--identity)")]
    NoIdentity,
    /// The object cannot be opened with these keys, or is damaged.
    #[error("it cannot be decrypted: {0}")]
    Locked(String),
    /// The input failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Recipients {
    /// Those of flags, and those of a file (one a line; lines with `#` say nothing).
    ///
    /// # Errors
    /// The file cannot be read, or something is not a recipient.
    pub fn read(named: &[String], file: Option<&Path>) -> Result<Recipients, SealError> {
        let mut all = Vec::new();
        let parse = |text: &str, place: String| {
            let key = SealError::Key { place, kind: "recipient (age1…)" };
            text.parse::<age::x25519::Recipient>().map_err(|_| key)
        };
        for text in named {
            all.push(parse(text, format!("{text:?}"))?);
        }
        for (place, line) in file.map(lines).transpose()?.into_iter().flatten() {
            all.push(parse(&line, place)?);
        }
        Ok(Recipients(all))
    }

    /// Is nothing encrypted?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipients({})", self.0.len())
    }
}

impl Identities {
    /// Those of a file, one a line; lines with `#` say nothing.
    ///
    /// # Errors
    /// The file cannot be read, or a line is not an identity.
    pub fn read(file: &Path) -> Result<Identities, SealError> {
        let parse = |(place, line): (String, String)| {
            let key = SealError::Key { place, kind: "identity (AGE-SECRET-KEY-1…)" };
            line.parse::<age::x25519::Identity>().map_err(|_| key)
        };
        let all = lines(file)?.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            let kind = "identity (AGE-SECRET-KEY-1…): the file has none";
            return Err(SealError::Key { place: file.display().to_string(), kind });
        }
        Ok(Identities(all))
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

/// The lines that say something, with their places.
fn lines(file: &Path) -> Result<Vec<(String, String)>, SealError> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|source| SealError::File { file: name.clone(), source })?;
    let lines = text.lines().enumerate().map(|(at, line)| (format!("{name}:{}", at + 1), line.trim().to_owned()));
    Ok(lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect())
}

/// Writes an object's bytes. Without [`Sealer::finish`] they are cut off.
pub struct Sealer<W: Write>(Kind<W>);

enum Kind<W: Write> {
    Plain(zstd::Encoder<'static, W>),
    Encrypted(Box<zstd::Encoder<'static, age::stream::StreamWriter<W>>>),
}

impl<W: Write> Sealer<W> {
    /// Begins an object.
    ///
    /// # Errors
    /// Errors of the output.
    pub fn new(out: W, recipients: &Recipients) -> io::Result<Sealer<W>> {
        if recipients.is_empty() {
            return Ok(Sealer(Kind::Plain(encoder(out)?)));
        }
        let all = recipients.0.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(all).map_err(io::Error::other)?;
        Ok(Sealer(Kind::Encrypted(Box::new(encoder(encryptor.wrap_output(out)?)?))))
    }

    /// Ends the object.
    ///
    /// # Errors
    /// Errors of the output.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Kind::Plain(encoder) => encoder.finish(),
            Kind::Encrypted(encoder) => encoder.finish()?.finish(),
        }
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Plain(encoder) => encoder.write(bytes),
            Kind::Encrypted(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Plain(encoder) => encoder.flush(),
            Kind::Encrypted(encoder) => encoder.flush(),
        }
    }
}

fn encoder<W: Write>(out: W) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, LEVEL)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

/// The content of an object.
///
/// # Errors
/// It is encrypted, and these keys do not open it, or there are none. Damage further on is an error of the reader.
pub fn open<'a>(
    from: impl Read + 'a,
    is_encrypted: bool,
    identities: Option<&Identities>,
) -> Result<Box<dyn BufRead + 'a>, SealError> {
    if !is_encrypted {
        return Ok(decoder(from)?);
    }
    let identities = identities.ok_or(SealError::NoIdentity)?;
    let locked = |error: age::DecryptError| match error {
        age::DecryptError::Io(source) => SealError::Io(source),
        other => SealError::Locked(other.to_string()),
    };
    let decryptor = age::Decryptor::new_buffered(BufReader::new(from)).map_err(locked)?;
    let all = identities.0.iter().map(|identity| identity as &dyn age::Identity);
    Ok(decoder(decryptor.decrypt(all).map_err(locked)?)?)
}

fn decoder<'a>(from: impl Read + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let decoder = zstd::Decoder::new(from)?;
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)))
}

/// Counts what passes, and sums it up (CRC-32).
#[derive(Debug)]
pub struct Summed<T> {
    inner: T,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl<T> Summed<T> {
    /// Nothing has passed yet.
    pub fn new(inner: T) -> Summed<T> {
        Summed { inner, bytes: 0, crc: crc32fast::Hasher::new() }
    }

    /// How many bytes passed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Their checksum.
    pub fn crc32(&self) -> u32 {
        self.crc.clone().finalize()
    }

    /// What is inside.
    pub fn into_inner(self) -> T {
        self.inner
    }

    fn note(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.crc.update(bytes);
    }
}

impl<T: Read> Read for Summed<T> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(to)?;
        self.note(&to[..read]);
        Ok(read)
    }
}

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.note(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret as _;

    fn sealed(content: &[u8], recipients: &Recipients) -> Vec<u8> {
        let mut sealer = Sealer::new(Summed::new(Vec::new()), recipients).unwrap();
        sealer.write_all(content).unwrap();
        let summed = sealer.finish().unwrap();
        assert_eq!(summed.crc32(), crc32fast::hash(&summed.inner));
        assert_eq!(summed.bytes(), summed.inner.len() as u64);
        summed.into_inner()
    }

    fn opened(object: &[u8], is_encrypted: bool, identities: Option<&Identities>) -> Result<Vec<u8>, SealError> {
        let mut content = Vec::new();
        open(object, is_encrypted, identities)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn content_returns_from_its_object_plain_or_encrypted() {
        let content = b"{\"a\":1}\n".repeat(10_000);
        let plain = sealed(&content, &Recipients::default());
        assert!(plain.len() < content.len() / 10);
        assert_eq!(opened(&plain, false, None).unwrap(), content);
        assert!(opened(&plain[..plain.len() - 1], false, None).is_err(), "cut off");
        let mut flipped = plain.clone();
        flipped[plain.len() / 2] ^= 1;
        assert!(opened(&flipped, false, None).is_err(), "damaged");

        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str| {
            let identity = age::x25519::Identity::generate();
            let file = folder.path().join(name);
            fs::write(&file, format!("# a key\n{}\n", identity.to_string().expose_secret())).unwrap();
            (identity.to_public().to_string(), Identities::read(&file).unwrap())
        };
        let ((one, its_key), (_, other_key)) = (key("one"), key("other"));
        let file = folder.path().join("recipients");
        fs::write(&file, format!("\n# who\n{one}\n")).unwrap();
        for recipients in [Recipients::read(&[one], None).unwrap(), Recipients::read(&[], Some(&file)).unwrap()] {
            let object = sealed(&content, &recipients);
            assert_eq!(opened(&object, true, Some(&its_key)).unwrap(), content);
            assert!(matches!(opened(&object, true, None), Err(SealError::NoIdentity)));
            assert!(matches!(opened(&object, true, Some(&other_key)), Err(SealError::Locked(_))));
            assert!(opened(&object[..object.len() - 1], true, Some(&its_key)).is_err(), "cut off");
        }
    }

    #[test]
    fn what_is_not_a_key_is_said_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        fs::write(&file, "# one\nnot a key\n").unwrap();
        let error = Recipients::read(&[], Some(&file)).unwrap_err().to_string();
        assert!(error.contains("keys:2: not an age recipient"), "{error}");
        let error = Identities::read(&file).unwrap_err().to_string();
        assert!(error.contains("keys:2: not an age identity"), "{error}");
        fs::write(&file, "# nothing\n").unwrap();
        assert!(Identities::read(&file).unwrap_err().to_string().contains("has none"));
        assert!(Identities::read(&folder.path().join("none")).unwrap_err().to_string().contains("cannot read"));
        assert!(Recipients::read(&["age1x".to_owned()], None).is_err());
    }
}
