//! Two ends on real sockets: who comes in, who does not, and what a recording is worth.
#![allow(clippy::unwrap_used)]

mod golden;
mod strangers;

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;

use super::handshake::Identity;
use super::key::{self, Keys};
use super::peers::{PeerTrust, PeerTrustParts, WayError};
use super::sniffed::BoxedStream;
use crate::peer::Rejection;
use crate::tls::{ApiTls, PeerTls};
use leasehold_daemon::reload::{Reload, Reloaded};

pub(crate) const LONG: Duration = Duration::from_secs(10);
pub(crate) const KEY: &str = "a key of more than thirty-two bytes";
const OTHER: &str = "another key of more than thirty-two";

/// What one member has: a folder, and what the files in it make.
pub(crate) struct Member {
    pub(crate) folder: tempfile::TempDir,
    parts: PeerTrustParts,
}

impl Member {
    pub(crate) fn new(name: &str) -> Member {
        let me = Identity { cluster: "db".into(), name: name.into() };
        let parts = PeerTrustParts { me, keys: None, tls: None, tls_name: None, required: true };
        Member { folder: tempfile::tempdir().unwrap(), parts }
    }

    pub(crate) fn key(self, current: &str) -> Member {
        self.keys(current, "")
    }

    pub(crate) fn keys(mut self, current: &str, next: &str) -> Member {
        write_keys(self.folder.path(), current, next);
        let keys = Reloaded::open("the peer key", self.folder.path(), key::NAMES, Keys::from_files);
        self.parts.keys = Some(keys.unwrap());
        self
    }

    pub(crate) fn tls(mut self, authority: &Authority, names: &[&str]) -> Member {
        authority.issue(self.folder.path(), names);
        self.parts.tls = Some(PeerTls::open(self.folder.path()).unwrap());
        self
    }

    fn tls_name(mut self, name: &str) -> Member {
        self.parts.tls_name = Some(ServerName::try_from(name.to_owned()).unwrap());
        self
    }

    fn cluster(mut self, name: &str) -> Member {
        self.parts.me.cluster = name.into();
        self
    }

    fn optional(mut self) -> Member {
        self.parts.required = false;
        self
    }

    pub(crate) fn trust(self) -> (PeerTrust, tempfile::TempDir) {
        (PeerTrust::new(self.parts), self.folder)
    }
}

pub(crate) fn write_keys(dir: &Path, current: &str, next: &str) {
    std::fs::write(dir.join("current"), current).unwrap();
    std::fs::write(dir.join("next"), next).unwrap();
}

/// A certificate authority.
pub(crate) struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Authority(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes tls.crt, tls.key and ca.crt.
    pub(crate) fn issue(&self, dir: &Path, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        std::fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(dir.join("ca.crt"), self.0.pem()).unwrap();
    }
}

/// Both ends of one attempt, and whether a byte goes each way.
async fn meet(
    dialer: &PeerTrust,
    listener: &PeerTrust,
    to: Option<&str>,
) -> (Result<BoxedStream, WayError>, Result<BoxedStream, WayError>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let dial = async {
        let mut stream = dialer.connect(address.parse().unwrap(), &address, to).await?;
        // As a request of HTTP does: without it a listener that looks at the first byte waits.
        stream.write_all(b"GET ").await?;
        stream.flush().await?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await?;
        // A listener that demands more than was shown answers in HTTP.
        if &answer == b"ok" { Ok(stream) } else { Err(WayError::Untrusted(Rejection::Protocol, format!("{answer:?}"))) }
    };
    let accept = async {
        let mut accepted = Err(WayError::Untrusted(Rejection::Silent, "nobody came".into()));
        // A dialer that may come with less comes again.
        loop {
            let came = tokio::time::timeout(Duration::from_millis(300), socket.accept()).await;
            let Ok(came) = came else { return accepted };
            accepted = listener.accept(came.unwrap().0, LONG).await;
            if let Ok(stream) = &mut accepted {
                let mut request = [0; 4];
                stream.read_exact(&mut request).await?;
                assert_eq!(&request, b"GET ");
                stream.write_all(b"ok").await?;
                stream.flush().await?;
                return accepted;
            }
        }
    };
    tokio::time::timeout(LONG, async { tokio::join!(dial, accept) }).await.expect("an end hangs")
}

