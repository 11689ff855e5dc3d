//! What a bucket refuses, in words that say what to do.

use leasehold_archive::name::Name;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A call to the bucket failed.
#[derive(Debug)]
pub struct BucketError {
    /// The bucket.
    url: Arc<str>,
    /// What was tried: `open`, `list`, `put`, `get`, `delete`.
    pub operation: &'static str,
    /// What to do about it.
    pub why: Why,
    /// The words of the bucket, or of the system.
    detail: String,
}

/// The kinds of failures, by what the caller or an operator does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The URL or a setting is unusable.
    Setting,
    /// No credentials were found.
    NoCredentials,
    /// Wrong credentials.
    Credentials,
    /// The credentials do not allow it.
    Denied,
    /// There is no such object, or no such bucket.
    Missing,
    /// The bucket does not exist.
    NoBucket,
    /// An object of that name exists.
    Exists,
    /// The object is longer than one of ours can be.
    Large,
    /// An object has a name that cannot be read, so nothing can be listed.
    Name,
    /// It did not answer in time.
    Slow,
    /// It cannot be reached, or failed.
    Unavailable,
    /// A file of this machine.
    File,
}

impl BucketError {
    pub(super) fn setting(url: &str, detail: impl fmt::Display) -> BucketError {
        BucketError { url: url.into(), operation: "open", why: Why::Setting, detail: detail.to_string() }
    }

    pub(super) fn file(url: &Arc<str>, path: &Path, source: &io::Error) -> BucketError {
        let detail = format!("{}: {source}", path.display());
        BucketError { url: Arc::clone(url), operation: "read a file for", why: Why::File, detail }
    }

    /// The folder of `file://`, before anything is read or written there.
    pub(super) fn folder(url: &Arc<str>, operation: &'static str, source: &io::Error) -> BucketError {
        let why = match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Why::NoBucket,
            io::ErrorKind::PermissionDenied => Why::Denied,
            _ => Why::Unavailable,
        };
        BucketError { url: Arc::clone(url), operation, why, detail: source.to_string() }
    }

    pub(super) fn large(url: &Arc<str>, name: &Name, bytes: u64, most: u64) -> BucketError {
        let detail = format!("{name} has {bytes} bytes or more, and is never longer than {most}");
        BucketError { url: Arc::clone(url), operation: "get", why: Why::Large, detail }
    }

    pub(super) fn slow(url: &Arc<str>, operation: &'static str, patience: Duration) -> BucketError {
        let detail = format!("no answer within {} s", patience.as_secs());
        BucketError { url: Arc::clone(url), operation, why: Why::Slow, detail }
    }

    pub(super) fn of(url: &Arc<str>, operation: &'static str, source: object_store::Error) -> BucketError {
        let words = leasehold_daemon::logs::in_words(&source);
        let why = match &source {
            object_store::Error::PermissionDenied { .. } if is_wrong_key(&words) => Why::Credentials,
            object_store::Error::PermissionDenied { .. } => Why::Denied,
            object_store::Error::Unauthenticated { .. } => Why::Credentials,
            object_store::Error::NotFound { .. } if is_no_bucket(&words) => Why::NoBucket,
            object_store::Error::NotFound { .. } => Why::Missing,
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => Why::Exists,
            object_store::Error::InvalidPath { .. } => Why::Name,
            _ => of_words(&words, &source),
        };
        let detail = cut(&words);
        BucketError { url: Arc::clone(url), operation, why, detail }
    }
}

/// S3 and Azure answer a wrong key with 403, like a right key without the right.
fn is_wrong_key(words: &str) -> bool {
    let codes = [
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AuthenticationFailed",
        "Server failed to authenticate",
        "ExpiredToken",
        "InvalidToken",
    ];
    codes.iter().any(|code| words.contains(code))
}

fn is_no_bucket(words: &str) -> bool {
    let codes = ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"];
    codes.iter().any(|code| words.contains(code))
}

/// Errors that object_store has no variant for: those of a LIST, of a time-out, of a folder.
fn of_words(words: &str, source: &object_store::Error) -> Why {
    if is_wrong_key(words) {
        return Why::Credentials;
    }
    // Without any in the environment the last resort is the server that gives a machine its identity.
    if words.contains("169.254.") || words.contains("metadata.google.internal") {
        return Why::NoCredentials;
    }
    if is_no_bucket(words) {
        return Why::NoBucket;
    }
    if words.contains("AccessDenied") || words.contains("403 Forbidden") {
        return Why::Denied;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(source);
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => return Why::Denied,
            Some(io::ErrorKind::AlreadyExists) => return Why::Exists,
            Some(io::ErrorKind::NotFound) => return Why::Missing,
            _ => cause = error.source(),
        }
    }
    Why::Unavailable
}

