//! list, verify, cat, drill.

use crate::fixture::{Fixture, run};
use age::secrecy::ExposeSecret as _;
use leasehold_archive::name::Name;
use leasehold_backup::sealed::Recipients;
use leasehold_replication::{ClusterId, Seq};
use std::fs;
use uuid::Uuid;

#[test]
fn list_says_what_can_be_restored() {
    let fixture = Fixture::whole();
    let listed = fixture.run("list");
    assert_eq!(listed.code, 0);
    let begin = "cluster 00000000-0000-0000-0000-00000000000c: 2 fulls (2 verified), 3 files of changes, ";
    assert!(listed.out.starts_with(begin), "{listed:?}");
    let any = format!("  any point from entry 1 ({}) to entry 9 ({})\n", fixture.time(1), fixture.time(9));
    assert!(listed.out.contains(&any), "{listed:?}");
    assert!(listed.out.ends_with(&format!("  newest verified full: entry 5 ({})\n", fixture.time(5))), "{listed:?}");
    let json: serde_json::Value = serde_json::from_str(&fixture.run("list --json").out).unwrap();
    assert_eq!(json["clusters"][0]["ranges"][0]["to"]["sequence"], 9);
    assert_eq!(json["clusters"][0]["fulls"][1]["verified"], true);
}

#[test]
fn list_shows_gaps_and_nothing() {
    let fixture = Fixture::new();
    assert!(fixture.run("list").out.ends_with("has no archive\n"));
    fixture.full(1);
    fixture.changes(2, 3);
    fixture.full(6);
    let listed = fixture.run("list");
    assert!(listed.out.contains("\n  gap\n  entry 6 ("), "{listed:?}");
    assert!(listed.out.contains("no full is verified"), "{listed:?}");
}

#[test]
fn cat_prints_records_as_they_were() {
    let fixture = Fixture::whole();
    let cat = |words: &str| fixture.run(&format!("cat --collection orders {words}"));
    assert_eq!(cat("--at 3").out, "{\"id\":\"a\",\"n\":1}\n{\"id\":\"b\",\"n\":2}\n");
    assert_eq!(cat("--at 5").out, "{\"id\":\"a\",\"n\":3}\n");
    let latest = cat("").out;
    assert_eq!(latest, cat("--at latest").out);
    assert_eq!(latest.lines().count(), 4);
    assert_eq!(cat(&format!("--at {} --id b", fixture.time(4))).out, "{\"id\":\"b\",\"n\":2}\n");
    let between = fixture.time(4).replace(".000Z", ".999Z");
    assert_eq!(cat(&format!("--at {between} --id b")).out, "{\"id\":\"b\",\"n\":2}\n");
    let batch = cat("--at 4 --batch").out;
    let operations = "{\"operations\":[{\"op\":\"put\",\"id\":\"a\",\"record\":{\"id\":\"a\",\"n\":3}},\
                      {\"op\":\"put\",\"id\":\"b\",\"record\":{\"id\":\"b\",\"n\":2}}]}\n";
    assert_eq!(batch, operations);
}

#[test]
fn cat_says_what_was_not_there() {
    let fixture = Fixture::whole();
    for (words, said) in [
        ("cat --collection orders --at 5 --id b", "orders had no record b at entry 5"),
        ("cat --collection users", "there was no collection users at entry 9"),
        ("cat --collection orders --at 10", "sequence 10 is behind the end of the archive, entry 9"),
        ("cat --collection orders --at 0", "sequence 0 is before the archive begins, with entry 1"),
        ("cat --collection orders --at 2099-01-01T00:00:00Z", "behind the end of the archive"),
        ("cat --collection users --at 4", "; the archive leads up to entry 9 ("),
        ("cat --collection orders --id z --history", "which leads up to entry 9 ("),
        ("cat --collection orders --id z --history", "has no version of the record z of orders"),
        ("cat --collection users --id z --history", "never had a collection users; it had: orders, persons"),
    ] {
        let cat = fixture.run(words);
        assert!(cat.code == 1 && cat.out.is_empty() && cat.err.contains(said), "{cat:?}");
    }
    assert_eq!(fixture.run("cat --collection orders --at yesterday").code, 2);
}

