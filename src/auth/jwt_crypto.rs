//! The cryptography of JWTs: jsonwebtoken decides what is verified, *ring* verifies it.
//!
//! The crate's own choices bring sixty more crates or a compiler for C++; *ring* is what TLS in
//! Rust uses. Tokens are never signed here.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use ring::{hmac, signature as sig};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Has jsonwebtoken use this; again is harmless.
pub(super) fn install() {
    // The error is the provider that stands already, and only this function puts one there.
    let _ = PROVIDER.install_default();
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    // A public key must never serve as the secret of an HMAC.
    if key.family() != family(*algorithm) {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    let bytes = key.try_get_as_bytes()?;
    let secret = |algorithm| Key::Secret(hmac::Key::new(algorithm, bytes));
    let public = |algorithm: &'static dyn sig::VerificationAlgorithm| {
        Key::Public(sig::UnparsedPublicKey::new(algorithm, bytes.to_vec()))
    };
    let key = match algorithm {
        Algorithm::HS256 => secret(hmac::HMAC_SHA256),
        Algorithm::HS384 => secret(hmac::HMAC_SHA384),
        Algorithm::HS512 => secret(hmac::HMAC_SHA512),
        Algorithm::RS256 => public(&sig::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => public(&sig::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => public(&sig::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => public(&sig::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => public(&sig::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => public(&sig::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => public(&sig::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => public(&sig::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => public(&sig::ED25519),
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(Box::new(Ring { algorithm: *algorithm, key }))
}

fn family(algorithm: Algorithm) -> AlgorithmFamily {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => AlgorithmFamily::Hmac,
        Algorithm::ES256 | Algorithm::ES384 => AlgorithmFamily::Ec,
        Algorithm::EdDSA => AlgorithmFamily::Ed,
        _ => AlgorithmFamily::Rsa,
    }
}

enum Key {
    Secret(hmac::Key),
    Public(sig::UnparsedPublicKey<Vec<u8>>),
}

struct Ring {
    algorithm: Algorithm,
    key: Key,
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        match &self.key {
            Key::Secret(key) => hmac::verify(key, message, signature),
            Key::Public(key) => key.verify(message, signature),
        }
        .map_err(|_| Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