/// In one line; the XML of answers cut to its code and message.
fn cut(words: &str) -> String {
    let between = |from: &str, to: &str| -> Option<String> {
        let (_, rest) = words.split_once(from)?;
        rest.split_once(to).map(|(text, _)| text.trim().to_owned())
    };
    match (between("<Code>", "</Code>"), between("<Message>", "</Message>")) {
        (Some(code), Some(message)) => format!("{code}: {}", message.lines().next().unwrap_or_default()),
        (Some(code), None) => code,
        (None, _) => words.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

impl fmt::Display for BucketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BucketError { url, operation, why, detail } = self;
        if let Some(folder) = url.strip_prefix("file://")
            && let Some(said) = of_folder(folder, operation, *why)
        {
            return write!(f, "{said} ({detail})");
        }
        match why {
            Why::Setting => write!(f, "cannot open {url}: {detail}"),
            Why::NoCredentials => write!(
                f,
                "found no credentials for {url}: set the variables ({}), or give the pod an identity ({detail})",
                variables(url)
            ),
            Why::Credentials => write!(
                f,
                "{url} does not accept the credentials: check the variables ({}) or the identity of the pod ({detail})",
                variables(url)
            ),
            Why::Denied => write!(
                f,
                "{url} does not allow to {operation}: give these credentials the right to {} ({detail})",
                right(operation)
            ),
            Why::NoBucket => write!(f, "{url} does not exist: create the bucket, or mend the URL ({detail})"),
            Why::Missing => write!(f, "{url} does not have that object ({detail})"),
            Why::Large => write!(f, "{url} has an object that is not ours: {detail}; move it away"),
            Why::Exists => write!(f, "{url} has an object of that name ({detail})"),
            Why::Name => write!(
                f,
                "{url} has an object that is not ours, and its name cannot be read, so nothing can be listed: rename it, or move \
                 it away ({detail})"
            ),
            Why::Slow => {
                write!(f, "{url} did not answer to a {operation}: {detail}; check the network and the endpoint")
            }
            Why::Unavailable if is_name_of_bucket(url, detail) => write!(
                f,
                "{url} cannot be reached: the server has no name for each bucket, as this asks for; add --path-style, or mend \
                 the endpoint ({detail})"
            ),
            Why::Unavailable => {
                write!(
                    f,
                    "{url} cannot be reached or failed at a {operation}: check the endpoint and the network ({detail})"
                )
            }
            Why::File => write!(f, "cannot {operation} {url}: {detail}"),
        }
    }
}

impl StdError for BucketError {}

/// Folders have neither credentials nor endpoints.
fn of_folder(folder: &str, operation: &str, why: Why) -> Option<String> {
    match why {
        Why::NoBucket => Some(format!("the folder {folder} is not there: mount its volume, or create it")),
        Why::Denied | Why::Credentials | Why::NoCredentials => Some(format!(
            "the folder {folder} does not allow to {operation}: give the user of this process the permission to {} there \
             (in a pod: fsGroup)",
            if matches!(operation, "put" | "delete") { "write" } else { "read" }
        )),
        Why::Slow => {
            Some(format!("the folder {folder} did not answer to a {operation}: check its disk, or its network"))
        }
        Why::Unavailable => Some(format!("the folder {folder} failed at a {operation}: check its disk")),
        Why::Setting | Why::Missing | Why::Exists | Why::Large | Why::Name | Why::File => None,
    }
}

/// A host `<bucket>.<endpoint>` that DNS does not know.
fn is_name_of_bucket(url: &str, detail: &str) -> bool {
    let bucket = url.strip_prefix("s3://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let is_asked = !bucket.is_empty() && detail.contains(&format!("//{bucket}."));
    is_asked && (detail.contains("dns error") || detail.contains("failed to lookup address"))
}

fn variables(url: &str) -> &'static str {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("az") => "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
        Some("gs") => "GOOGLE_APPLICATION_CREDENTIALS",
        _ => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION",
    }
}

fn right(operation: &str) -> &'static str {
    match operation {
        "list" => "list the bucket (s3:ListBucket)",
        "put" => "write objects (s3:PutObject)",
        "delete" => "delete objects (s3:DeleteObject), or switch pruning off",
        _ => "read objects (s3:GetObject)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(operation: &'static str, words: &str) -> BucketError {
        let source = object_store::Error::Generic { store: "S3", source: words.into() };
        BucketError::of(&Arc::from("s3://b/p"), operation, source)
    }

    #[test]
    fn what_a_server_says_becomes_what_to_do() {
        let xml = |code: &str| {
            format!(
                "status code: 403 Forbidden: <Error><Code>{code}</Code>\n<Message>No, not\nat all</Message></Error>"
            )
        };
        for (operation, words, why, said) in [
            ("list", xml("SignatureDoesNotMatch"), Why::Credentials, "check the variables (AWS_ACCESS_KEY_ID"),
            (
                "put",
                xml("AccessDenied"),
                Why::Denied,
                "the right to write objects (s3:PutObject) (AccessDenied: No, not)",
            ),
            ("delete", "403 Forbidden".to_owned(), Why::Denied, "or switch pruning off"),
            ("list", xml("NoSuchBucket"), Why::NoBucket, "create the bucket"),
            (
                "get",
                "http://169.254.169.254/latest timed out".to_owned(),
                Why::NoCredentials,
                "found no credentials for s3://b/p: set the variables (AWS_ACCESS_KEY_ID",
            ),
            (
                "list",
                "error sending request for url (http://b.minio:9000/): dns error".to_owned(),
                Why::Unavailable,
                "add --path-style",
            ),
            (
                "list",
                "error sending request for url (http://minio:9000/b): dns error".to_owned(),
                Why::Unavailable,
                "check the endpoint",
            ),
            ("get", "500 oh\n no".to_owned(), Why::Unavailable, "failed at a get: check the endpoint"),
        ] {
            let error = error(operation, &words);
            assert!(error.why == why && error.to_string().contains(said), "{error}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}
