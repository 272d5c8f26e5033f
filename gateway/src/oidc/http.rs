//! The client for providers: TLS with the certificates of this machine and those of the browsers, bounded answers, no redirections.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 512 * 1024;
const USER_AGENT: &str = concat!("sealpost/", env!("CARGO_PKG_VERSION"));

/// Cheap to clone.
#[derive(Clone)]
pub struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// Why there is no answer; for the log.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{address} is no address")]
    Address { address: String },
    #[error("the request cannot be made: {0}")]
    Request(#[from] axum::http::Error),
    #[error("{}", whole(.0))]
    Client(#[from] Error),
    #[error("its answer breaks off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("its answer is too large")]
    TooLarge,
    #[error("it did not answer in time")]
    Timeout,
}

/// With the causes, which the client keeps to itself.
fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl HttpClient {
    /// Trusts these authorities as well.
    pub fn new(authorities: Vec<CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // An operator's own authority is known to the machine.
        let (_, _unreadable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for authority in authorities {
            roots.add(authority)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = tls.with_root_certificates(roots).with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let connector = builder.wrap_connector(connector);
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    pub async fn get(&self, address: &str) -> Result<(StatusCode, Bytes), HttpError> {
        self.send(Request::get(uri(address)?), Bytes::new()).await
    }

    /// `authorization`: the value of that header.
    pub async fn post_form(
        &self,
        address: &str,
        authorization: Option<String>,
        form: String,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let mut request =
            Request::post(uri(address)?).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.send(request, form.into()).await
    }

    async fn send(&self, request: axum::http::request::Builder, body: Bytes) -> Result<(StatusCode, Bytes), HttpError> {
        let request = request.header(header::ACCEPT, "application/json").header(header::USER_AGENT, USER_AGENT);
        let request = request.body(Full::new(body))?;
        let answered = async {
            let answer = self.0.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { HttpError::TooLarge } else { HttpError::Body(error) }
            })?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(TIMEOUT, answered).await.unwrap_or(Err(HttpError::Timeout))
    }
}

fn uri(address: &str) -> Result<Uri, HttpError> {
    address.parse().map_err(|_| HttpError::Address { address: address.to_owned() })
}
