//! What a bucket refuses, in words that say what to do.

use std::error::Error as StdError;
use std::fmt;
use std::io;
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
    /// No credentials, or wrong ones.
    Credentials,
    /// The credentials do not allow it.
    Denied,
    /// There is no such object, or no such bucket.
    Missing,
    /// The bucket does not exist.
    NoBucket,
    /// An object of that name exists.
    Exists,
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

    pub(super) fn file(url: &Arc<str>, source: io::Error) -> BucketError {
        BucketError { url: Arc::clone(url), operation: "read a file for", why: Why::File, detail: source.to_string() }
    }

    pub(super) fn slow(url: &Arc<str>, operation: &'static str, patience: Duration) -> BucketError {
        let detail = format!("no answer within {} s", patience.as_secs());
        BucketError { url: Arc::clone(url), operation, why: Why::Slow, detail }
    }

    pub(super) fn of(url: &Arc<str>, operation: &'static str, source: object_store::Error) -> BucketError {
        let detail = in_words(&source);
        let why = match &source {
            object_store::Error::PermissionDenied { .. } if is_wrong_key(&detail) => Why::Credentials,
            object_store::Error::PermissionDenied { .. } => Why::Denied,
            object_store::Error::Unauthenticated { .. } => Why::Credentials,
            object_store::Error::NotFound { .. } if is_no_bucket(&detail) => Why::NoBucket,
            object_store::Error::NotFound { .. } => Why::Missing,
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => Why::Exists,
            _ => of_text(&detail, &source),
        };
        BucketError { url: Arc::clone(url), operation, why, detail }
    }
}

/// S3 answers a wrong key with 403, like a right key without the right.
fn is_wrong_key(detail: &str) -> bool {
    ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "ExpiredToken", "InvalidToken"]
        .iter()
        .any(|code| detail.contains(code))
}

fn is_no_bucket(detail: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"]
        .iter()
        .any(|code| detail.contains(code))
}

/// Errors that object_store has no variant for.
fn of_text(detail: &str, source: &object_store::Error) -> Why {
    if is_wrong_key(detail) || detail.contains("169.254.") || detail.contains("metadata.google.internal") {
        return Why::Credentials;
    }
    if is_no_bucket(detail) {
        return Why::NoBucket;
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

/// The error and its causes, each once, in one line; the XML of answers cut to its message.
fn in_words(source: &object_store::Error) -> String {
    let words = leasehold_daemon::logs::in_words(source);
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
        match why {
            Why::Setting => write!(f, "cannot open {url}: {detail}"),
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
            Why::Exists => write!(f, "{url} has an object of that name ({detail})"),
            Why::Slow => {
                write!(f, "{url} did not answer to a {operation}: {detail}; check the network and the endpoint")
            }
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
