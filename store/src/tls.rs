//! TLS for either port, from the files of a mounted Secret, read again when they change.
//!
//! ```text
//!   peer port   DIR/{tls.crt, tls.key, ca.crt}   both ends show a certificate of this CA; the dialer checks that the
//!                                                listener's is for the name it dialled
//!   API port    DIR/{tls.crt, tls.key}           as any HTTPS server; ca.crt, if there, is for requests to other replicas
//! ```
//!
//! The names are those of a Secret of type kubernetes.io/tls, as cert-manager creates them. Open connections keep the
//! certificate that they started with. TLS 1.2 and 1.3, by rustls with ring.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ::ring::digest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use leasehold_daemon::reload::{Files, FilesError, Names, Reloaded};

/// The files.
const NAMES: Names = Names::These(&["tls.crt", "tls.key", "ca.crt"]);

/// The certificate of the peer port, and whom it trusts.
#[derive(Debug)]
pub struct PeerTls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    /// Of the certificate, and of those that it trusts: see [`PeerTls::fingerprints`].
    fingerprints: Vec<String>,
}

/// The certificate of the API port; and how to reach that port of another replica.
#[derive(Debug)]
pub struct ApiTls {
    server: Arc<ServerConfig>,
    client: Option<Arc<ClientConfig>>,
}

impl PeerTls {
    /// Reads them.
    ///
    /// # Errors
    /// They are missing, or do not match each other.
    pub fn open(dir: &Path) -> Result<Reloaded<PeerTls>, FilesError> {
        Reloaded::open("the peers' certificates", dir, NAMES, PeerTls::from_files)
    }

    fn from_files(files: &Files) -> Result<PeerTls, String> {
        let (provider, given) = (provider(), Given::from_files(files)?);
        let fingerprints = given.fingerprints(files)?;
        let roots = Arc::new(
            given
                .roots
                .clone()
                .ok_or("the file `ca.crt` is missing: it names the CA that signs the members' certificates")?,
        );
        let members = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let members = members.build().map_err(|error| format!("ca.crt: {error}"))?;
        let listeners = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let listeners = listeners.build().map_err(|error| format!("ca.crt: {error}"))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_client_cert_verifier(members)
            .with_single_cert(given.chain.clone(), given.key.clone_key())
            .map_err(unfit)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_webpki_verifier(listeners)
            .with_client_auth_cert(given.chain, given.key)
            .map_err(unfit)?;
        Ok(PeerTls { server: Arc::new(server), client: Arc::new(client), fingerprints })
    }

    /// For operators who want to know whether a pod has read the new files: first its own certificate's, then those that it
    /// trusts. Each is the start of what `openssl x509 -noout -fingerprint -sha256` prints.
    pub fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }

    /// The listener's part. `member`: a DNS name that the dialer's certificate must be valid for, besides being of our CA.
    ///
    /// # Errors
    /// No handshake, or a certificate that does not match.
    pub async fn accept<S>(&self, stream: S, member: Option<&ServerName<'_>>) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = TlsAcceptor::from(Arc::clone(&self.server)).accept(stream).await?;
        if let Some(member) = member {
            let chain = accepted.get_ref().1.peer_certificates().unwrap_or_default();
            let own = chain.first().ok_or_else(|| io::Error::other("the dialer shows no certificate"))?;
            ParsedCertificate::try_from(own).and_then(|own| verify_server_name(&own, member)).map_err(|error| {
                io::Error::other(format!("the dialer's certificate is signed by our CA, but is invalid: {error}"))
            })?;
        }
        Ok(accepted)
    }

    /// The dialer's part: the listener must show a certificate of our CA for the host of `address`.
    ///
    /// # Errors
    /// No handshake, or a certificate that does not match.
    pub async fn connect<S>(&self, stream: S, address: &str) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsConnector::from(Arc::clone(&self.client)).connect(host_name(address)?, stream).await
    }
}

impl ApiTls {
    /// Reads them.
    ///
    /// # Errors
    /// They are missing, or do not match each other.
    pub fn open(dir: &Path) -> Result<Reloaded<ApiTls>, FilesError> {
        Reloaded::open("the API's certificate", dir, NAMES, ApiTls::from_files)
    }

    fn from_files(files: &Files) -> Result<ApiTls, String> {
        let (provider, given) = (provider(), Given::from_files(files)?);
        let client = given.roots.map(|roots| {
            let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(unfit)?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok::<_, String>(Arc::new(config))
        });
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_single_cert(given.chain, given.key)
            .map_err(unfit)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(ApiTls { server: Arc::new(server), client: client.transpose()? })
    }

    /// The server's part.
    ///
    /// # Errors
    /// No handshake.
    pub async fn accept<S>(&self, stream: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(Arc::clone(&self.server)).accept(stream).await
    }

    /// The part of a replica that sends a client's request on to another one. `name`: what the other's certificate must be
    /// valid for; the leader's address may be a bare IP, which no certificate names.
    ///
    /// # Errors
    /// No handshake, a certificate that does not match, or no `ca.crt` to check it.
    pub async fn connect<S>(&self, stream: S, name: ServerName<'static>) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let client = self.client.as_ref().ok_or_else(|| {
            io::Error::other(
                "the API's certificates have no ca.crt, so this replica cannot check another replica's certificate",
            )
        })?;
        TlsConnector::from(Arc::clone(client)).connect(name, stream).await
    }
}

/// The name or IP address in `host:port`, in the form of a certificate.
///
/// # Errors
/// It is neither.
pub fn host_name(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // An absolute name is the same name; certificates contain it without the last dot.
    let host = host.strip_suffix('.').unwrap_or(host).to_owned();
    ServerName::try_from(host).map_err(|error| io::Error::other(format!("{address}: {error}")))
}

/// The content of the files.
struct Given {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Option<RootCertStore>,
}

impl Given {
    fn from_files(files: &Files) -> Result<Given, String> {
        let file = |name: &'static str| {
            files
                .get(name)
                .filter(|bytes| !bytes.trim_ascii().is_empty())
                .ok_or(format!("the file `{name}` is missing"))
        };
        let chain = certificates("tls.crt", file("tls.crt")?)?;
        let key = PrivateKeyDer::from_pem_slice(file("tls.key")?).map_err(|error| format!("tls.key: {error}"))?;
        let roots = match file("ca.crt") {
            Err(_) => None,
            Ok(bytes) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("ca.crt", bytes)? {
                    roots.add(certificate).map_err(|error| format!("ca.crt: {error}"))?;
                }
                Some(roots)
            }
        };
        Ok(Given { chain, key, roots })
    }
}

impl Given {
    fn fingerprints(&self, files: &Files) -> Result<Vec<String>, String> {
        let trusted = match files.get("ca.crt") {
            Some(pem) => certificates("ca.crt", pem)?,
            None => Vec::new(),
        };
        let fingerprint = |certificate: &CertificateDer<'_>| {
            let digest = digest::digest(&digest::SHA256, certificate);
            digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        Ok(self.chain.iter().take(1).chain(&trusted).map(fingerprint).collect())
    }
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| format!("{name}: {error}"))?;
    if all.is_empty() { Err(format!("{name} contains no certificate")) } else { Ok(all) }
}

fn provider() -> Arc<CryptoProvider> {
    // Set explicitly, so that no library's default decides.
    Arc::new(ring::default_provider())
}

fn unfit(error: tokio_rustls::rustls::Error) -> String {
    format!("certificate and key: {error}")
}
