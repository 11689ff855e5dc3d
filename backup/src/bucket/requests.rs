//! Counts the requests to a bucket, as its owner pays for them: also pages of lists and repeated ones.

use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use reqwest::header::HeaderValue;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests since the bucket was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Pages of lists.
    pub list: u64,
    /// Objects written.
    pub put: u64,
    /// Objects read.
    pub get: u64,
    /// Objects looked at.
    pub head: u64,
    /// Deletes, each of up to a thousand objects.
    pub delete: u64,
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Counter {
    pub(super) list: AtomicU64,
    pub(super) put: AtomicU64,
    pub(super) get: AtomicU64,
    pub(super) head: AtomicU64,
    pub(super) delete: AtomicU64,
}

impl Counter {
    pub(super) fn read(&self) -> Requests {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (list, put, get) = (of(&self.list), of(&self.put), of(&self.get));
        Requests { list, put, get, head: of(&self.head), delete: of(&self.delete) }
    }

    /// By method and query, which S3, Azure and Google have alike.
    fn note(&self, method: &str, query: &str) {
        let is_list = query.contains("list-type=") || query.contains("comp=list");
        let count = match method {
            "GET" if is_list => &self.list,
            "GET" => &self.get,
            "HEAD" => &self.head,
            "PUT" => &self.put,
            "POST" if !query.contains("delete") && !query.contains("comp=batch") => &self.put,
            _ => &self.delete,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Does it end an object of S3 that was sent in parts?
fn is_completion(method: &str, query: &str) -> bool {
    method == "POST" && query.split('&').any(|pair| pair.starts_with("uploadId="))
}

/// Makes clients that count.
#[derive(Debug)]
pub(super) struct Counting(pub(super) Arc<Counter>);

impl HttpConnector for Counting {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(CountingService { client, counter: Arc::clone(&self.0) }))
    }
}

#[derive(Debug)]
struct CountingService {
    client: HttpClient,
    counter: Arc<Counter>,
}

impl HttpService for CountingService {
    // As the macro async_trait writes it.
    fn call<'a, 'b>(
        &'a self,
        mut request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        if is_completion(request.method().as_str(), request.uri().query().unwrap_or_default()) {
            // object_store would replace an object that is there. A header like this one need not be signed.
            request.headers_mut().insert("if-none-match", HeaderValue::from_static("*"));
        }
        self.counter.note(request.method().as_str(), request.uri().query().unwrap_or_default());
        Box::pin(self.client.execute(request))
    }
}
