//! Who knows a key's id and not the key, or changes what others say: a handshake by hand.

use super::super::handshake::{Dialling, answer, framed};
use super::super::primitives;
use super::golden::{Agreement, Fixed};
use super::*;

fn keys(current: &str) -> Keys {
    Keys::from_files(&[("current".into(), current.as_bytes().to_vec())].into_iter().collect()).unwrap()
}

fn me(name: &str) -> Identity {
    Identity { cluster: "db".into(), name: name.into() }
}

/// What a listener says to a good call and, once it has answered, to what comes `after`.
async fn refused(call: &[u8], after: &[u8]) -> (&'static str, String) {
    let (listener, _folder) = Member::new("db-1").key(KEY).trust();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stranger = async {
        let mut stream = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        stream.write_all(call).await.unwrap();
        let mut head = [0; 10];
        stream.read_exact(&mut head).await.unwrap();
        stream.read_exact(&mut vec![0; usize::from(head[8])]).await.unwrap();
        stream.write_all(after).await.unwrap();
        stream
    };
    let time_max = if after.is_empty() { Duration::from_millis(100) } else { LONG };
    let accept = async { listener.accept(socket.accept().await.unwrap().0, time_max).await };
    let (accepted, _stream) = tokio::join!(accept, stranger);
    reason(accepted)
}

/// Ids cross the wire: anybody may name one, and be answered. That is all.
#[tokio::test]
async fn who_names_a_key_without_knowing_it_is_not_believed() {
    let keys = keys(KEY);
    let (_, call) = Dialling::begin(&keys, &me("db-0"), Some("db-1"), primitives::ring()).unwrap();
    let call = framed(&call);
    let mut forged = vec![16, 0];
    forged.extend([7; 16]);
    assert_eq!(refused(&call, &forged).await.0, "proof");
    let mut request = vec![30, 0];
    request.extend([7; 30]);
    assert_eq!(refused(&call, &request).await.0, "protocol", "a first record that is not empty");
    assert_eq!(refused(&call, b"GET /v1/state HTTP/1.1\r\n\r\n").await.0, "protocol");
    assert_eq!(refused(&call, b"").await.0, "silent", "a call, and nothing behind it");
}

/// Neither end takes what was changed on the way: the ids, the names, the keys, the tags.
#[test]
fn every_byte_of_a_call_and_of_an_answer_counts() {
    let keys = keys(KEY);
    let (dialer, listener) = (me("db-0"), me("db-1"));
    let (_, call) = Dialling::begin(&keys, &dialer, Some("db-1"), primitives::ring()).unwrap();
    for at in 0..call.len() {
        for bit in [1, 0x80] {
            let mut changed = call.clone();
            changed[at] ^= bit;
            assert!(answer(&changed, &keys, &listener, primitives::ring()).is_err(), "byte {at} of {call:?}");
        }
    }
    for length in 0..call.len() {
        assert!(answer(&call[..length], &keys, &listener, primitives::ring()).is_err(), "{length} bytes of it");
    }
    let longer = [&call[..], &[0]].concat();
    assert!(answer(&longer, &keys, &listener, primitives::ring()).is_err(), "one byte more");

    let heard = |change: &dyn Fn(&mut Vec<u8>)| {
        let (dialling, call) = Dialling::begin(&keys, &dialer, Some("db-1"), primitives::ring()).unwrap();
        let (_, mut answer, _) = answer(&call, &keys, &listener, primitives::ring()).unwrap();
        change(&mut answer);
        dialling.hear(&answer).map(|(_, name)| name)
    };
    assert_eq!(heard(&|_| {}).unwrap(), "db-1");
    let length = 1 + 8 + 32 + 4 + 16;
    for at in 0..length {
        assert!(heard(&|answer| answer[at] ^= 1).is_err(), "byte {at} of an answer");
        assert!(heard(&|answer| answer.truncate(at)).is_err(), "{at} bytes of an answer");
    }
    assert!(heard(&|answer| answer.push(0)).is_err(), "one byte more");
}

/// The listener takes the first of the offered keys that it has. Nobody on the way can make it take another.
#[test]
fn a_call_of_two_keys_is_bound_to_both() {
    let two = [("current", OTHER), ("next", KEY)].map(|(name, key)| (name.into(), key.as_bytes().to_vec()));
    let two = Keys::from_files(&two.into_iter().collect()).unwrap();
    let (_, call) = Dialling::begin(&two, &me("db-0"), None, primitives::ring()).unwrap();
    assert!(answer(&call, &keys(KEY), &me("db-1"), primitives::ring()).is_ok());
    // Somebody strikes the first one out, to have the other one used.
    let mut fewer = call.clone();
    fewer[1] = 1;
    fewer.drain(2..10);
    assert!(answer(&fewer, &keys(KEY), &me("db-1"), primitives::ring()).is_err());

    // Or makes the call anew around the dialer's `e`, with a good tag, to which nobody needs a secret.
    let (dialling, call) = Dialling::begin(&two, &me("db-0"), None, primitives::ring()).unwrap();
    let e = call[call.len() - 48..call.len() - 16].to_vec();
    let same = Agreement { ours: e.clone(), theirs: e.clone(), shared: e };
    let (_, forged) = Dialling::begin(&keys(KEY), &me("db-0"), None, Box::new(Fixed(same))).unwrap();
    let (_, answer, _) = answer(&forged, &keys(KEY), &me("db-1"), primitives::ring()).unwrap();
    assert_eq!(dialling.hear(&answer).map(|_| ()).unwrap_err().reason(), Rejection::Proof);
}

/// X25519 knows points on which everybody agrees, whatever his own key is.
#[test]
fn a_point_that_agrees_with_everybody_is_none() {
    let low = || {
        let agreement = Agreement { ours: vec![0; 32], theirs: vec![0; 32], shared: vec![0; 32] };
        Box::new(Fixed(agreement))
    };
    let keys = keys(KEY);
    let (_, call) = Dialling::begin(&keys, &me("db-0"), None, low()).unwrap();
    let refused = answer(&call, &keys, &me("db-1"), primitives::ring()).map(|_| ()).unwrap_err();
    assert_eq!(refused.reason(), Rejection::Protocol, "{refused}");

    let (dialling, _) = Dialling::begin(&keys, &me("db-0"), None, primitives::ring()).unwrap();
    let mut answer = vec![2];
    answer.extend(keys.all()[0].id());
    answer.extend([0; 32 + 4 + 16]);
    assert_eq!(dialling.hear(&answer).map(|_| ()).unwrap_err().reason(), Rejection::Proof);
}
