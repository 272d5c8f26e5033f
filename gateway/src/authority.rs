//! Certificates of an operator's own authority, which this server trusts where it asks others, beside those that everybody trusts.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("{path} cannot be read: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is no PEM file: {source}", path = path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("{path} has no certificate: put the authority's there, as PEM", path = path.display())]
    Empty { path: PathBuf },
}

/// All certificates of a PEM file. None without a path.
pub fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let text = std::fs::read(path).map_err(|source| AuthorityError::File { path: path.to_owned(), source })?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = read.map_err(|source| AuthorityError::Pem { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(AuthorityError::Empty { path: path.to_owned() });
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_authority_is_named() {
        assert!(read(Path::new("")).unwrap().is_empty());
        let folder = std::env::temp_dir();
        let missing = folder.join("sealpost-no-such-authority.pem");
        let said = |path: &Path| read(path).unwrap_err().to_string();
        assert!(said(&missing).contains("sealpost-no-such-authority.pem cannot be read"));
        let empty = folder.join(format!("sealpost-authority-{}.pem", std::process::id()));
        std::fs::write(&empty, "no certificate").unwrap();
        assert!(said(&empty).contains("has no certificate"), "{}", said(&empty));
        std::fs::remove_file(empty).unwrap();
    }
}
