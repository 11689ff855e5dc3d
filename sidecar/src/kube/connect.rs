//! The client for the API server: HTTP/2 where the server offers it, so that one connection has the watches and all requests.
//!
//! ```text
//!   kubeconfig │ service account ──▶ TCP ──▶ TLS ──ALPN──▶ h2: one connection, with PINGs while something is asked
//!                                                     └──▶ http/1.1: one for each watch, one or more for the rest
//! ```
//!
//! kube's own client speaks HTTP/1.1 alone. A thousand sidecars that come back at once then cost the API server several
//! thousand TLS handshakes, and a connection that died unseen is noticed when a request has waited for its whole time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client as HyperClient};

use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Client;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::BoxError;
use tracing::debug;

use crate::args::Config;

/// For TCP alone; TLS and the answer have the time of each call.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long sent bytes may stay unacknowledged before the kernel gives the connection up.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);
/// How long a connection stays without a request: longer than a watch lasts (`observe`), with its jitter. A pod that follows asks
/// nothing else meanwhile. It would get another connection for its next watch, and no PING finds out that one is dead which
/// was given up and has a single watch left.
const UNUSED_MAX: Duration = Duration::from_secs(330);

/// Connects by the named kubeconfig, otherwise as a pod, otherwise by the user's own kubeconfig.
///
/// # Errors
/// No configuration was found, or it is unusable.
pub async fn connect(config: &Config) -> Result<Client, ConnectError> {
    let mut client_config = match &config.kubeconfig {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file).map_err(ConnectError::Kubeconfig)?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(ConnectError::Kubeconfig)?
        }
        None => match kube::Config::incluster() {
            Ok(config) => config,
            Err(_) => kube::Config::infer().await.map_err(|error| ConnectError::Nowhere(Box::new(error)))?,
        },
    };
    // kube itself would repeat a request up to 15 times; a late repeat of a renewal is a hazard, and a silent one hides an
    // outage from the election. (Our own client below never repeats.)
    client_config.default_retry = false;
    client(client_config, config.lease_duration).map_err(|error| ConnectError::Client(Box::new(error)))
}

fn client(config: kube::Config, lease_duration: Duration) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() {
        // Says that this build has no proxies.
        return Client::try_from(config);
    }
    // A connection that died since the last renewal is found, and replaced, before a leader that could not renew has to stop. If
    // something was read on it later than that, then the time-out of the request may come first, and does the same.
    let mut builder = HyperClient::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(UNUSED_MAX)
        .http2_keep_alive_interval(lease_duration / 3)
        .http2_keep_alive_timeout(lease_duration / 6);
    let connections = Connections::new(builder, https(&config)?);
    let ask = tower::service_fn(move |request| Arc::clone(&connections).ask(request));
    let builder = ClientBuilder::new(ask, config.default_namespace.clone()).with_layer(&config.extra_headers_layer()?);
    Ok(match config.auth_layer()? {
        Some(auth) => builder.with_layer(&auth).with_layer(&config.base_uri_layer()).build(),
        None => builder.with_layer(&config.base_uri_layer()).build(),
    })
}

/// The connections to the API server, and their replacement. One may lead to one API server of several that answers PINGs and
/// nothing else, as without its etcd. So if a request was given up, and no other was answered meanwhile, those that follow get
/// a new connection, as with HTTP/1.1. Watches stay on the old one until they end.
struct Connections {
    builder: Builder,
    https: HttpsConnector<HttpConnector>,
    present: Mutex<Present>,
}

struct Present {
    hyper: HyperClient<HttpsConnector<HttpConnector>, Body>,
    /// Counts answers and replacements.
    moves: u64,
}

impl Connections {
    fn new(builder: Builder, https: HttpsConnector<HttpConnector>) -> Arc<Connections> {
        let present = Mutex::new(Present { hyper: builder.build(https.clone()), moves: 0 });
        Arc::new(Connections { builder, https, present })
    }

    async fn ask(self: Arc<Connections>, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let (hyper, moves) = {
            let present = self.present();
            (present.hyper.clone(), present.moves)
        };
        let mut waiting = Waiting { connections: &self, moves, is_over: false };
        let result = hyper.request(request).await;
        waiting.is_over = true;
        if result.is_ok() {
            self.present().moves += 1;
        }
        Ok(result?)
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way. If it is dropped before it is over, then it was given up: its time was over.
struct Waiting<'a> {
    connections: &'a Connections,
    moves: u64,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Connections { builder, https, present: _ } = self.connections;
        let mut present = self.connections.present();
        if !self.is_over && present.moves == self.moves {
            debug!("no answer on this connection to the API server; the next request gets another one");
            *present = Present { hyper: builder.build(https.clone()), moves: self.moves + 1 };
        }
    }
}

