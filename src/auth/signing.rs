//! Django's signatures: `salted_hmac`, `TimestampSigner` and `signing.loads`/`dumps`.
//!
//! Formats of django/utils/crypto.py and django/core/signing.py, from 1.8 (HMAC-SHA1) to 6.1
//! (HMAC-SHA256). Knows keys and bytes; what is signed, and why, is the caller's business.

use std::fmt;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::Digest;
use hmac::digest::block_api::BlockSizeUser;
use hmac::{KeyInit, Mac, SimpleHmac};
use subtle::ConstantTimeEq;

/// What a compressed value may become, in bytes: 1 MiB. The signature is checked first, so only
/// who holds the secret key can make anything inflate; this bounds what even such a value costs.
/// A larger session counts as one that cannot be read, that is, as empty.
pub const INFLATED_BYTES: u64 = 1 << 20;

/// A secret key. Never shown: its `Debug` is `…`.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl From<&str> for Secret {
    fn from(key: &str) -> Self {
        Secret(key.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// `SECRET_KEY`, which signs, and `SECRET_KEY_FALLBACKS`, which only verify.
#[derive(Debug, Clone)]
pub struct Keys {
    current: Secret,
    fallbacks: Vec<Secret>,
    hashing: Hashing,
}

impl Keys {
    /// The key that signs, and the older ones that are still believed; with [`Hashing::Both`].
    pub fn new(current: Secret, fallbacks: Vec<Secret>) -> Self {
        Keys { current, fallbacks, hashing: Hashing::Both }
    }

    /// The same keys for a Django that hashes so.
    pub fn with(self, hashing: Hashing) -> Self {
        Keys { hashing, ..self }
    }

    /// How the Django beside us hashes.
    pub fn hashing(&self) -> Hashing {
        self.hashing
    }

    /// The key that signs.
    pub fn current(&self) -> &Secret {
        &self.current
    }

    /// Whether `check` holds for one of the keys, the current one first.
    pub fn any(&self, check: impl FnMut(&Secret) -> bool) -> bool {
        std::iter::once(&self.current).chain(&self.fallbacks).any(check)
    }
}

/// The hash under a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Up to Django 3.0, and in 3.1 and 3.2 where `DEFAULT_HASHING_ALGORITHM` asks for it.
    Sha1,
    /// From Django 3.1.
    Sha256,
}

/// Which hashes a Django signs with and believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// Up to Django 3.0, and 3.1 and 3.2 with `DEFAULT_HASHING_ALGORITHM = "sha1"`.
    Sha1,
    /// Django 3.1 and 3.2: signs with SHA-256, believes SHA-1 too.
    Both,
    /// From Django 4.0.
    Sha256,
}

impl Hashing {
    /// What is signed with.
    pub fn signs(self) -> Hash {
        if self == Hashing::Sha1 { Hash::Sha1 } else { Hash::Sha256 }
    }

    /// Whether what was signed so is believed.
    pub fn believes(self, hash: Hash) -> bool {
        self == Hashing::Both || self.signs() == hash
    }
}

/// Why a signed value does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not signed by any of our keys, or not as we expect.
    #[error("the signature does not fit")]
    Signature,
    /// Rightly signed, but not what `dumps` makes, or larger than [`INFLATED_BYTES`].
    #[error("the signed value cannot be read")]
    Content,
}

/// `django.utils.crypto.salted_hmac(salt, value, secret)`, as raw bytes.
pub fn salted_hmac(hash: Hash, salt: &str, value: &[u8], secret: &Secret) -> Vec<u8> {
    match hash {
        Hash::Sha1 => hmac_under_derived_key::<sha1::Sha1>(salt, value, secret),
        Hash::Sha256 => hmac_under_derived_key::<sha2::Sha256>(salt, value, secret),
    }
}

fn hmac_under_derived_key<D: Digest + BlockSizeUser>(
    salt: &str,
    value: &[u8],
    secret: &Secret,
) -> Vec<u8> {
    let key = D::new().chain_update(salt).chain_update(secret.0.as_bytes()).finalize();
    #[expect(clippy::expect_used, reason = "HMAC is defined for keys of every length")]
    let mac = SimpleHmac::<D>::new_from_slice(&key).expect("HMAC takes any key");
    mac.chain_update(value).finalize().into_bytes().to_vec()
}

/// Equality in a time that does not tell where the first difference is.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value and when it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamped<'a> {
    /// What was signed.
    pub value: &'a str,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub signed_at: i64,
}

/// `django.core.signing.TimestampSigner` with one salt.
#[derive(Debug)]
pub struct Signer<'a> {
    keys: &'a Keys,
    salt: String,
}

impl<'a> Signer<'a> {
    /// `salt` as given to Django's signer; the word that Django appends is appended here.
    pub fn new(keys: &'a Keys, salt: &str) -> Self {
        Signer { keys, salt: format!("{salt}signer") }
    }

    /// `value:time:signature`.
    pub fn sign(&self, value: &str, seconds: i64) -> String {
        let stamped = format!("{value}:{}", base62(seconds));
        let signature = self.signature(self.keys.hashing.signs(), &stamped, self.keys.current());
        format!("{stamped}:{signature}")
    }

