//! Against real servers: S3 by versitygw, Azure by Azurite (`make backup-servers` fetches both); Google by a fake of ours.
//!
//! They are looked for in `LEASEHOLD_VERSITYGW` and `LEASEHOLD_AZURITE`, then in `target/backup-servers`. Where one is missing,
//! its tests say so and do nothing. Credentials are in the environment, so what uses a bucket directly is a test of its own, that
//! is run in a process of its own (`inner`).
#![allow(clippy::unwrap_used)]

mod google;

use futures_util::stream::{self, StreamExt as _};
use leasehold_archive::name::Name;
use leasehold_archive::testing::History;
use leasehold_archive::time::Time;
use leasehold_backup::bucket::{Bucket, Place, Put, Why};
use leasehold_backup::sealed::{Recipients, Sealer};
use leasehold_replication::{ClusterId, Seq};
use leasehold_testkit::until_blocking;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(9));
/// More than one page of a LIST, and more than one bulk delete.
const MANY: u64 = 1100;
/// Azurite's own account, which its documentation names.
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server, and how it is reached. Dropping it kills it.
struct Server {
    child: Child,
    folder: TempDir,
    url: &'static str,
    endpoint: String,
    key: (&'static str, &'static str),
    more: Vec<(&'static str, String)>,
    path_style: bool,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, or none, with a loud word.
fn program(variable: &str, place: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/backup-servers").join(place);
    let found = named.into_iter().chain([target]).find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: {place} is missing; run make backup-servers, or set {variable}");
    }
    found
}

fn start(mut command: Command, port: u16) -> Child {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until_blocking("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn s3() -> Option<Server> {
    let program = program("LEASEHOLD_VERSITYGW", "bin/versitygw")?;
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    std::fs::create_dir_all(folder.path().join("data/backups")).unwrap();
    std::fs::create_dir_all(folder.path().join("meta")).unwrap();
    let mut command = Command::new(program);
    command.args([
        "--port",
        &format!("127.0.0.1:{port}"),
        "--access",
        "key",
        "--secret",
        "secret",
        "posix",
        "--sidecar",
    ]);
    command.arg(folder.path().join("meta")).arg(folder.path().join("data"));
    let more = vec![("AWS_REGION", "us-east-1".to_owned())];
    let endpoint = format!("http://127.0.0.1:{port}");
    let (child, url, key) = (start(command, port), "s3://backups/prod", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"));
    Some(Server { child, folder, url, endpoint, key, more, path_style: true })
}

fn azure() -> Option<Server> {
    let program = program("LEASEHOLD_AZURITE", "azurite/node_modules/.bin/azurite-blob")?;
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = Command::new(program);
    let port_text = port.to_string();
    command.args([
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        &port_text,
        "--skipApiVersionCheck",
        "--silent",
        "--location",
    ]);
    command.arg(folder.path());
    let child = start(command, port);
    let endpoint = format!("http://127.0.0.1:{port}/devstoreaccount1");
    let key = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY");
    let server = Server { child, folder, url: "az://backups/prod", endpoint, key, more: Vec::new(), path_style: false };
    make_container(port);
    Some(server)
}

/// By a PUT that is signed with the account's key; Azurite needs node, so there is one.
fn make_container(port: u16) {
    let script = r"
        const [port, key] = process.argv.slice(1), date = new Date().toUTCString(), version = '2021-08-06';
        const text = ['PUT', '', '', '', '', '', '', '', '', '', '', '', `x-ms-date:${date}`, `x-ms-version:${version}`,
            '/devstoreaccount1/devstoreaccount1/backups', 'restype:container'].join('\n');
        const hmac = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64');
        fetch(`http://127.0.0.1:${port}/devstoreaccount1/backups?restype=container`, { method: 'PUT', headers: {
            'x-ms-date': date, 'x-ms-version': version, 'authorization': `SharedKey devstoreaccount1:${hmac}`, } })
            .then(async (r) => { if (r.status !== 201) { console.error(r.status, await r.text()); process.exit(1); } });";
    let output = Command::new("node").args(["-e", script, &port.to_string(), AZURITE_KEY]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

impl Server {
    fn environment(&self, secret: &str) -> Vec<(&'static str, String)> {
        let account = if self.key.0.starts_with("AZURE") { "devstoreaccount1" } else { "key" };
        let mut all = self.more.clone();
        all.extend([(self.key.0, account.to_owned()), (self.key.1, secret.to_owned())]);
        all.extend([("BACKUP_URL", self.url.to_owned()), ("BACKUP_ENDPOINT", self.endpoint.clone())]);
        all.push(("BACKUP_PATH_STYLE", self.path_style.to_string()));
        all
    }

    /// Runs a test of this file that is ignored otherwise, with these credentials.
    fn inner(&self, test: &str, secret: &str) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", test]).envs(self.environment(secret));
        command.output().unwrap()
    }

    fn backup(&self, words: &str, secret: &str, url: &str) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backup"));
        command.args(words.split(' ')).envs(self.environment(secret)).env("BACKUP_URL", url);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        println!("$ backup {words}\n{said}");
        (status.code().unwrap(), said)
    }

    /// All that a bucket must do.
    fn does_all(&self, secret: &str, no_bucket: &str) {
        let output = self.inner("inner_puts_lists_gets_and_deletes", secret);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        println!("{}", said.lines().filter(|line| line.contains("requests")).collect::<String>());
        let output = self.inner("inner_writes_an_archive", secret);
        assert!(output.status.success(), "{output:?}");
        for words in ["list", "verify", "verify --all", "drill", "cat --collection orders --id r7"] {
            let (code, said) = self.backup(words, secret, self.url);
            assert_eq!(code, 0, "{words}: {said}");
        }
        let wrong = if self.path_style { "wrong" } else { "d3Jvbmc=" };
        let (code, said) = self.backup("list", wrong, self.url);
        assert!(code == 1 && said.contains("does not accept the credentials"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let (code, said) = self.backup("list --cluster-id 00000000-0000-0000-0000-000000000009", secret, no_bucket);
        assert!(code == 1 && said.contains("does not exist: create the bucket"), "{said}");
        assert!(self.folder.path().exists());
    }
}

#[test]
fn an_s3_server_does_all_that_an_archive_needs() {
    if let Some(server) = s3() {
        server.does_all("secret", "s3://none/prod");
    }
}

#[test]
fn an_azure_server_does_all_that_an_archive_needs() {
    if let Some(server) = azure() {
        server.does_all(AZURITE_KEY, "az://none/prod");
    }
}

#[test]
fn a_fake_of_google_gets_the_requests_that_an_archive_needs() {
    let google = google::Google::start();
    let endpoint = format!("http://127.0.0.1:{}", google.port);
    // The library's own way to do without credentials.
    let account = format!(
        r#"{{"gcs_base_url":"{endpoint}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}"#
    );
    for (test, passes) in [("inner_puts_gets_and_deletes_a_little", 1), ("inner_writes_an_archive", 1)] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "--nocapture", test]).env("GOOGLE_SERVICE_ACCOUNT_KEY", &account);
        command
            .env("BACKUP_URL", "gs://backups/prod")
            .env("BACKUP_ENDPOINT", &endpoint)
            .env("BACKUP_PATH_STYLE", "false");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains(&format!("{passes} passed")), "{output:?}");
    }
    for words in ["list", "verify --all"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backup"));
        command.args(words.split(' ')).env("GOOGLE_SERVICE_ACCOUNT_KEY", &account).env("BACKUP_ENDPOINT", &endpoint);
        let output = command.env("BACKUP_URL", "gs://backups/prod").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// That of the environment.
fn bucket() -> Bucket {
    let of = |name: &str| std::env::var(name).unwrap();
    let path_style = of("BACKUP_PATH_STYLE") == "true";
    Bucket::open(&Place { url: of("BACKUP_URL"), endpoint: Some(of("BACKUP_ENDPOINT")), path_style }).unwrap()
}

#[tokio::test]
#[ignore = "run by the tests of servers, with their credentials"]
async fn inner_puts_lists_gets_and_deletes() {
    let bucket = &bucket();
    let full = |seq: u64| Name::Full { seq: Seq(seq), time: Time::UNSAID, encrypted: false };
    assert_eq!(bucket.list(CLUSTER).await.unwrap(), []);
    assert_eq!(bucket.put_if_absent(CLUSTER, &full(0), "one").await.unwrap(), Put::Written);
    assert_eq!(bucket.put_if_absent(CLUSTER, &full(0), "another").await.unwrap(), Put::Exists);
    assert_eq!(bucket.get_whole(CLUSTER, &full(0)).await.unwrap(), "one");
    assert_eq!(bucket.get_whole(CLUSTER, &full(MANY + 1)).await.unwrap_err().why, Why::Missing);
    assert_eq!(bucket.clusters().await.unwrap(), [CLUSTER]);
    let large = vec![7; 9 << 20];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &large).unwrap();
    assert_eq!(bucket.put_file_if_absent(CLUSTER, &full(1), file.path().to_owned()).await.unwrap(), Put::Written);
    assert!(bucket.get_whole(CLUSTER, &full(1)).await.unwrap() == large);
    if bucket.url().starts_with("s3:") {
        sends_in_parts(bucket).await;
    }
    let puts = stream::iter(2..MANY).map(|seq| async move { bucket.put_if_absent(CLUSTER, &full(seq), "x").await });
    let put: Vec<_> = puts.buffer_unordered(32).collect().await;
    assert!(put.into_iter().all(|put| put.unwrap() == Put::Written));
    let before = bucket.requests();
    assert_eq!(bucket.list(CLUSTER).await.unwrap().len() as u64, MANY);
    let all: Vec<Name> = (0..MANY).map(full).collect();
    assert_eq!(bucket.delete(CLUSTER, &all).await.unwrap(), MANY);
    let after = bucket.requests();
    assert_eq!(bucket.list(CLUSTER).await.unwrap(), []);
    let (list, delete) = (after.list - before.list, after.delete - before.delete);
    println!("requests for {MANY} objects: {list} to list, {delete} to delete");
    assert!((1..=2).contains(&list) && (2..=5).contains(&delete), "{list} {delete}");
}

/// Of two that send the same name at once one is there afterwards, whole, and the other knows.
async fn sends_in_parts(bucket: &Bucket) {
    let bucket = bucket.clone().in_parts_of(5 << 20);
    let name = Name::Full { seq: Seq(MANY + 7), time: Time::UNSAID, encrypted: false };
    let files = [1, 2].map(|byte| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![byte; (12 << 20) + 5]).unwrap();
        file
    });
    let [one, other] = [0, 1].map(|at| bucket.put_file_if_absent(CLUSTER, &name, files[at].path().to_owned()));
    let puts = tokio::join!(one, other);
    let puts = [puts.0.unwrap(), puts.1.unwrap()];
    let winner = puts.iter().position(|put| *put == Put::Written).unwrap();
    assert_eq!(puts[1 - winner], Put::Exists);
    assert!(bucket.get_whole(CLUSTER, &name).await.unwrap() == std::fs::read(files[winner].path()).unwrap());
    let again = bucket.put_file_if_absent(CLUSTER, &name, files[1 - winner].path().to_owned()).await.unwrap();
    assert_eq!(again, Put::Exists);
    bucket.delete(CLUSTER, &[name]).await.unwrap();
}

