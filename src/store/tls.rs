//! Certificates and keys from files, and which roots are trusted: for the databases whose drivers
//! leave that to us. Knows no database.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The root certificates in a PEM file, or those of the system. `option`: what names the file.
pub(super) fn roots(file: Option<&str>, option: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let found = match file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(file) => certificates(file)?,
    };
    store.add_parsable_certificates(found);
    if store.is_empty() {
        return Err(format!("no root certificates were found: name a file with {option}"));
    }
    Ok(store)
}

/// The certificates in a PEM file.
pub(super) fn certificates(file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(Path::new(file))?.collect::<Result<_, _>>();
    read().map_err(|error| format!("{file}: {error}"))
}

/// Talks only to who has a certificate of these roots for the name that is asked for.
pub(super) fn verifying(roots: RootCertStore) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