fn reason(ended: Result<BoxedStream, WayError>) -> (&'static str, String) {
    match ended {
        Ok(_) => ("in", String::new()),
        Err(WayError::Untrusted(reason, what)) => (reason.as_str(), what),
        Err(WayError::Broken(error)) => ("broken", error.to_string()),
    }
}

#[tokio::test]
async fn members_with_a_key_in_common_come_together() {
    for (dialer, listener) in [((KEY, ""), (KEY, "")), ((OTHER, KEY), (KEY, "")), ((KEY, ""), (OTHER, KEY))] {
        let (dialer, _a) = Member::new("db-0").keys(dialer.0, dialer.1).trust();
        let (listener, _b) = Member::new("db-1").keys(listener.0, listener.1).trust();
        let (dialled, accepted) = meet(&dialer, &listener, Some("db-1")).await;
        assert_eq!((reason(dialled).0, reason(accepted).0), ("in", "in"));
    }
}

#[tokio::test]
async fn who_has_no_key_another_key_or_another_cluster_is_told_so_at_both_ends() {
    let with = |key: &str| Member::new("db-0").key(key);
    let cases = [
        // (dialer, listener, what the dialer is told, what the listener notes)
        (with(OTHER), with(KEY), ("refused", "no peer key in common"), ("key", "in common")),
        (with(KEY), Member::new("db-1"), ("refused", "has no peer key"), ("key", "has no peer key")),
        (with(KEY).cluster("x"), with(KEY), ("refused", "belongs to cluster db"), ("member", "to x")),
    ];
    for (dialer, listener, (dialled, word), (accepted, noted)) in cases {
        let ((dialer, _a), (listener, _b)) = (dialer.trust(), listener.trust());
        let (at_dialer, at_listener) = meet(&dialer, &listener, None).await;
        let (at_dialer, at_listener) = (reason(at_dialer), reason(at_listener));
        assert_eq!((at_dialer.0, at_listener.0), (dialled, accepted), "{at_dialer:?} {at_listener:?}");
        assert!(at_dialer.1.contains(word), "{at_dialer:?}");
        assert!(at_listener.1.contains(noted), "{at_listener:?}");
    }
    let (dialer, _a) = with(KEY).trust();
    let (listener, _b) = Member::new("db-1").key(KEY).trust();
    let (at_dialer, at_listener) = meet(&dialer, &listener, Some("db-2")).await;
    assert_eq!((reason(at_dialer).0, reason(at_listener).0), ("name", "name"), "led to another member");
}

