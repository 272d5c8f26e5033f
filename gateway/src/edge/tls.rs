//! TLS of the gateway itself: rustls, with certificates that are read again when their files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// The files are looked at this often. They are small, and looking at their content also sees links that were turned.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("gateway.tls_certificate: {path} cannot be read: {source}", path = .path.display())]
    Certificate { path: PathBuf, source: io::Error },
    #[error("gateway.tls_key: {path} cannot be read: {source}", path = .path.display())]
    Key { path: PathBuf, source: io::Error },
    #[error("gateway.tls_certificate: {} has no certificate in PEM form: put the server's first, then the chain", .0.display())]
    NoCertificate(PathBuf),
    #[error("gateway.tls_key: {} has no private key in PEM form (PKCS#8, PKCS#1 or SEC1)", .0.display())]
    NoKey(PathBuf),
    #[error("gateway.tls_certificate and gateway.tls_key do not belong together: {0}")]
    Mismatch(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Takes TLS connections. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
}

/// What is shown to the next client.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The two files as they are now.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Tls {
    /// Reads the files, and again whenever they change, until `stop`. TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// They cannot be read, or are not certificate and key of each other. Later on such files are logged, and the old ones stay.
    pub fn start(certificate: &Path, key: &Path, stop: CancellationToken) -> Result<Self, TlsError> {
        let files = read(certificate, key)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(parse(&files, certificate, key)?))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = Self { acceptor: TlsAcceptor::from(Arc::new(config)), current };
        let (tls_of_task, paths) = (tls.clone(), (certificate.to_owned(), key.to_owned()));
        tokio::spawn(stop.run_until_cancelled_owned(async move { tls_of_task.watch(paths.0, paths.1, files).await }));
        Ok(tls)
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    async fn watch(self, certificate: PathBuf, key: PathBuf, mut known: Files) {
        loop {
            tokio::time::sleep(LOOK).await;
            let paths = (certificate.clone(), key.clone());
            let Ok(found) = tokio::task::spawn_blocking(move || read(&paths.0, &paths.1)).await else { continue };
            match found {
                Ok(files) if files == known => {}
                Ok(files) => {
                    // Also if they are of no use: said once. A key that follows its certificate a moment later is another change.
                    match parse(&files, &certificate, &key) {
                        Ok(new) => {
                            *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                            tracing::info!("the TLS certificate was replaced");
                        }
                        Err(error) => tracing::error!(%error, "the new TLS files cannot be used: the old ones stay"),
                    }
                    known = files;
                }
                Err(error) => tracing::warn!(%error, "the TLS files cannot be read now: the old ones stay"),
            }
        }
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Files, TlsError> {
    let certificate_text =
        std::fs::read(certificate).map_err(|source| TlsError::Certificate { path: certificate.to_owned(), source })?;
    let key_text = std::fs::read(key).map_err(|source| TlsError::Key { path: key.to_owned(), source })?;
    Ok(Files { certificate: certificate_text, key: Zeroizing::new(key_text) })
}

fn parse(files: &Files, certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&files.certificate).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| TlsError::NoCertificate(certificate.to_owned()))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| TlsError::NoKey(key.to_owned()))?;
    CertifiedKey::from_der(chain, key, &crypto::ring::default_provider()).map_err(TlsError::Mismatch)
}
