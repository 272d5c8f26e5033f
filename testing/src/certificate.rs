//! A certificate of nobody's authority for `localhost`, for servers that tests start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

pub struct Certificate {
    pem: String,
    config: Arc<ServerConfig>,
}

impl Certificate {
    pub fn new() -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        Self { pem: cert.pem(), config: Arc::new(config) }
    }

    /// Writes it where a setting can name it.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join(crate::user::unique("authority") + ".pem");
        std::fs::write(&path, &self.pem).unwrap();
        path
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}