/// Without a key nothing but a refusal is to be had: not even the HTTP parser.
#[tokio::test]
async fn an_outsider_gets_a_refusal_whatever_he_says() {
    let (listener, _folder) = Member::new("db-1").key(KEY).trust();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut call = b"LEASENP1".to_vec();
    call.extend_from_slice(&600u16.to_le_bytes());
    call.extend(vec![7; 600]);
    let mut empty = b"LEASENP1\x21\0".to_vec();
    empty.extend(vec![0; 33]);
    let before = b"LEASEPR1\x21\0".iter().copied().chain(vec![0; 33]).collect();
    for (words, told, expected) in [
        (b"GET /v1/state HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), "HTTP/1.1 401", "key"),
        (b"POST /v1/claim HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), "HTTP/1.1 401", "key"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "HTTP/1.1 401", "key"),
        (vec![0x16, 3, 1, 2, 0, 1], "\u{15}", "tls"),
        (b"LEASENP2 something else".to_vec(), "", "protocol"),
        (b"LEASENP1\xff\xff".to_vec(), "", "protocol"),
        (call, "", "protocol"),
        (empty, "", "protocol"),
        (before, "", "protocol"),
    ] {
        let mut outsider = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        outsider.write_all(&words).await.unwrap();
        let refused = reason(listener.accept(socket.accept().await.unwrap().0, LONG).await);
        assert_eq!(refused.0, expected, "{words:?}: {refused:?}");
        let mut answer = Vec::new();
        let _ = outsider.read_to_end(&mut answer).await;
        assert!(String::from_utf8_lossy(&answer).starts_with(told), "{words:?}: {answer:?}");
    }
    // Who says nothing is given up.
    let _silent = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
    let silent = listener.accept(socket.accept().await.unwrap().0, Duration::from_millis(50)).await;
    assert_eq!(reason(silent).0, "silent");
}

/// What went over a connection, in both directions, as an eavesdropper has it.
async fn record(dialer: &PeerTrust, listener: &PeerTrust) -> (Vec<u8>, Vec<u8>) {
    let (front, back) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (front_address, back_address) = (front.local_addr().unwrap().to_string(), back.local_addr().unwrap());
    let tap = async {
        let (mut inside, mut outside) =
            (front.accept().await.unwrap().0, TcpStream::connect(back_address).await.unwrap());
        let (mut up, mut down, mut ended) = (Vec::new(), Vec::new(), false);
        let (mut a, mut b) = ([0; 4096], [0; 4096]);
        while !ended {
            tokio::select! {
                n = inside.read(&mut a) => match n { Ok(n) if n > 0 => { up.extend(&a[..n]); outside.write_all(&a[..n]).await.unwrap() }, _ => ended = true },
                n = outside.read(&mut b) => match n { Ok(n) if n > 0 => { down.extend(&b[..n]); inside.write_all(&b[..n]).await.unwrap() }, _ => ended = true },
            }
        }
        (up, down)
    };
    let dial = async {
        let mut stream = dialer.connect(front_address.parse().unwrap(), &front_address, Some("db-1")).await.unwrap();
        stream.write_all(b"POST /v1/claim").await.unwrap();
        stream.flush().await.unwrap();
        stream.read_exact(&mut [0; 2]).await.unwrap();
    };
    let accept = async {
        let mut stream = listener.accept(back.accept().await.unwrap().0, LONG).await.unwrap();
        stream.read_exact(&mut [0; 14]).await.unwrap();
        stream.write_all(b"ok").await.unwrap();
        stream.flush().await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    };
    tokio::time::timeout(LONG, async { tokio::join!(tap, dial, accept).0 }).await.expect("it hangs")
}

#[tokio::test]
async fn a_recorded_connection_that_is_played_again_is_worth_nothing() {
    let (dialer, _a) = Member::new("db-0").key(KEY).trust();
    let (listener, _b) = Member::new("db-1").key(KEY).trust();
    let (up, down) = record(&dialer, &listener).await;
    let crossed = |words: &[u8]| [&up, &down].iter().any(|way| way.windows(words.len()).any(|window| window == words));
    assert!(!crossed(KEY.as_bytes()), "the key went over the wire");
    assert!(!crossed(b"claim"), "what was said can be read on the way");
    assert!(crossed(b"LEASENP1"), "{up:?}");
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();

    // To the listener: the same call, the same proof, the same records.
    let mut replayer = TcpStream::connect(&address).await.unwrap();
    replayer.write_all(&up).await.unwrap();
    let refused = reason(listener.accept(socket.accept().await.unwrap().0, LONG).await);
    assert_eq!(refused.0, "proof", "{refused:?}");

    // To a dialer: the same answer.
    let replay = async {
        let mut stream = socket.accept().await.unwrap().0;
        stream.write_all(&down).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (refused, ()) = tokio::join!(dialer.connect(address.parse().unwrap(), &address, Some("db-1")), replay);
    assert_eq!(reason(refused).0, "proof");
}

/// The dialer's own proof, sent back to it, is none.
#[tokio::test]
async fn a_member_is_not_its_own_reflection() {
    let (dialer, _a) = Member::new("db-0").key(KEY).trust();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let mirror = async {
        let mut stream = socket.accept().await.unwrap().0;
        let mut call = vec![0; 4096];
        let n = stream.read(&mut call).await.unwrap();
        stream.write_all(&call[..n]).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (refused, ()) = tokio::join!(dialer.connect(address.parse().unwrap(), &address, None), mirror);
    let refused = reason(refused);
    assert_eq!(refused.0, "protocol", "{refused:?}");
}

/// Somebody on the way changes, repeats or drops a byte after the handshake.
#[tokio::test]
async fn a_connection_that_is_tampered_with_ends() {
    for tamper in ["change", "repeat", "drop", "lengthen", "shorten", "empty", "reflect", "cut", "tag"] {
        let (dialer, _a) = Member::new("db-0").key(KEY).trust();
        let (listener, _b) = Member::new("db-1").key(KEY).trust();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let back = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (front_address, back_address) = (front.local_addr().unwrap().to_string(), back.local_addr().unwrap());
        // The second record, so that the connection was good before. Both have six bytes of payload.
        const RECORD: usize = 2 + 6 + 16;
        let middle = async {
            let (inside, outside) = (front.accept().await.unwrap().0, TcpStream::connect(back_address).await.unwrap());
            let ((mut inside, mut inside_back), (mut outside_back, mut outside)) =
                (inside.into_split(), outside.into_split());
            let down = async {
                let (mut down, mut part) = (Vec::new(), [0; 4096]);
                // The answer and "ok", each as it comes.
                loop {
                    let n = outside_back.read(&mut part).await.unwrap();
                    down.extend(&part[..n]);
                    inside_back.write_all(&part[..n]).await.unwrap();
                    let answer = 10 + down.get(8).map_or(0, |length| usize::from(*length));
                    if down.len() >= answer + 2 + 2 + 16 {
                        return down.split_off(answer);
                    }
                }
            };
            let up = async {
                let mut head = [0; 10];
                inside.read_exact(&mut head).await.unwrap();
                outside.write_all(&head).await.unwrap();
                let mut rest = vec![0; usize::from(head[8]) + 18 + RECORD];
                // The proof comes only after the answer, so nothing is held back until it is whole.
                let (call, rest) = rest.split_at_mut(usize::from(head[8]));
                for part in [call, rest] {
                    inside.read_exact(part).await.unwrap();
                    outside.write_all(part).await.unwrap();
                }
                let mut second = vec![0; RECORD];
                inside.read_exact(&mut second).await.unwrap();
                second
            };
            let (said, mut bytes) = tokio::join!(down, up);
            match tamper {
                "change" => bytes[5] ^= 1,
                "tag" => bytes[RECORD - 1] ^= 0x80,
                "repeat" => bytes.extend(bytes.clone()),
                "drop" => {
                    let _ = bytes.remove(6);
                    bytes.push(0);
                }
                "lengthen" => bytes[0] += 1,
                "shorten" => bytes[0] -= 1,
                "empty" => bytes[0] = 16,
                "reflect" => bytes = said,
                _ => bytes.truncate(RECORD - 1),
            }
            outside.write_all(&bytes).await.unwrap();
            if tamper != "cut" {
                outside.write_all(&[0; 64]).await.unwrap();
            }
            outside.shutdown().await.unwrap();
            (inside, inside_back, outside_back, outside)
        };
        let dial = async {
            let mut stream = dialer.connect(front_address.parse().unwrap(), &front_address, None).await.unwrap();
            for words in [&b"first."[..], b"second"] {
                stream.write_all(words).await.unwrap();
                stream.flush().await.unwrap();
                if words == b"first." {
                    stream.read_exact(&mut [0; 2]).await.unwrap();
                }
            }
            stream
        };
        let accept = async {
            let mut stream = listener.accept(back.accept().await.unwrap().0, LONG).await.unwrap();
            let mut words = [0; 6];
            stream.read_exact(&mut words).await.unwrap();
            assert_eq!(&words, b"first.");
            stream.write_all(b"ok").await.unwrap();
            stream.flush().await.unwrap();
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest).await.unwrap_err().kind();
            let is_cut = tamper == "cut";
            assert_eq!(ended == std::io::ErrorKind::UnexpectedEof, is_cut, "{tamper}: {ended}");
            assert_eq!(ended == std::io::ErrorKind::InvalidData, !is_cut, "{tamper}: {ended}");
            let expected: &[u8] = if tamper == "repeat" { b"second" } else { b"" };
            assert_eq!(rest, expected, "{tamper}: more was believed than was said");
        };
        tokio::time::timeout(LONG, async { tokio::join!(middle, dial, accept) }).await.expect("it hangs");
    }
}

/// Much more than a record and than a socket's buffers, both ways at once.
#[tokio::test]
async fn a_long_stream_comes_through_as_it_was_written() {
    let (dialer, _a) = Member::new("db-0").key(KEY).trust();
    let (listener, _b) = Member::new("db-1").key(KEY).trust();
    let (dialled, accepted) = meet(&dialer, &listener, None).await;
    let bytes: Vec<u8> = (0..5_000_011_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let through = |stream: BoxedStream, bytes: Vec<u8>| async move {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let expected = bytes.clone();
        let write = async {
            for part in bytes.chunks(70_001) {
                writer.write_all(part).await.unwrap();
            }
            writer.shutdown().await.unwrap();
        };
        let read = async {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).await.unwrap();
            assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
        };
        tokio::join!(write, read);
    };
    let both = async { tokio::join!(through(dialled.unwrap(), bytes.clone()), through(accepted.unwrap(), bytes)) };
    tokio::time::timeout(LONG, both).await.expect("it hangs");
}

#[tokio::test]
async fn a_key_is_changed_without_a_moment_in_which_two_members_have_none_in_common() {
    let a = Member::new("db-0").key(KEY);
    let b = Member::new("db-1").key(KEY);
    let keys = [a.parts.keys.clone().unwrap(), b.parts.keys.clone().unwrap()];
    let ((a, a_dir), (b, b_dir)) = (a.trust(), b.trust());
    // One file after the other, one pod after the other, as kubelets do it.
    let steps = [(0, KEY, OTHER), (1, KEY, OTHER), (1, OTHER, ""), (0, OTHER, "")];
    for (which, current, next) in steps {
        write_keys([a_dir.path(), b_dir.path()][which], current, next);
        keys[which].reload();
        for (dialer, listener) in [(&a, &b), (&b, &a)] {
            let (dialled, accepted) = meet(dialer, listener, None).await;
            assert_eq!((reason(dialled).0, reason(accepted).0), ("in", "in"), "{which} {current} {next}");
        }
    }
    // The old key opens nothing any more.
    let (old, _dir) = Member::new("db-2").key(KEY).trust();
    assert_eq!(reason(meet(&old, &a, None).await.0).0, "refused");
}

#[tokio::test]
async fn mutual_tls_lets_members_in_and_nobody_else() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let member = |authority: &Authority, name: &str| Member::new("db-1").tls(authority, &[name, "members.db"]);
    let in_or_out = async |dialer: Member, listener: Member| {
        let ((dialer, _a), (listener, _b)) = (dialer.trust(), listener.trust());
        let (dialled, accepted) = meet(&dialer, &listener, None).await;
        let (dialled, accepted) = (reason(dialled), reason(accepted));
        assert!(dialled.0 == "in" || !dialled.1.is_empty(), "{dialled:?}");
        (dialled.0 == "in", accepted.0)
    };
    let good = || member(&ours, "127.0.0.1");
    assert_eq!(in_or_out(good(), good()).await, (true, "in"));
    assert_eq!(in_or_out(good().key(KEY), good().key(KEY)).await, (true, "in"), "both at once");
    assert_eq!(in_or_out(good(), good().tls_name("members.db")).await, (true, "in"));
    assert_eq!(
        in_or_out(good(), good().tls_name("others.db")).await,
        (false, "tls"),
        "a certificate for something else"
    );
    assert_eq!(in_or_out(good(), member(&ours, "127.0.0.2")).await, (false, "tls"), "not the host that was dialled");
    assert_eq!(in_or_out(member(&theirs, "127.0.0.1"), good()).await, (false, "tls"), "another authority");
    assert_eq!(in_or_out(good(), member(&theirs, "127.0.0.1")).await, (false, "tls"));
    assert_eq!(in_or_out(Member::new("db-0"), good()).await, (false, "tls"), "no TLS");
    assert_eq!(in_or_out(Member::new("db-0").key(KEY), good().key(KEY)).await, (false, "tls"));
    assert_eq!(in_or_out(good(), Member::new("db-1")).await, (false, "tls"), "TLS to who has none");
    assert_eq!(in_or_out(good().key(OTHER), good().key(KEY)).await, (false, "key"), "TLS does not replace the key");
}

#[tokio::test]
async fn certificates_are_exchanged_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let (member, other) =
        (Member::new("db-0").tls(&old, &["127.0.0.1"]), Member::new("db-1").tls(&new, &["127.0.0.1"]));
    let tls = member.parts.tls.clone().unwrap();
    let ((member, dir), (other, _b)) = (member.trust(), other.trust());
    assert_ne!(reason(meet(&member, &other, None).await.0).0, "in");
    // Certificate and key of two versions, as one may see them while they are swapped: the last good ones stay.
    let key = std::fs::read(dir.path().join("tls.key")).unwrap();
    new.issue(dir.path(), &["127.0.0.1"]);
    let new_key = std::fs::read(dir.path().join("tls.key")).unwrap();
    std::fs::write(dir.path().join("tls.key"), key).unwrap();
    let before = tls.get();
    tls.reload();
    assert!(std::sync::Arc::ptr_eq(&before, &tls.get()), "a key that does not fit was taken");
    std::fs::write(dir.path().join("tls.key"), new_key).unwrap();
    tls.reload();
    assert_eq!(reason(meet(&member, &other, None).await.0).0, "in");
}

#[tokio::test]
async fn while_a_key_and_certificates_are_introduced_everybody_meets_everybody() {
    let authority = Authority::new();
    let all: Vec<(PeerTrust, tempfile::TempDir)> = [
        Member::new("db-0"),
        Member::new("db-1").optional(),
        Member::new("db-2").key(KEY).optional(),
        Member::new("db-3").tls(&authority, &["127.0.0.1"]).key(KEY).optional(),
    ]
    .into_iter()
    .map(Member::trust)
    .collect();
    for (dialer, _) in &all {
        for (listener, _) in &all {
            let (dialled, accepted) = meet(dialer, listener, None).await;
            let (dialled, accepted) = (reason(dialled), reason(accepted));
            assert_eq!((dialled.0, accepted.0), ("in", "in"), "{dialled:?} {accepted:?}: {}", dialer.describe());
        }
    }
}

#[test]
fn certificates_that_are_missing_or_do_not_fit_are_said_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let why = |dir: &Path| PeerTls::open(dir).unwrap_err().to_string();
    assert!(why(dir.path()).contains("`tls.crt` is missing"));
    Authority::new().issue(dir.path(), &["a"]);
    PeerTls::open(dir.path()).unwrap();
    ApiTls::open(dir.path()).unwrap();
    let crt = std::fs::read(dir.path().join("tls.crt")).unwrap();
    Authority::new().issue(dir.path(), &["a"]);
    std::fs::write(dir.path().join("tls.crt"), crt).unwrap();
    assert!(why(dir.path()).contains("certificate and key"), "{}", why(dir.path()));
    std::fs::write(dir.path().join("tls.key"), "no key").unwrap();
    assert!(why(dir.path()).contains("tls.key"));
    Authority::new().issue(dir.path(), &["a"]);
    std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
    assert!(why(dir.path()).contains("ca.crt"));
    ApiTls::open(dir.path()).unwrap();
}