#[tokio::test]
#[ignore = "run by the tests of servers, with their credentials"]
async fn inner_puts_gets_and_deletes_a_little() {
    let bucket = &bucket();
    let full = |seq: u64| Name::Full { seq: Seq(seq), time: Time::UNSAID, encrypted: false };
    assert_eq!(bucket.put_if_absent(CLUSTER, &full(0), "one").await.unwrap(), Put::Written);
    assert_eq!(bucket.put_if_absent(CLUSTER, &full(0), "another").await.unwrap(), Put::Exists);
    assert_eq!(bucket.get_whole(CLUSTER, &full(0)).await.unwrap(), "one");
    assert_eq!(bucket.get_whole(CLUSTER, &full(1)).await.unwrap_err().why, Why::Missing);
    assert_eq!((bucket.clusters().await.unwrap(), bucket.list(CLUSTER).await.unwrap().len()), (vec![CLUSTER], 1));
    assert_eq!(bucket.delete(CLUSTER, &[full(0), full(1)]).await.unwrap(), 2);
    let requests = bucket.requests();
    assert_eq!((requests.put, requests.get, requests.list, requests.delete), (2, 2, 2, 2));
}

#[tokio::test]
#[ignore = "run by the tests of servers, with their credentials"]
async fn inner_writes_an_archive() {
    let mut history = History::new(CLUSTER);
    for n in 0..500 {
        history.put(&format!("r{}", n % 50), n);
    }
    let bucket = bucket();
    let last = history.last();
    for (name, content) in [history.full(Seq(1)), history.changes(Seq(2), Seq(300)), history.changes(Seq(250), last)] {
        let mut sealer = Sealer::new(Vec::new(), &Recipients::default()).unwrap();
        sealer.write_all(&content).unwrap();
        assert_eq!(bucket.put_if_absent(CLUSTER, &name, sealer.finish().unwrap()).await.unwrap(), Put::Written);
    }
}
