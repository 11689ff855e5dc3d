//! Replicas with a key, and those who have none: nothing of what the peer port can do is to be had without it.

use super::*;
use crate::trust::tests::{Authority, KEY, Member};

/// A node with what `member` has.
async fn node(member: Member) -> (Node, tempfile::TempDir) {
    let (trust, folder) = member.trust();
    (Node::trusting(trust).await, folder)
}

#[tokio::test]
async fn replicas_with_a_key_and_tls_do_all_that_they_do_without() {
    let authority = Authority::new();
    let member = |name: &str| Member::new(name).key(KEY).tls(&authority, &["127.0.0.1"]);
    let ((mut leader, _a), (mut follower, _b)) = (node(member("store-0")).await, node(member("store-1")).await);

    follower.peers.dial(ConnId::Dialled(1), leader.address.clone(), hello());
    let Input::Hello { conn, hello: said } = leader.next().await else { panic!("no hello") };
    assert_eq!(said, hello());
    assert!(leader.peers.answer(conn, Answer::Welcome { format: 1 }));
    assert!(matches!(follower.next().await, Input::Answered { answer: Answer::Welcome { format: 1 }, .. }));
    for seq in 0..20 {
        assert!(leader.peers.send(conn, append(seq, 300_000)));
        assert!(follower.peers.send(ConnId::Dialled(1), ack(seq)));
    }
    for seq in 0..20 {
        assert_eq!(follower.next_frame().await, append(seq, 300_000));
        assert_eq!(leader.next_frame().await, ack(seq));
    }

    leader.peers.invite("store-1".into(), follower.address.clone(), claim(7));
    let Input::Invited { request, claim: invited } = follower.next().await else { panic!("no invitation") };
    assert_eq!(invited, claim(7));
    let said = InviteAnswer { cluster_id: None, replica: ReplicaId(uuid(1)), promise: claim(7).promise() };
    follower.peers.answer_invite(request, said.clone());
    assert!(matches!(leader.next().await, Input::InviteAnswered { answer, .. } if answer == said));
    follower.peers.ask_state("store-0".into(), leader.address.clone());
    assert!(matches!(follower.next().await, Input::StateAnswered { state, .. } if state == peer_state()));
    leader.is_rejected(0).await;
    follower.is_rejected(0).await;
}

#[tokio::test]
async fn an_outsider_cannot_vote_invite_or_ask() {
    let (mut member, _folder) = node(Member::new("store-0").key(KEY)).await;
    let outsiders = [Member::new("store-1"), Member::new("store-1").key("somebody else's key, which is long too")];
    for (n, outsider) in outsiders.into_iter().enumerate() {
        let (mut outsider, _folder) = node(outsider).await;
        outsider.peers.dial(ConnId::Dialled(1), member.address.clone(), hello());
        assert!(matches!(outsider.next().await, Input::Closed { conn: ConnId::Dialled(1) }));
        outsider.peers.invite("store-0".into(), member.address.clone(), claim(9));
        outsider.peers.ask_state("store-0".into(), member.address.clone());
        // Both ends count each of the three, and say why.
        outsider.is_rejected(3).await;
        member.is_rejected(3 * (n as u64 + 1)).await;
        assert!(outsider.events.try_recv().is_ok_and(|event| outsider.peers.admit(event).is_none()));
    }
    assert!(member.events.try_recv().is_err(), "something of it came through to the driver");
    let refused = member.peers.config.trust.status()["lastRefused"].to_string();
    assert!(refused.contains("\"key\"") && refused.contains("127.0.0.1"), "{refused}");
}

#[tokio::test]
async fn a_member_takes_nothing_from_an_outsider_that_it_dials() {
    let (mut member, _a) = node(Member::new("store-0").key(KEY)).await;
    let (mut outsider, _b) = node(Member::new("store-1")).await;
    member.peers.dial(ConnId::Dialled(1), outsider.address.clone(), hello());
    assert!(matches!(member.next().await, Input::Closed { conn: ConnId::Dialled(1) }));
    member.peers.ask_state("store-1".into(), outsider.address.clone());
    member.is_rejected(2).await;
    outsider.is_rejected(2).await;
    assert!(outsider.events.try_recv().is_err(), "an outsider was told the hello");
}

#[tokio::test]
async fn a_question_that_reaches_another_member_is_not_answered() {
    let (mut asker, _a) = node(Member::new("store-0").key(KEY)).await;
    let (asked, _b) = node(Member::new("store-1").key(KEY)).await;
    // The address is that of store-1, by an old record of DNS perhaps.
    asker.peers.ask_state("store-2".into(), asked.address.clone());
    asker.is_rejected(1).await;
    asked.is_rejected(1).await;
}

#[tokio::test]
async fn a_socket_that_is_opened_by_hand_gets_no_upgrade_from_a_member() {
    let (member, _folder) = node(Member::new("store-0").key(KEY)).await;
    let stream = TcpStream::connect(&member.address).await.unwrap();
    let url = format!("ws://{}{REPLICATE_PATH}", member.address);
    let error = tokio_tungstenite::client_async(url, stream).await.unwrap_err();
    let refused = matches!(
        &error,
        tokio_tungstenite::tungstenite::Error::Http(answer) if answer.status() == http::StatusCode::UNAUTHORIZED
    );
    assert!(refused, "{error:?}");
    member.is_rejected(1).await;
}