#[test]
fn cat_prints_every_version_of_a_record() {
    let fixture = Fixture::whole();
    let versions = fixture.run("cat --collection orders --id b --history").out;
    let line = |seq: u64, change: &str, record: &str| {
        format!(
            "{{\"sequence\":{seq},\"time\":\"{}\",\"change\":\"{change}\",\"record\":{record}}}\n",
            fixture.time(seq)
        )
    };
    let expected = [
        line(3, "created", r#"{"id":"b","n":2}"#),
        line(5, "deleted", "null"),
        line(8, "created", r#"{"id":"b","n":5}"#),
    ];
    assert_eq!(versions, expected.concat());
}

#[test]
fn a_damaged_file_shows_no_version_twice_and_none_that_never_was() {
    let fixture = Fixture::whole();
    let expected = fixture.run("cat --collection orders --id b --history").out;
    // It leads furthest, so it is tried first, and its entry 8 is wrong.
    let (name, content) = fixture.history.changes(Seq(2), Seq(9));
    let wrong = String::from_utf8(content).unwrap().replace("\"n\":5", "\"n\":55");
    let name = fixture.write(name, wrong.as_bytes());
    let versions = fixture.run("cat --collection orders --id b --history");
    assert!(versions.err.contains(&name.to_string()), "{versions:?}");
    assert_eq!(versions.out, expected);
}

#[test]
fn verify_and_drill_say_that_all_is_well() {
    let fixture = Fixture::whole();
    for words in ["verify", "verify --all"] {
        let verify = fixture.run(words);
        assert!(verify.code == 0 && verify.out.ends_with("nothing is wrong\n"), "{verify:?}");
    }
    let drill = fixture.run("drill");
    let begin = format!("restored 4 records in 2 collections at entry 9 ({}) of cluster ", fixture.time(9));
    assert!(drill.code == 0 && drill.out.starts_with(&begin), "{drill:?}");
    assert!(drill.out.contains("read 3 objects") && drill.out.contains("all hashes agree"), "{drill:?}");
    assert!(fixture.run("drill --at 4").out.contains("at entry 4"));
}

#[test]
fn verify_names_what_is_damaged() {
    let fixture = Fixture::whole();
    let name = fixture.changes(6, 7);
    let good = fs::read(fixture.path(&name)).unwrap();
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fixture.put(&name, &bad);
        for words in ["verify", "verify --all", "drill"] {
            let run = fixture.run(words);
            assert!(run.code == 1 && run.err.contains(&name.to_string()), "{words}: {run:?}");
            assert!(words == "drill" || run.err.contains("problems: 1; "), "it counts once: {words}: {run:?}");
        }
    }
    let gap = fixture.run("drill").err;
    assert!(gap.contains("up to entry 5") && gap.contains("use --at 5\n"), "{gap}");
    assert!(gap.contains("for 1 object of the archive is unusable"), "{gap}");
    // Its neighbour leads over it.
    let other = fixture.changes(6, 8);
    let drill = fixture.run("drill");
    assert!(drill.code == 0 && drill.out.contains("at entry 9"), "{other}: {drill:?}");
    assert_eq!(fixture.run("verify --all").code, 1, "it is damaged nevertheless");
}

#[test]
fn verify_finds_a_file_that_is_missing() {
    let fixture = Fixture::whole();
    fs::remove_file(fixture.path(&fixture.changes(6, 7))).unwrap();
    let verify = fixture.run("verify");
    assert!(verify.code == 1 && verify.err.contains("a file is missing after entry 5"), "{verify:?}");
    let list = fixture.run("list");
    let hole = "entries 8-9 cannot be reached: what follows entry 5 is missing\n";
    assert!(list.code == 0 && list.out.contains(hole), "{list:?}");
    let cat = fixture.run("cat --collection orders --at 9");
    assert!(cat.code == 1 && cat.err.contains("behind the end of the archive, entry 5"), "{cat:?}");
}

#[test]
fn a_damaged_full_gives_way_to_an_older_one() {
    let fixture = Fixture::whole();
    let full = fixture.full(5);
    let bytes = fs::read(fixture.path(&full)).unwrap();
    fixture.put(&full, &bytes[..bytes.len() - 9]);
    let cat = fixture.run("cat --collection orders --at 9 --id a");
    assert!(cat.code == 0 && cat.err.contains(&full.to_string()) && cat.out.contains("\"n\":3"), "{cat:?}");
    assert_eq!((fixture.run("verify").code, fixture.run("verify --all").code), (1, 1));
    // One whose data are not those that were verified.
    let other = Fixture::whole();
    let (_, content) = other.history.full(Seq(4));
    let text = String::from_utf8(content).unwrap().replace("\"sequence\":4", "\"sequence\":5");
    let compressed = {
        use std::io::Write as _;
        let mut sealer = leasehold_backup::sealed::Sealer::new(Vec::new(), &Recipients::default()).unwrap();
        sealer.write_all(text.as_bytes()).unwrap();
        sealer.finish().unwrap()
    };
    other.put(&full, &compressed);
    let verify = other.run("verify --all");
    assert!(verify.code == 1 && verify.err.contains("as was noted"), "{verify:?}");
    assert_eq!(other.run("drill").code, 0);
}

#[test]
fn another_history_in_the_folder_is_named_and_not_mixed_in() {
    let fixture = Fixture::whole();
    let mut foreign = Fixture::new();
    foreign.history = leasehold_archive::testing::History::default();
    for n in 1..12 {
        foreign.history.put("other", n);
    }
    let (name, _) = foreign.history.changes(Seq(8), Seq(12));
    let written = foreign.changes(8, 12);
    fixture.put(&name, &fs::read(foreign.path(&written)).unwrap());
    let drill = fixture.run("drill");
    assert!(drill.code == 1 && drill.err.contains("another history") && drill.err.contains("entry 9"), "{drill:?}");
    assert_eq!(fixture.run("drill --at 9").code, 0);
}

#[test]
fn several_clusters_are_told_apart() {
    let fixture = Fixture::whole();
    let mut other = Fixture::new();
    other.history.cluster = ClusterId(Uuid::from_u128(0x0d));
    let name = other.full(3);
    let path = fixture.folder.path().join("00000000-0000-0000-0000-00000000000d").join(name.to_string());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(other.path(&name), path).unwrap();
    let verify = fixture.run("verify");
    assert!(verify.code == 1 && verify.err.contains("name one with --cluster-id"), "{verify:?}");
    assert!(verify.err.contains("00000000-0000-0000-0000-00000000000d  up to entry 3 ("), "{verify:?}");
    let newest = fixture.run("drill");
    assert!(newest.code == 0 && newest.out.contains("00000000-0000-0000-0000-00000000000c"), "{newest:?}");
    assert_eq!(fixture.run("drill --cluster-id 00000000-0000-0000-0000-00000000000d").code, 0);
    let none = fixture.run("drill --cluster-id 00000000-0000-0000-0000-00000000000e");
    assert!(none.code == 1 && none.err.contains("has no cluster 00000000"), "{none:?}");
    assert!(none.err.contains("00000000-0000-0000-0000-00000000000d  up to entry 3 ("), "{none:?}");
    assert_eq!(fixture.run("list --cluster-id 00000000-0000-0000-0000-00000000000e").code, 1);
    assert_eq!(fixture.run("list").out.matches("cluster ").count(), 2);
}

#[test]
fn a_place_beside_the_archive_is_answered_with_what_was_expected() {
    let fixture = Fixture::whole();
    let (root, cluster) = (fixture.folder.path(), fixture.history.cluster.0.to_string());
    let at = |command: &str, path: &std::path::Path| {
        run([command, "--url", &format!("file://{}", path.display())].into_iter())
    };
    let outer = tempfile::tempdir().unwrap();
    fs::create_dir_all(outer.path().join("prod").join(&cluster)).unwrap();
    let high = at("verify", outer.path());
    assert!(
        high.code == 1 && high.err.contains("expected below it is <cluster-id>/full/…, and it has prod"),
        "{high:?}"
    );
    assert!(at("list", outer.path()).out.contains("and it has prod"));
    let low = at("drill", &root.join(&cluster));
    assert!(low.code == 1 && low.err.contains("name the one above it"), "{low:?}");
    let lower = at("list", &root.join(&cluster).join("full"));
    assert!(lower.out.contains("name the one above that"), "{lower:?}");
    fs::write(outer.path().join("prod").join(&cluster).join("notes"), "").unwrap();
    let strangers = at("verify", &outer.path().join("prod"));
    assert!(strangers.code == 1 && strangers.err.contains("1 object of other names; expected are"), "{strangers:?}");
}

#[test]
fn an_encrypted_archive_needs_its_key() {
    let mut fixture = Fixture::new();
    let identity = age::x25519::Identity::generate();
    let key = fixture.folder.path().join("key.txt");
    fs::write(&key, identity.to_string().expose_secret()).unwrap();
    fixture.recipients = Recipients::read(&[identity.to_public().to_string()], None).unwrap();
    fixture.full(1);
    fixture.verify(1);
    let file = fixture.changes(2, 9);
    assert!(matches!(file, Name::Changes { encrypted: true, .. }));
    let with = |words: &str| fixture.run(&format!("{words} --identity {}", key.display()));
    assert_eq!(with("drill").code, 0);
    assert_eq!(with("verify --all").code, 0);
    let drill = fixture.run("drill");
    assert!(drill.code == 1 && drill.err.contains("--identity"), "{drill:?}");
    for words in ["verify", "verify --all"] {
        let verify = fixture.run(words);
        let last = "the content of the encrypted ones was not checked: give --identity\n";
        assert!(verify.code == 0 && verify.out.ends_with(last), "{verify:?}");
        assert!(!verify.out.contains("nothing is wrong"), "{verify:?}");
    }
    fs::write(&key, age::x25519::Identity::generate().to_string().expose_secret()).unwrap();
    let drill = with("drill");
    assert!(drill.code == 1 && drill.err.contains("cannot be decrypted"), "{drill:?}");
    // Its checksum shows damage even without the key.
    let full = fixture.full(1);
    let verify = fixture.run("verify");
    assert!(
        verify.code == 1 && verify.err.contains(&full.to_string()),
        "sealed anew, so with another checksum: {verify:?}"
    );
}

#[test]
fn what_cannot_be_reached_is_one_sentence() {
    let all = ["list", "--url", "file:///nowhere/at/all"];
    let list = run(all.into_iter());
    assert!(list.code == 1 && list.err.starts_with("backup: cannot open file:///nowhere/at/all: "), "{list:?}");
    assert_eq!(list.err.lines().count(), 1);
    let list = run(["list", "--url", "s3://bucket/x", "--endpoint", "http://127.0.0.1:1", "--path-style"].into_iter());
    assert!(list.code == 1 && list.err.lines().count() == 1, "{list:?}");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let fixture = Fixture::whole();
    let url = format!("file://{}", fixture.folder.path().display());
    let restore = |url: &str| {
        let data = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backup"));
        command.args(["restore", "--to", &data.path().display().to_string()]).env("BACKUP_URL", url);
        for empty in ["BACKUP_CLUSTER_ID", "BACKUP_AT", "BACKUP_IDENTITY", "BACKUP_ENDPOINT", "BACKUP_ROLE", "POD_NAME"]
        {
            command.env(empty, "");
        }
        command.output().unwrap()
    };
    assert!(restore(&url).status.success());
    let missing = restore("");
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(missing.status.code() == Some(2) && said.contains("--url <URL> (or BACKUP_URL)"), "{said}");
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let mut fixture = Fixture::whole();
    for n in 0..3000 {
        fixture.history.put(&format!("r{n}"), n);
    }
    let last = fixture.history.last().0;
    fixture.changes(10, last);
    let url = format!("file://{}", fixture.folder.path().display());
    let words = ["cat", "--collection", "orders", "--url", &url];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backup"));
    let mut child = command.args(words).stdout(std::process::Stdio::piped()).spawn().unwrap();
    // More than a pipe holds is still to come.
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
