//! The floor: the idea that the project began with. One JSON file holds all data and is rewritten for every write, by
//! the leader alone; here with an fsync before the answer, as everybody else in the bench. Nothing is replicated.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use leasehold_api::lock;
use serde::Deserialize;
use uuid::Uuid;

use super::record;

/// All data: the file is the lock's other half.
struct Data {
    file: PathBuf,
    records: BTreeMap<Uuid, String>,
}

#[derive(Deserialize)]
struct Person {
    id: Uuid,
}

/// Serves on this loopback port until it is killed; starts with the records of the known ids.
///
/// # Errors
/// The port or the file is not available.
pub(crate) async fn run(port: u16, file: &Path, records: u64) -> anyhow::Result<()> {
    let known = (0..records).map(record::known_id).map(|id| (id, record::text(id, record::BYTES)));
    let data = Arc::new(Mutex::new(Data { file: file.to_owned(), records: known.collect() }));
    lock(&data).write()?;
    let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        let data = data.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let data = data.clone();
                async move { Ok::<_, Infallible>(answer(data, request).await) }
            });
            // An error here is a client that left.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(data: Arc<Mutex<Data>>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let say = |status: StatusCode, body: String| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    };
    let path = request.uri().path().to_owned();
    match (request.method(), path.strip_prefix("/persons")) {
        (&Method::GET, Some("")) => say(StatusCode::OK, lock(&data).text()),
        (&Method::GET, Some(id)) => {
            let id = id.strip_prefix('/').and_then(|id| id.parse().ok());
            match id.and_then(|id: Uuid| lock(&data).records.get(&id).cloned()) {
                Some(record) => say(StatusCode::OK, record),
                None => say(StatusCode::NOT_FOUND, String::new()),
            }
        }
        (&Method::POST, Some("")) => {
            let Ok(body) = request.into_body().collect().await else {
                return say(StatusCode::BAD_REQUEST, String::new());
            };
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            let Ok(Person { id }) = serde_json::from_str(&body) else {
                return say(StatusCode::BAD_REQUEST, String::new());
            };
            let written = tokio::task::spawn_blocking(move || {
                let mut data = lock(&data);
                data.records.insert(id, body);
                data.write()
            });
            match written.await {
                Ok(Ok(())) => say(StatusCode::CREATED, String::new()),
                _ => say(StatusCode::INTERNAL_SERVER_ERROR, String::new()),
            }
        }
        _ => say(StatusCode::NOT_FOUND, String::new()),
    }
}

impl Data {
    fn text(&self) -> String {
        let all: Vec<&str> = self.records.values().map(String::as_str).collect();
        format!("[{}]", all.join(","))
    }

    fn write(&self) -> std::io::Result<()> {
        let mut file = File::create(&self.file)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_data()
    }
}
