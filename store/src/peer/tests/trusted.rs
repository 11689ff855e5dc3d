//! Replicas with a key, and others without: nothing that the peer port offers is available without it.

use super::*;
use crate::peer::trust::tests::{Authority, KEY, Member};

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

    follower.peers.dial(ConnId::Dialled(1), at("store-0", &leader.address), hello());
    let Input::Hello { conn, hello: said } = leader.next().await else { panic!("no hello") };
    assert_eq!(said, hello());
    assert!(leader.peers.answer(conn, HelloAnswer::Welcome { format: 1, replica: None }));
    assert!(matches!(
        follower.next().await,
        Input::Answered { answer: HelloAnswer::Welcome { format: 1, replica: None }, .. }
    ));
    for seq in 0..20 {
        assert!(leader.peers.send(conn, append(seq, 300_000)));
        assert!(follower.peers.send(ConnId::Dialled(1), ack(seq)));
    }
    for seq in 0..20 {
        assert_eq!(follower.next_frame().await, append(seq, 300_000));
        assert_eq!(leader.next_frame().await, ack(seq));
    }

    leader.peers.invite(at("store-1", &follower.address), claim(7));
    let Input::Invited { request, claim: invited } = follower.next().await else { panic!("no invitation") };
    assert_eq!(invited, claim(7));
    let said = InviteAnswer {
        name: Some("store-1".into()),
        cluster_id: None,
        replica: ReplicaId(uuid(1)),
        promise: claim(7).promise(),
        went_back: false,
    };
    follower.peers.answer_invite(request, said.clone());
    assert!(matches!(leader.next().await, Input::InviteAnswered { answer, .. } if answer == said));
    follower.peers.ask_state(at("store-0", &leader.address));
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
        outsider.peers.dial(ConnId::Dialled(1), at("store-0", &member.address), hello());
        assert!(matches!(outsider.next().await, Input::Closed { conn: ConnId::Dialled(1) }));
        outsider.peers.invite(at("store-0", &member.address), claim(9));
        outsider.peers.ask_state(at("store-0", &member.address));
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
    member.peers.dial(ConnId::Dialled(1), at("store-0", &outsider.address), hello());
    assert!(matches!(member.next().await, Input::Closed { conn: ConnId::Dialled(1) }));
    member.peers.ask_state(at("store-1", &outsider.address));
    member.is_rejected(2).await;
    outsider.is_rejected(2).await;
    assert!(outsider.events.try_recv().is_err(), "an outsider was told the hello");
}

#[tokio::test]
async fn a_question_that_reaches_another_member_is_not_answered() {
    let (mut asker, _a) = node(Member::new("store-0").key(KEY)).await;
    let (asked, _b) = node(Member::new("store-1").key(KEY)).await;
    // The address is that of store-1, by an old record of DNS perhaps.
    asker.peers.ask_state(at("store-2", &asked.address));
    let answer = tokio::time::timeout(LONG, asker.events.recv()).await.unwrap().unwrap();
    assert!(asker.peers.admit(answer).is_none());
    // Addresses pass from pod to pod all the time: nothing to be alarmed about.
    asker.is_rejected(0).await;
    asked.is_rejected(0).await;
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

/// Two members on one port, each at an IP of its own; and one who looks for the first.
async fn neighbours(member: impl Fn(&str) -> Member) -> ([Node; 3], [tempfile::TempDir; 3]) {
    let [(first, a), (second, b), (asker, c)] = ["store-0", "store-1", "store-2"].map(|name| member(name).trust());
    let first = Node::trusting(first).await;
    let port = first.address.rsplit_once(':').unwrap().1;
    let second = Node::at(second, Duration::from_secs(1), &format!("127.0.0.2:{port}")).await;
    ([first, second, Node::trusting(asker).await], [a, b, c])
}

#[tokio::test]
async fn a_pod_is_found_though_its_newest_address_is_another_pods_by_now() {
    let authority = Authority::new();
    let ways: [&dyn Fn(&str) -> Member; 3] = [
        &|name| Member::new(name).key(KEY),
        &|name| Member::new(name).tls(&authority, &["127.0.0.1", "127.0.0.2"]),
        &|name| Member::new(name),
    ];
    for way in ways {
        let ([mut meant, mut other, mut asker], _folders) = neighbours(way).await;
        let to = Target { addresses: vec!["127.0.0.2".parse().unwrap()], ..at("store-0", &meant.address) };
        asker.peers.ask_state(to.clone());
        assert!(matches!(asker.next().await, Input::StateAnswered { name, .. } if name == "store-0"));
        asker.peers.invite(to.clone(), claim(7));
        let Input::Invited { request, .. } = meant.next().await else { panic!("no invitation") };
        let name = Some("store-0".to_owned());
        let said = InviteAnswer {
            name,
            cluster_id: None,
            replica: ReplicaId(uuid(1)),
            promise: claim(7).promise(),
            went_back: false,
        };
        meant.peers.answer_invite(request, said.clone());
        assert!(matches!(asker.next().await, Input::InviteAnswered { answer, .. } if answer == said));
        asker.peers.dial(ConnId::Dialled(1), to, hello());
        let Input::Hello { conn, .. } = meant.next().await else { panic!("no hello") };
        assert!(meant.peers.answer(conn, HelloAnswer::Welcome { format: 1, replica: None }));
        assert!(matches!(asker.next().await, Input::Answered { answer: HelloAnswer::Welcome { .. }, .. }));

        // Where only the other one is, nobody is found, and that is nobody's fault.
        let nowhere = at("store-0", &other.address);
        asker.peers.ask_state(nowhere.clone());
        asker.peers.invite(nowhere.clone(), claim(8));
        asker.peers.dial(ConnId::Dialled(2), nowhere, hello());
        assert!(matches!(asker.next().await, Input::Closed { conn: ConnId::Dialled(2) }));
        let none = tokio::time::timeout(Duration::from_millis(100), asker.next()).await;
        assert!(none.is_err(), "{none:?}");
        assert!(other.events.try_recv().is_err(), "something came to the driver of the other one");
        for node in [&meant, &other, &asker] {
            node.is_rejected(0).await;
        }
    }
}

#[tokio::test]
async fn where_both_addresses_lead_to_the_leader_one_hello_is_said() {
    let ([mut leader, _other, mut follower], _folders) = neighbours(|name| Member::new(name).key(KEY)).await;
    let port = leader.address.rsplit_once(':').unwrap().1;
    // The IP refuses, then says nothing, then is the leader's: the name leads to it in any case.
    let ips = ["127.0.0.3", "127.0.0.1", "127.0.0.1"].map(|ip| ip.parse().unwrap()).to_vec();
    let to = Target { addresses: ips, ..at("store-0", &format!("localhost:{port}")) };
    follower.peers.dial(ConnId::Dialled(1), to, hello());
    let Input::Hello { conn, .. } = leader.next().await else { panic!("no hello") };
    assert!(leader.peers.answer(conn, HelloAnswer::Welcome { format: 1, replica: None }));
    assert!(matches!(follower.next().await, Input::Answered { answer: HelloAnswer::Welcome { .. }, .. }));
    let second = tokio::time::timeout(Duration::from_millis(300), leader.next()).await;
    assert!(second.is_err(), "{second:?}");
}