fn https(config: &kube::Config) -> Result<HttpsConnector<HttpConnector>, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_MAX));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    if let Some(name) = config.tls_server_name.clone() {
        let name = name
            .try_into()
            .map_err(|error| kube::Error::RustlsTls(kube::client::RustlsTlsError::InvalidServerName(error)))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_all_versions().wrap_connector(tcp))
}

/// Why there is no client for the API server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The named kubeconfig is unusable.
    #[error(
        "cannot use the kubeconfig; set --kubeconfig (a library: Config::kubeconfig) to a file that kubectl accepts"
    )]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// There is neither a pod's service account nor a kubeconfig.
    #[error(
        "found neither a service account nor a kubeconfig; in a pod, mount the account's token; elsewhere set KUBECONFIG"
    )]
    Nowhere(#[source] Box<kube::config::InferConfigError>),
    /// No client can be built from the configuration.
    #[error("cannot build a Kubernetes client from this configuration")]
    Client(#[source] Box<kube::Error>),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http_body_util::combinators::BoxBody;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use hyper::Version;
    use hyper::body::{Bytes, Frame};
    use hyper_util::rt::TokioIo;
    use hyper_util::server::conn::auto;
    use k8s_openapi::api::coordination::v1::Lease;
    use kube::Api;
    use kube::api::WatchParams;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::copy_bidirectional;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
    use tokio_rustls::rustls::{ServerConfig, crypto::ring};

    const LONG: Duration = Duration::from_secs(20);

    /// Answers each GET with a Lease, and each watch with nothing, for ever.
    struct Server {
        config: kube::Config,
        versions: Arc<Mutex<Vec<Version>>>,
        connections: Arc<AtomicUsize>,
        /// So many of the first connections answer PINGs, and nothing else.
        hanging: Arc<AtomicUsize>,
        /// Connections of before the last change get a GOAWAY.
        leave: watch::Sender<u64>,
        /// Connections of before the last change get no byte any longer, and do not end.
        generation: watch::Sender<u64>,
    }

    impl Server {
        async fn start(protocols: &[&str]) -> Server {
            let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![key.cert.der().clone()],
                    PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()).into(),
                )
                .unwrap();
            tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            let versions: Arc<Mutex<Vec<Version>>> = Arc::default();
            let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let behind = server.local_addr().unwrap();
            let (seen, hanging) = (Arc::clone(&versions), Arc::<AtomicUsize>::default());
            let hangs = Arc::clone(&hanging);
            let (leave, leaves) = watch::channel(0);
            tokio::spawn(async move {
                for number in 0.. {
                    let (stream, _) = server.accept().await.unwrap();
                    let (acceptor, seen, hangs) = (acceptor.clone(), Arc::clone(&seen), Arc::clone(&hangs));
                    let mut leaving = leaves.clone();
                    leaving.mark_unchanged();
                    tokio::spawn(async move {
                        let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
                        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                            seen.lock().unwrap().push(request.version());
                            let hangs = hangs.load(Ordering::Relaxed) > number;
                            async move {
                                if hangs {
                                    std::future::pending::<()>().await;
                                }
                                Ok::<_, Infallible>(answer(&request))
                            }
                        });
                        let builder = auto::Builder::new(TokioExecutor::new());
                        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
                        tokio::select! {
                            _ = connection.as_mut() => return,
                            _ = leaving.changed() => connection.as_mut().graceful_shutdown(),
                        }
                        let _ = connection.await;
                    });
                }
            });
            let (generation, generations) = watch::channel(0);
            let (front, connections) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::new(AtomicUsize::new(0)));
            let port = front.local_addr().unwrap().port();
            let counted = Arc::clone(&connections);
            tokio::spawn(async move {
                loop {
                    let (mut client, _) = front.accept().await.unwrap();
                    counted.fetch_add(1, Ordering::Relaxed);
                    let mut generations = generations.clone();
                    generations.mark_unchanged();
                    tokio::spawn(async move {
                        let mut server = TcpStream::connect(behind).await.unwrap();
                        tokio::select! {
                            _ = copy_bidirectional(&mut client, &mut server) => return,
                            _ = generations.changed() => {}
                        }
                        std::future::pending::<()>().await;
                    });
                }
            });
            let mut config = kube::Config::new(format!("https://localhost:{port}").parse().unwrap());
            config.root_cert = Some(vec![key.cert.der().to_vec()]);
            Server { config, versions, connections, hanging, leave, generation }
        }

        fn leases(&self, lease_duration: Duration) -> Api<Lease> {
            let _ = tokio_rustls::rustls::crypto::CryptoProvider::install_default(ring::default_provider());
            Api::namespaced(client(self.config.clone(), lease_duration).unwrap(), "n")
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::Relaxed)
        }
    }

    fn answer(request: &Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        if request.uri().query().is_some_and(|query| query.contains("watch=")) {
            return Response::new(StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, _>>()).boxed());
        }
        let lease = r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a"}}"#;
        Response::new(Full::new(Bytes::from(lease)).boxed())
    }

    async fn watch_and_ask(leases: &Api<Lease>) {
        let mut watches = Vec::new();
        for _ in 0..3 {
            leases.get("a").await.unwrap();
            watches.push(leases.watch(&WatchParams::default(), "0").await.unwrap());
        }
        leases.get("a").await.unwrap();
    }

    #[tokio::test]
    async fn one_connection_has_the_watches_and_the_requests() {
        let server = Server::start(&["h2", "http/1.1"]).await;
        watch_and_ask(&server.leases(LONG)).await;
        assert_eq!(server.connections(), 1);
        assert_eq!(*server.versions.lock().unwrap(), [Version::HTTP_2; 7]);
    }

    #[tokio::test]
    async fn a_server_without_http_2_is_served_as_before() {
        let server = Server::start(&["http/1.1"]).await;
        watch_and_ask(&server.leases(LONG)).await;
        assert_eq!(server.connections(), 4);
        assert_eq!(*server.versions.lock().unwrap(), [Version::HTTP_11; 7]);
    }

    /// As when the machine behind a virtual address is off: nothing arrives, and nobody says so.
    #[tokio::test]
    async fn a_connection_that_died_unseen_fails_what_waits_for_it_and_is_replaced() {
        let server = Server::start(&["h2"]).await;
        let leases = server.leases(Duration::from_millis(1_200));
        leases.get("a").await.unwrap();
        server.generation.send_modify(|generation| *generation += 1);
        let lost = tokio::time::timeout(LONG, leases.get("a")).await.expect("nobody found that it is dead");
        assert!(lost.is_err());
        leases.get("a").await.unwrap();
        assert_eq!(server.connections(), 2);
    }

    /// As one API server of several that has lost its etcd, behind an address that others answer, too.
    #[tokio::test]
    async fn a_connection_that_gave_no_answer_in_time_gets_no_other_request_but_keeps_its_watches() {
        use futures_util::StreamExt as _;
        for protocol in ["h2", "http/1.1"] {
            let server = Server::start(&[protocol]).await;
            let leases = server.leases(LONG);
            let mut watch = leases.watch(&WatchParams::default(), "0").await.unwrap().boxed();
            leases.get("a").await.unwrap();
            let before = server.connections();
            server.hanging.store(before, Ordering::Relaxed);
            let lost = tokio::time::timeout(Duration::from_millis(200), leases.get("a")).await;
            assert!(lost.is_err());
            tokio::time::timeout(LONG / 4, leases.get("a")).await.expect("asked where nobody answers").unwrap();
            leases.get("a").await.unwrap();
            assert_eq!(server.connections(), before + 1);
            let ended = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
            assert!(ended.is_err(), "{ended:?}");
        }
    }

    /// As in a pod that follows: its watch is open, and it asks nothing.
    #[tokio::test]
    async fn a_connection_with_a_watch_is_still_used_after_minutes_without_a_request() {
        let server = Server::start(&["h2"]).await;
        // Without a PING, whose answer takes real time.
        let leases = server.leases(Duration::from_secs(1_200));
        leases.get("a").await.unwrap();
        let _watch = leases.watch(&WatchParams::default(), "0").await.unwrap();
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(280)).await;
        tokio::time::resume();
        leases.get("a").await.unwrap();
        assert_eq!(server.connections(), 1);
    }

    /// As with `kube-apiserver --goaway-chance`, or before it is updated.
    #[tokio::test]
    async fn behind_a_goaway_the_watches_stay_and_requests_get_another_connection() {
        use futures_util::StreamExt as _;
        let server = Server::start(&["h2"]).await;
        let leases = server.leases(LONG);
        let mut watch = leases.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        leases.get("a").await.unwrap();
        server.leave.send_modify(|count| *count += 1);
        let moved = async {
            while server.connections() == 1 {
                leases.get("a").await.unwrap();
            }
        };
        tokio::time::timeout(LONG, moved).await.expect("no other connection");
        leases.get("a").await.unwrap();
        assert_eq!(server.connections(), 2);
        let ended = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
        assert!(ended.is_err(), "{ended:?}");
    }
}