/// What clients sent over TLS must not leave in the clear.
#[test]
fn a_way_between_pods_is_secret_with_a_key_or_tls_that_is_required() {
    let authority = Authority::new();
    for (member, is_secret) in [
        (Member::new("db-0"), false),
        (Member::new("db-0").key(KEY), true),
        (Member::new("db-0").tls(&authority, &["a"]), true),
        (Member::new("db-0").tls(&authority, &["a"]).key(KEY), true),
        (Member::new("db-0").tls(&authority, &["a"]).key(KEY).optional(), false),
    ] {
        let (trust, _folder) = member.trust();
        assert_eq!(trust.is_secret(), is_secret, "{}", trust.describe());
    }
}

#[test]
fn refusals_are_kept_for_the_status() {
    let (trust, _folder) = Member::new("db-0").key(KEY).trust();
    for n in 0..3 {
        trust.note_refused(&"10.0.0.9:1", Rejection::Key, &format!("attempt {n}"));
    }
    let status = trust.status();
    assert_eq!(status["lastRefused"].as_array().unwrap().len(), 1);
    assert_eq!(status["lastRefused"][0]["what"], "attempt 2");
    assert_eq!(status["keys"].as_array().unwrap().len(), 1);
    assert!(!status.to_string().contains(KEY));
}