    /// What `signed` holds, if one of the keys signed it. Its age is not judged.
    pub fn unsign<'v>(&self, signed: &'v str) -> Result<Stamped<'v>, Error> {
        let (stamped, signature) = signed.rsplit_once(':').ok_or(Error::Signature)?;
        let hash = match signature.len() {
            27 => Hash::Sha1,
            43 => Hash::Sha256,
            _ => return Err(Error::Signature),
        };
        let fits = |key: &Secret| {
            equal(signature.as_bytes(), self.signature(hash, stamped, key).as_bytes())
        };
        if !self.keys.hashing.believes(hash) || !self.keys.any(fits) {
            return Err(Error::Signature);
        }
        let (value, time) = stamped.rsplit_once(':').ok_or(Error::Signature)?;
        let signed_at = from_base62(time).ok_or(Error::Signature)?;
        Ok(Stamped { value, signed_at })
    }

    fn signature(&self, hash: Hash, stamped: &str, key: &Secret) -> String {
        URL_SAFE_NO_PAD.encode(salted_hmac(hash, &self.salt, stamped.as_bytes(), key))
    }
}

/// `signing.dumps` without `compress`, for what is short anyway.
pub fn dumps(json: &str, signer: &Signer<'_>, seconds: i64) -> String {
    signer.sign(&URL_SAFE_NO_PAD.encode(json), seconds)
}

/// `signing.loads` without `max_age`, up to the serializer: the bytes that were signed.
pub fn loads(signed: &str, signer: &Signer<'_>) -> Result<Vec<u8>, Error> {
    unpack(signer.unsign(signed)?)
}

/// What a signed value holds: base64, and where it begins with a dot, compressed.
pub fn unpack(stamped: Stamped<'_>) -> Result<Vec<u8>, Error> {
    let value = stamped.value;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::Content);
    match value.strip_prefix('.') {
        Some(compressed) => inflate(&decode(compressed)?),
        None => decode(value),
    }
}

fn inflate(zlib: &[u8]) -> Result<Vec<u8>, Error> {
    let mut inflated = Vec::new();
    flate2::read::ZlibDecoder::new(zlib)
        .take(INFLATED_BYTES + 1)
        .read_to_end(&mut inflated)
        .map_err(|_| Error::Content)?;
    if inflated.len() as u64 > INFLATED_BYTES {
        return Err(Error::Content);
    }
    Ok(inflated)
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `django.core.signing.b62_encode`.
fn base62(number: i64) -> String {
    let mut rest = number.unsigned_abs();
    let mut digits = Vec::new();
    loop {
        digits.extend(BASE62.get((rest % 62) as usize).copied().map(char::from));
        rest /= 62;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        digits.push('-');
    }
    digits.iter().rev().collect()
}

/// `django.core.signing.b62_decode`; `None` where Python would raise.
fn from_base62(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0i64;
    for digit in digits.bytes() {
        let value = BASE62.iter().position(|&known| known == digit)?;
        number = number.checked_mul(62)?.checked_add(value as i64)?;
    }
    Some(sign * number)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn keys() -> Keys {
        Keys::new("secret".into(), vec!["older".into()])
    }

    /// What a holder of the secret can make: a compressed value of `bytes` spaces.
    fn compressed(bytes: usize) -> String {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zlib.write_all(&vec![b' '; bytes]).unwrap();
        format!(".{}", URL_SAFE_NO_PAD.encode(zlib.finish().unwrap()))
    }

    #[test]
    fn what_inflates_beyond_the_limit_is_refused() {
        fn check(value: &str, expected: Result<usize, Error>) {
            let keys = keys();
            let signer = Signer::new(&keys, "s");
            let loaded = loads(&signer.sign(value, 1_790_000_000), &signer);
            assert_eq!(loaded.map(|bytes| bytes.len()), expected);
        }
        check(&compressed(INFLATED_BYTES as usize), Ok(INFLATED_BYTES as usize));
        check(&compressed(INFLATED_BYTES as usize + 1), Err(Error::Content));
        check(&compressed(64 << 20), Err(Error::Content));
        check(".", Err(Error::Content));
        check(".AAAA", Err(Error::Content));
        check("AA=A", Err(Error::Content));
        check("", Ok(0));
    }

    #[test]
    fn nothing_inflates_before_its_signature_is_right() {
        let keys = keys();
        let (right, wrong) = (Signer::new(&keys, "s"), Signer::new(&keys, "t"));
        let bomb = wrong.sign(&compressed(64 << 20), 1_790_000_000);
        assert_eq!(loads(&bomb, &right), Err(Error::Signature));
    }

    #[test]
    fn numbers_in_base_62() {
        fn check(number: i64, text: &str) {
            assert_eq!(base62(number), text);
            assert_eq!(from_base62(text), Some(number));
        }
        check(0, "0");
        check(61, "z");
        check(62, "10");
        check(-62, "-10");
        check(1_790_000_000, "1x8elk");
        check(i64::MAX, "AzL8n0Y58m7");
        for text in ["", "-", "1_", "é", "AzL8n0Y58m8", "zzzzzzzzzzzzzzzzzzzz"] {
            assert_eq!(from_base62(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_django_believes_its_own_hashes() {
        fn check(signs: Hashing, believes: &[Hashing]) {
            let signed = Signer::new(&keys().with(signs), "s").sign("v", 1_790_000_000);
            for hashing in [Hashing::Sha1, Hashing::Both, Hashing::Sha256] {
                let unsigned = Signer::new(&keys().with(hashing), "s").unsign(&signed).is_ok();
                assert_eq!(unsigned, believes.contains(&hashing), "{signs:?} {hashing:?}");
            }
        }
        check(Hashing::Sha1, &[Hashing::Sha1, Hashing::Both]);
        check(Hashing::Both, &[Hashing::Both, Hashing::Sha256]);
        check(Hashing::Sha256, &[Hashing::Both, Hashing::Sha256]);
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", keys()), "Keys { current: …, fallbacks: […], hashing: Both }");
    }
}
