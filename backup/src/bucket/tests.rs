use super::*;
use leasehold_archive::time::Time;
use leasehold_replication::Seq;
use object_store::memory::InMemory;
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(9));

fn full(seq: u64) -> Name {
    Name::Full { seq: Seq(seq), time: Time::UNSAID, encrypted: false }
}

fn place(url: String) -> Place {
    Place { url, endpoint: None, path_style: false }
}

async fn puts_lists_gets_and_deletes(bucket: &Bucket) {
    assert_eq!(bucket.clusters().await.unwrap(), []);
    assert_eq!(bucket.list(CLUSTER).await.unwrap(), []);
    assert_eq!(bucket.put_if_absent(CLUSTER, &full(7), "one").await.unwrap(), Put::Written);
    assert_eq!(bucket.put_if_absent(CLUSTER, &full(7), "another").await.unwrap(), Put::Exists);
    assert_eq!(bucket.get_whole(CLUSTER, &full(7)).await.unwrap(), "one");
    let listed = Listed { name: full(7).to_string(), bytes: 3 };
    assert_eq!(bucket.list(CLUSTER).await.unwrap(), [listed]);
    assert_eq!(bucket.clusters().await.unwrap(), [CLUSTER]);
    assert_eq!(bucket.get_whole(CLUSTER, &full(8)).await.unwrap_err().why, Why::Missing);
    assert_eq!(bucket.delete(CLUSTER, &[full(7), full(8)]).await.unwrap(), 2);
    assert_eq!(bucket.list(CLUSTER).await.unwrap(), []);
    let requests = bucket.requests();
    assert_eq!((requests.put, requests.get, requests.delete), (2, 2, 2));
}

#[tokio::test]
async fn a_bucket_in_memory_puts_lists_gets_and_deletes() {
    puts_lists_gets_and_deletes(&Bucket::over(Arc::new(InMemory::new()), "some/prefix")).await;
}

#[tokio::test]
async fn a_folder_puts_lists_gets_and_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&place(format!("file://{}/", folder.path().display()))).unwrap();
    puts_lists_gets_and_deletes(&bucket).await;
    let source = folder.path().join("source");
    std::fs::write(&source, vec![7; PIECE_BYTES + 3]).unwrap();
    assert_eq!(bucket.put_file_if_absent(CLUSTER, &full(9), source).await.unwrap(), Put::Written);
    assert_eq!(bucket.list(CLUSTER).await.unwrap()[0].bytes, PIECE_BYTES as u64 + 3);
}

#[tokio::test]
async fn a_large_object_of_a_folder_is_copied_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(format!("file://{}", folder.path().display()));
    let bucket = Bucket::open(&place).unwrap().in_parts_of(1000);
    let files = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| files.path().join(name));
    std::fs::write(&one, vec![1; 5000]).unwrap();
    std::fs::write(&other, vec![2; 5001]).unwrap();
    assert_eq!(bucket.put_file_if_absent(CLUSTER, &full(9), one).await.unwrap(), Put::Written);
    assert_eq!(bucket.put_file_if_absent(CLUSTER, &full(9), other.clone()).await.unwrap(), Put::Exists);
    assert!(bucket.get_whole(CLUSTER, &full(9)).await.unwrap() == vec![1; 5000]);
    // What a crash left has a name of its own.
    let torn = folder.path().join(CLUSTER.0.to_string()).join(format!("{}#{}0000", full(10), std::process::id()));
    std::fs::write(torn, "torn").unwrap();
    assert_eq!(bucket.put_file_if_absent(CLUSTER, &full(10), other).await.unwrap(), Put::Written);
    assert_eq!(bucket.list(CLUSTER).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_object_that_is_longer_than_any_of_ours_is_not_read_into_memory() {
    let bucket = Bucket::over(Arc::new(InMemory::new()), "some/prefix");
    let note = Name::Verified { seq: Seq(7), time: Time::UNSAID };
    bucket.put_if_absent(CLUSTER, &note, vec![b' '; NOTE_BYTES_MAX as usize + 1]).await.unwrap();
    let error = bucket.get_whole(CLUSTER, &note).await.unwrap_err();
    assert!(error.why == Why::Large && error.to_string().contains("move it away"), "{error}");
}

#[tokio::test]
async fn what_a_crash_left_in_a_folder_is_not_listed_and_removed_when_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&place(format!("file://{}", folder.path().display()))).unwrap();
    bucket.put_if_absent(CLUSTER, &full(7), "one").await.unwrap();
    let of = |seq: u64, part: &str| folder.path().join(CLUSTER.0.to_string()).join(full(seq).to_string() + part);
    for part in ["#1", "#2"] {
        std::fs::write(of(8, part), "torn").unwrap();
    }
    let file = std::fs::File::options().write(true).open(of(8, "#1")).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(7200)).unwrap();
    assert_eq!(bucket.list(CLUSTER).await.unwrap().len(), 1);
    assert_eq!(bucket.clean_up(CLUSTER).unwrap(), 1);
    assert!(!of(8, "#1").exists() && of(8, "#2").exists() && of(7, "").exists());
}

