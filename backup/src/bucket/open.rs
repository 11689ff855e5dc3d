//! From a URL to a bucket.

use super::error::BucketError;
use super::folder::Folder;
use super::requests::{Counter, Counting};
use crate::crypto;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where an archive is. Credentials come from the environment, under the names that the clouds gave them.
#[derive(Clone, Debug, clap::Args)]
pub struct Place {
    /// The archive: file:///folder, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix
    #[arg(long, env = "BACKUP_URL", value_name = "URL")]
    pub url: String,
    /// The server, where it is not the cloud's own (http:// is allowed)
    #[arg(long, env = "BACKUP_ENDPOINT", value_name = "URL")]
    pub endpoint: Option<String>,
    /// The bucket's name is in the path, not in the server's name (S3; needed by most servers that are not Amazon's)
    #[arg(long, env = "BACKUP_PATH_STYLE", action = clap::ArgAction::SetTrue, value_parser = clap::builder::FalseyValueParser::new())]
    pub path_style: bool,
}

/// What a bucket consists of.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    pub(super) counter: Arc<Counter>,
    /// The folder, of `file://`; its calls are not HTTP.
    pub(super) folder: Option<Folder>,
    /// An object that is sent in parts does not replace one that is there.
    pub(super) takes_parts: bool,
}

pub(super) fn open(place: &Place) -> Result<Opened, BucketError> {
    let url = place.url.trim_end_matches('/');
    let setting = |detail: &dyn std::fmt::Display| BucketError::setting(url, detail);
    let forms = "write it as file:///folder, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix";
    let (scheme, rest) = url.split_once("://").ok_or_else(|| setting(&forms))?;
    if scheme == "file" {
        return open_folder(url, rest);
    }
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.is_empty() {
        return Err(setting(&forms));
    }
    if let Some(endpoint) = place.endpoint.as_deref().filter(|endpoint| !endpoint.contains("://")) {
        return Err(setting(&format!(
            "the endpoint {endpoint} has no scheme; write http://{endpoint} or https://{endpoint}"
        )));
    }
    let prefix = Path::parse(prefix).map_err(|error| setting(&error))?;
    crypto::install();
    // One that is given explicitly may be plain HTTP.
    let is_http = |endpoint: &str| endpoint.starts_with("http://");
    let allow_http = place.endpoint.as_deref().is_some_and(is_http);
    let counter = Arc::default();
    let connector = Counting(Arc::clone(&counter));
    let store: Arc<dyn ObjectStore> = match scheme {
        "s3" => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(name).with_http_connector(connector);
            let set = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
            let allow_http = allow_http || set.as_deref().is_some_and(is_http);
            let mut builder = builder.with_client_options(client(allow_http)).with_retry(retry());
            if let Some(endpoint) = place.endpoint.clone().or(set) {
                let endpoint =
                    if place.path_style || name.contains('.') { Some(endpoint) } else { with_name(&endpoint, name) };
                builder = builder.with_endpoint(endpoint.ok_or_else(|| setting(&"the endpoint is not a URL"))?);
            }
            let builder = builder.with_virtual_hosted_style_request(!place.path_style && !name.contains('.'));
            Arc::new(builder.build().map_err(|error| setting(&error))?)
        }
        "az" => {
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(name).with_http_connector(connector);
            let mut builder = builder.with_client_options(client(allow_http)).with_retry(retry());
            if let Some(endpoint) = place.endpoint.clone() {
                builder = builder.with_endpoint(endpoint);
            }
            Arc::new(builder.build().map_err(|error| setting(&error))?)
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(name).with_http_connector(connector);
            let mut builder = builder.with_client_options(client(allow_http)).with_retry(retry());
            if let Some(endpoint) = place.endpoint.clone() {
                builder = builder.with_base_url(&endpoint);
            }
            Arc::new(builder.build().map_err(|error| setting(&error))?)
        }
        _ => return Err(setting(&forms)),
    };
    Ok(Opened { store, prefix, counter, folder: None, takes_parts: scheme == "s3" })
}

/// The folder must exist: on a volume that is not mounted, one that was created would be lost with the pod.
fn open_folder(url: &str, folder: &str) -> Result<Opened, BucketError> {
    if !folder.starts_with('/') && !folder.is_empty() {
        return Err(BucketError::setting(url, "a folder is written with three slashes: file:///folder"));
    }
    let folder = PathBuf::from(if folder.is_empty() { "/" } else { folder });
    let folder = Folder::open(folder).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::PermissionDenied => "give the user of this process the permission to read it",
            _ => "create the folder, or mount its volume there",
        };
        BucketError::setting(url, format!("{error}; {what}"))
    })?;
    let store = LocalFileSystem::new_with_prefix(folder.path()).map_err(|error| BucketError::setting(url, error))?;
    let store = Arc::new(store.with_fsync(true));
    let (prefix, counter) = (Path::default(), Arc::default());
    Ok(Opened { store, prefix, counter, folder: Some(folder), takes_parts: false })
}

/// The bucket's own time-outs hold: a PUT of a large full takes its time.
fn client(allow_http: bool) -> ClientOptions {
    let options = ClientOptions::new().with_connect_timeout(Duration::from_secs(5)).with_timeout_disabled();
    options.with_allow_http(allow_http)
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: 4, retry_timeout: Duration::from_secs(30) }
}

/// `https://host` → `https://name.host`.
fn with_name(endpoint: &str, name: &str) -> Option<String> {
    let (scheme, host) = endpoint.split_once("://")?;
    Some(format!("{scheme}://{name}.{host}"))
}