#[tokio::test]
async fn an_object_whose_name_cannot_be_read_is_said_to_be_in_the_way() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(&place(format!("file://{}", folder.path().display()))).unwrap();
    bucket.put_if_absent(CLUSTER, &full(7), "one").await.unwrap();
    let below = folder.path().join(CLUSTER.0.to_string());
    std::fs::write(below.join(std::ffi::OsStr::from_bytes(b"R\xfcckgabe.txt")), "").unwrap();
    let error = bucket.list(CLUSTER).await.unwrap_err();
    assert!(error.why == Why::Name && error.to_string().contains("rename it, or move it away ("), "{error}");
    assert!(error.to_string().contains("ckgabe.txt"), "{error}");
}

#[tokio::test]
async fn a_folder_whose_volume_is_gone_is_not_created() {
    let mounted = tempfile::tempdir().unwrap();
    let folder = mounted.path().join("archive");
    std::fs::create_dir(&folder).unwrap();
    let bucket = Bucket::open(&place(format!("file://{}", folder.display()))).unwrap();
    bucket.put_if_absent(CLUSTER, &full(7), "one").await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let errors = [
        bucket.put_if_absent(CLUSTER, &full(8), "two").await.unwrap_err(),
        bucket.list(CLUSTER).await.unwrap_err(),
        bucket.clusters().await.unwrap_err(),
        bucket.get_whole(CLUSTER, &full(7)).await.unwrap_err(),
        bucket.delete(CLUSTER, &[full(7)]).await.unwrap_err(),
    ];
    for error in errors {
        let said = format!("the folder {} is not there: mount its volume", folder.display());
        assert!(error.why == Why::NoBucket && error.to_string().starts_with(&said), "{error}");
    }
    assert!(!folder.exists());
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(bucket.put_if_absent(CLUSTER, &full(8), "two").await.unwrap(), Put::Written);
}

#[test]
fn what_cannot_be_opened_is_said_in_one_sentence() {
    for (url, word) in [
        ("bucket", "write it as"),
        ("ftp://bucket/x", "write it as"),
        ("s3://", "write it as"),
        ("file://tmp", "three slashes"),
        ("file:///nowhere/at/all", "create the folder"),
        ("s3://bucket/a//b", "a//b"),
    ] {
        let error = Bucket::open(&place(url.to_owned())).unwrap_err();
        assert_eq!(error.why, Why::Setting);
        assert!(error.to_string().contains(word) && error.to_string().contains(url), "{error}");
    }
    let endpoint = Some("minio:9000".to_owned());
    let error = Bucket::open(&Place { url: "s3://b".to_owned(), endpoint, path_style: false }).unwrap_err();
    assert!(error.to_string().contains("write http://minio:9000 or https://minio:9000"), "{error}");
}
